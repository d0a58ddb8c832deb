//! Every setting: name, unit, default, range; read once, all errors at once. The policy file is read here too; what
//! the settings do is up to the rooms.

mod settings;
mod setting;
mod table;
mod read;
mod reader;
mod values;
mod problem;

mod documentation;

pub mod yaml;
pub mod webhooks_file;
pub mod policy_file;
mod file_watch;
mod policy_watch;
mod token_file;

pub use documentation::{env_example, json, markdown, overview};
pub use policy_watch::{LoadError, Observer, PolicyWatch, Reload, poke_on_hangup};
pub use problem::{Problem, Shown};
pub use read::{Loaded, read};
pub use reader::find;
pub use reader::{Effective, EffectiveValue, Source};
pub use setting::{Default, Kind, Section, Setting};
pub use settings::{PolicySource, Settings};
pub use table::SETTINGS;
pub use token_file::{NewToken, TokenName, watch_tokens};

/// What reads the settings, for commands. No type parameter: each program that names a command would compile the whole
/// node once more.
pub type Load = fn() -> Result<Loaded, Vec<Problem>>;

/// Reads the settings of this process from its environment.
///
/// # Errors
/// Every problem there is.
#[allow(clippy::disallowed_methods, reason = "the one place that reads the environment")]
pub fn from_environment() -> Result<Loaded, Vec<Problem>> {
    let lossy = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    let pairs = std::env::vars_os().map(|(name, value)| (lossy(name), lossy(value)));
    read(pairs, |path| std::fs::read_to_string(path))
}

/// Whether a stream shows colours: on a terminal, unless `NO_COLOR` is set (<https://no-color.org>) or the terminal
/// is too simple.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "the one place that reads the environment")]
pub fn shows_colours(is_terminal: bool) -> bool {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    is_terminal && !is_set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Where this process finds programs.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "the one place that reads the environment")]
pub fn program_directories() -> Vec<std::path::PathBuf> {
    std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default()
}
