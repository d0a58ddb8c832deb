//! Any policy file: no panic; the same file is read the same way; a mistake stands somewhere in the file; and what every card
//! gets can be told.

use tollgate::config::policy_file::{Severity, outline, read_bytes};

pub(crate) fn check(input: &[u8]) {
    let read = read_bytes(input);
    assert_eq!(read, read_bytes(input));
    let lines = String::from_utf8_lossy(input).split('\n').count();
    let mistakes = match &read {
        Ok(parsed) => &parsed.mistakes,
        Err(mistakes) => mistakes,
    };
    for mistake in mistakes {
        assert!((1..=lines).contains(&mistake.place.line), "{mistake} in {lines} lines");
        assert!(mistake.place.column > 0 && mistake.place.width > 0, "{mistake}");
        assert!(!mistake.to_string().is_empty());
    }
    let is_wrong = mistakes.iter().any(|mistake| mistake.severity == Severity::Error);
    assert_eq!(read.is_err(), is_wrong, "{mistakes:?}");
    if let Ok(parsed) = &read {
        let policy = &parsed.policy;
        let mut told = outline(&policy.for_card(None, None));
        for group in policy.groups() {
            told.extend(outline(&policy.for_card(None, Some(group))));
        }
        for card in policy.cards() {
            told.extend(outline(&policy.for_card(Some(card), None)));
        }
        assert!(told.iter().all(|line| !line.is_empty()));
    }
}
