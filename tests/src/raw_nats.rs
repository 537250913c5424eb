//! A small NATS client over a blocking socket, which sends and shows header blocks as bytes.
//!
//! It shares no code with `proto` and `bridge`, and no habits with the usual clients: it parses no
//! headers, so a malformed block is seen as it is. Every wait has a deadline; what never comes is an
//! error, not a hang.

mod jetstream;

use std::collections::VecDeque;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use serde_json::{Value, json};

pub use self::jetstream::{Answer, Stored};

/// How long an answer may take. Generous: machines are shared.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// A message as it came off the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its subject.
    pub subject: String,
    /// Where an answer is wanted.
    pub reply: Option<String>,
    /// Its header block, or nothing.
    pub headers: Vec<u8>,
    /// Its payload.
    pub payload: Vec<u8>,
    subscription: u64,
}

/// A connection.
#[derive(Debug)]
pub struct RawNats {
    writer: TcpStream,
    reader: BufReader<TcpStream>,
    info: Value,
    inbox: String,
    last_id: u64,
    waiting: VecDeque<Message>,
}

impl RawNats {
    /// Connects, and waits until the server has taken the connection.
    pub fn connect(address: &str) -> Result<Self> {
        let writer =
            TcpStream::connect(address).with_context(|| format!("connecting {address}"))?;
        writer.set_nodelay(true)?;
        let reader = BufReader::new(writer.try_clone()?);
        let inbox = format!("_INBOX.raw{:016x}", rand::random::<u64>());
        let mut client = Self {
            writer,
            reader,
            info: Value::Null,
            inbox,
            last_id: 0,
            waiting: VecDeque::new(),
        };
        let line = client.line(Instant::now() + ANSWER_TIMEOUT)?;
        let info = line
            .strip_prefix("INFO ")
            .context("a server begins with INFO")?;
        client.info = serde_json::from_str(info).context("reading INFO")?;
        let options =
            json!({"verbose": false, "headers": true, "no_responders": true, "echo": true});
        client.send(format!("CONNECT {options}\r\n").as_bytes())?;
        let inbox = format!("{}.>", client.inbox);
        client.subscribe(&inbox)?;
        client.flush()?;
        Ok(client)
    }

    /// The server's release, such as `2.15.1`.
    pub fn server_version(&self) -> &str {
        self.info["version"].as_str().unwrap_or_default()
    }

    /// The server's limit on headers and payload together.
    pub fn max_payload(&self) -> usize {
        self.info["max_payload"].as_u64().unwrap_or_default() as usize
    }

    /// Subscribes; messages are read with [`Self::next`].
    pub fn subscribe(&mut self, subject: &str) -> Result<u64> {
        self.last_id += 1;
        self.send(format!("SUB {subject} {}\r\n", self.last_id).as_bytes())?;
        Ok(self.last_id)
    }

    /// Waits until the server has read everything that was sent.
    pub fn flush(&mut self) -> Result<()> {
        self.send(b"PING\r\n")?;
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        loop {
            match self.read_one(deadline)? {
                Incoming::Pong => return Ok(()),
                Incoming::Message(message) => self.waiting.push_back(message),
            }
        }
    }

    /// Publishes. Empty `headers` mean none at all.
    pub fn publish(
        &mut self,
        subject: &str,
        reply: &str,
        headers: &[u8],
        payload: &[u8],
    ) -> Result<()> {
        let head = if headers.is_empty() {
            format!("PUB {subject} {reply} {}\r\n", payload.len())
        } else {
            let len = headers.len();
            format!("HPUB {subject} {reply} {len} {}\r\n", len + payload.len())
        };
        self.send(&[head.as_bytes(), headers, payload, b"\r\n"].concat())
    }

    /// The next message of a subscription, or nothing when the deadline has passed.
    pub fn next(&mut self, subscription: u64, timeout: Duration) -> Result<Option<Message>> {
        self.next_of(timeout, |message| message.subscription == subscription)
    }

    /// A subject of this connection that answers can be asked to, and read from with [`Self::answer`].
    pub fn new_inbox(&mut self) -> String {
        self.last_id += 1;
        format!("{}.{}", self.inbox, self.last_id)
    }

