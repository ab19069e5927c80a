//! A refusal for good: the code a script tests, and the sentence a person reads.

use std::borrow::Cow;

use crate::ErrCode;

/// Why a request was refused; nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {text}")]
pub struct Refusal {
    /// What a script tests.
    pub code: ErrCode,
    /// What a person reads. It may quote the client; the reply escapes it.
    pub text: Cow<'static, str>,
}

impl Refusal {
    /// A refusal with a sentence of its own.
    pub fn new(code: ErrCode, text: impl Into<Cow<'static, str>>) -> Self {
        Self { code, text: text.into() }
    }

    /// A refusal with the sentence that always goes with its code. Outcomes hold only these, so that replicas agree
    /// on them to the byte.
    pub const fn of(code: ErrCode) -> Self {
        Self { code, text: Cow::Borrowed(sentence(code)) }
    }

    /// A `create` without a password where `accounts.require_password` is set.
    pub const fn password_required() -> Self {
        Self { code: ErrCode::Forbidden, text: Cow::Borrowed("accounts need a password here: 1|name|password") }
    }

    /// `BAD_REQUEST` with a sentence of its own.
    pub(crate) fn bad_request(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrCode::BadRequest, text)
    }
}

const fn sentence(code: ErrCode) -> &'static str {
    match code {
        ErrCode::BadRequest => "not a request; 'help' lists what is served",
        ErrCode::TooLong => "the line is too long and was skipped; send a shorter one",
        ErrCode::NotUtf8 => "the line is not UTF-8 and was skipped; send it as UTF-8",
        ErrCode::BadName => "no account can have this name",
        ErrCode::BadText => "a text is 1 byte or more, without control characters other than tab",
        ErrCode::BadRegex => "the regex does not compile",
        ErrCode::NameTaken => "there is an account of this name; choose another, or log in",
        ErrCode::NoSuchUser => "there is no account of this name; 'list' shows the names",
        ErrCode::WrongPassword => "the password does not fit the account",
        ErrCode::NotLoggedIn => "log in first: 2|name|password, or create an account: 1|name|password",
        ErrCode::NoSuchMessage => "no such message in your view; 'history' shows the latest",
        ErrCode::MailboxFull => {
            "the recipient's mailbox is full: nothing was stored; it has room once they read their mail"
        }
        ErrCode::KeyReused => "this key already names another request; take a new key",
        ErrCode::Forbidden => "this cluster has as many accounts as it may",
    }
}
