//! A server's line as our client reads it: any text is some [`ServerLine`], and printing one loses nothing that counts.

use chat::{Reply, ServerLine};

/// Panics where a promise is broken.
pub fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    text.split('\n').for_each(line);
}

fn line(line: &str) {
    let read = ServerLine::parse(line);
    let printed = read.to_string();
    let again = ServerLine::parse(&printed);
    // Human texts are escaped and cut when they are printed, so that the first printing may differ; the second not.
    assert_eq!(again.to_string(), printed);
    assert_eq!(std::mem::discriminant(&again), std::mem::discriminant(&read), "{printed:?}");
    match &read {
        ServerLine::Final { key, .. } => {
            // As `client` keeps a final line: without its key, to be read again.
            let key_bytes = key.map_or(0, |key| "@|".len() + key.len());
            assert!(Reply::parse(&line[key_bytes..]).is_some());
            assert!(matches!(again, ServerLine::Final { key: said, .. } if said == *key));
        }
        ServerLine::Note { .. } | ServerLine::Bye { .. } => {}
        _ => assert_eq!(again, read),
    }
}