    /// The next message on an inbox, or one below it.
    pub fn answer(&mut self, inbox: &str, timeout: Duration) -> Result<Option<Message>> {
        self.next_of(timeout, |message| {
            let below = message.subject.strip_prefix(inbox);
            below.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
    }

    /// Asks, and waits for the answer.
    pub fn request(&mut self, subject: &str, headers: &[u8], payload: &[u8]) -> Result<Message> {
        let inbox = self.new_inbox();
        self.publish(subject, &inbox, headers, payload)?;
        let answer = self.answer(&inbox, ANSWER_TIMEOUT)?;
        answer.with_context(|| format!("no answer on {subject}"))
    }

    fn next_of(
        &mut self,
        timeout: Duration,
        wanted: impl Fn(&Message) -> bool,
    ) -> Result<Option<Message>> {
        if let Some(at) = self.waiting.iter().position(&wanted) {
            return Ok(self.waiting.remove(at));
        }
        let deadline = Instant::now() + timeout;
        loop {
            match self.read_one(deadline) {
                Ok(Incoming::Message(message)) if wanted(&message) => return Ok(Some(message)),
                Ok(Incoming::Message(message)) => self.waiting.push_back(message),
                Ok(Incoming::Pong) => {}
                Err(error) if is_timeout(&error) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.writer.write_all(bytes).context("writing to a server")
    }

    fn read_one(&mut self, deadline: Instant) -> Result<Incoming> {
        loop {
            let line = self.line(deadline)?;
            let (verb, rest) = line.split_once(' ').unwrap_or((&line, ""));
            match verb {
                "PING" => self.send(b"PONG\r\n")?,
                "PONG" => return Ok(Incoming::Pong),
                "MSG" | "HMSG" => return self.message(verb, rest).map(Incoming::Message),
                "INFO" | "+OK" => {}
                _ => bail!("the server said {line}"),
            }
        }
    }

    fn message(&mut self, verb: &str, rest: &str) -> Result<Message> {
        let malformed = || anyhow!("malformed {verb} {rest}");
        let mut parts: Vec<&str> = rest.split_ascii_whitespace().collect();
        let mut number = || {
            parts
                .pop()
                .and_then(|part| part.parse().ok())
                .ok_or_else(malformed)
        };
        let len: usize = number()?;
        let headers_len: usize = if verb == "HMSG" { number()? } else { 0 };
        let (subject, subscription, reply) = match parts[..] {
            [subject, subscription] => (subject, subscription, None),
            [subject, subscription, reply] => (subject, subscription, Some(reply.to_owned())),
            _ => return Err(malformed()),
        };
        // The bytes of a message that has begun follow at once.
        self.reader
            .get_ref()
            .set_read_timeout(Some(ANSWER_TIMEOUT))?;
        let mut headers = vec![0; len + 2];
        self.reader.read_exact(&mut headers)?;
        let mut payload = headers.split_off(headers_len);
        payload.truncate(len - headers_len);
        Ok(Message {
            subject: subject.to_owned(),
            reply,
            headers,
            payload,
            subscription: subscription.parse()?,
        })
    }

    /// The next line. When the deadline passes nothing of the line after it is lost.
    fn line(&mut self, deadline: Instant) -> Result<String> {
        if self.reader.buffer().is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            ensure_time(left)?;
            self.reader.get_ref().set_read_timeout(Some(left))?;
            let filled = self.reader.fill_buf()?;
            ensure!(!filled.is_empty(), "the server closed the connection");
        }
        self.reader
            .get_ref()
            .set_read_timeout(Some(ANSWER_TIMEOUT))?;
        let mut line = String::new();
        self.reader.read_line(&mut line)?;
        ensure!(line.ends_with('\n'), "the server closed the connection");
        Ok(line.trim_end().to_owned())
    }
}

enum Incoming {
    Message(Message),
    Pong,
}

fn ensure_time(left: Duration) -> io::Result<()> {
    if left.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    Ok(())
}

fn is_timeout(error: &anyhow::Error) -> bool {
    let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
    matches!(
        kind,
        Some(io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock)
    )
}
