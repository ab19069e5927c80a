//! Lines out of a stream, however it is cut.

use proptest::prelude::*;

use super::*;

const MAX: usize = 16;

/// What a test compares: the items, with the text of lines.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Line(String),
    TooLong,
    NotUtf8,
    Http,
}

fn seen(item: LineItem) -> Seen {
    match item {
        LineItem::Line(line) => Seen::Line(line.to_string()),
        LineItem::TooLong => Seen::TooLong,
        LineItem::NotUtf8 => Seen::NotUtf8,
        LineItem::Http => Seen::Http,
    }
}

/// Feeds the chunks one by one, then ends the stream. Holds what must hold after every chunk.
fn split<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<Seen> {
    let (mut framer, mut buffer, mut items) = (Framer::new(MAX), BytesMut::new(), Vec::new());
    for chunk in chunks {
        buffer.extend_from_slice(chunk);
        while let Some(item) = framer.next(&mut buffer) {
            items.push(seen(item));
        }
        assert!(buffer.len() < MAX, "less than one line stays");
        assert_eq!(framer.searched, buffer.len(), "what stays is not searched again");
        assert!(!buffer.is_empty() || buffer.capacity() == 0, "an empty buffer is given back");
    }
    while let Some(item) = framer.next_at_eof(&mut buffer) {
        items.push(seen(item));
    }
    assert_eq!(framer.next_at_eof(&mut buffer), None);
    items
}

fn line(text: &str) -> Seen {
    Seen::Line(text.to_owned())
}

#[test]
fn lines_end_with_lf_and_one_cr_is_dropped() {
    assert_eq!(split([&b"3\r\n4\n\n\r\n 5\r\r\n6"[..]]), [line("3"), line("4"), line(" 5\r"), line("6")]);
    assert_eq!(split([&b"3\r"[..]]), [line("3")], "a last line counts without its LF");
    assert_eq!(split([&b""[..]]), []);
    assert_eq!(split([&b"\n\r\n\r"[..]]), [], "empty lines are ignored, the last one too");
}

#[test]
fn the_limit_counts_the_end() {
    assert_eq!(split([&b"123456789012345\n"[..]]), [line("123456789012345")]);
    assert_eq!(split([&b"12345678901234\r\n"[..]]), [line("12345678901234")]);
    assert_eq!(split([&b"1234567890123456\nnext\n"[..]]), [Seen::TooLong, line("next")]);
    assert_eq!(split([&b"123456789012345\r\nnext\n"[..]]), [Seen::TooLong, line("next")]);
    assert_eq!(split([&b"123456789012345"[..]]), [line("123456789012345")], "room for the LF that did not come");
    assert_eq!(split([&b"1234567890123456"[..]]), [Seen::TooLong]);
}

#[test]
fn an_over_long_line_is_one_item_whatever_its_length() {
    let chunk = [b'x'; 1000];
    let chunks = std::iter::repeat_n(&chunk[..], 1000).chain([&b"tail\nnext\n"[..]]);
    assert_eq!(split(chunks), [Seen::TooLong, line("next")]);
    assert_eq!(split([&b"first\n"[..], &chunk[..]]), [line("first"), Seen::TooLong], "also at the end of the stream");
    assert_eq!(split([&chunk[..], &b"\n"[..]]), [Seen::TooLong], "also when the LF comes alone");
}

#[test]
fn bad_lines_do_not_end_the_connection() {
    assert_eq!(split([&b"a\n\xff\xfe\nb\n\xc3"[..]]), [line("a"), Seen::NotUtf8, line("b"), Seen::NotUtf8]);
    let halves: [&[u8]; 2] = [b"\xc3", b"\xa9\n"];
    assert_eq!(split(halves), [line("é")], "a character may come in two reads");
}

#[test]
fn an_http_request_line_is_told_only_at_the_start() {
    assert_eq!(split([&b"GET / HTTP/1.1\r\n"[..]]), [Seen::Http]);
    assert_eq!(split([&b"\r\nGET / HTTP/1.0"[..]]), [Seen::Http], "empty lines do not count as first");
    assert_eq!(split([&b"3\nGET / HTTP/1.1\n"[..]]), [line("3"), line("GET / HTTP/1.1")]);
    assert_eq!(split([&b"HTTP/1.1\n"[..]]), [line("HTTP/1.1")], "the space belongs to it");
    assert_eq!(split([&b"GET / HTTP/2\n"[..]]), [line("GET / HTTP/2")]);
}

#[test]
fn a_long_or_garbled_path_hides_no_http() {
    let path = [b'a'; 100];
    let chunks: [&[u8]; 5] = [b"POST /", &path, b" HTTP", b"/1", b".1\r\nHost: x\r\n\r\n"];
    assert_eq!(split(chunks)[0], Seen::Http);
    assert_eq!(split([&path[..], &b" HTTP/1.0"[..]]), [Seen::Http]);
    assert_eq!(split([&b"G \xff HTTP/1.1\r\n"[..]]), [Seen::Http]);
    assert_eq!(split([&path[..], &b"\n"[..], &path[..], &b" HTTP/1.1\n"[..]]), [Seen::TooLong, Seen::TooLong]);
}

#[test]
fn debug_prints_no_line() {
    let mut buffer = BytesMut::from(&b"2|bob|hunter2\n"[..]);
    let item = Framer::new(MAX).next(&mut buffer).expect("a line");
    assert_eq!(format!("{item:?}"), "Line(Line(13 bytes))");
}

/// The rules of the protocol on a whole stream at once: what the incremental splitter must agree with.
fn model(stream: &[u8]) -> Vec<Seen> {
    let mut items = Vec::new();
    let mut lines: Vec<&[u8]> = stream.split(|byte| *byte == b'\n').collect();
    if lines.last().is_some_and(|last| last.is_empty()) {
        lines.pop();
    }
    for raw in lines {
        let text = raw.strip_suffix(b"\r").unwrap_or(raw);
        if text.is_empty() {
            continue;
        }
        let http = text.ends_with(b" HTTP/1.0") || text.ends_with(b" HTTP/1.1");
        items.push(match str::from_utf8(text) {
            _ if items.is_empty() && http => Seen::Http,
            _ if raw.len() + 1 > MAX => Seen::TooLong,
            Ok(text) => Seen::Line(text.to_owned()),
            Err(_) => Seen::NotUtf8,
        });
    }
    items
}

fn stream() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 0..24),
        4 => "[a-z|]{0,20}".prop_map(String::into_bytes),
        4 => Just(b"\n".to_vec()),
        1 => Just(b"\r\n".to_vec()),
        1 => Just(b" HTTP/1.1".to_vec()),
        1 => Just("é".as_bytes().to_vec()),
    ];
    prop::collection::vec(piece, 0..20).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn any_bytes_in_any_chunks_agree_with_the_model(stream in stream(), size in 1usize..40) {
        prop_assert_eq!(split(stream.chunks(size)), model(&stream));
    }
}
