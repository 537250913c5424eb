//! A child process that never outlives its owner.
//!
//! Three nets, since a demo or a test that leaves servers behind spoils the next one:
//! 1. dropping a [`Process`] kills it and waits until it is gone (its files may then be removed);
//! 2. a watchdog, one small shell for each process of ours, holds the ids of all children and kills them when
//!    the pipe to it closes, which the kernel does also when we die of `kill -9`;
//! 3. each child is in a process group of its own, so that Ctrl-C reaches us alone and we decide what ends when.
//!
//! Only children are ever signalled, by id, and only before they were waited for: a foreign process that
//! inherited a dead child's id cannot be hit.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use tokio::process::Child;

/// A running child, its name and its log.
#[derive(Debug)]
pub struct Process {
    name: String,
    log: PathBuf,
    child: Child,
    pid: Pid,
    watched: bool,
}

impl Process {
    /// Starts a command; both its outputs are appended to the log. Needs a tokio runtime.
    ///
    /// # Errors
    /// The command or the log cannot be opened.
    pub fn spawn(name: &str, mut command: Command, log: &Path) -> io::Result<Self> {
        let output = OpenOptions::new().create(true).append(true).open(log)?;
        command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0);
        let child = tokio::process::Command::from(command)
            .kill_on_drop(true)
            .spawn()?;
        let pid = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let pid = pid.expect("a child that was not waited for has an id");
        tell_watchdog('+', pid)?;
        Ok(Self {
            name: name.to_owned(),
            log: log.to_owned(),
            child,
            pid,
            watched: true,
        })
    }

    /// The name it was given.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.pid.as_raw_nonzero().get().cast_unsigned()
    }

    /// Where its outputs go.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// How it ended, or nothing while it runs.
    ///
    /// # Errors
    /// The system cannot say.
    pub fn exit_status(&mut self) -> io::Result<Option<ExitStatus>> {
        let status = self.child.try_wait()?;
        if status.is_some() {
            self.unwatch();
        }
        Ok(status)
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    /// The system cannot say.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait().await?;
        self.unwatch();
        Ok(status)
    }

    /// `kill -9`, and waits until it is gone.
    ///
    /// # Errors
    /// The system refuses.
    pub async fn kill(&mut self) -> io::Result<()> {
        self.child.kill().await?;
        self.unwatch();
        Ok(())
    }

    /// Asks it to end (SIGTERM).
    ///
    /// # Errors
    /// It has already ended.
    pub fn terminate(&mut self) -> io::Result<()> {
        self.signal(Signal::TERM)
    }

    /// Asks it to read its configuration again (SIGHUP).
    ///
    /// # Errors
    /// It has already ended.
    pub fn hang_up(&mut self) -> io::Result<()> {
        self.signal(Signal::HUP)
    }

    /// Stops its clock (SIGSTOP), as a paused virtual machine would; all its threads stand still on return.
    ///
    /// # Errors
    /// It has already ended.
    pub fn pause(&mut self) -> io::Result<()> {
        self.signal(Signal::STOP)?;
        // The signal is only a request: its threads stop one after the other, and one may still answer meanwhile.
        let stopped = WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        waitid(WaitId::Pid(self.pid), stopped)?;
        Ok(())
    }

    /// Lets it go on (SIGCONT).
    ///
    /// # Errors
    /// It has already ended.
    pub fn resume(&mut self) -> io::Result<()> {
        self.signal(Signal::CONT)
    }

    /// Sends a signal; one that was already waited for is left alone, since its id may be another's now.
    ///
    /// # Errors
    /// It has already ended.
    pub fn signal(&mut self, signal: Signal) -> io::Result<()> {
        if self.exit_status()?.is_some() {
            return Err(io::Error::other(format!("{} has already ended", self.name)));
        }
        Ok(kill_process(self.pid, signal)?)
    }

    /// From now on the id may be another process's. Where the watchdog is gone there is nothing to tell.
    fn unwatch(&mut self) {
        if std::mem::take(&mut self.watched) {
            let _ = tell_watchdog('-', self.pid);
        }
    }

    /// The last lines of its log, for an error message.
    pub fn log_tail(&self, lines: usize) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) && self.child.start_kill().is_ok() {
            // Until it is gone, without reaping it, which is tokio's part.
            let _ = waitid(
                WaitId::Pid(self.pid),
                WaitIdOptions::EXITED | WaitIdOptions::NOWAIT,
            );
            let _ = self.child.try_wait();
        }
        self.unwatch();
    }
}

/// Reads `+ID` and `-ID` lines; at the end of its input it kills every id that is left.
const WATCHDOG: &str = r#"
ids=
while read -r line; do
    id=${line#?}
    case $line in
        +*) ids="$ids $id" ;;
        -*) left=; for other in $ids; do [ "$other" = "$id" ] || left="$left $other"; done; ids=$left ;;
    esac
done
for id in $ids; do kill -9 "$id"; done
"#;

/// Tells the watchdog about a child; the first call starts it.
fn tell_watchdog(change: char, pid: Pid) -> io::Result<()> {
    static PIPE: OnceLock<Mutex<Option<ChildStdin>>> = OnceLock::new();
    let pipe = PIPE.get_or_init(Mutex::default);
    let mut pipe = pipe.lock().unwrap_or_else(PoisonError::into_inner);
    if pipe.is_none() {
        *pipe = start_watchdog()?;
    }
    match pipe.as_mut() {
        Some(pipe) => writeln!(pipe, "{change}{}", pid.as_raw_nonzero()),
        None => Ok(()),
    }
}

fn start_watchdog() -> io::Result<Option<ChildStdin>> {
    let mut watchdog = Command::new("sh");
    watchdog.args(["-c", WATCHDOG]).process_group(0);
    watchdog
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    Ok(watchdog.spawn()?.stdin.take())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper(directory: &Path) -> Process {
        let mut command = Command::new("sleep");
        command.arg("600");
        Process::spawn("sleeper", command, &directory.join("log")).unwrap()
    }

    fn is_alive(pid: Pid) -> bool {
        rustix::process::test_kill_process(pid).is_ok()
    }

    #[tokio::test]
    async fn a_dropped_process_is_gone_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let process = sleeper(directory.path());
        let pid = process.pid;
        assert!(is_alive(pid));
        drop(process);
        assert!(!is_alive(pid));
    }

    #[tokio::test]
    async fn a_process_that_ended_is_never_signalled() {
        let directory = tempfile::tempdir().unwrap();
        let mut process = sleeper(directory.path());
        process.kill().await.unwrap();
        assert!(process.pause().is_err());
    }

    #[tokio::test]
    async fn the_watchdog_kills_what_is_left_when_its_owner_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let (mut left, mut kept) = (sleeper(directory.path()), sleeper(directory.path()));
        let mut pipe = start_watchdog().unwrap().unwrap();
        writeln!(pipe, "+{}\n+{}\n-{}", left.id(), kept.id(), kept.id()).unwrap();
        drop(pipe);
        assert!(!left.wait().await.unwrap().success());
        assert_eq!(kept.exit_status().unwrap(), None);
    }
}
