//! Each rule, on a text that breaks it.

use crate::source::{Source, blanked};
use crate::{
    FILE_LINES_MAX, SCRIPT_LINES_MAX, impurities, leftovers, shape, sleeps, strangers_to_actix, wrong_imports,
};

fn failures(rule: fn(&Source) -> Vec<String>, path: &str, text: &str) -> Vec<String> {
    rule(&Source::new(path, text))
}

#[test]
fn a_wrong_import_is_found_with_its_line_and_reason() {
    let text = "//! x\nuse crate::consensus::Term;\nuse crate::{\n    config::Config,\n    storage::{self, db},\n};\n";
    let found = failures(wrong_imports, "src/storage/db.rs", text);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].starts_with("src/storage/db.rs:3: `storage` imports `config`, and may not: the disk"),
        "{found:?}"
    );
    assert_eq!(failures(wrong_imports, "src/consensus/log.rs", "use chat::Name;").len(), 1);
    assert_eq!(failures(wrong_imports, "src/actors/peer.rs", "use crate::cli::Exit;").len(), 1);
    assert_eq!(failures(wrong_imports, "src/novel.rs", "").len(), 1);
    assert!(
        failures(wrong_imports, "src/consensus/log.rs", "// crate::chat\n#[cfg(test)]\nuse crate::config;").is_empty()
    );
}

#[test]
fn actix_and_impurity_are_found_where_they_may_not_be() {
    assert_eq!(failures(strangers_to_actix, "src/client/link.rs", "use actix::Actor;").len(), 1);
    assert!(failures(strangers_to_actix, "src/actors/peer.rs", "use actix::Actor;").is_empty());
    assert_eq!(failures(impurities, "src/consensus/node.rs", "let now = Instant::now();").len(), 1);
    assert_eq!(failures(impurities, "chat/src/rules.rs", "use std::fs;").len(), 1);
    assert!(failures(impurities, "src/storage/db.rs", "use std::fs;").is_empty());
}

#[test]
fn a_misshapen_file_is_found() {
    assert_eq!(failures(shape, "src/a.rs", "use b;\n").len(), 1, "no header");
    assert_eq!(failures(shape, "src/a.rs", "//! a\n\tb \n").len(), 2, "a tab, and a blank");
    assert_eq!(failures(shape, "src/a.rs", &("//! a\n".repeat(FILE_LINES_MAX + 1))).len(), 1, "too long");
    assert_eq!(failures(shape, "scripts/a.sh", &("true\n".repeat(SCRIPT_LINES_MAX + 1))).len(), 1, "too long");
    assert_eq!(failures(shape, "README.md", "text").len(), 1, "no line feed");
    assert!(failures(shape, "README.md", &("text\n".repeat(FILE_LINES_MAX + 1))).is_empty());
}

#[test]
fn leftovers_and_sleeps_are_found_in_code_alone() {
    for text in ["todo!()", "unimplemented!()", "dbg!(1)", "println!(\"x\")", "x.unwrap()", "x.unwrap_err()"] {
        assert_eq!(failures(leftovers, "src/a.rs", text).len(), 1, "{text}");
    }
    assert_eq!(failures(leftovers, "tests/a.rs", "dbg!(1)").len(), 1);
    assert!(
        failures(leftovers, "src/a.rs", "// todo!\nlet a = \"dbg!\"; eprintln!();\n#[cfg(test)]\nb.unwrap()")
            .is_empty()
    );
    assert_eq!(failures(sleeps, "tests/a.rs", "thread::sleep(a)").len(), 1);
    assert!(failures(sleeps, "tests/a.rs", "sleep_until(a) /* sleep( */").is_empty());
}

#[test]
fn blanking_knows_strings_characters_lifetimes_and_comments() {
    let text = "a(\"x \\\" y\", 'z', '\\'', r#\"u \" v\"#, b\"w\") /* c\n d */ + e<'f>::g // h\n'i";
    let code = blanked(text);
    assert_eq!(code.len(), text.len());
    assert_eq!(code.split_whitespace().collect::<String>(), "a(,,,,b)+e<'f>::g'i");
    assert_eq!(code.matches('\n').count(), 2);
}

#[test]
fn a_document_that_names_a_test_which_is_gone_fails() {
    let document = "| promise | unit `it_is_there`, `it_was_renamed`, `a word`, `Type` |";
    let names = crate::docs::names(document);
    assert_eq!(names.len(), 2);
    let code = ["fn it_is_there() {} fn it_was_renamed_later() {}".to_owned()];
    assert_eq!(crate::docs::unknown(&names, &code, &Default::default()), ["it_was_renamed"]);
}
