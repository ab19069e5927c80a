//! What the ops have in common: dispatch, keys, help; and what the tables in their files are checked with.

use proptest::prelude::*;

use super::*;
use crate::ErrCode;

/// `line` reads as `request`, which prints as `printed`, which reads as `request` again.
pub(super) fn reads(line: &str, printed: &str, request: Request<'_>) {
    assert_eq!(parse(line).request.as_ref(), Ok(&request), "{line}");
    assert_eq!(request.to_string(), printed, "{line}");
    assert_eq!(parse(printed).request.as_ref(), Ok(&request), "{printed}");
}

/// The syntax of `line` is refused.
pub(super) fn refuses(line: &str, code: ErrCode) {
    assert_eq!(parse(line).request.map_err(|refusal| refusal.code), Err(code), "{line}");
}

/// Reads a line whose syntax is right, and checks its fields.
pub(super) fn check(line: &str) -> Result<Checked, Refusal> {
    parse(line).request.expect("the syntax is right").check()
}

#[test]
fn what_is_no_op_is_a_bad_request() {
    for line in ["", "|", "14", "-1", "05", "00", " 3", "3 ", "lis", "lists", "frob|x", "GET / HTTP/1.1", "５|alice|hi"]
    {
        refuses(line, ErrCode::BadRequest);
    }
}

#[test]
fn keys() {
    let k1 = Some(Key::new("k1").expect("a key"));
    for (line, key, code) in [
        ("@k1|3", k1.clone(), None),
        ("@k1|HELP|", k1.clone(), None),
        ("@k1|", k1.clone(), Some(ErrCode::BadRequest)),
        ("@k1|@k2|3", k1.clone(), Some(ErrCode::BadRequest)),
        ("@k1|9|x", k1.clone(), Some(ErrCode::BadRequest)),
        ("@k1", None, Some(ErrCode::BadRequest)),
        ("@|3", None, Some(ErrCode::BadRequest)),
        ("@a b|3", None, Some(ErrCode::BadRequest)),
        ("@a\u{7}|3", None, Some(ErrCode::BadRequest)),
        ("3", None, None),
    ] {
        let parsed = parse(line);
        assert_eq!(parsed.key, key, "{line}");
        assert_eq!(parsed.request.map_err(|refusal| refusal.code).err(), code, "{line}");
    }
    assert_eq!(parse(&format!("@{}|3", "k".repeat(65))).key, None);
}

#[test]
fn who_must_be_logged_in() {
    for (line, needs) in [
        ("0", false),
        ("1|a", false),
        ("2|a", false),
        ("3", true),
        ("4", true),
        ("5|a|b", true),
        ("6", true),
        ("9|0", false),
        ("9|000", false),
        ("9|1", true),
        ("7", true),
        ("8|1", true),
        ("10", false),
        ("11", false),
        ("12", false),
        ("13|x", true),
        ("help", false),
        ("quit", false),
    ] {
        assert_eq!(parse(line).request.expect("well-formed").needs_login(), needs, "{line}");
    }
}

#[test]
fn help_lists_exactly_what_is_served() {
    let lines: Vec<String> = help_lines().collect();
    let numbers: Vec<&str> = lines.iter().map(|line| line.split('|').next().expect("a word")).collect();
    assert_eq!(numbers, ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "help", "quit"]);
    for line in lines {
        let mut words = line.splitn(3, '|');
        let (number, name, help) = (words.next(), words.next(), words.next().expect("a line of help"));
        assert!(help.starts_with(number.expect("a number")) && help.contains(": "), "{line}");
        assert_eq!(name.map(str::to_lowercase).as_deref(), name);
        assert!(!crate::control::has_control(&line));
    }
}

#[test]
fn no_refusal_repeats_what_could_harm_a_terminal() {
    let refusal = parse("\u{1b}]0;x\u{7}").request.expect_err("no op");
    assert_eq!(refusal.text, r"no such op: '\u{1b}]0;x\u{7}'; 'help' lists what is served");
}

#[test]
fn debug_prints_no_password() {
    let printed = format!("{:?} {:?}", parse("1|bob|hunter2"), check("2|bob|hunter2"));
    assert!(!printed.contains("hunter2"), "{printed}");
}

proptest! {
    #[test]
    fn reading_is_total_and_printing_reads_back(
        line in "(@[a-z |]{0,3}\\|)?([0-9]{1,2}|list|send|ack|erase)?(\\|[>a-z0-9,|\\PC]{0,8}){0,3}"
    ) {
        if let Ok(request) = parse(&line).request {
            let printed = request.to_string();
            let again = parse(&printed).request;
            prop_assert_eq!(again.as_ref(), Ok(&request));
            let _checked = request.check();
        }
    }

    #[test]
    fn any_line_is_answered(line in any::<String>()) {
        let parsed = parse(&line);
        if let Err(refusal) = parsed.request {
            prop_assert_eq!(refusal.code, ErrCode::BadRequest);
        }
    }
}
