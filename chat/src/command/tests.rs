//! What commands print as, and what parsing them refuses.

use proptest::prelude::*;

use super::*;

fn speaker(name: &str, id: u64) -> Speaker {
    Speaker { name: Name::from_stored(name), id: AccountId(id) }
}

fn ranges(pairs: &[(u64, u64)]) -> Vec<IdRange> {
    pairs.iter().map(|(from, to)| IdRange::new(MessageId(*from), MessageId(*to))).collect()
}

fn send(speaker: Speaker, key: Option<&str>, to: &str, text: &str) -> Command {
    Command::Send { speaker, key: key.map(Key::from_stored), to: Name::from_stored(to), text: Text::from_stored(text) }
}

fn erased(ids: &[u64]) -> MessageIds {
    MessageIds::new(ids.iter().copied().map(MessageId).collect()).expect("at least one")
}

fn ack(key: Option<&str>, id: u64, marked: &[(u64, u64)]) -> Command {
    let key = key.map(Key::from_stored);
    Command::Ack { speaker: speaker("bob", 12), key, id: MessageId(id), ranges: ranges(marked) }
}

#[test]
fn printed_like_the_protocol_and_read_back() {
    let hash = PasswordHash::from_stored("$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA");
    let marks = vec![(AccountId(12), ranges(&[(70, 74), (77, 77)])), (AccountId(31), ranges(&[(5, 5)]))];
    for (printed, command) in [
        ("|1|bob", Command::Create { name: Name::from_stored("bob"), password: None }),
        (
            "|1|bob|$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA",
            Command::Create { name: Name::from_stored("bob"), password: Some(hash) },
        ),
        ("bob#12|4", Command::Delete { speaker: speaker("bob", 12) }),
        ("bob#1#12|4", Command::Delete { speaker: speaker("bob#1", 12) }),
        ("bob#12|5|alice|hi", send(speaker("bob", 12), None, "alice", "hi")),
        ("bob#12|@k1|5|alice|a|b", send(speaker("bob", 12), Some("k1"), "alice", "a|b")),
        ("bob#12|@@|5|élan|@x|5|y", send(speaker("bob", 12), Some("@"), "élan", "@x|5|y")),
        ("bob#12|8|70,77", Command::Erase { speaker: speaker("bob", 12), key: None, ids: erased(&[77, 70, 77]) }),
        (
            "bob#12|@k|8|70",
            Command::Erase { speaker: speaker("bob", 12), key: Some(Key::from_stored("k")), ids: erased(&[70]) },
        ),
        (
            "bob#12|13|$argon2id$v=19$x",
            Command::Passwd { speaker: speaker("bob", 12), password: PasswordHash::from_stored("$argon2id$v=19$x") },
        ),
        ("bob#12|9|77|70-74,77-77", ack(None, 77, &[(70, 74), (77, 77)])),
        ("bob#12|@k|9|77|", ack(Some("k"), 77, &[])),
        ("|mark|12:70-74,77-77;31:5-5", Command::Mark { marks }),
        ("|mark|", Command::Mark { marks: Vec::new() }),
        ("|expire", Command::Expire),
        ("|mark|12:", Command::Mark { marks: vec![(AccountId(12), Vec::new())] }),
    ] {
        assert_eq!(command.to_string(), printed);
        assert_eq!(Command::parse(printed), Ok(command));
    }
}

#[test]
fn what_is_no_command() {
    for (line, bad) in [
        ("", BadCommand::Speaker),
        ("5", BadCommand::Speaker),
        ("bob|4", BadCommand::Speaker),
        ("bob#|4", BadCommand::Speaker),
        ("bob#x|4", BadCommand::Speaker),
        ("#12|4", BadCommand::Speaker),
        ("|", BadCommand::Op),
        ("|4", BadCommand::Op),
        ("|5|alice|hi", BadCommand::Op),
        ("|@k|1|bob", BadCommand::Op),
        ("bob#12|", BadCommand::Op),
        ("bob#12|1|bob", BadCommand::Op),
        ("bob#12|mark|12:1-1", BadCommand::Op),
        ("bob#12|expire", BadCommand::Op),
        ("|expire|1", BadCommand::Op),
        ("bob#12|4|", BadCommand::Op),
        ("bob#12|@k|4", BadCommand::Op),
        ("|8|77", BadCommand::Op),
        ("bob#12|7|77", BadCommand::Op),
        ("bob#12|@k|13|$argon2id$", BadCommand::Op),
        ("bob#12|13|plain", BadCommand::Field),
        ("bob#12|13|", BadCommand::Field),
        ("bob#12|8|", BadCommand::Field),
        ("bob#12|8|77,", BadCommand::Field),
        ("bob#12|8|77,70", BadCommand::Field),
        ("bob#12|8|77,77", BadCommand::Field),
        ("bob#12|8|77|", BadCommand::Field),
        ("bob#12|@k", BadCommand::Field),
        ("bob#12|@|5|alice|hi", BadCommand::Field),
        ("|1|", BadCommand::Field),
        ("|1|#bob", BadCommand::Field),
        ("|1|bob|", BadCommand::Field),
        ("|1|bob|plain", BadCommand::Field),
        ("bob#12|5|alice", BadCommand::Field),
        ("bob#12|5|alice|", BadCommand::Field),
        ("bob#12|5|a b|hi", BadCommand::Field),
        ("bob#12|5|alice|\u{7}", BadCommand::Field),
        ("bob#12|9|77", BadCommand::Field),
        ("bob#12|9|x|", BadCommand::Field),
        ("bob#12|9|77|1", BadCommand::Field),
        ("bob#12|9|77|1-2,", BadCommand::Field),
        ("|mark|12", BadCommand::Field),
        ("|mark|12:1-2;", BadCommand::Field),
    ] {
        assert_eq!(Command::parse(line), Err(bad), "{line:?}");
    }
}

