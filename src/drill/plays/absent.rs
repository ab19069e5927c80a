//! A reader whose connection stands and carries nothing: to its replica it is online, and pushed to.

use std::collections::HashSet;
use std::time::Duration;

use crate::drill::client::Reply;
use crate::drill::load::number;
use crate::drill::stage::{READER, Stage};
use crate::drill::{DrillError, LineClient, Msg};

/// Acknowledged between two faults.
const BETWEEN: usize = 25;
/// Between two lines of a reader. A kernel that was not answered for a while waits that long again before it repeats
/// itself.
const LINE_WAIT: Duration = Duration::from_secs(30);

/// What a kernel holds is read at once.
const IS_THERE: Duration = Duration::from_millis(10);

/// What the reader was shown, on one connection after the other. Like any careful client it passes over what an earlier
/// connection has shown: whether that one's kernel was heard when it took a message is what nobody knows who is cut off.
#[derive(Debug, Default)]
struct Shown {
    last: u64,
    texts: Vec<String>,
}

impl Shown {
    /// Takes what one connection shows, in its order.
    fn take(&mut self, message: Msg) {
        self.last = message.id;
        self.texts.push(message.text);
    }
}

pub fn half_dead_reader(stage: &mut Stage) -> Result<(), DrillError> {
    let (_, followers) = stage.roles()?;
    let (home, elsewhere) = (followers[0], followers[1]);
    stage.route(&followers[2..]);
    stage.flow(BETWEEN)?;
    let guest = stage.network().guest();
    let stream = stage.network().connect_from_guest(stage.cluster.address(home), LINE_WAIT)?;
    let mut reader = LineClient::greet(stream, LINE_WAIT)?;
    let mut shown = Shown::default();
    let waiting = log_in(&mut reader)?;
    waiting.into_iter().for_each(|message| shown.take(message));

    // What its acknowledgements, and then all its packets, cannot say for it is not marked. It comes late, and once.
    for (label, both) in [("the reader is not heard", false), ("the reader is cut off", true)] {
        catch_up(stage, &mut reader, &mut shown)?;
        let deaf: &[(&[u16], &[u16])] = &[(&[guest], &[home]), (&[home], &[guest])];
        stage.cut(label, if both { deaf } else { &deaf[..1] })?;
        // One may have been taken, and not answered yet, before the cut.
        let before = stage.acked() + 1;
        stage.flow(BETWEEN)?;
        let until = stage.acked();
        let waiting = undelivered(stage, elsewhere)?;
        let kept = (before + 1..=until).all(|number| waiting.contains(&number));
        stage.promise(kept, "a message was marked that its reader cannot have acknowledged");
        stage.join()?;
        stage.flow(BETWEEN)?;
    }
    catch_up(stage, &mut reader, &mut shown)?;

    // Its host is never heard of again: another one shows the rest.
    stage.cut("the reader's host is gone", &[(&[guest], &[home]), (&[home], &[guest])])?;
    stage.flow(BETWEEN)?;
    take_what_came(&mut reader, &mut shown)?;
    drop(reader);
    let mut reader = stage.cluster.connect(elsewhere, LINE_WAIT)?;
    let again = log_in(&mut reader)?;
    let (passed_over, new): (Vec<Msg>, Vec<Msg>) = again.into_iter().partition(|message| message.id <= shown.last);
    stage.fact("shown_again", passed_over.len());
    new.into_iter().for_each(|message| shown.take(message));
    let written = stage.end_of_writing()?.len();
    while shown.texts.len() < written {
        shown.take(reader.push()?);
    }
    stage.has_read(shown.texts);
    Ok(())
}

/// Logs in, in automatic mode, and takes what waits.
fn log_in(reader: &mut LineClient) -> Result<Vec<Msg>, DrillError> {
    accepted(reader, &format!("2|{READER}"))?;
    let mut messages = accepted(reader, "6|")?.messages()?;
    messages.extend(reader.pushes_so_far());
    messages.sort_by_key(|message| message.id);
    Ok(messages)
}

/// Reads until everything was shown that is acknowledged now.
fn catch_up(stage: &Stage, reader: &mut LineClient, shown: &mut Shown) -> Result<(), DrillError> {
    let acked = stage.acked();
    while shown.texts.len() < acked {
        shown.take(reader.push()?);
    }
    Ok(())
}

/// Reads what the reader's kernel had taken when it was cut off: that it has acknowledged, and it comes to nobody else.
fn take_what_came(reader: &mut LineClient, shown: &mut Shown) -> Result<(), DrillError> {
    reader.set_timeout(IS_THERE);
    loop {
        match reader.push() {
            Ok(message) => shown.take(message),
            Err(DrillError::Timeout { .. }) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

/// The numbers of what waits for the reader, as another connection of his sees it, which leaves it there.
fn undelivered(stage: &Stage, at: u16) -> Result<HashSet<usize>, DrillError> {
    let mut client = stage.cluster.connect(at, LINE_WAIT)?;
    accepted(&mut client, "9|0")?;
    accepted(&mut client, &format!("2|{READER}"))?;
    let waiting = accepted(&mut client, "6|")?.messages()?;
    Ok(waiting.iter().filter_map(|message| number(&message.text)).collect())
}

fn accepted(client: &mut LineClient, request: &str) -> Result<Reply, DrillError> {
    let answer = client.request(request)?;
    match answer.is_ok() {
        true => Ok(answer),
        false => Err(DrillError::Refused { request: request.to_owned(), answer: answer.last }),
    }
}
