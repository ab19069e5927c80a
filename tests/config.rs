//! Bad configs, and the exit codes of the real program: what an operator meets on the first day.
//!
//! Each bad config must be refused with the place of the offending value, what is wrong, and what to do, by exit code 78.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use plainsong::config::Config;
use tempfile::TempDir;

/// What most cases start with.
const TWO_REPLICAS: &str = "\
replicas: [{ id: 1, host: 127.0.0.1, port: 5001, internal_port: 7001 },
           { id: 2, host: 127.0.0.1, port: 5002, internal_port: 7002 }]
";

/// A config in which `§` stands before the offending value, and what its refusal must say.
struct Bad {
    text: String,
    what: &'static str,
    advice: &'static str,
}

fn whole(text: &str, what: &'static str, advice: &'static str) -> Bad {
    Bad { text: text.to_owned(), what, advice }
}

/// Lines after two good replicas.
fn line(line: &str, what: &'static str, advice: &'static str) -> Bad {
    Bad { text: format!("{TWO_REPLICAS}{line}\n"), what, advice }
}

/// A replica after a good one.
fn replica(replica: &str, what: &'static str, advice: &'static str) -> Bad {
    let good = "replicas:\n- { id: 1, host: 127.0.0.1, port: 5001, internal_port: 7001 }";
    Bad { text: format!("{good}\n- {replica}\n"), what, advice }
}

fn grammar() -> Vec<Bad> {
    let local = "{ id: 2, host: localhost, port: 5002, internal_port: 7002";
    vec![
        line("§heartbeat_ms: 50", "unknown field `heartbeat_ms`", "correct its name"),
        line("limits: { §lines: 9 }", "unknown field `lines`", "correct its name"),
        line("accounts: { §password: true }", "unknown field `password`", "correct its name"),
        line("replication: §raft", "unknown variant `raft`", "one of those words"),
        line("request_timeout_ms: §soon", "invalid type: string \"soon\"", "write a value of that kind"),
        line("secret: a\n§secret: b", "duplicate field `secret`", "keep one"),
        line("limits:\n  list: 1\n  §list: 2", "duplicate field `list`", "keep one"),
        replica("{ id: 2, §id: 3, host: localhost }", "duplicate field `id`", "keep one"),
        whole("replicas: []\nlimits: { list: 5\n§", "did not find expected", "bracket"),
        line("cluster: ä§\u{1}", "control character U+0001", "remove it"),
        replica("{ id: 2, host: localhost, §prot: 1 }", "unknown field `prot`", "correct its name"),
        replica("§{ id: 2, host: localhost, port: 1 }", "missing field `internal_port`", "add it"),
        replica("{ id: 2, host: a, port: §70000 }", "replicas[1].port: invalid value: integer `70000`", "0 to 65535"),
        replica(&format!("{local}, bind: §nowhere }}"), "invalid IP address", "0.0.0.0"),
    ]
}

fn values() -> Vec<Bad> {
    vec![
        line("drop_silent_after_ms: §2000", "a majority goes on by itself", "`replication: primary-backup`"),
        line(
            "drop_silent_after_ms: §1999\nreplication: primary-backup",
            "less than 4 times `election_timeout_max_ms`, 500 ms",
            "write more",
        ),
        line("log: { keep_days: §9 }\nreplication: primary-backup", "`log.keep_days` is 9", "the log is kept whole"),
        line(
            "log: { keep_entries: §900000 }\nreplication: primary-backup",
            "the log is kept whole",
            "before the cluster is founded",
        ),
        line("cluster: §\"\"", "`cluster` is \"\"", "1 to 64 bytes"),
        line("cluster: §a|b", "`cluster` is \"a|b\"", "without `|`"),
        line("cluster: §two words", "`cluster` is \"two words\"", "spaces"),
        line("cluster: §\"a\\u0007\"", "`cluster` is", "control characters"),
        line("data_dir: §''", "`data_dir` is empty", "name a folder"),
        line("request_timeout_ms: §0", "`request_timeout_ms` is 0", "1 or more"),
        line("heartbeat_interval_ms: §0", "`heartbeat_interval_ms` is 0", "1 or more"),
        line("max_missed_heartbeats: §0", "`max_missed_heartbeats` is 0", "1 or more"),
        line("election_timeout_min_ms: §0", "`election_timeout_min_ms` is 0", "1 or more"),
        line("election_timeout_max_ms: §0", "`election_timeout_max_ms` is 0", "1 or more"),
        line("limits:\n  list: §0", "`limits.list` is 0", "1 or more"),
        line("limits:\n  connections: §0", "`limits.connections` is 0", "1 or more"),
        line("log: { keep_entries: §999 }", "`log.keep_entries` is 999", "1000 or more"),
        line("log: { archive: §old }", "nothing is ever cut away", "`log.keep_days` too"),
        line("log: { keep_days: 9, archive: §data }", "the same folder as `data_dir`", "name another one"),
        line("limits:\n  line_bytes: §255", "`limits.line_bytes` is 255", "256 to 1048576"),
        line("limits: { line_bytes: §1048577 }", "is 1048577", "256 to 1048576"),
        line("limits: { mailbox_bytes: §8191 }", "`limits.mailbox_bytes` is 8191, less than", "0 for no limit"),
        line(
            "limits: { line_bytes: 300, mailbox_bytes: §1 }",
            "is 1, less than `limits.line_bytes`, 300",
            "write more",
        ),
        line("heartbeat_interval_ms: §125", "two heartbeats of 125 ms", "raise both election timeouts"),
        line("election_timeout_min_ms: §500", "500, is not below", "twice the first"),
        // The other value of the relation is a default, which has no place: the one that is written is named.
        line("election_timeout_max_ms: §200", "250, is not below `election_timeout_max_ms`, 200", "twice the first"),
        line("election_timeout_min_ms: §100", "two heartbeats of 50 ms", "raise both election timeouts"),
    ]
}

