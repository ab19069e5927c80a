//! The prompt: rustyline on a thread of its own, because it blocks; what comes in is printed above it.
//!
//! Promises: a line that holds a password is not recorded; the terminal is left as it was found, however this ends.
//! Ctrl-D ends when every reply is there, Ctrl-C without waiting for them.

use std::path::PathBuf;
use std::time::Duration;
use std::{env, fs, io, thread};

use chat::ErrCode;
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{Config, Editor, ExternalPrinter};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::ClientExit;
use super::look::{Look, harmless};
use super::secret::{self, Restore};
use crate::client::{Client, End, Event, Events, Reply, Verdict, holds_password};

/// What stands before a typed line.
const PROMPT: &str = "> ";

/// Lines that the history keeps.
const HISTORY_LINES_MAX: usize = 1000;

/// For how long Ctrl-C waits for the acks of what was shown.
const LEAVE_WITHIN: Duration = Duration::from_secs(1);

/// How often `--login` asks for a password.
const PASSWORD_TRIES: usize = 3;

/// A terminal with a prompt.
pub(super) struct Prompt {
    editor: Editor<(), FileHistory>,
    screen: Screen,
}

/// The part of the terminal above the prompt.
struct Screen {
    printer: Box<dyn ExternalPrinter + Send>,
    look: Look,
}

/// What the person did at the prompt.
enum Typed {
    Line(String),
    /// Ctrl-D, or nothing can be read any more.
    End,
    /// Ctrl-C.
    Interrupt,
}

impl Prompt {
    /// A prompt, where this terminal can have one.
    pub(super) fn open(look: Look) -> Option<Prompt> {
        let config = Config::builder().max_history_size(HISTORY_LINES_MAX).ok()?.history_ignore_space(true);
        // It would have to be switched off again by whoever ends the process.
        let config = config.bracketed_paste(false).build();
        let mut editor = Editor::with_config(config).ok()?;
        let printer = Box::new(editor.create_external_printer().ok()?);
        Some(Prompt { editor, screen: Screen { printer, look } })
    }

    /// Runs until the person leaves, or the client ends.
    pub(super) async fn run(self, client: Client, mut events: Events, login: Option<&str>) -> Result<(), ClientExit> {
        // The thread may be in the middle of a line when the process ends.
        let _restore = Restore::later()?;
        let Prompt { editor, mut screen } = self;
        if let Some(name) = login {
            while let Some(event) = events.try_next() {
                screen.show(&event)?;
            }
            log_in(&client, name, &mut screen).await?;
        }
        let (lines, mut typed) = mpsc::channel(1);
        thread::Builder::new().name("prompt".to_owned()).spawn(move || read_lines(editor, &lines))?;
        let feeding = async {
            let is_interrupted = loop {
                match typed.recv().await {
                    // An empty line is nothing; that a client has ended is told by its events.
                    Some(Typed::Line(line)) => drop(client.submit(line).await),
                    Some(Typed::Interrupt) => break true,
                    Some(Typed::End) | None => break false,
                }
            };
            client.close().await;
            is_interrupted
        };
        let showing = screen.show_all(&mut events);
        tokio::pin!(feeding, showing);
        tokio::select! {
            shown = &mut showing => shown,
            is_interrupted = &mut feeding => match is_interrupted {
                true => timeout(LEAVE_WITHIN, showing).await.unwrap_or(Ok(())),
                false => showing.await,
            },
        }
    }
}

impl Screen {
    async fn show_all(&mut self, events: &mut Events) -> Result<(), ClientExit> {
        while let Some(event) = events.next().await {
            self.show(&event)?;
            if event == Event::Ended(End::GaveUp) {
                return Err(ClientExit::GaveUp);
            }
        }
        Ok(())
    }

    fn show(&mut self, event: &Event) -> io::Result<()> {
        let notice = self.look.notice(event).map(|notice| format!("plainsong: {notice}"));
        let lines: Vec<String> = notice.into_iter().chain(self.look.lines(event)).collect();
        if lines.is_empty() {
            return Ok(());
        }
        self.printer.print(lines.join("\n") + "\n").map_err(io::Error::other)
    }
}

/// `--login`: asks for a password where the account has one.
async fn log_in(client: &Client, name: &str, screen: &mut Screen) -> io::Result<()> {
    let mut password: Option<String> = None;
    for tries in 0..=PASSWORD_TRIES {
        // That a client has ended is told by its events.
        let Ok(final_line) = client.login(name, password.as_deref()).await else {
            return Ok(());
        };
        let is_wrong = final_line.verdict() == Verdict::Err(Some(ErrCode::WrongPassword));
        if !is_wrong || password.is_some() {
            screen.show(&Event::Reply(Reply { data: Vec::new(), key: None, final_line }))?;
        }
        if !is_wrong || tries == PASSWORD_TRIES {
            return Ok(());
        }
        let question = format!("Password of {}: ", harmless(name));
        password = spawn_blocking(move || secret::ask(&question)).await.map_err(io::Error::other)??;
        if password.is_none() {
            return Ok(());
        }
    }
    Ok(())
}

/// Reads lines until the person leaves or nobody wants them.
fn read_lines(mut editor: Editor<(), FileHistory>, lines: &mpsc::Sender<Typed>) {
    let history = history_file();
    if let Some(file) = &history {
        // There is none on the first day.
        let _ = editor.load_history(file);
    }
    loop {
        let typed = match editor.readline(PROMPT) {
            Ok(line) => {
                if !line.is_empty() && !holds_password(&line) {
                    let _ = editor.add_history_entry(&line);
                    // A history that cannot be written is not worth a word among the talk.
                    let _ = history.as_ref().map(|file| editor.append_history(file));
                }
                Typed::Line(line)
            }
            Err(ReadlineError::Interrupted) => Typed::Interrupt,
            Err(_) => Typed::End,
        };
        let is_last = match &typed {
            Typed::Line(line) => line.trim_end().eq_ignore_ascii_case("quit"),
            Typed::End | Typed::Interrupt => true,
        };
        if lines.blocking_send(typed).is_err() || is_last {
            return;
        }
    }
}

/// The history's place, by the XDG base directory specification. Its folder exists afterwards.
fn history_file() -> Option<PathBuf> {
    let set = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = set("XDG_STATE_HOME").or_else(|| Some(set("HOME")?.join(".local/state")))?;
    let folder = state.join("plainsong");
    fs::create_dir_all(&folder).ok()?;
    Some(folder.join("history"))
}
