//! What a request line will do, as far as a client must know to repeat it safely.
//!
//! Promises: every line that may be sent has a [`Kind`]; `Kind::Other` is what only the replica can judge. Leaves out
//! every check: a wrong request is for the replica to refuse, in its own words.

/// A name and, where it has one, its password: what a client needs to speak for an account again.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The account.
    pub name: String,
    /// Its password, if any.
    pub password: Option<String>,
}

/// What a request does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Create(Credentials),
    Login(Credentials),
    Logout,
    Delete,
    Send,
    Deliver,
    Erase,
    /// `9|id`, from a user who acknowledges by hand.
    Ack,
    /// `9|0`, which is local to the connection.
    Manual,
    Passwd(String),
    Ping,
    Quit,
    /// Reads, and lines that are no request at all.
    Other,
}

/// Which requests may be unanswered at the same time. Within a class the order in which requests take effect cannot
/// change what they do, except for two sends; those are kept apart from a send that was refused (see `session`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Changes under a key: repeated safely.
    Keyed,
    /// Reads of any kind.
    Read,
    /// Goes out when everything earlier is answered, and is answered before anything later goes out: what comes after
    /// it means something else when it fails.
    Alone,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let password = self.password.as_ref().map(|_| "…");
        f.debug_struct("Credentials").field("name", &self.name).field("password", &password).finish()
    }
}

impl Credentials {
    /// The fields of op 1 or 2. An empty last field is no argument.
    fn parse(args: &str) -> Credentials {
        let (name, password) = args.split_once('|').unwrap_or((args, ""));
        let password = (!password.is_empty()).then(|| password.to_owned());
        Credentials { name: name.to_owned(), password }
    }

    /// The request that speaks for the account.
    pub(crate) fn login_line(&self) -> String {
        match &self.password {
            Some(password) => format!("2|{}|{password}", self.name),
            None => format!("2|{}", self.name),
        }
    }
}

impl Kind {
    /// What `line`, given without LF and key, does.
    fn parse(line: &str) -> Kind {
        let (op, args) = line.split_once('|').unwrap_or((line, ""));
        match op.to_ascii_lowercase().as_str() {
            "1" | "create" => Kind::Create(Credentials::parse(args)),
            "2" | "login" => Kind::Login(Credentials::parse(args)),
            "3" | "logout" => Kind::Logout,
            "4" | "delete" => Kind::Delete,
            "5" | "send" => Kind::Send,
            "6" | "deliver" => Kind::Deliver,
            "8" | "erase" => Kind::Erase,
            "9" | "ack" if args == "0" => Kind::Manual,
            "9" | "ack" => Kind::Ack,
            "12" | "ping" => Kind::Ping,
            "13" | "passwd" => Kind::Passwd(args.to_owned()),
            "quit" => Kind::Quit,
            _ => Kind::Other,
        }
    }

    pub(crate) fn class(&self) -> Class {
        match self {
            Kind::Send | Kind::Erase | Kind::Ack => Class::Keyed,
            Kind::Ping | Kind::Other => Class::Read,
            Kind::Create(_)
            | Kind::Login(_)
            | Kind::Logout
            | Kind::Delete
            | Kind::Deliver
            | Kind::Manual
            | Kind::Passwd(_)
            | Kind::Quit => Class::Alone,
        }
    }
}

/// Splits `@key|rest`.
fn split_key(line: &str) -> (Option<&str>, &str) {
    match line.strip_prefix('@').and_then(|keyed| keyed.split_once('|')) {
        Some((key, rest)) => (Some(key), rest),
        None => (None, line),
    }
}

/// A request line, read: its key, if the caller gave one, and what it does.
pub(crate) fn read(line: &str) -> (Option<&str>, Kind) {
    let (key, rest) = split_key(line);
    (key, Kind::parse(rest))
}

/// Whether `line` holds a password, so that nothing may keep it. Errs on the side of yes.
pub fn holds_password(line: &str) -> bool {
    match read(line.trim_start()).1 {
        Kind::Create(who) | Kind::Login(who) => who.password.is_some(),
        Kind::Passwd(new) => !new.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_in_any_case_are_one_request() {
        for (line, kind) in [
            ("5|bob|hi", Kind::Send),
            ("SEND|bob|hi", Kind::Send),
            ("@k|Send|bob|hi", Kind::Send),
            ("9|0", Kind::Manual),
            ("9|01", Kind::Ack),
            ("6", Kind::Deliver),
            ("6|", Kind::Deliver),
            ("@k", Kind::Other),
            ("", Kind::Other),
            ("quit", Kind::Quit),
        ] {
            assert_eq!(read(line).1, kind, "{line}");
        }
        let who = Credentials { name: "bob".to_owned(), password: Some("a|b".to_owned()) };
        assert_eq!(read("login|bob|a|b").1, Kind::Login(who.clone()));
        assert_eq!(who.login_line(), "2|bob|a|b");
        assert_eq!(Credentials::parse("bob|").password, None);
    }

    #[test]
    fn lines_with_a_password_are_told_apart() {
        for line in ["1|bob|x", "LOGIN|bob|x", "@k|2|bob|x", "13|new", "passwd|new", " 2|bob|x"] {
            assert!(holds_password(line), "{line}");
        }
        for line in ["1|bob", "2|bob|", "13", "5|bob|2|bob|x", "7|bob|3"] {
            assert!(!holds_password(line), "{line}");
        }
    }

    #[test]
    fn a_password_is_not_debugged() {
        let shown = format!("{:?}", read("2|bob|geheim").1);
        assert!(shown.contains("bob") && !shown.contains("geheim"), "{shown}");
    }
}
