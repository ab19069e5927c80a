//! The prompt: rustyline on a thread of its own, because it blocks; what comes in is printed above it.
//!
//! Promises: a line that holds a password is not recorded, and a password that is asked for is not shown; pasted lines go
//! out one by one, in order; the terminal is left as it was found, however this ends. Ctrl-D ends when every reply is
//! there, Ctrl-C without waiting for them.

use std::path::PathBuf;
use std::time::Duration;
use std::{env, fs, io, thread};

use chat::ErrCode;
use rustix::process::{Signal, getpid, kill_process};
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{CompletionType, Config, Editor};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::ClientExit;
use super::complete::{Aid, Shared};
use super::look::{Look, harmless};
use super::screen::{Screen, print_directly};
use super::secret::{self, Restore};
use super::words::{Said, WORDS, Words, changes_account};
use crate::client::{Client, End, Event, Events, Reply, Verdict, holds_password};

/// Lines that the history keeps.
const HISTORY_LINES_MAX: usize = 1000;

/// For how long Ctrl-C waits for the acks of what was shown.
const LEAVE_WITHIN: Duration = Duration::from_secs(1);

/// For how long the next prompt waits for the reply that says for whom it speaks.
const ACCOUNT_WITHIN: Duration = Duration::from_secs(2);

/// How often `--login` asks for a password.
const PASSWORD_TRIES: usize = 3;

/// A terminal with a prompt.
pub(super) struct Prompt {
    keyboard: Keyboard,
    screen: Screen,
}

/// The part of the terminal that is typed into.
struct Keyboard {
    editor: Editor<Aid, FileHistory>,
    history: Option<PathBuf>,
    known: Shared,
    words: Words,
    /// The replies that come when all that was typed is answered.
    due: u64,
}

/// What the person did at the prompt.
enum Typed {
    Request(String),
    /// Ctrl-D, or nothing can be read any more.
    End,
    /// Ctrl-C.
    Interrupt,
}

impl Prompt {
    /// A prompt, where this terminal can have one.
    pub(super) fn open(look: Look) -> Option<Prompt> {
        let config = Config::builder().max_history_size(HISTORY_LINES_MAX).ok()?.history_ignore_space(true);
        // Bracketed paste would have to be switched off again by whoever ends the process.
        let config = config.completion_type(CompletionType::List).bracketed_paste(false).build();
        let mut editor = Editor::with_config(config).ok()?;
        let known = Shared::default();
        editor.set_helper(Some(Aid(known.clone())));
        let screen = Screen::start(editor.create_external_printer().ok()?, look, known.clone()).ok()?;
        let keyboard = Keyboard { editor, history: history_file(), known, words: Words::default(), due: 0 };
        Some(Prompt { keyboard, screen })
    }

