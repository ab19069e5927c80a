//! Every limit of this crate, by name, with its unit in the name. Relations between them hold at compile time.
//!
//! What an operator may change (`limits.line_bytes`, `limits.list`) is handed in by the caller; its default stands
//! here.

/// A request line with its LF: the default of `limits.line_bytes`.
pub const LINE_BYTES_DEFAULT: usize = 8192;

/// The least that `limits.line_bytes` may be set to: below it a server line could outgrow what the protocol allows.
pub const LINE_BYTES_MIN: usize = 256;

/// By how much a server line may be longer than a request.
pub const SERVER_LINE_EXTRA_BYTES: usize = 256;

/// A folded name.
pub const NAME_BYTES_MAX: usize = 64;

/// An idempotency key, without its `@`.
pub const KEY_BYTES_MAX: usize = 64;

/// Keys that an account's memory holds; the oldest go first.
pub const KEYS_PER_ACCOUNT_MAX: usize = 1024;

/// A password hash in PHC form. Argon2id with 16 bytes of salt and 32 of output takes 97.
pub const PASSWORD_HASH_BYTES_MAX: usize = 256;

/// Names in one answer to `list`: the default of `limits.list`.
pub const LIST_NAMES_DEFAULT: usize = 1000;

/// The largest `n` of `6|n`.
pub const DELIVER_MESSAGES_MAX: u32 = 1_000_000_000;

/// The largest id that a request may name: what SQLite can hold.
pub const MESSAGE_ID_MAX: u64 = i64::MAX as u64;

/// Messages in one answer to `history`, where the request does not say.
pub const HISTORY_MESSAGES_DEFAULT: u32 = 20;

/// The largest `n` of `history`.
pub const HISTORY_MESSAGES_MAX: u32 = 1000;

/// A compiled regex. `\w` takes about 25 KiB of it, so ordinary patterns stay far below.
pub const REGEX_COMPILED_BYTES_MAX: usize = 1 << 20;

/// How deep a regex may nest: its parser recurses.
pub const REGEX_NEST_LEVELS_MAX: u32 = 50;

/// The human text after a code; longer ones are cut. Keeps every refusal within [`SERVER_LINE_EXTRA_BYTES`].
pub const HUMAN_TEXT_BYTES_MAX: usize = 320;

/// What a refusal quotes of a client's words.
pub const QUOTE_BYTES_MAX: usize = 80;

/// Messages that a query takes from storage at a time, so that a byte limit also bounds what is read for it.
pub const QUERY_PAGE_MESSAGES: usize = 64;

/// Deliveries, or parts of a large one, that one step of the retention looks at.
pub const EXPIRE_DELIVERIES_MAX: usize = 64;

/// Messages that it takes away of each.
pub const EXPIRE_PAGE_MESSAGES: usize = 16;

/// `u64::MAX` in decimal.
const NUMBER_DIGITS_MAX: usize = 20;
/// `2026-01-02T03:04:05.678Z`.
const TIME_BYTES: usize = 24;
/// The longest code, `TOO_MANY_CONNECTIONS`.
const CODE_BYTES_MAX: usize = 20;

/// The longest that a `msg` or `past` line can be beyond its text, with its LF.
pub const MESSAGE_LINE_OVERHEAD_BYTES: usize =
    "past|||||\n".len() + NUMBER_DIGITS_MAX + 2 * NAME_BYTES_MAX + TIME_BYTES;

/// The longest final line that carries a human text.
const REFUSAL_LINE_BYTES_MAX: usize = "@||retry||\n".len() + KEY_BYTES_MAX + CODE_BYTES_MAX + HUMAN_TEXT_BYTES_MAX;

const _: () = assert!(LINE_BYTES_MIN <= LINE_BYTES_DEFAULT);
const _: () = assert!(MESSAGE_LINE_OVERHEAD_BYTES <= SERVER_LINE_EXTRA_BYTES, "a text that came in must go out");
const _: () = assert!(REFUSAL_LINE_BYTES_MAX <= LINE_BYTES_MIN + SERVER_LINE_EXTRA_BYTES);
const _: () = assert!(2 * NAME_BYTES_MAX + KEY_BYTES_MAX < LINE_BYTES_MIN, "the longest name and key can be sent to");
const _: () = assert!(6 * QUOTE_BYTES_MAX / 4 < HUMAN_TEXT_BYTES_MAX, "a quotation leaves room for the sentence");
const _: () = assert!(0 < HISTORY_MESSAGES_DEFAULT && HISTORY_MESSAGES_DEFAULT <= HISTORY_MESSAGES_MAX);
const _: () = assert!(KEYS_PER_ACCOUNT_MAX > 0 && QUERY_PAGE_MESSAGES > 0 && DELIVER_MESSAGES_MAX > 0);
