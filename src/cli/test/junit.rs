//! What came of tests as `JUnit`'s XML, which CI systems show.

use std::fmt::Write as _;

use super::Case;

/// The report.
pub(super) fn report(cases: &[Case]) -> String {
    let failed = cases.iter().filter(|case| !case.ran.is_passed()).count();
    let counts = format!("tests=\"{}\" failures=\"{failed}\"", cases.len());
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites {counts}>\n<testsuite name=\"tollgate test\" {counts}>\n"
    );
    for case in cases {
        // Writing to a `String` cannot fail.
        let _ = write!(
            text,
            "<testcase name=\"{}\" classname=\"{file}\" file=\"{file}\" line=\"{}\"",
            escaped(&case.test.name),
            case.test.line,
            file = escaped(&case.file)
        );
        if case.ran.is_passed() {
            text.push_str("/>\n");
            continue;
        }
        let lines: Vec<String> =
            case.difference().into_iter().map(|(sign, line)| format!("{sign} {line}")).collect();
        let _ = writeln!(
            text,
            "><failure message=\"{}\">{}</failure></testcase>",
            escaped(&case.ran.explanation),
            escaped(&lines.join("\n"))
        );
    }
    text.push_str("</testsuite>\n</testsuites>\n");
    text
}

/// XML has no way to write most control characters.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' => escaped.push('\n'),
            control if control.is_control() => escaped.push(' '),
            other => escaped.push(other),
        }
    }
    escaped
}
