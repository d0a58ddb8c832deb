//! A slow disk for nodes that the load test starts: a small library in C that is loaded before theirs, so that the program
//! under test is the one that is shipped. What it slows is in `slow-disk.c`.

use std::{fs, io, path::Path, process::Command};

/// The library's source.
const SOURCE: &str = include_str!("../slow-disk.c");

/// Builds the library in `directory`, and gives the environment of a node whose journal's log is on a disk that takes so
/// many bytes a second.
///
/// # Errors
/// There is no C compiler, or it fails.
pub(crate) fn environment(directory: &Path, bytes_per_s: u32) -> io::Result<Vec<(&'static str, String)>> {
    fs::create_dir_all(directory)?;
    let directory = directory.canonicalize()?;
    let (source, library) = (directory.join("slow-disk.c"), directory.join("slow-disk.so"));
    fs::write(&source, SOURCE)?;
    let mut compiler = Command::new("cc");
    compiler.args(["-O2", "-shared", "-fPIC", "-o"]).arg(&library).arg(&source).arg("-ldl");
    let output = compiler.output()?;
    if !output.status.success() {
        let found = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(io::Error::other(format!("expected cc to build slow-disk.c, found: {found}")));
    }
    Ok(vec![
        ("LD_PRELOAD", library.to_string_lossy().into_owned()),
        ("SLOW_DISK_NAME", "-wal".to_owned()),
        ("SLOW_DISK_BYTES_PER_S", bytes_per_s.to_string()),
    ])
}
