//! What a connection is sent, judged line by line as the peer's kernel gets it, and what is marked because of it.
//!
//! Written from the protocol page: each request has one final line, in order, with its data directly before it; messages
//! are those of the account that the connection speaks for, pushed once and in the order of ids; a `deliver` shows what
//! was acknowledged to anybody before, and is marked when it is answered; nothing is marked that no kernel has
//! acknowledged, or that a manual connection has not acked.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use plainsong::consensus::Index;

use super::{Eyes, Floor, Law, Model, Told, broken, ensure};

/// A request that was typed.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The line.
    pub line: String,
    /// What was acknowledged to anybody before it was typed.
    pub floor: Floor,
}

impl Asked {
    fn key(&self) -> Option<&str> {
        Some(self.line.strip_prefix('@')?.split_once('|')?.0)
    }

    fn words(&self) -> Vec<&str> {
        let line =
            self.line.strip_prefix('@').and_then(|keyed| keyed.split_once('|')).map_or(&self.line[..], |it| it.1);
        line.splitn(3, '|').collect()
    }
}

/// For whom a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaker {
    Nobody,
    Account(u64),
    /// Of several accounts that had the name meanwhile, one.
    Unsure,
}

/// Who marks what the connection was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Automatic,
    Manual,
    /// An `ack` was refused: before it was begun, or after.
    Unsure,
}

/// See the module's header.
#[derive(Debug)]
pub struct Conversation {
    number: u64,
    greeted: bool,
    asked: VecDeque<Asked>,
    pub speaker: Speaker,
    mode: Mode,
    /// The newest push, by account.
    pushed: BTreeMap<u64, u64>,
    /// All that it was shown, by account.
    shown: BTreeSet<(u64, u64)>,
    /// Messages since the last final line: pushes, or what a `deliver` prints.
    loose: Vec<(u64, u64)>,
    /// The newest id that one of its own sends got.
    sent: u64,
    /// The newest message that it was shown.
    pub newest: u64,
    over: bool,
}

/// What became of a text that somebody sends.
#[derive(Clone, Copy, Debug, Default)]
struct Sent {
    granted: Option<u64>,
    /// An attempt ended without a certain answer, or has not ended.
    open: bool,
}

/// What holds beyond one connection.
#[derive(Debug, Default)]
pub struct Book {
    /// Messages that the kernel of a peer acknowledged while it was for the server to mark them.
    acknowledged: HashSet<u64>,
    /// The connections, by number, that each message was written to.
    written: HashMap<u64, Vec<u64>>,
    /// Up to where each of them acked.
    acked_to: HashMap<u64, u64>,
    sent: HashMap<String, Sent>,
    /// What the last `deliver` printed.
    delivered: Vec<u64>,
    pub shown: u64,
    /// Two sides may serve.
    pub may_fork: bool,
}

impl Book {
    /// A message was marked as delivered. Of the mailboxes of people, who alone have sessions that mark.
    pub fn is_marked(&self, model: &Model, id: u64) {
        let Some((account, _)) = model.mail(id) else { return };
        let name = model.name_of(account);
        let acked = |number: &u64| self.acked_to.get(number).is_some_and(|to| *to >= id);
        let right = self.acknowledged.contains(&id) || self.written.get(&id).is_some_and(|all| all.iter().any(acked));
        ensure!(Delivery, !name.starts_with('p') || right, "{id}, to {name}, is marked, and nobody has it");
    }

    /// A text is on its way: for the first time, or under the same key again.
    pub fn sends(&mut self, text: &str) {
        self.sent.entry(text.to_owned()).or_default().open = true;
    }

    /// The replica writes this, to that connection.
    pub fn is_written(&mut self, connection: u64, output: &[u8]) {
        for line in output.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"msg|")) {
            let id = std::str::from_utf8(line).ok().and_then(|line| line.split('|').nth(1)?.parse().ok());
            self.written.entry(id.expect("an id")).or_default().push(connection);
        }
    }

    /// What the last `deliver` that was answered printed.
    pub fn take_delivered(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.delivered)
    }

    /// All is over: on each side every text is there at most once; once, if that was said; not at all, if it was refused.
    /// What was said of a side that was given up holds there: the checker of sides looks whether that was kept.
    pub fn close(&self, survivor: &Model, sides: &[Told]) {
        for model in sides.iter().map(|told| &told.model) {
            let mut found: HashMap<&str, Vec<u64>> = HashMap::new();
            for mail in model.all_mail() {
                found.entry(&mail.text).or_default().push(mail.id);
            }
            let is_last = std::ptr::eq(model, survivor);
            for (text, sent) in &self.sent {
                let ids = found.get(&text[..]).cloned().unwrap_or_default();
                ensure!(ExactlyOnce, ids.len() <= 1, "{text} is there as {ids:?}");
                let elsewhere =
                    |id| !is_last || sides.iter().any(|told| told.model.mail(id).is_some()) && sides.len() > 1;
                let right = sent.granted.is_none_or(|id| ids == [id] || model.mail(id).is_none() && elsewhere(id));
                ensure!(ExactlyOnce, right, "{text} is {sent:?}, and there as {ids:?}");
                let refused = sent.granted.is_none() && !sent.open;
                ensure!(Refusals, !refused || ids.is_empty(), "{text} was refused, and is there as {ids:?}");
            }
        }
    }
}

