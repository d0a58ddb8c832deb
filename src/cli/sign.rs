//! `tollgate sign`: signs an event as Stripe does, and prints the header or a ready `curl`.

use std::io::{self, Write};

use super::{SignOptions, Verdict, tell_problems};
use crate::{
    clock,
    config::{Loaded, Problem},
    stripe::{self, Secret},
};

/// Signs the file that `options` name. `load` reads the settings, for the secret where none is given.
///
/// # Errors
/// The output cannot be written.
pub fn run(
    options: &SignOptions,
    load: impl FnOnce() -> Result<Loaded, Vec<Problem>>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<Verdict> {
    let body = match std::fs::read(&options.event) {
        Ok(body) => body,
        Err(cause) => {
            writeln!(err, "tollgate: {} cannot be read: {cause}", options.event.display())?;
            return Ok(Verdict::Failed);
        }
    };
    let secret = match secret(options, load) {
        Ok(Some(secret)) => secret,
        Ok(None) => {
            writeln!(err, "tollgate: expected --secret or STRIPE_WEBHOOK_SECRET, found neither")?;
            return Ok(Verdict::Failed);
        }
        Err(problems) => {
            tell_problems(&problems, err)?;
            return Ok(Verdict::BadSettings);
        }
    };
    let header = stripe::sign(&secret, clock::now().as_seconds(), &body);
    match &options.curl {
        Some(url) => {
            let path = options.event.to_string_lossy();
            writeln!(out, "{}", stripe::curl(url, &header, &path))?;
        }
        None => writeln!(out, "Stripe-Signature: {header}")?,
    }
    Ok(Verdict::Done)
}

fn secret(
    options: &SignOptions,
    load: impl FnOnce() -> Result<Loaded, Vec<Problem>>,
) -> Result<Option<Secret>, Vec<Problem>> {
    if let Some(secret) = &options.secret {
        return Ok(Some(secret.clone()));
    }
    Ok(load()?.settings.stripe.secrets.into_iter().next())
}
