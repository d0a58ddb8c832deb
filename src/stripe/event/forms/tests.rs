#![allow(clippy::arithmetic_side_effects, reason = "a test that overflows fails, as it should")]

use std::{fs, path::Path};

use super::{super::tape::repeats_a_field, Forms};

/// Reads a body by its form. If it has a known one, simd-json has to put the same onto the tape.
fn check(forms: &mut Forms, body: &[u8]) -> bool {
    let mut nodes = Vec::new();
    if !forms.read(body, &mut nodes) {
        return false;
    }
    let mut copy = body.to_vec();
    let story = String::from_utf8_lossy(body);
    let full = simd_json::to_tape(&mut copy).unwrap_or_else(|error| panic!("{error} in {story}"));
    assert_eq!(nodes, full.0, "{story}");
    assert!(!repeats_a_field(&full.0), "{story}");
    true
}

fn learn(forms: &mut Forms, body: &[u8]) {
    let mut copy = body.to_vec();
    forms.learn(body, &simd_json::to_tape(&mut copy).unwrap().0);
}

fn knowing(bodies: &[&str]) -> Forms {
    let mut forms = Forms::default();
    for body in bodies {
        learn(&mut forms, body.as_bytes());
    }
    forms
}

/// The events of the tests, as Stripe prints them and in one line.
fn fixtures() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/stripe");
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let pretty = files.filter(|path| path.extension().is_some_and(|ending| ending == "json"));
    let mut bodies: Vec<Vec<u8>> = pretty.map(|path| fs::read(path).unwrap()).collect();
    bodies.sort();
    let compact = |body: &Vec<u8>| {
        serde_json::from_slice::<serde_json::Value>(body).map(|event| event.to_string().into_bytes()).unwrap()
    };
    bodies.extend(bodies.iter().map(compact).collect::<Vec<_>>());
    bodies
}

#[test]
fn every_usual_event_of_the_tests_has_a_form_that_can_be_learned() {
    for body in fixtures() {
        let mut forms = Forms::default();
        assert!(!check(&mut forms, &body), "nothing is known yet");
        learn(&mut forms, &body);
        let story = String::from_utf8_lossy(&body);
        // One has a number that fits into nothing.
        let is_usual =
            !story.contains("123456789012345678901234567890") && !story.contains("1.2345678901234568e");
        assert_eq!(check(&mut forms, &body), is_usual, "{story}");
    }
}

