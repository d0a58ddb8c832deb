//! A PostgreSQL of the demo's own: its programs found on this machine, a fresh server on a socket in the demo's directory,
//! stopped at the end, whatever that is. Nothing listens on the network.

use std::{
    fmt::Write as _,
    fs,
    io::{self, BufRead as _, BufReader},
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _, chown},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use super::Failure;
use crate::config;

/// The superuser of the server.
const USER: &str = "tollgate";

/// Where packages put what is on no PATH: in `bin`, below directories that begin so, one for each version.
const PLACES: [(&str, &str); 4] = [
    ("/usr/lib/postgresql", ""),
    ("/usr", "pgsql-"),
    ("/opt/homebrew/opt", "postgresql@"),
    ("/usr/local/opt", "postgresql@"),
];

/// A shell starts the server, says so with a line, and stops it as by a power cut when its standard input is closed: by
/// us, or by the system where we are gone, as after `kill -9`. It goes on where nobody reads its line any more.
const KEEPER: &str =
    r#"trap '' PIPE; "$@" -w start && echo && read -r word; "$@" -w -m immediate stop 2> /dev/null"#;

/// A running server. Dropped, it is stopped.
pub(super) struct Database {
    keeper: Child,
    /// Of whoever runs the server: its data, its socket, its log.
    place: PathBuf,
}

/// PostgreSQL's programs, and who runs them.
struct Programs {
    directory: PathBuf,
    /// The server refuses to run as root.
    instead_of_root: Option<(u32, u32)>,
}

impl Database {
    /// Starts a fresh server below `home`. When this returns, it takes connections.
    pub(super) fn start(home: &Path) -> Result<Self, Failure> {
        let directory = find(&directories()).ok_or_else(missing)?;
        let is_root = fs::metadata(home).map_err(Failure::during("read the demo's directory"))?.uid() == 0;
        let instead_of_root = if is_root { Some((id_of_nobody("-u")?, id_of_nobody("-g")?)) } else { None };
        let programs = Programs { directory, instead_of_root };
        let place = home.join("postgres");
        let furnishing = Failure::during("make a directory for PostgreSQL");
        fs::create_dir(&place).map_err(&furnishing)?;
        if let Some((user, group)) = instead_of_root {
            chown(&place, Some(user), Some(group)).map_err(&furnishing)?;
            // Whoever runs it has to get there.
            fs::set_permissions(home, fs::Permissions::from_mode(0o711)).map_err(&furnishing)?;
        }
        let shape = ["--auth=trust", "--no-locale", "--encoding=UTF8", "--no-sync", "--username", USER];
        programs.run("initdb", &place, &shape)?;
        let settings = place.join("data/postgresql.conf");
        let mut text =
            fs::read_to_string(&settings).map_err(Failure::during("read PostgreSQL's settings"))?;
        let socket = place.display().to_string().replace('\'', "''");
        // Writing to a text cannot fail.
        let _ = write!(text, "\nlisten_addresses = ''\nunix_socket_directories = '{socket}'\n");
        fs::write(&settings, text).map_err(Failure::during("write PostgreSQL's settings"))?;
        let keeper = programs.keep_running(&place).map_err(Failure::during("run pg_ctl"))?;
        let mut database = Self { keeper, place };
        let said = database.keeper.stdout.take().map(|out| BufReader::new(out).lines().next());
        if matches!(said, Some(Some(Ok(_)))) { Ok(database) } else { Err(database.failed()) }
    }

    /// Why the server does not run.
    fn failed(&mut self) -> Failure {
        drop(self.keeper.stdin.take());
        let said = self.keeper.stderr.take().map(io::read_to_string);
        failure("pg_ctl", &said.and_then(Result::ok).unwrap_or_default(), &self.place)
    }

    /// As `TOLLGATE_JOURNAL` takes it.
    pub(super) fn url(&self) -> String {
        let mut host = String::new();
        for byte in self.place.as_os_str().as_encoded_bytes() {
            // Writing to a text cannot fail.
            let _ = match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => {
                    write!(host, "{}", char::from(*byte))
                }
                other => write!(host, "%{other:02X}"),
            };
        }
        format!("postgres://{USER}@{host}/postgres")
    }

    /// A command that looks into it.
    pub(super) fn psql(&self) -> String {
        format!("psql -h '{}' -U {USER} postgres", self.place.display())
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // This closes its standard input. The data is not needed again, so that the server need not end in order.
        let _ = self.keeper.wait();
    }
}

