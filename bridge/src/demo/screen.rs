//! What the person at the terminal sees.
//!
//! On a terminal: a panel that is redrawn in place below the lines said so far. Elsewhere: the same as plain lines. The
//! panel never uses the alternate screen, so that the story stays in the scrollback when the demo is over.

use std::io::{self, IsTerminal as _, Write};
use std::time::Duration;

use super::text::{bytes, grouped};

const HIDE_CURSOR: &str = "\x1b[?25l";
const SHOW_CURSOR: &str = "\x1b[?25h";
const CLEAR_BELOW: &str = "\x1b[J";
const COLUMNS_DEFAULT: usize = 100;

/// A terminal or a plain stream. Dropping it leaves the terminal as it was.
pub(crate) struct Screen {
    out: Box<dyn Write + Send>,
    /// Asked for each drawing, since a window can change; nothing where the output is no terminal.
    columns: Option<fn() -> usize>,
    panel_lines: usize,
}

impl Screen {
    /// Writes to standard output, or to standard error where that is kept for the JSON object.
    pub(crate) fn new(keep_stdout: bool) -> Self {
        if keep_stdout {
            let is_terminal = io::stderr().is_terminal();
            Self::of(
                Box::new(io::stderr()),
                is_terminal.then_some(|| columns_of(io::stderr())),
            )
        } else {
            let is_terminal = io::stdout().is_terminal();
            Self::of(
                Box::new(io::stdout()),
                is_terminal.then_some(|| columns_of(io::stdout())),
            )
        }
    }

    fn of(out: Box<dyn Write + Send>, columns: Option<fn() -> usize>) -> Self {
        Self {
            out,
            columns,
            panel_lines: 0,
        }
    }

    /// Whether there is a panel; else the caller says a line now and then.
    pub(crate) fn is_terminal(&self) -> bool {
        self.columns.is_some()
    }

    /// A lasting line, above the panel.
    pub(crate) fn say(&mut self, line: &str) {
        let text = format!("{}{line}\n", self.erase_panel());
        self.write(&text);
    }

    /// Draws the panel anew.
    pub(crate) fn draw(&mut self, panel: &[String]) {
        let Some(columns) = self.columns else { return };
        let columns = columns();
        let mut text = format!("{HIDE_CURSOR}{}", self.erase_panel());
        for line in panel {
            text.extend(line.chars().take(columns)); // a line that wraps would spoil the next erasure
            text.push('\n');
        }
        self.panel_lines = panel.len();
        self.write(&text);
    }

    /// Takes the panel away.
    pub(crate) fn clear(&mut self) {
        if self.panel_lines > 0 {
            let text = format!("{}{SHOW_CURSOR}", self.erase_panel());
            self.write(&text);
        }
    }

    fn erase_panel(&mut self) -> String {
        match std::mem::take(&mut self.panel_lines) {
            0 => String::new(),
            lines => format!("\x1b[{lines}F{CLEAR_BELOW}"),
        }
    }

    fn write(&mut self, text: &str) {
        // A reader that went away (`| head`) must not end the demo half-way: it still has to clean up.
        let _ = self.out.write_all(text.as_bytes());
        let _ = self.out.flush();
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.clear();
    }
}

fn columns_of(terminal: impl std::os::fd::AsFd) -> usize {
    match rustix::termios::tcgetwinsize(terminal) {
        Ok(size) if size.ws_col > 0 => size.ws_col.into(),
        Ok(_) | Err(_) => COLUMNS_DEFAULT,
    }
}

/// One route at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct RouteView {
    pub name: &'static str,
    pub may_travel: u64,
    pub replicated: u64,
    pub records_per_second: f64,
    pub lag_seconds: Option<f64>,
    pub in_flight_records: Option<u64>,
    pub denied: Option<u64>,
    pub state: String,
}

impl RouteView {
    fn behind(&self) -> u64 {
        self.may_travel.saturating_sub(self.replicated)
    }
}

/// Everything at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Snapshot {
    pub elapsed: Duration,
    pub seconds: u64,
    pub doing: String,
    pub wan: String,
    pub link: String,
    pub routes: Vec<RouteView>,
    pub wire_bytes: u64,
    pub wire_bits_per_second: f64,
    pub payload_bytes: u64,
}

impl Snapshot {
    /// Payload bytes for each byte on the wire; 0 before there is any.
    fn ratio(&self) -> f64 {
        if self.wire_bytes == 0 {
            0.0
        } else {
            self.payload_bytes as f64 / self.wire_bytes as f64
        }
    }

