//! What a person may type at the prompt beside the protocol's own lines.
//!
//! Promises: whatever looks like a request of the protocol goes out as it is; after `/to NAME` everything else is a
//! message to NAME. Pure: a line in, a [`Said`] out. Leaves out every check of names and numbers, which the replica makes.

/// The words and what they do, for `/help` and for completion.
pub(super) const WORDS: &[(&str, &str)] = &[
    ("/to", "/to NAME: what is typed from now on goes to NAME; /to alone ends that"),
    ("/login", "/login NAME: log in; the password is asked for and not shown"),
    ("/create", "/create NAME: a new account; the password is asked for and not shown"),
    ("/passwd", "/passwd: a new password, asked for and not shown"),
    ("/history", "/history [NAME [ID]]: the latest messages with NAME, older than ID"),
    ("/who", "/who [REGEX]: who is online"),
    ("/list", "/list [REGEX]: which accounts there are"),
    ("/status", "/status: the replicas"),
    ("/help", "/help: this, and the protocol's requests"),
    ("/quit", "/quit: leave; so does quit, and Ctrl-D"),
];

/// The ops of the protocol by name; the place of each is its number.
pub(super) const OPS: &[&str] = &[
    "list", "create", "login", "logout", "delete", "send", "deliver", "history", "erase", "ack", "who", "status",
    "ping", "passwd",
];

/// Ops that have a name and no number.
pub(super) const NAMELESS: &[&str] = &["help", "quit"];

/// What a line comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// This request.
    Request(String),
    /// Nothing to send; this for the person who typed.
    Notice(String),
    /// This request, with a password behind it that has to be asked for.
    Secret {
        /// The request without the password, such as `2|bob`.
        request: String,
        /// What to ask.
        question: String,
    },
    /// The words, and what the replica serves.
    Help,
}

/// Who the plain text goes to.
#[derive(Debug, Default)]
pub(super) struct Words {
    to: Option<String>,
}

impl Words {
    /// Who the plain text goes to, if anybody.
    pub(super) fn to(&self) -> Option<&str> {
        self.to.as_deref()
    }

    /// What this line says.
    pub(super) fn read(&mut self, line: &str) -> Said {
        if let Some(text) = line.strip_prefix("//") {
            return self.plain(&format!("/{text}"));
        }
        if line.starts_with('/') {
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            return self.word(word, rest.trim());
        }
        self.plain(line)
    }

    fn plain(&self, line: &str) -> Said {
        match &self.to {
            Some(to) if !is_request(line) && !line.is_empty() => Said::Request(format!("5|{to}|{line}")),
            _ => Said::Request(line.to_owned()),
        }
    }

    fn word(&mut self, word: &str, rest: &str) -> Said {
        let request = |text: String| Said::Request(text);
        match word {
            "/to" if rest.is_empty() => {
                self.to = None;
                Said::Notice("what you type goes to the replica as it is".to_owned())
            }
            "/to" if rest.contains([' ', '|']) => Said::Notice("a name has no space and no |".to_owned()),
            "/to" => {
                self.to = Some(rest.to_owned());
                Said::Notice(format!("what you type goes to {rest}; requests (`op|…`) and /words work as before"))
            }
            "/login" | "/create" if rest.is_empty() => Said::Notice(format!("{word} NAME")),
            "/login" => Said::Secret {
                request: format!("2|{rest}"),
                question: format!("Password of {rest} (empty for none): "),
            },
            "/create" => Said::Secret {
                request: format!("1|{rest}"),
                question: format!("Password for {rest} (empty for none): "),
            },
            "/passwd" => Said::Secret { request: "13".to_owned(), question: "New password: ".to_owned() },
            "/history" => request(self.history(rest)),
            "/who" => request(format!("10|{rest}")),
            "/list" => request(format!("0|{rest}")),
            "/status" => request("11|".to_owned()),
            "/quit" => request("quit".to_owned()),
            "/help" => Said::Help,
            _ => Said::Notice(format!("{word} is no word; /help lists them, and // begins a text with a slash")),
        }
    }

    fn history(&self, rest: &str) -> String {
        let with = if rest.is_empty() { self.to.as_deref().unwrap_or_default() } else { rest };
        let fields: Vec<&str> = with.split_whitespace().collect();
        format!("7|{}", fields.join("|"))
    }
}

/// Whether this is meant for the replica and not for a person: an op that is known before a `|`, a key, or `quit`.
fn is_request(line: &str) -> bool {
    let keyed = line.strip_prefix('@').and_then(|rest| rest.split_once('|'));
    if let Some((key, request)) = keyed {
        return !key.is_empty() && !key.contains(' ') && is_op(request.split('|').next().unwrap_or_default());
    }
    match line.split_once('|') {
        Some((op, _)) => is_op(op),
        None => line.eq_ignore_ascii_case("quit"),
    }
}

/// Whether the account that one speaks for may be another after this request.
pub(super) fn changes_account(request: &str) -> bool {
    let op = request.split('|').next().unwrap_or_default();
    ["1", "create", "2", "login", "3", "logout", "4", "delete"].iter().any(|known| known.eq_ignore_ascii_case(op))
}

fn is_op(word: &str) -> bool {
    let is_number = word.parse::<usize>().is_ok_and(|number| number < OPS.len());
    is_number || OPS.iter().chain(NAMELESS).any(|op| op.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(text: &str) -> Said {
        Said::Request(text.to_owned())
    }

    #[test]
    fn without_to_every_line_is_the_protocols() {
        let mut words = Words::default();
        for line in ["5|bob|hi", "hello", "", "who", "@k|5|bob|hi", "quit"] {
            assert_eq!(words.read(line), request(line));
        }
    }

    #[test]
    fn after_to_plain_text_goes_there_and_requests_do_not() {
        let mut words = Words::default();
        assert!(matches!(words.read("/to alice"), Said::Notice(_)));
        assert_eq!(words.to(), Some("alice"));
        for text in ["hello", "a|b", "14|x", "who is there?", "list", "6", "@ noon|or so", "@home|it rains", " quit"] {
            assert_eq!(words.read(text), request(&format!("5|alice|{text}")));
        }
        assert_eq!(words.read("//etc is a folder"), request("5|alice|/etc is a folder"));
        for line in ["5|bob|hi", "6|", "SEND|bob|hi", "@k|8|7", "quit", "help|", ""] {
            assert_eq!(words.read(line), request(line));
        }
        words.read("/to");
        assert_eq!(words.read("hello"), request("hello"));
    }

    #[test]
    fn each_word_does_what_its_help_says() {
        let mut words = Words::default();
        for (line, said) in [
            ("/who", "10|"),
            ("/who ^b", "10|^b"),
            ("/list", "0|"),
            ("/status", "11|"),
            ("/quit", "quit"),
            ("/history", "7|"),
            ("/history bob", "7|bob"),
            ("/history bob 12", "7|bob|12"),
        ] {
            assert_eq!(words.read(line), request(said));
        }
        words.read("/to bob");
        assert_eq!(words.read("/history"), request("7|bob"));
        assert_eq!(words.read("/help"), Said::Help);
        let Said::Secret { request, .. } = words.read("/login carol") else { panic!("a password is asked for") };
        assert_eq!(request, "2|carol");
        for (word, _) in WORDS {
            assert!(!matches!(words.read(word), Said::Notice(why) if why.contains("is no word")), "{word}");
        }
        assert!(matches!(words.read("/etc"), Said::Notice(why) if why.contains("/help")));
    }
}
