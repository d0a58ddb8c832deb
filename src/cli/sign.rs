//! `tollgate sign`: signs an event as Stripe does, and prints the header or a ready `curl`.

use std::{
    io::{self, Write},
    net::SocketAddr,
    path::Path,
};

use super::{SignOptions, Verdict, tell_problems};
use crate::{
    clock,
    config::Load,
    stripe::{self, Body, Purchase, Secret},
};

/// Signs the file that `options` name, or a purchase of its own. `load` reads the settings, for what `options` leave out.
///
/// # Errors
/// The output cannot be written.
pub fn run(
    options: &SignOptions,
    load: Load,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<Verdict> {
    let needs_settings = options.secret.is_none() || (options.event.is_none() && options.curl.is_none());
    let settings = match needs_settings.then(load).transpose() {
        Ok(loaded) => loaded.map(|loaded| loaded.settings),
        Err(problems) => return tell_problems(&problems, err),
    };
    let configured = settings.as_ref().and_then(|settings| settings.stripe.secrets.first());
    let Some(secret) = options.secret.as_ref().or(configured) else {
        writeln!(err, "tollgate: {NO_SECRET}")?;
        return Ok(Verdict::Failed);
    };
    if let Some(path) = &options.event {
        return sign_file(path, secret, options.curl.as_deref(), out, err);
    }
    let listen = settings.as_ref().map(|settings| webhook_url(settings.http.listen));
    sign_purchase(&options.curl.clone().or(listen).unwrap_or_default(), secret, out)
}

/// Neither an option nor a setting has a secret.
pub(crate) const NO_SECRET: &str = "expected --secret or STRIPE_WEBHOOK_SECRET, found neither";

/// Where this machine reaches a node that listens on `listen`: an unspecified address stands for all of them.
#[must_use]
pub(crate) fn reachable(listen: SocketAddr) -> SocketAddr {
    let loopback = match listen {
        SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
        SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
    };
    if listen.ip().is_unspecified() { SocketAddr::new(loopback, listen.port()) } else { listen }
}

fn webhook_url(listen: SocketAddr) -> String {
    format!("http://{}/webhook", reachable(listen))
}

fn sign_file(
    path: &Path,
    secret: &Secret,
    url: Option<&str>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<Verdict> {
    let body = match std::fs::read(path) {
        Ok(body) => body,
        Err(cause) => {
            writeln!(err, "tollgate: {} cannot be read: {cause}", path.display())?;
            return Ok(Verdict::Failed);
        }
    };
    let header = stripe::sign(secret, clock::now().as_seconds(), &body);
    match url {
        Some(url) => writeln!(out, "{}", stripe::curl(url, &header, Body::File(&path.to_string_lossy())))?,
        None => writeln!(out, "Stripe-Signature: {header}")?,
    }
    Ok(Verdict::Done)
}

/// A purchase with an authorization of its own each time, so that each is decided.
fn sign_purchase(url: &str, secret: &Secret, out: &mut dyn Write) -> io::Result<Verdict> {
    let authorization = stripe::new_authorization_id();
    let purchase = Purchase { authorization: &authorization, ..Purchase::EXAMPLE };
    let event = purchase.event(&purchase.event_id());
    let header = stripe::sign(secret, clock::now().as_seconds(), &event);
    writeln!(out, "{}", stripe::curl(url, &header, Body::Text(&String::from_utf8_lossy(&event))))?;
    Ok(Verdict::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_on_all_addresses_is_reached_over_loopback() {
        for (listen, reached) in [
            ("0.0.0.0:4242", "127.0.0.1:4242"),
            ("[::]:4242", "[::1]:4242"),
            ("10.0.0.5:4242", "10.0.0.5:4242"),
        ] {
            assert_eq!(reachable(listen.parse().unwrap()), reached.parse().unwrap());
        }
    }
}