    /// The panel.
    pub(crate) fn panel(&self) -> Vec<String> {
        let (elapsed, seconds) = (self.elapsed.as_secs(), self.seconds);
        let mut lines = vec![
            String::new(),
            format!("  us <-> eu   {}   {elapsed} s of {seconds}", self.wan),
            format!("  now    {}", self.doing),
            format!("  link   {}", self.link),
            String::new(),
            format!(
                "  {:<12}{:>12}{:>12}{:>10}{:>18}{:>11}{:>9}  state",
                "route", "published", "replicated", "records/s", "behind", "in flight", "denied"
            ),
        ];
        for route in &self.routes {
            let lag = route
                .lag_seconds
                .map(|it| format!(" {it:.1} s"))
                .unwrap_or_default();
            lines.push(format!(
                "  {:<12}{:>12}{:>12}{:>10}{:>18}{:>11}{:>9}  {}",
                route.name,
                grouped(route.may_travel),
                grouped(route.replicated),
                grouped(route.records_per_second as u64),
                format!("{}{lag}", grouped(route.behind())),
                optional(route.in_flight_records),
                optional(route.denied),
                route.state,
            ));
        }
        lines.push(String::new());
        lines.push(format!(
            "  wire   {} at {:.1} Mbit/s, for {} of payload: {:.1} bytes for each on the wire",
            bytes(self.wire_bytes),
            self.wire_bits_per_second / 1e6,
            bytes(self.payload_bytes),
            self.ratio(),
        ));
        lines
    }

    /// The same as one line.
    pub(crate) fn summary(&self) -> String {
        let mut line = format!("{:>4} s ", self.elapsed.as_secs());
        for route in &self.routes {
            let lag = route
                .lag_seconds
                .map(|it| format!(", {it:.1} s"))
                .unwrap_or_default();
            line.push_str(&format!(
                " {}: {} of {} ({}/s, {} behind{lag}, {});",
                route.name,
                grouped(route.replicated),
                grouped(route.may_travel),
                grouped(route.records_per_second as u64),
                grouped(route.behind()),
                route.state,
            ));
        }
        line.push_str(&format!(
            " link {}; wire {} for {} of payload, {:.1}:1",
            self.link,
            bytes(self.wire_bytes),
            bytes(self.payload_bytes),
            self.ratio(),
        ));
        line
    }
}

fn optional(number: Option<u64>) -> String {
    number.map_or_else(|| "-".to_owned(), grouped)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    struct Written(Sender<u8>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            bytes.iter().for_each(|byte| self.0.send(*byte).unwrap());
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn screen(columns: Option<fn() -> usize>) -> (Screen, Receiver<u8>) {
        let (sender, written) = channel();
        (Screen::of(Box::new(Written(sender)), columns), written)
    }

    fn text(written: &Receiver<u8>) -> String {
        String::from_utf8(written.try_iter().collect()).unwrap()
    }

    #[test]
    fn the_panel_is_drawn_below_the_lines_and_the_cursor_comes_back() {
        let (mut screen, written) = screen(Some(|| 5));
        screen.draw(&["one".to_owned(), "too long".to_owned()]);
        assert_eq!(text(&written), "\x1b[?25lone\ntoo l\n");
        screen.say("said");
        assert_eq!(text(&written), "\x1b[2F\x1b[Jsaid\n");
        screen.draw(&["one".to_owned()]);
        drop(screen);
        assert!(text(&written).ends_with("\x1b[1F\x1b[J\x1b[?25h"));
    }

    #[test]
    fn a_plain_stream_gets_lines_and_nothing_else() {
        let (mut screen, written) = screen(None);
        screen.draw(&["panel".to_owned()]);
        screen.say("said");
        drop(screen);
        assert_eq!(text(&written), "said\n");
    }

    #[test]
    fn panel_and_summary_tell_the_same_story() {
        let route = RouteView {
            name: "store-to-eu",
            may_travel: 12_000,
            replicated: 11_000,
            lag_seconds: Some(2.25),
            ..RouteView::default()
        };
        let snapshot = Snapshot {
            doing: "cutting the link for 5 s".to_owned(),
            routes: vec![route],
            wire_bytes: 1_000_000,
            payload_bytes: 5_500_000,
            ..Snapshot::default()
        };
        let panel = snapshot.panel().join("\n");
        assert!(panel.contains("cutting the link for 5 s"), "{panel}");
        for text in [panel, snapshot.summary()] {
            for part in [
                "12,000", "11,000", "1,000", "2.2 s", "1.0 MB", "5.5 MB", "5.5",
            ] {
                assert!(text.contains(part), "{part} is not in {text}");
            }
        }
    }
}