impl Programs {
    /// Runs one of them to its good end, on the data in `place`.
    fn run(&self, name: &str, place: &Path, arguments: &[&str]) -> Result<(), Failure> {
        let output = self
            .command(&self.directory.join(name))
            .arg("-D")
            .arg(place.join("data"))
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .map_err(Failure::during(&format!("run {name}")))?;
        if output.status.success() {
            return Ok(());
        }
        Err(failure(name, &String::from_utf8_lossy(&output.stderr), place))
    }

    /// Starts the keeper of a server on the data in `place`.
    fn keep_running(&self, place: &Path) -> io::Result<Child> {
        self.command(Path::new("/bin/sh"))
            .args(["-c", KEEPER, "keeper"])
            .arg(self.directory.join("pg_ctl"))
            .arg("-D")
            .arg(place.join("data"))
            .arg("-l")
            .arg(place.join("log"))
            .arg("-s")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
    }

    /// A command as whoever runs the server, with nothing of our environment.
    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        if let Some((user, group)) = self.instead_of_root {
            command.uid(user).gid(group);
        }
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("LC_ALL", "C")
            // Ctrl-C is for the demo, which ends everything in its order.
            .process_group(0)
            .current_dir("/");
        command
    }
}

/// What a program of PostgreSQL said, and what the server did last.
fn failure(name: &str, said: &str, place: &Path) -> Failure {
    let log = fs::read_to_string(place.join("log")).unwrap_or_default();
    let last = log.lines().next_back().unwrap_or_default();
    Failure::Unexpected(format!("{name} failed: {} {last}", said.trim()))
}

/// The first of these directories with all that is needed.
fn find(directories: &[PathBuf]) -> Option<PathBuf> {
    let has_all = |directory: &&PathBuf| {
        ["initdb", "pg_ctl", "postgres"].iter().all(|name| directory.join(name).is_file())
    };
    directories.iter().find(has_all).cloned()
}

/// The PATH, and then where packages put PostgreSQL, the newest version first.
fn directories() -> Vec<PathBuf> {
    let mut directories = config::program_directories();
    for (parent, start) in PLACES {
        let Ok(entries) = fs::read_dir(parent) else { continue };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut versions: Vec<String> = names.filter(|name| name.starts_with(start)).collect();
        versions.sort_by_key(|name| name.trim_start_matches(start).parse().unwrap_or(0_u32));
        directories.extend(versions.iter().rev().map(|name| Path::new(parent).join(name).join("bin")));
    }
    directories
}

fn missing() -> Failure {
    Failure::Missing(
        "several nodes share a PostgreSQL, and none is installed here: expected initdb, pg_ctl and postgres on the \
         PATH or where packages put them. Install it (Debian: apt-get install postgresql; macOS: brew install \
         postgresql), or see one node with `tollgate demo`"
            .to_owned(),
    )
}

/// The number of the user that owns nothing, or of its group.
fn id_of_nobody(which: &str) -> Result<u32, Failure> {
    let output = Command::new("id").args([which, "nobody"]).output();
    let output = output.map_err(Failure::during("ask who may run PostgreSQL in place of root"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().parse().map_err(|_| {
        Failure::Unexpected(
            "expected a user `nobody` to run PostgreSQL in place of root, found none".to_owned(),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_where_all_of_them_are() {
        let home = tempfile::tempdir().unwrap();
        let [some, all, other] = ["some", "all", "other"].map(|name| home.path().join(name));
        for (directory, names) in [
            (&some, &["initdb", "pg_ctl"][..]),
            (&all, &["initdb", "pg_ctl", "postgres"]),
            (&other, &["initdb", "pg_ctl", "postgres"]),
        ] {
            fs::create_dir(directory).unwrap();
            for name in names {
                fs::write(directory.join(name), "").unwrap();
            }
        }
        assert_eq!(find(&[some.clone(), all.clone(), other]), Some(all));
        assert_eq!(find(&[some, home.path().join("nowhere")]), None);
    }
}