#[test]
fn the_digest_is_of_the_requests_own_words() {
    let plain = send(speaker("bob", 12), None, "alice", "hi");
    let keyed = send(speaker("cyd", 99), Some("k1"), "alice", "hi");
    assert_eq!(plain.request_digest(), keyed.request_digest(), "neither speaker nor key");
    assert_ne!(plain.request_digest(), send(speaker("bob", 12), None, "alice", "ho").request_digest());
    assert_ne!(plain.request_digest(), send(speaker("bob", 12), None, "alic", "ehi").request_digest());
    assert_eq!(ack(None, 77, &[]).request_digest(), ack(Some("k"), 77, &[(1, 2)]).request_digest(), "nor ranges");
    assert_ne!(ack(None, 77, &[]).request_digest(), ack(None, 78, &[]).request_digest());
}

/// These stand in stored keys: a change here makes every remembered key `KEY_REUSED`.
#[test]
fn the_digest_never_changes() {
    assert_eq!(send(speaker("bob", 12), None, "alice", "hi").request_digest(), fnv1a_of(b"5|alice|hi"));
    let known = [(&b""[..], 0xcbf2_9ce4_8422_2325), (b"a", 0xaf63_dc4c_8601_ec8c), (b"foobar", 0x8594_4171_f739_67e8)];
    for (bytes, digest) in known {
        assert_eq!(fnv1a_of(bytes), digest, "the test vectors of the draft");
    }
}

fn fnv1a_of(bytes: &[u8]) -> u64 {
    let mut digest = Fnv1a::new();
    digest.write_str(str::from_utf8(bytes).expect("ASCII")).expect("a digest takes everything");
    digest.0
}

#[test]
fn the_recipient_is_found_without_reading_the_rest() {
    for (line, to) in [
        ("bob#12|5|alice|hi", Some("alice")),
        ("bob#12|@k1|5|alice|@x|5|carol|y", Some("alice")),
        ("bob#12|9|5|", None),
        ("bob#12|@5|9|5|1-1", None),
        ("bob#12|4", None),
        ("|1|5|$x", None),
        ("|mark|5:1-2", None),
        ("|5|alice|hi", None),
        ("", None),
    ] {
        assert_eq!(recipient(line), to, "{line}");
    }
}

fn any_name() -> impl Strategy<Value = Name> {
    "[a-zé!-}][a-z0-9é#@!-}]{0,10}".prop_filter_map("a name", |word| Name::fold(&word).ok())
}

fn any_speaker() -> impl Strategy<Value = Speaker> {
    (any_name(), any::<u64>()).prop_map(|(name, id)| Speaker { name, id: AccountId(id) })
}

fn any_key() -> impl Strategy<Value = Option<Key>> {
    prop::option::of("[!-{}~é]{1,10}".prop_map(|word| Key::new(&word).expect("a key")))
}

fn any_ranges() -> impl Strategy<Value = Vec<IdRange>> {
    let range = (any::<u64>(), any::<u64>()).prop_map(|(from, to)| IdRange::new(MessageId(from), MessageId(to)));
    prop::collection::vec(range, 0..4)
}

fn any_command() -> impl Strategy<Value = Command> {
    let hash = "\\$[!-{}~]{0,20}".prop_map(|phc| PasswordHash::new(&phc).expect("a PHC string"));
    let text = "[|@\\t\\PC]{1,20}".prop_filter_map("a text", |text| Text::new(&text).ok());
    let mark = (any::<u64>().prop_map(AccountId), any_ranges());
    let erased = prop::collection::vec(any::<u64>().prop_map(MessageId), 1..5);
    prop_oneof![
        (any_speaker(), any_key(), erased).prop_map(|(speaker, key, ids)| Command::Erase {
            speaker,
            key,
            ids: MessageIds::new(ids).expect("at least one")
        }),
        (any_speaker(), hash.clone()).prop_map(|(speaker, password)| Command::Passwd { speaker, password }),
        (any_name(), prop::option::of(hash)).prop_map(|(name, password)| Command::Create { name, password }),
        any_speaker().prop_map(|speaker| Command::Delete { speaker }),
        (any_speaker(), any_key(), any_name(), text).prop_map(|(speaker, key, to, text)| Command::Send {
            speaker,
            key,
            to,
            text
        }),
        (any_speaker(), any_key(), any::<u64>().prop_map(MessageId), any_ranges())
            .prop_map(|(speaker, key, id, ranges)| Command::Ack { speaker, key, id, ranges }),
        prop::collection::vec(mark, 0..4).prop_map(|marks| Command::Mark { marks }),
    ]
}

proptest! {
    #[test]
    fn every_command_reads_back(command in any_command()) {
        let printed = command.to_string();
        prop_assert!(!printed.contains('\n'));
        let found = recipient(&printed);
        let to = if let Command::Send { to, .. } = &command { Some(to.as_str()) } else { None };
        prop_assert_eq!(found, to);
        prop_assert_eq!(Command::parse(&printed), Ok(command));
    }

    #[test]
    fn reading_never_panics(line in "([a-z]#[0-9]{1,3})?\\|(@[a-z]\\|)?(1|4|5|8|9|13|mark)?[|0-9a-z,;:@#$\\PC-]{0,20}") {
        let _to = recipient(&line);
        if let Ok(command) = Command::parse(&line) {
            prop_assert_eq!(Command::parse(&command.to_string()), Ok(command));
        }
    }

    #[test]
    fn reading_anything_never_panics(line in any::<String>()) {
        let _to = recipient(&line);
        let _command = Command::parse(&line);
    }
}