    /// Runs until the person leaves, or the client ends.
    pub(super) async fn run(self, client: Client, mut events: Events, login: Option<&str>) -> Result<(), ClientExit> {
        // The thread may be in the middle of a line when the process ends.
        let _restore = Restore::later()?;
        let Prompt { keyboard, screen } = self;
        while let Some(event) = events.try_next() {
            screen.show(&event).await?;
        }
        if let Some(name) = login {
            log_in(&client, name, &screen).await?;
        }
        let (lines, mut typed) = mpsc::channel(1);
        thread::Builder::new().name("prompt".to_owned()).spawn(move || keyboard.read(&lines))?;
        let feeding = async {
            let is_interrupted = loop {
                match typed.recv().await {
                    // That a client has ended is told by its events.
                    Some(Typed::Request(line)) => drop(client.submit(line).await),
                    Some(Typed::Interrupt) => break true,
                    Some(Typed::End) | None => break false,
                }
            };
            client.close().await;
            is_interrupted
        };
        let showing = show_all(&screen, &mut events);
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

async fn show_all(screen: &Screen, events: &mut Events) -> Result<(), ClientExit> {
    while let Some(event) = events.next().await {
        if let Event::Ended(end) = event {
            screen.settle().await?;
            return if end == End::GaveUp { Err(ClientExit::GaveUp) } else { Ok(()) };
        }
        screen.show(&event).await?;
    }
    Ok(())
}

/// `--login`: asks for a password where the account has one.
async fn log_in(client: &Client, name: &str, screen: &Screen) -> io::Result<()> {
    let mut password: Option<String> = None;
    for tries in 0..=PASSWORD_TRIES {
        // That a client has ended is told by its events.
        let Ok(final_line) = client.login(name, password.as_deref()).await else {
            return Ok(());
        };
        let is_wrong = final_line.verdict() == Verdict::Err(Some(ErrCode::WrongPassword));
        if !is_wrong || password.is_some() {
            screen.show(&Event::Reply(Reply { data: Vec::new(), key: None, final_line })).await?;
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

impl Keyboard {
    /// Reads lines until the person leaves or nobody wants them.
    fn read(mut self, lines: &mpsc::Sender<Typed>) {
        if let Some(file) = &self.history {
            // There is none on the first day.
            let _ = self.editor.load_history(file);
        }
        self.due = self.known.replies();
        loop {
            let prompt = self.known.prompt(self.words.to());
            let typed = match self.editor.readline(&prompt) {
                Ok(line) => {
                    self.remember(&line);
                    match self.understand(&line) {
                        Ok(Some(request)) => Typed::Request(request),
                        Ok(None) => continue,
                        // The terminal is gone.
                        Err(_) => Typed::End,
                    }
                }
                Err(ReadlineError::Interrupted) => Typed::Interrupt,
                // A key that is no character: what was typed with it is lost, nothing else.
                Err(ReadlineError::Io(error)) if error.kind() == io::ErrorKind::InvalidData => continue,
                Err(_) => Typed::End,
            };
            let is_last = match &typed {
                Typed::Request(line) => line.trim_end().eq_ignore_ascii_case("quit"),
                Typed::End | Typed::Interrupt => true,
            };
            let changes_account = matches!(&typed, Typed::Request(line) if changes_account(line));
            self.due += 1;
            if lines.blocking_send(typed).is_err() {
                return;
            }
            if is_last {
                return self.linger();
            }
            if changes_account {
                self.known.await_replies(self.due, ACCOUNT_WITHIN);
            }
        }
    }

    /// Goes on reading, without a prompt and without use for it, until the process ends: 1. A message was handed to rustyline
    /// to print. 2. Pasted lines came first, the last of them `quit`. 3. Nobody reads any more, so nothing is printed any
    /// more, and the message would be acknowledged unseen.
    fn linger(&mut self) {
        loop {
            match self.editor.readline("") {
                Ok(_) => {}
                // Whoever does not want to wait for the last replies. Ctrl-C is only a key while rustyline reads.
                Err(ReadlineError::Interrupted) => {
                    let _ = kill_process(getpid(), Signal::INT);
                }
                Err(_) => return,
            }
        }
    }

    fn remember(&mut self, line: &str) {
        if line.is_empty() || holds_password(line) {
            return;
        }
        // A history that cannot be written is not worth a word among the talk.
        let _ = self.editor.add_history_entry(line);
        let _ = self.history.as_ref().map(|file| self.editor.append_history(file));
    }

    /// The request that a line comes to, if any.
    fn understand(&mut self, line: &str) -> io::Result<Option<String>> {
        match self.words.read(line) {
            // An empty line is nothing.
            Said::Request(request) => Ok(Some(request).filter(|request| !request.is_empty())),
            Said::Notice(notice) => {
                print_directly(&format!("{}\n", harmless(&notice)))?;
                Ok(None)
            }
            Said::Secret { request, question } => {
                let password = secret::ask(&harmless(&question))?;
                Ok(Some(password.map_or(request.clone(), |password| format!("{request}|{password}"))))
            }
            Said::Help => {
                let words: String = WORDS.iter().map(|(_, help)| format!("  {help}\n")).collect();
                print_directly(&words)?;
                Ok(Some("help".to_owned()))
            }
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