fn replicas() -> Vec<Bad> {
    vec![
        whole("§cluster: c\n", "there are no `replicas`", "list at least one"),
        whole("§", "there are no `replicas`", "list at least one"),
        whole("cluster: c\nreplicas: §[]\n", "there are no `replicas`", "list at least one"),
        replica("{ id: §1, host: localhost, port: 2, internal_port: 3 }", "id 1 is given twice", "an id of its own"),
        replica("{ id: §0, host: localhost, port: 2, internal_port: 3 }", "id 0", "choose 1 to 1023"),
        replica("{ id: §1024, host: localhost, port: 2, internal_port: 3 }", "id 1024", "choose 1 to 1023"),
        replica(
            "{ id: 2, host: 127.0.0.1, port: §5001, internal_port: 7002 }",
            "`port` 5001 on 127.0.0.1 is already used by replica 1",
            "choose a free one",
        ),
        replica(
            "id: 2\n  host: localhost\n  port: §7001 # port: 1\n  internal_port: 7002",
            "`port` 7001 on localhost is already used by replica 1",
            "share one space",
        ),
        replica(
            "{ id: 2, host: 127.0.0.1, port: 5002, internal_port: §5002 }",
            "`internal_port` 5002 on 127.0.0.1 is already used by replica 2",
            "share one space",
        ),
        replica("{ id: 2, host: localhost, port: §0, internal_port: 7002 }", "`port` is 0", "65535"),
        replica("{ id: 2, host: §a b, port: 5002, internal_port: 7002 }", "`host` is \"a b\"", "host name"),
        replica(
            "{ id: 2, host: §10.0.0.2, port: 5002, internal_port: 7002 }",
            "replica 2 is at 10.0.0.2, not on loopback",
            "openssl rand -hex 32",
        ),
        replica(
            "{ id: 2, host: chat.example, port: 5002, internal_port: 7002 }\nsecret: §''",
            "replica 2 is at chat.example, not on loopback",
            "give every host the same",
        ),
    ]
}

/// Takes the mark out of a text; returns the text and the `line:column` where the mark stood.
fn unmarked(text: &str) -> (String, String) {
    let (before, after) = text.split_once('§').expect("each case marks its place");
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (format!("{before}{after}"), format!("{line}:{column}: "))
}

#[test]
fn a_bad_config_is_refused_with_its_place_and_advice() {
    let mut misses = String::new();
    for Bad { text, what, advice } in grammar().into_iter().chain(values()).chain(replicas()) {
        let (text, place) = unmarked(&text);
        let problems = Config::parse(text.as_bytes()).expect_err(&text);
        let said: Vec<_> = problems.iter().map(ToString::to_string).collect();
        if !said.iter().any(|said| said.starts_with(&place) && said.contains(what) && said.contains(advice)) {
            misses += &format!("{text}expected {place}{what}: {advice}\nbut it said {}\n\n", said.join("\n"));
        }
    }
    assert!(misses.is_empty(), "{misses}");
}

#[test]
fn everything_wrong_is_told_at_once_and_in_the_order_of_the_file() {
    let text = format!("cluster: a b\n{TWO_REPLICAS}request_timeout_ms: 0\ndata_dir: ''\n");
    let problems = Config::parse(text.as_bytes()).expect_err("three faults");
    assert_eq!(problems.iter().map(|problem| problem.line).collect::<Vec<_>>(), [1, 4, 5]);
}

#[test]
fn what_is_not_text_is_told_by_its_first_bad_byte() {
    let problems = Config::parse(b"cluster: a\nsecret: \xc3\xa4\xff\n").expect_err("not UTF-8");
    assert_eq!((problems[0].line, problems[0].column), (2, 10));
    assert!(problems[0].advice.contains("UTF-8"));
}

