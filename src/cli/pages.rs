//! What packages install beside the program: shell completions and manual pages, both made from the command line's own
//! declaration.

use std::io::{self, Write};

use clap::CommandFactory as _;

use super::{Cli, CompletionsOptions, ManOptions, Verdict};

/// Prints the completions of the shell that `options` name.
///
/// # Errors
/// The output cannot be written.
pub fn completions(options: &CompletionsOptions, out: &mut dyn Write) -> io::Result<Verdict> {
    // Written at once: the generator panics where its output is closed.
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut Cli::command(), "tollgate", &mut script);
    out.write_all(&script)?;
    Ok(Verdict::Done)
}

/// Prints the manual page of the program, or writes the page of each command into a directory.
///
/// # Errors
/// The output cannot be written.
pub fn man(options: &ManOptions, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<Verdict> {
    let Some(directory) = &options.directory else {
        clap_mangen::Man::new(Cli::command()).render(out)?;
        return Ok(Verdict::Done);
    };
    match clap_mangen::generate_to(Cli::command(), directory) {
        Ok(()) => Ok(Verdict::Done),
        Err(cause) => {
            writeln!(err, "tollgate: {} cannot be written: {cause}", directory.display())?;
            Ok(Verdict::Failed)
        }
    }
}
