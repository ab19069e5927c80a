//! Asking a member for a change of members, and answering: the two ends of the conversation that `wire::admin` spells.

use std::time::Duration;

use actix::Message;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::link::{self, LinkError, receive_line, send_line};
use crate::consensus::Verdict;
use crate::wire::admin::{Greeting, Places, Question, proof};
use crate::wire::handshake::{Refused, Side, is_same_proof};
use crate::wire::members::{parse_verdict, verdict_text};

/// A change that takes longer is answered with "later".
pub const CHANGE_TIMEOUT: Duration = Duration::from_secs(10);
/// Who asks waits so long: for what the member may take, and the way there and back.
pub const ASK_TIMEOUT: Duration = Duration::from_secs(13);

/// What a member says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// To the question.
    pub verdict: Verdict,
    /// Where everybody is, as of now.
    pub places: Places,
}

/// Listener → Replicator: a question, and where its answer goes. At most [`super::listener::ADMINS_MAX`] at a time.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Asked {
    /// What.
    pub question: Question,
    /// To whom.
    pub answer: oneshot::Sender<Answer>,
}

/// Asks the member at an internal address.
pub async fn ask(address: &str, cluster_name: &str, secret: &str, question: &Question) -> Result<Answer, LinkError> {
    let asking = async {
        let mut stream = TcpStream::connect(address).await?;
        link::tune(&stream)?;
        let mine = greeting(cluster_name);
        send_line(&mut stream, &mine.print()).await?;
        let line = line_or_refusal(&mut stream).await?;
        let (theirs, given) = Greeting::parse(&line)?;
        if theirs.cluster_name != cluster_name {
            return Err(Refused::OtherName(theirs.cluster_name).into());
        }
        if !is_same_proof(given.unwrap_or(""), &proof(secret, Side::Acceptor, &mine, &theirs)) {
            return Err(Refused::WrongSecret.into());
        }
        send_line(&mut stream, &format!("proof|{}", proof(secret, Side::Dialer, &mine, &theirs))).await?;
        send_line(&mut stream, &question.print()).await?;
        let line = line_or_refusal(&mut stream).await?;
        let verdict = parse_verdict(&line).ok_or(Refused::NotAReplica)?;
        let (mut places, count) = Places::parse_head(&receive_line(&mut stream).await?).ok_or(Refused::NotAReplica)?;
        for _ in 0..count {
            places.addresses.push(Places::parse_row(&receive_line(&mut stream).await?).ok_or(Refused::NotAReplica)?);
        }
        Ok(Answer { verdict, places })
    };
    timeout(ASK_TIMEOUT, asking).await.unwrap_or(Err(LinkError::Timeout))
}

async fn line_or_refusal(stream: &mut TcpStream) -> Result<String, LinkError> {
    let line = receive_line(stream).await?;
    match line.strip_prefix("refuse|") {
        Some(why) => Err(LinkError::RefusedByPeer(why.to_owned())),
        None => Ok(line),
    }
}

/// The member's end: from the caller's first line to its question.
pub(super) async fn listen_to(
    stream: &mut TcpStream,
    first: &str,
    cluster_name: &str,
    secret: &str,
) -> Result<Question, LinkError> {
    let (theirs, _) = Greeting::parse(first)?;
    if theirs.cluster_name != cluster_name {
        return Err(Refused::OtherName(cluster_name.to_owned()).into());
    }
    let mine = greeting(cluster_name);
    send_line(stream, &format!("{}|{}", mine.print(), proof(secret, Side::Acceptor, &theirs, &mine))).await?;
    let line = receive_line(stream).await?;
    let given = line.strip_prefix("proof|").unwrap_or("");
    if !is_same_proof(given, &proof(secret, Side::Dialer, &theirs, &mine)) {
        return Err(Refused::WrongSecret.into());
    }
    Question::parse(&receive_line(stream).await?).ok_or(Refused::NotAReplica.into())
}

/// The member's end: the answer.
pub(super) async fn reply(stream: &mut TcpStream, answer: &Answer) -> Result<(), LinkError> {
    send_line(stream, &verdict_text(answer.verdict)).await?;
    send_line(stream, &answer.places.head()).await?;
    for address in &answer.places.addresses {
        send_line(stream, &Places::row(address)).await?;
    }
    Ok(())
}

fn greeting(cluster_name: &str) -> Greeting {
    let nonce = getrandom::u64().expect("the operating system gives random numbers");
    Greeting { cluster_name: cluster_name.to_owned(), nonce }
}
