//! The file of operators' tokens: what it may say, and a line for it. It is read again when it changes; a file with mistakes
//! keeps the tokens of before.

use std::{fmt::Write as _, future::Future, io, path::Path, sync::Arc};

use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::sync::{Notify, watch};
use tracing::{info, warn};

use super::file_watch::FileWatch;
use crate::http::{Caller, NamedToken, Role, TokenFile, TokenHash, Tokens};

/// The most tokens in a file: each is compared with what a caller sends.
const TOKENS_MAX: usize = 1_000;
/// The longest name of a token.
const NAME_CHARACTERS_MAX: usize = 64;
/// The random bytes of a new token.
const RANDOM_BYTES: usize = 32;

/// A new token, and its line in the file.
pub struct NewToken {
    /// What the caller sends.
    pub token: String,
    /// What the file has.
    pub line: String,
}

impl NewToken {
    /// Draws one for this name, which a file may have.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub fn draw(name: &TokenName, role: Role) -> io::Result<Self> {
        let mut random = [0; RANDOM_BYTES];
        let drawn = SystemRandom::new().fill(&mut random);
        drawn.map_err(|_| io::Error::other("the system gives no random bytes"))?;
        let token = format!("tg_{}", hex::encode(random));
        let line = format!("{} {} {}", name.0, role.as_str(), TokenHash::of(token.as_bytes()));
        Ok(Self { token, line })
    }
}

/// The name of a token: of the person or program that has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TokenName(Arc<str>);

impl TokenName {
    /// Takes 1 to 64 letters, digits, and `-_.@`, and no name that means another caller.
    ///
    /// # Errors
    /// What was expected.
    pub fn new(name: &str) -> Result<Self, String> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.@".contains(&byte);
        if [Caller::ADMIN, Caller::LOCAL].contains(&name) {
            return Err(format!(
                "expected another name: `{name}` is that of callers with TOLLGATE_ADMIN_TOKEN or without a token"
            ));
        }
        if (1..=NAME_CHARACTERS_MAX).contains(&name.len()) && name.bytes().all(fits) {
            Ok(Self(name.into()))
        } else {
            Err(format!("expected a name of 1 to {NAME_CHARACTERS_MAX} letters, digits, and `-_.@`"))
        }
    }
}

/// Reads the lines of a file: `NAME ROLE sha256:HASH`, and comments from `#` on. A name may have several tokens, such as the one
/// before it was replaced.
///
/// # Errors
/// Every line that is wrong, with what was expected; no line is repeated, since it may have a token.
pub(super) fn parse(text: &str) -> Result<Vec<NamedToken>, String> {
    let (mut tokens, mut mistakes) = (Vec::new(), String::new());
    for (index, line) in text.lines().enumerate() {
        let line = line.split_once('#').map_or(line, |(before, _)| before);
        let words: Vec<&str> = line.split_whitespace().collect();
        let token = match words.as_slice() {
            [] => continue,
            [name, role, hash] => token(name, role, hash),
            _ => Err(format!("expected `NAME ROLE sha256:HASH`, found {} words", words.len())),
        };
        match token {
            Ok(token) => tokens.push(token),
            Err(mistake) => {
                let _ = write!(mistakes, "; line {}: {mistake}", index.saturating_add(1));
            }
        }
    }
    match (mistakes.strip_prefix("; "), tokens.len()) {
        (Some(mistakes), _) => Err(mistakes.to_owned()),
        (None, 0) => {
            Err("expected a line for each token, as `tollgate token` prints it, found none".to_owned())
        }
        (None, 1..=TOKENS_MAX) => Ok(tokens),
        (None, found) => Err(format!("expected at most {TOKENS_MAX} tokens, found {found}")),
    }
}

fn token(name: &str, role: &str, hash: &str) -> Result<NamedToken, String> {
    let name = TokenName::new(name)?.0;
    let roles = || Role::ALL.map(Role::as_str).join(", ");
    let role = Role::named(role).ok_or_else(|| format!("expected one of the roles {}", roles()))?;
    let hash = TokenHash::parse(hash).ok_or("expected `sha256:` and 64 hexadecimal digits")?;
    Ok(NamedToken { hash, caller: Caller { name, role } })
}

