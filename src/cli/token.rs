//! `tollgate token`: a new token for an operator, and its line in the file of tokens.

use std::io::{self, Write};

use clap::{Args, builder::PossibleValuesParser};

use super::Verdict;
use crate::{
    config::{NewToken, TokenName},
    http::Role,
};

/// Options of `token`.
#[derive(Debug, Args)]
pub struct TokenOptions {
    /// The name of the person or program that gets the token; it is recorded with each change
    #[arg(value_parser = TokenName::new)]
    pub name: TokenName,
    /// What the token may do; each role may do what the ones before it may
    #[arg(value_parser = PossibleValuesParser::new(Role::ALL.map(Role::as_str)))]
    pub role: String,
}

/// Prints the line for the file to `out`, and the token itself to `err`, once.
///
/// # Errors
/// The output cannot be written, or the system gives no random bytes.
pub fn run(options: &TokenOptions, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<Verdict> {
    let Some(role) = Role::named(&options.role) else { return Ok(Verdict::Failed) };
    let new = NewToken::draw(&options.name, role)?;
    writeln!(out, "{}", new.line)?;
    writeln!(err, "The token, which is shown this once and kept nowhere:\n{}", new.token)?;
    Ok(Verdict::Done)
}