impl Conversation {
    /// A connection of that number.
    pub fn new(number: u64) -> Self {
        Self {
            number,
            greeted: false,
            asked: VecDeque::new(),
            speaker: Speaker::Nobody,
            mode: Mode::Automatic,
            pushed: BTreeMap::new(),
            shown: BTreeSet::new(),
            loose: Vec::new(),
            sent: 0,
            newest: 0,
            over: false,
        }
    }

    /// A line is typed.
    pub fn asks(&mut self, asked: Asked, book: &mut Book) {
        match asked.words()[..] {
            ["send", _, text] => book.sends(text),
            ["ack", id, ..] => {
                let to = book.acked_to.entry(self.number).or_default();
                *to = (*to).max(id.parse().expect("a number"));
            }
            _ => {}
        }
        self.asked.push_back(asked);
    }

    /// How many requests are not answered.
    pub fn open(&self) -> usize {
        self.asked.len()
    }

    /// The peer's kernel has one more line, of a run of that side. What was acknowledged by it, if it says so.
    pub fn hears(&mut self, line: &str, eyes: Eyes<'_>, book: &mut Book) -> Option<Index> {
        let model = eyes.model;
        ensure!(Order, !self.over, "after the end comes {line:?}");
        if !std::mem::replace(&mut self.greeted, true) {
            ensure!(Order, line.starts_with("hello|1|"), "the first line is {line:?}");
            return None;
        }
        match line.split('|').next().unwrap_or_default() {
            "msg" => self.is_shown(line, model, book),
            "note" => {
                if line.starts_with("note|LOGGED_OUT|") {
                    let gone = !matches!(self.speaker, Speaker::Account(account) if !model.is_gone(account));
                    ensure!(Delivery, gone, "{:?} lives, and is logged out", self.speaker);
                    self.settle_pushes();
                    self.speaker = Speaker::Nobody;
                }
            }
            "past" | "help" | "user" => {}
            "bye" => self.over = true,
            _ => return self.is_answered(line, eyes, book),
        }
        None
    }

    fn is_shown(&mut self, line: &str, model: &Model, book: &mut Book) {
        let fields: Vec<&str> = line.splitn(5, '|').collect();
        let &["msg", id, _from, _time, text] = &fields[..] else { broken(Law::Delivery, format!("{line:?}")) };
        let id: u64 = id.parse().expect("an id");
        let Some((account, mail)) = model.mail(id) else {
            broken(Law::Delivery, format!("{line:?} was never committed"));
        };
        ensure!(Delivery, mail.text == text, "{line:?} is {mail:?}");
        let right = match self.speaker {
            Speaker::Nobody => false,
            Speaker::Account(speaker) => speaker == account,
            Speaker::Unsure => true,
        };
        ensure!(Delivery, right, "{line:?} is for {account}, and the connection speaks for {:?}", self.speaker);
        self.loose.push((account, id));
        self.newest = self.newest.max(id);
        book.shown += 1;
        if self.mode != Mode::Manual {
            book.acknowledged.insert(id);
        }
    }

    /// What is loose were pushes: each once, and in order.
    fn settle_pushes(&mut self) {
        for (account, id) in std::mem::take(&mut self.loose) {
            let before = self.pushed.insert(account, id);
            ensure!(Delivery, before.is_none_or(|before| before < id), "{id} is pushed after {before:?}");
            ensure!(Delivery, self.shown.insert((account, id)), "{id} is pushed, and was shown before");
        }
    }

    /// A `deliver` was refused after it had printed something: what is loose may be pushes, or of the backlog.
    fn forget_order(&mut self) {
        self.shown.extend(std::mem::take(&mut self.loose));
    }