/// The tokens of the file and of `admin`, which is no part of it, and the task that reads the file again.
pub fn watch_tokens(
    file: &TokenFile,
    admin: Option<NamedToken>,
) -> (Tokens, impl Future<Output = ()> + use<>) {
    let with_admin =
        move |tokens: Vec<NamedToken>| admin.clone().into_iter().chain(tokens).collect::<Arc<[NamedToken]>>();
    let (publish, tokens) = watch::channel(with_admin(file.tokens.clone()));
    let mut file = FileWatch::new(&file.path, |path: &Path| std::fs::read(path));
    let reread = async move {
        let never = Notify::new();
        loop {
            let content = file.changed(&never).await.map_err(|error| error.to_string());
            let text = content.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
            let path = file.path().display();
            match text.and_then(|text| parse(&text)) {
                Ok(tokens) => {
                    info!(%path, tokens = tokens.len(), "the file of tokens was read");
                    publish.send_replace(with_admin(tokens));
                }
                Err(cause) => {
                    warn!(%path, %cause, "the file of tokens cannot be used; the tokens stay as they are");
                }
            }
        }
    };
    (tokens, reread)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const DIGITS: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn a_file_has_a_line_for_each_token() {
        let name = TokenName::new("alice@example.com").unwrap();
        let new = NewToken::draw(&name, Role::Support).unwrap();
        assert!(new.token.starts_with("tg_") && new.token.len() == 67 && !new.line.contains(&new.token));
        assert_ne!(NewToken::draw(&name, Role::Support).unwrap().token, new.token);
        let text = format!("# operators\n\n{}\n  bob\tadmin sha256:{DIGITS} # since May\n", new.line);
        let tokens = parse(&text).unwrap();
        let callers: Vec<(&str, Role)> =
            tokens.iter().map(|token| (&*token.caller.name, token.caller.role)).collect();
        assert_eq!(callers, [("alice@example.com", Role::Support), ("bob", Role::Admin)]);
        assert_eq!(tokens[0].hash.to_string(), TokenHash::of(new.token.as_bytes()).to_string());
    }

    #[test]
    fn a_wrong_line_is_refused_and_not_repeated() {
        let check = |line: &str, expected: &str| {
            let found = parse(&format!("bob admin sha256:{DIGITS}\n{line}")).unwrap_err();
            assert!(found.starts_with("line 2: expected ") && found.contains(expected), "{found}");
            assert!(!found.contains("secret-token"), "{found}");
        };
        check("secret-token", "`NAME ROLE sha256:HASH`, found 1 words");
        check("alice secret-token", "found 2 words");
        check("alice viewer secret-token", "`sha256:` and 64 hexadecimal digits");
        check(&format!("alice root sha256:{DIGITS}"), "one of the roles viewer, support, operator, admin");
        check(&format!("al/ce viewer sha256:{DIGITS}"), "letters, digits");
        check(&format!("admin viewer sha256:{DIGITS}"), "another name");
        check(&format!("local viewer sha256:{DIGITS}"), "another name");
        check(&format!("{} viewer sha256:{DIGITS}", "a".repeat(65)), "1 to 64");
        assert!(parse("# nothing\n").unwrap_err().contains("found none"));
        let many = format!("bob admin sha256:{DIGITS}\n").repeat(TOKENS_MAX + 1);
        assert!(parse(&many).unwrap_err().contains("at most 1000"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_changed_file_is_in_force_and_a_bad_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tokens");
        let line = |name: &str| format!("{name} viewer sha256:{DIGITS}\n");
        std::fs::write(&path, line("alice")).unwrap();
        let file = TokenFile { path: path.clone(), tokens: parse(&line("alice")).unwrap() };
        let admin = crate::http::Token::new("operators-only-0123456789").unwrap().of_admin();
        let (mut tokens, reread) = watch_tokens(&file, Some(admin));
        let names = |tokens: &Tokens| {
            tokens.borrow().iter().map(|token| token.caller.name.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(names(&tokens), ["admin", "alice"]);
        let task = tokio::spawn(reread);
        tokens.changed().await.unwrap();
        std::fs::write(&path, line("bob")).unwrap();
        tokens.changed().await.unwrap();
        assert_eq!(names(&tokens), ["admin", "bob"]);
        for bad in [Some("bob viewer clear-text\n"), Some(""), None] {
            match bad {
                Some(text) => std::fs::write(&path, text).unwrap(),
                None => std::fs::remove_file(&path).unwrap(),
            }
            assert!(tokio::time::timeout(Duration::from_secs(10), tokens.changed()).await.is_err());
            assert_eq!(names(&tokens), ["admin", "bob"]);
        }
        std::fs::write(&path, line("carol")).unwrap();
        tokens.changed().await.unwrap();
        assert_eq!(names(&tokens), ["admin", "carol"]);
        task.abort();
    }
}
