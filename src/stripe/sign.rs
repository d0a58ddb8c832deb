//! Signs a body as Stripe does, for the demo, the `sign` command and the tests. Checking signatures is not here.

use super::signature::{Secret, signature};

/// The value of a `Stripe-Signature` header for `body`, sent at `seconds` after the epoch.
#[must_use]
pub fn sign(secret: &Secret, seconds: i64, body: &[u8]) -> String {
    let mut digits = itoa::Buffer::new();
    let time = digits.format(seconds);
    let signature = hex::encode(signature(secret.keyed(), time.as_bytes(), body).into_bytes());
    format!("t={time},v1={signature}")
}

/// Where `curl` finds the body.
#[derive(Clone, Copy, Debug)]
pub enum Body<'a> {
    /// In the file at this path.
    File(&'a str),
    /// In the command itself.
    Text(&'a str),
}

/// A command for a POSIX shell that posts a body with a header that [`sign`] made. The bytes must go out as they are:
/// `--data-binary` keeps line breaks, which `--data` would drop.
#[must_use]
pub fn curl(url: &str, header: &str, body: Body<'_>) -> String {
    let header = quoted(&format!("Stripe-Signature: {header}"));
    let data = match body {
        Body::File(path) => quoted(&format!("@{path}")),
        Body::Text(text) => quoted(text),
    };
    format!("curl -i {} -H {header} -H 'Content-Type: application/json' --data-binary {data}", quoted(url))
}

/// A word that the shell takes as it is.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_signed_as_stripe_signs_it() {
        let secret = Secret::new("whsec_test_vector_secret").unwrap();
        let header = sign(&secret, 1_791_496_587, br#"{"id":"evt_vector","object":"event"}"#);
        assert_eq!(
            header,
            "t=1791496587,v1=62f168c739e46de5dd2a13a63690c3cac6c7df363866987235316438907f4b66"
        );
    }

    #[test]
    fn a_command_survives_the_shell_whatever_the_file_is_called() {
        assert_eq!(
            curl("http://127.0.0.1:4242/webhook", "t=1,v1=ab", Body::File("it's.json")),
            r"curl -i 'http://127.0.0.1:4242/webhook' -H 'Stripe-Signature: t=1,v1=ab' -H 'Content-Type: application/json' --data-binary '@it'\''s.json'"
        );
    }
}