/// Found by the fuzzer: a key in quotes may hold anything, and the refusal quoted it as it was.
#[test]
fn what_is_quoted_of_a_file_stays_on_one_line_and_moves_no_cursor() {
    let problems = Config::parse(b"\"a\\nb\\e[2J\": 1\n").expect_err("an unknown key");
    assert_eq!(problems.len(), 1);
    assert!(problems[0].what.contains(r"a\nb\u{1b}[2J"), "{}", problems[0]);
    assert!(!problems[0].to_string().contains(char::is_control));
    let host = Config::parse(b"replicas:\n  - { id: 1, host: \"a\\e[2Jb\", port: 5001, internal_port: 7001 }\n");
    let problems = host.expect_err("no host is called that");
    assert!(problems.iter().all(|problem| !problem.to_string().contains(char::is_control)), "{problems:?}");
}

#[test]
fn a_secret_allows_other_hosts() {
    let text = TWO_REPLICAS.replace("127.0.0.1", "10.0.0.1") + "secret: 8c1f\n";
    Config::parse(text.as_bytes()).expect("sound");
}

/// Runs the program in a folder of its own.
fn plainsong(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_plainsong"))
        .args(args)
        .current_dir(folder)
        .env_remove("RUST_LOG")
        .output()
        .expect("the program starts")
}

fn folder_with(config: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("config.yaml");
    std::fs::write(&file, config).expect("written");
    (folder, file)
}

#[track_caller]
fn assert_says(output: &Output, code: i32, words: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "it said: {said}");
    for word in words {
        assert!(said.contains(word), "no {word:?} in: {said}");
    }
    assert!(said.lines().all(|line| line.starts_with("plainsong: ")), "a line without the program's name: {said}");
}

#[test]
fn every_subcommand_that_reads_a_bad_config_ends_with_78() {
    let (folder, _) = folder_with("replicas: []\nport: 5001\n");
    for args in
        [&["check-config"][..], &["server", "-i", "1"], &["cluster"], &["client"], &["status"], &["log", "-i", "1"]]
    {
        assert_says(&plainsong(folder.path(), args), 78, &["config.yaml:2:1: ", "unknown field `port`"]);
    }
}

#[test]
fn a_missing_config_is_78_and_says_how_to_name_one() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    assert_says(&plainsong(folder.path(), &["cluster"]), 78, &["config.yaml: no such file", "--config FILE"]);
    let output = plainsong(folder.path(), &["check-config", "."]);
    assert_says(&output, 78, &["cannot be read", "is a file"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(said.matches("os error").count(), 1, "the system's word is passed on once: {said}");
}

#[test]
fn a_good_config_is_summed_up() {
    let (folder, file) = folder_with(TWO_REPLICAS);
    let file = file.to_str().expect("a temporary path is text");
    for args in [&["check-config"][..], &["check-config", file], &["check-config", "--config", file]] {
        let output = plainsong(folder.path(), args);
        assert_says(&output, 0, &[]);
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("2 replicas; 2 of them must agree, 0 may fail"), "{said}");
    }
}

#[test]
fn a_replica_that_the_config_does_not_name_is_78() {
    let (folder, _) = folder_with(TWO_REPLICAS);
    assert_says(&plainsong(folder.path(), &["server", "-i", "7"]), 78, &["no replica 7", "1, 2"]);
}

#[test]
fn a_wrong_command_line_is_2() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for args in [&[][..], &["serve"], &["server"], &["server", "-i", "x"], &["status", "--sever", "x"], &["man", "x"]] {
        assert_eq!(plainsong(folder.path(), args).status.code(), Some(2), "{args:?}");
    }
}

/// Where one of two is needed, both are named.
#[test]
fn the_usage_of_a_tool_says_what_it_lacks() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (args, word) in [
        (&["log"][..], "<--id <ID>|DIR>"),
        (&["log", "-i", "1", "folder"], "<--id <ID>|DIR>"),
        (&["log", "--data", "here", "folder"], "cannot be used with"),
        (&["rebuild", "-i", "1"], "<--state|--from-others>"),
        (&["rebuild", "-i", "1", "--state", "--from-others"], "cannot be used with"),
        (&["rebuild", "-i", "1", "--state", "--force"], "cannot be used with"),
        (&["rebuild", "-i", "1", "--force"], "<--state|--from-others>"),
    ] {
        let output = plainsong(folder.path(), args);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && said.contains(word), "{args:?}: {said}");
    }
}

#[test]
fn help_needs_no_config_and_shows_an_example() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for command in ["server", "cluster", "client", "status", "check-config", "log", "drill"] {
        let output = plainsong(folder.path(), &[command, "--help"]);
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains(&format!("\n  plainsong {command}")), "{command}: {said}");
    }
}

#[test]
fn status_is_69_when_nobody_answers() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    // Bound and never listened on: a port that refuses, and that nobody else can take meanwhile.
    let refusing = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    refusing.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().expect("an address").into()).expect("bound");
    let port = refusing.local_addr().expect("bound").as_socket_ipv4().expect("IPv4").port();
    let server = format!("127.0.0.1:{port}");
    assert_says(&plainsong(folder.path(), &["status", "--server", &server]), 69, &["nobody answers", &server]);
}
