//! A client's bytes, up to the checked request: `chat`'s framer, its parser, its checks, and how a refusal is said.
//!
//! The first byte of an input says how the rest is cut, modulo a few seeds, and the second how long a line may be.

use bytes::BytesMut;
use chat::request::{self, Request};
use chat::{Checked, Code, ErrCode, Framer, Key, LineItem, Refusal, Reply, ServerLine};

use super::chunks::chunks;

/// `limits.line_bytes` as operators may set it; the smallest too, so that a short input can exceed it.
const LIMITS: [usize; 3] = [8192, 256, 300];
/// A line of ours, LF included, for the least that `limits.line_bytes` may be.
const OUR_LINE_BYTES_MAX: usize = chat::limits::LINE_BYTES_MIN + chat::limits::SERVER_LINE_EXTRA_BYTES;

/// Panics where a promise is broken.
pub fn run(input: &[u8]) {
    let [seed, limit, stream @ ..] = input else { return };
    let line_bytes_max = LIMITS[usize::from(*limit) % LIMITS.len()];
    let items = items(&[stream], line_bytes_max);
    assert_eq!(items, self::items(&chunks(*seed, stream), line_bytes_max), "the cuts changed what was read");
    for item in &items {
        if let LineItem::Line(line) = item {
            assert!(line.len() < line_bytes_max && !line.is_empty());
            asked(line);
        }
    }
}

fn items(pieces: &[&[u8]], line_bytes_max: usize) -> Vec<LineItem> {
    let mut framer = Framer::new(line_bytes_max);
    let mut buffer = BytesMut::new();
    let mut items = Vec::new();
    for piece in pieces {
        buffer.extend_from_slice(piece);
        items.extend(std::iter::from_fn(|| framer.next(&mut buffer)));
        assert!(buffer.len() < line_bytes_max, "{} bytes are kept of an unfinished line", buffer.len());
    }
    items.extend(std::iter::from_fn(|| framer.next_at_eof(&mut buffer)));
    assert!(buffer.is_empty());
    items
}

fn asked(line: &str) {
    let parsed = request::parse(line);
    match parsed.request {
        Ok(request) => well_formed(request, parsed.key.as_ref()),
        Err(refusal) => refused(&refusal, parsed.key.as_ref(), &[ErrCode::BadRequest]),
    }
}

fn well_formed(request: Request<'_>, key: Option<&Key>) {
    let printed = request.to_string();
    let again = request::parse(&printed);
    assert_eq!(again.key, None);
    assert_eq!(again.request.as_ref(), Ok(&request), "printed as {printed:?}");
    if let Some(key) = key {
        let keyed = format!("@{key}|{printed}");
        let again = request::parse(&keyed);
        assert_eq!((again.key.as_ref(), again.request.as_ref()), (Some(key), Ok(&request)));
    }
    match request.check() {
        Ok(checked) => sound(&checked),
        Err(refusal) => refused(&refusal, key, &[ErrCode::BadName, ErrCode::BadText, ErrCode::BadRegex]),
    }
}

/// What the rest of the program relies on in a checked request.
fn sound(checked: &Checked) {
    let name = match checked {
        Checked::Create { name, .. } | Checked::Login { name, .. } | Checked::Send { to: name, .. } => Some(name),
        Checked::List { after, .. } => after.as_ref(),
        _ => None,
    };
    if let Some(name) = name {
        let text = name.as_str();
        assert!((1..=chat::limits::NAME_BYTES_MAX).contains(&text.len()), "{text:?}");
        assert!(!text.chars().any(|c| c == '|' || c == '>' || c == ' ' || c.is_control()), "{text:?}");
        assert_eq!(chat::Name::fold(text).as_ref(), Ok(name), "a folded name folds to itself");
    }
    if let Checked::Send { text, .. } | Checked::Ping { text: Some(text) } = checked {
        let text = text.as_str();
        assert!(!text.is_empty() && !text.chars().any(|c| c.is_control() && c != '\t'), "{text:?}");
    }
}

/// A refusal is one line that scripts can read and terminals can show, within the protocol's bound, with a code that
/// its stage may give.
fn refused(refusal: &Refusal, key: Option<&Key>, may_be: &[ErrCode]) {
    assert!(may_be.contains(&refusal.code), "{refusal:?}");
    let mut bytes = BytesMut::new();
    Reply::from(refusal.clone()).write(key, &mut bytes);
    assert!(bytes.len() <= OUR_LINE_BYTES_MAX, "{} bytes: {bytes:?}", bytes.len());
    let line = std::str::from_utf8(&bytes).expect("it is text").strip_suffix('\n').expect("it is a line");
    assert!(!line.contains(char::is_control), "{line:?}");
    match ServerLine::parse(line) {
        ServerLine::Final { key: said, reply: Reply::Err { code: Code::Known(code), text } } => {
            assert_eq!((said, code), (key.map(Key::as_str), refusal.code));
            assert!(!text.is_empty());
        }
        other => panic!("a refusal reads as {other:?}"),
    }
}
