//! `tollgate check --webhooks`: every mistake of a file of endpoints with the line that it stands in; and, if asked for, a test
//! event to each of them.

use std::{
    io::{self, Write},
    path::Path,
    sync::Arc,
};

use super::{Colours, Page, Verdict};
use crate::{
    clock,
    config::{webhooks_file, yaml::Severity},
    outgoing::{Endpoint, Endpoints, Transport, test_body},
};

/// Checks the file at `path`.
///
/// # Errors
/// The output cannot be written, or no runtime can be started.
pub(super) fn run(
    path: &Path,
    is_sent: bool,
    colours: Colours,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<Verdict> {
    let name = path.display().to_string();
    let bytes = match webhooks_file::load(path) {
        Ok(bytes) => bytes,
        Err(error) => {
            writeln!(err, "tollgate: {name} cannot be read: {error}")?;
            return Ok(Verdict::Failed);
        }
    };
    let (endpoints, mistakes) = match webhooks_file::read(&bytes) {
        Ok((endpoints, warnings)) => (Some(endpoints), warnings),
        Err(mistakes) => (None, mistakes),
    };
    let source = String::from_utf8_lossy(&bytes);
    let page = Page { name, lines: source.lines().collect(), colours };
    for mistake in &mistakes {
        page.show(mistake, out)?;
    }
    let Some(Endpoints(endpoints)) = endpoints else {
        let count = mistakes.iter().filter(|mistake| mistake.severity != Severity::Warning).count();
        let noun = if count == 1 { "mistake" } else { "mistakes" };
        writeln!(out, "{count} {noun} in {}", page.name)?;
        return Ok(Verdict::Failed);
    };
    let noun = if endpoints.len() == 1 { "endpoint" } else { "endpoints" };
    writeln!(out, "{} is good: {} {noun}", page.name, endpoints.len())?;
    if is_sent { send(&endpoints, out) } else { Ok(Verdict::Done) }
}

/// Sends a test event to each endpoint.
fn send(endpoints: &[Arc<Endpoint>], out: &mut dyn Write) -> io::Result<Verdict> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut verdict = Verdict::Done;
    for endpoint in endpoints {
        let now = clock::now();
        let sending = async {
            let transport = Transport::new(endpoint.roots.as_ref());
            transport.send(endpoint, test_body(endpoint, now), now).await
        };
        match runtime.block_on(sending) {
            Ok(()) => writeln!(out, "  {}: took a test event", endpoint.name)?,
            Err(refused) => {
                verdict = Verdict::Failed;
                writeln!(out, "  {}: did not take a test event: {refused}", endpoint.name)?;
            }
        }
    }
    Ok(verdict)
}