    fn is_answered(&mut self, line: &str, eyes: Eyes<'_>, book: &mut Book) -> Option<Index> {
        let model = eyes.model;
        let Some(asked) = self.asked.pop_front() else {
            broken(Law::Order, format!("nothing was asked, and answered with {line:?}"));
        };
        let (key, answer) = match line.strip_prefix('@').and_then(|keyed| keyed.split_once('|')) {
            Some((key, answer)) => (Some(key), answer),
            None => (None, line),
        };
        ensure!(Order, asked.key() == key, "{asked:?} is answered with {line:?}");
        let mut words = answer.splitn(4, '|');
        let (first, second) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let rest: Vec<&str> = words.collect();
        let request = asked.words();
        if (first, second, request[0]) == ("ok", "deliver", "deliver") {
            self.is_delivered(&asked, &rest, eyes, book);
            return None;
        }
        if request[0] == "deliver" {
            self.forget_order();
        }
        self.settle_pushes();
        match (first, second, &request[..]) {
            ("ok", "sent" | "queued", ["send", to, text]) => return Some(self.is_sent(to, text, &rest, model, book)),
            ("err" | "retry", code, ["send", _, text]) => {
                let sent = book.sent.get_mut(*text).expect("it was typed");
                // Under a key an earlier attempt may be open for ever. What an entry of one side refused may stand in another
                // place on another.
                sent.open = code == "UNKNOWN" || asked.key().is_some() || book.may_fork && first == "err";
            }
            ("ok", "login", ["login", name, _]) => self.logs_in(name, &rest, &asked, eyes),
            ("ok", "create", ["create", name, _]) => {
                let found = model.accounts_between(name, eyes.least(&asked.floor), eyes.committed);
                ensure!(Linearizable, !found.is_empty(), "{name} is created, and nobody committed it");
                self.speaks(found);
            }
            ("ok", "logout", ["logout"]) | ("ok", "delete", ["delete"]) => self.speaker = Speaker::Nobody,
            ("ok", "ack", ["ack", ..]) => self.mode = Mode::Manual,
            ("retry", _, ["ack", ..]) => self.mode = Mode::Manual,
            ("err", _, ["ack", ..]) if self.mode == Mode::Automatic => self.mode = Mode::Unsure,
            ("ok", word, [op, ..]) => ensure!(Order, word == *op, "{asked:?} is answered with {line:?}"),
            ("err" | "retry", ..) => {}
            _ => broken(Law::Order, format!("{asked:?} is answered with {line:?}")),
        }
        None
    }

    fn is_sent(&mut self, to: &str, text: &str, rest: &[&str], model: &Model, book: &mut Book) -> Index {
        let id: u64 = rest.last().and_then(|id| id.parse().ok()).expect("an id");
        let right = model.mail(id).is_some_and(|(account, mail)| mail.text == text && model.name_of(account) == to);
        ensure!(ExactlyOnce, right, "{text:?} to {to} is acknowledged as {id}, which is {:?}", model.mail(id));
        let sent = book.sent.get_mut(text).expect("it was typed");
        let again = sent.granted.replace(id);
        // What another side said is given up, or this is.
        let same = again.is_none_or(|first| first == id || model.mail(first).is_none());
        ensure!(ExactlyOnce, same, "{text:?} is {again:?}, and {id}");
        // A repeat under a key gets its first id again.
        ensure!(Order, again.is_some() || sent.open, "{text:?} is acknowledged unasked");
        self.sent = self.sent.max(id);
        Model::index_of(id)
    }

    fn logs_in(&mut self, name: &str, rest: &[&str], asked: &Asked, eyes: Eyes<'_>) {
        let (floor, committed) = (eyes.least(&asked.floor), eyes.committed);
        let found = eyes.model.accounts_between(name, floor, committed);
        ensure!(Linearizable, !found.is_empty(), "{name} is logged in to, and did not live");
        let waiting: usize = rest.last().and_then(|count| count.parse().ok()).expect("a count");
        if let [account] = found[..] {
            let ever = eyes.model.waited(account, floor, committed).contains(&waiting);
            ensure!(Linearizable, ever, "{name} is told of {waiting} messages, from {floor} to {committed} never");
        }
        self.speaks(found);
    }

    fn speaks(&mut self, found: Vec<u64>) {
        self.speaker = match found[..] {
            [account] => Speaker::Account(account),
            _ => Speaker::Unsure,
        };
    }

    fn is_delivered(&mut self, asked: &Asked, rest: &[&str], eyes: Eyes<'_>, book: &mut Book) {
        let model = eyes.model;
        let numbers: Vec<usize> = rest.iter().filter_map(|number| number.parse().ok()).collect();
        let &[count, left] = &numbers[..] else { broken(Law::Order, format!("{rest:?} are no counts")) };
        ensure!(Order, count <= self.loose.len(), "{count} were delivered, and {:?} came", self.loose);
        let data = self.loose.split_off(self.loose.len() - count);
        self.settle_pushes();
        ensure!(Delivery, data.is_sorted_by(|one, next| one < next), "{data:?} are delivered in this order");
        book.delivered = data.iter().map(|(_, id)| *id).collect();
        for (account, id) in data {
            let new = self.shown.insert((account, id));
            ensure!(Delivery, new || self.mode != Mode::Automatic, "{id} is delivered, and was shown before");
            let waits = model.mail(id).is_some_and(|(_, mail)| mail.waits()) && !model.is_gone(account);
            ensure!(Delivery, !waits || self.mode != Mode::Automatic, "{id} is delivered, and not marked");
        }
        let Speaker::Account(account) = self.speaker else { return };
        if left == 0 && asked.words().len() == 1 && !model.is_gone(account) {
            let missing = |mail: &&super::model::Mail| mail.waits() && !self.shown.contains(&(account, mail.id));
            let missed = model.received(account, eyes.least(&asked.floor)).find(missing);
            ensure!(
                Delivery,
                missed.is_none(),
                "{missed:?} waits for {account}, and this connection is told of nothing more"
            );
        }
    }
}