#[test]
fn a_body_of_a_known_form_may_have_any_usual_values() {
    let values = [
        "null",
        "true",
        "false",
        "0",
        "-0",
        "7",
        "-7",
        "99999999999999999",
        "0.0",
        "-0.0",
        "42.5",
        "-7.12345678",
        r#""""#,
        r#""text""#,
        r#""12345678""#,
        r#""a text of more than eight bytes, and of more than sixteen""#,
        r#""ö € 𝄞""#,
        "\"\u{7f}\"",
    ];
    for learned in values {
        let shape = |value: &str| {
            format!(r#" {{"a" : [ {value}, {{}} ],"b":{{"c":{value} }},"d":[],"e":{value},"f":{{}} }} "#)
        };
        let mut forms = knowing(&[&shape(learned)]);
        for value in values {
            assert!(check(&mut forms, shape(value).as_bytes()), "{value} in place of {learned}");
        }
    }
}

#[test]
fn what_is_unusual_or_wrong_is_left_to_the_full_parser() {
    let mut forms = knowing(&[r#"{"a":1,"b":[2,3],"c":{"d":"e"}}"#, "{}", "{ \"a\":\n 1 }"]);
    assert!(check(&mut forms, br#"{"a":"x","b":[null,true],"c":{"d":0.5}}"#));
    let left: &[&str] = &[
        "",
        " ",
        "[]",
        "1",
        "null",
        "{",
        "}",
        "{}{}",
        "{} ",
        "{},",
        r#"{"a":1}"#,
        r#"{"a":1,"b":[2,3],"c":{"d":"e"}} "#,
        r#"{"a":1,"b":[2,3],"c":{"d":"e"}"#,
        r#"{"a":1,"b":[2,3],"c":{"d":"e}}"#,
        r#"{"a":1,"b":[2,3],"c":{"d":}}"#,
        r#"{"a":1,"b":[2,3],"c":{"D":"e"}}"#,
        r#"{"a":1,"b":[2,3],"c":{"c":"e"}}"#,
        r#"{"a":1,"a":[2,3],"c":{"d":"e"}}"#,
        r#"{"a":1,"b":[2],"c":{"d":"e"}}"#,
        r#"{"a":1,"b":[2,3,4],"c":{"d":"e"}}"#,
        r#"{"a":{},"b":[2,3],"c":{"d":"e"}}"#,
        r#"{"a":[],"b":[2,3],"c":{"d":"e"}}"#,
        r#"{"a":1 ,"b":[2,3],"c":{"d":"e"}}"#,
        r#"{"a":1,"b":[2,3],"c":{"d":"\n"}}"#,
        r#"{"a":"\u0061","b":[2,3],"c":{"d":"e"}}"#,
        r#"{"a":"b\"c","b":[2,3],"c":{"d":"e"}}"#,
        "{\"a\":\"\t\",\"b\":[2,3],\"c\":{\"d\":\"e\"}}",
        "{\"a\":\"\0\",\"b\":[2,3],\"c\":{\"d\":\"e\"}}",
        "{\"a\":\"a longer text\n\",\"b\":[2,3],\"c\":{\"d\":\"e\"}}",
        r#"{"a":01,"b":[2,3],"c":{"d":"e"}}"#,
        r#"{"a":-,"b":[2,3],"c":{"d":"e"}}"#,
        r#"{"a":-01,"b":[2,3],"c":{"d":"e"}}"#,
        r#"{"a":+1,"b":[2,3],"c":{"d":"e"}}"#,
        r#"{"a":.5,"b":[2,3],"c":{"d":"e"}}"#,
        r#"{"a":1.,"b":[2,3],"c":{"d":"e"}}"#,
        r#"{"a":1e3,"b":[2,3],"c":{"d":"e"}}"#,
        r#"{"a":1.5E3,"b":[2,3],"c":{"d":"e"}}"#,
        r#"{"a":1x,"b":[2,3],"c":{"d":"e"}}"#,
        r#"{"a":9999999999999999999,"b":[2,3],"c":{"d":"e"}}"#,
        r#"{"a":0.1234567891,"b":[2,3],"c":{"d":"e"}}"#,
        r#"{"a":nul,"b":[2,3],"c":{"d":"e"}}"#,
        r#"{"a":nulll,"b":[2,3],"c":{"d":"e"}}"#,
        r#"{"a":True,"b":[2,3],"c":{"d":"e"}}"#,
        r#"{"a":"b""c","b":[2,3],"c":{"d":"e"}}"#,
    ];
    for body in left {
        assert!(!check(&mut forms, body.as_bytes()), "{body}");
    }
    for bytes in [
        &b"{\"a\":\"\xFF\",\"b\":[2,3],\"c\":{\"d\":\"e\"}}"[..],
        b"{\"a\":\"\xC3\",\"b\":[2,3],\"c\":{\"d\":\"e\"}}",
    ] {
        assert!(!check(&mut forms, bytes), "{}", String::from_utf8_lossy(bytes));
    }
}

#[test]
fn forms_that_begin_alike_are_told_apart_where_they_differ() {
    let bodies = [
        r#"{"a":1,"b":2,"c":3}"#,
        r#"{"a":1,"b":2,"c":{}}"#,
        r#"{"a":1,"b":2,"c":{"d":4}}"#,
        r#"{"a":1,"b":[2],"c":3}"#,
        r#"{"a":1,"b":[2,2],"c":3}"#,
        r#"{"a":1,"b":2}"#,
        r#"{"a":1}"#,
        r#"{"b":1}"#,
        "{}",
        r#"{"a":{"a":{"a":1}}}"#,
    ];
    let mut forms = knowing(&bodies);
    for first in bodies {
        for then in bodies {
            assert!(
                check(&mut forms, first.as_bytes()) && check(&mut forms, then.as_bytes()),
                "{then} after {first}"
            );
        }
    }
    assert!(!check(&mut forms, br#"{"a":1,"b":2,"d":3}"#));
}

#[test]
fn what_is_used_stays_when_there_are_too_many_forms() {
    let mut forms = Forms::default();
    let body = |number: u32| format!(r#"{{"a":1,"name_{number}":{number}}}"#).into_bytes();
    let last = 2_000;
    for number in 0..=last {
        if !check(&mut forms, &body(number)) {
            learn(&mut forms, &body(number));
        }
        assert!(check(&mut forms, &body(0)), "the first one is used all the time: {number}");
    }
    assert_eq!(forms.known.len(), super::FORMS_MAX);
    let known = (0..=last).filter(|number| check(&mut forms, &body(*number))).count();
    assert_eq!(known, super::FORMS_MAX);
}

#[test]
fn what_the_form_does_not_have_is_not_learned() {
    let mut forms = Forms::default();
    for body in [r#"{"a":"\n"}"#, r#"{"\u0061":1}"#, r#"{"a":1e3}"#, r#"{"a":99999999999999999999}"#] {
        learn(&mut forms, body.as_bytes());
        assert!(forms.known.is_empty(), "{body}");
    }
    learn(&mut forms, format!(r#"{{"a":"{}"}}"#, "x".repeat(super::BODY_BYTES_MAX)).as_bytes());
    assert!(forms.known.is_empty(), "a large one");
}

#[test]
fn a_changed_byte_is_refused_or_read_as_the_full_parser_reads_it() {
    let bytes = b"\"\\{}[],: \n\t\0\x0C\x1F\x7F\x80\xC3\xFF0159-+.eEtfn_";
    let mut random = fastrand::Rng::with_seed(18);
    let fixtures = fixtures();
    let mut forms = Forms::default();
    for body in &fixtures {
        learn(&mut forms, body);
    }
    let (mut known, mut tried) = (0_u32, 0_u32);
    for body in &fixtures {
        for _ in 0..300 {
            let mut changed = body.clone();
            for _ in 0..random.u8(1..=2) {
                let place = random.usize(..changed.len());
                match random.u8(..4) {
                    0 => drop(changed.remove(place)),
                    1 => changed.insert(place, bytes[random.usize(..bytes.len())]),
                    _ => changed[place] = bytes[random.usize(..bytes.len())],
                }
            }
            tried += 1;
            known += u32::from(check(&mut forms, &changed));
        }
    }
    assert!(known > tried / 50 && known < tried / 2, "{known} of {tried}");
}
