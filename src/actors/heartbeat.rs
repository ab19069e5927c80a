//! Heartbeat: owns *who is alive*. It keeps the pulse links, which carry nothing but pulses, says when a round of
//! pulses is due, and looks for evidence that a process is gone. What a pulse says is the node's business.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Actor, AsyncContext, Context, Handler, Recipient};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::internal::{Attach, FromHeartbeat, LinkEnded, ToElection, ToHeartbeat};
use super::link::{self, Identity, LinkError, Outbox};
use super::silence::Silence;
use crate::consensus::{Frame, Member, ReplicaId, Role, Run};
use crate::wire::PeerLine;
use crate::wire::handshake::Kind;

/// A process whose connection ended is gone, unless the same run answers a new one within this time. A process dies
/// descriptor by descriptor, so that its port may still accept while its pulse link has ended: such a connection is not
/// answered.
pub const PROBE_TIMEOUT: Duration = Duration::from_millis(10);
/// No pulse line is longer.
const PULSE_LINE_BYTES_MAX: usize = 4096;
/// A pulse link with so many unsent bytes is full: the next pulse is dropped, the next round makes up for it.
const PULSE_OUT_BYTES_MAX: usize = 4096;

/// See the module's header.
pub struct Heartbeat {
    me: ReplicaId,
    interval: Duration,
    /// A replica that a leader has not heard of for so long is not alive.
    silence_max: Duration,
    identity: Identity,
    replicator: Recipient<FromHeartbeat>,
    election: Recipient<ToElection>,
    links: BTreeMap<ReplicaId, PulseLink>,
    generation: u64,
    leads: bool,
    /// Its timer is armed.
    ticks: bool,
    /// A round was asked for and not yet handled: a replicator that hangs sends no pulses, and gathers no ticks.
    tick_is_out: bool,
    /// The last round is awaited: its answers are handed over as they come.
    is_awaited: bool,
    /// Answers to a round for which nobody waits. They go with the next tick, and do not wake the serving thread by themselves.
    answers: Vec<(Member, Vec<PeerLine>)>,
    living: BTreeSet<ReplicaId>,
    /// Of whose death proof is looked for, while they have no pulse link; and for whom a look is under way.
    watched: Vec<(Member, Run)>,
    looking: BTreeSet<ReplicaId>,
    /// Where silence counts as death.
    silence: Option<Silence>,
}

struct PulseLink {
    member: Member,
    run: Run,
    generation: u64,
    outbox: Arc<Outbox>,
    heard: Instant,
    tasks: [JoinHandle<()>; 2],
    _alive: oneshot::Sender<()>,
}

impl Drop for PulseLink {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// What a heartbeat is made with.
pub struct HeartbeatSettings {
    /// This replica.
    pub me: ReplicaId,
    /// The time between rounds of pulses.
    pub interval: Duration,
    /// Silence after which a replica is not alive.
    pub silence_max: Duration,
    /// Silence after which a replica counts as dead, if that is ever.
    pub drop_silent_after: Option<Duration>,
    /// For probes.
    pub identity: Identity,
}

impl Heartbeat {
    /// A heartbeat without links.
    pub fn new(
        settings: HeartbeatSettings,
        replicator: Recipient<FromHeartbeat>,
        election: Recipient<ToElection>,
    ) -> Self {
        let HeartbeatSettings { me, interval, silence_max, drop_silent_after, identity } = settings;
        Self {
            me,
            interval,
            silence_max,
            identity,
            replicator,
            election,
            links: BTreeMap::new(),
            generation: 0,
            leads: false,
            ticks: false,
            tick_is_out: false,
            is_awaited: false,
            answers: Vec::new(),
            living: BTreeSet::new(),
            watched: Vec::new(),
            looking: BTreeSet::new(),
            silence: drop_silent_after.map(|after| Silence::new(after, Instant::now())),
        }
    }

    /// One timer, armed anew each time: ticks are not counted, and do not pile up. None while nothing comes round by the
    /// clock, as on an idle follower, whose processor may sleep.
    fn arm(&mut self, ctx: &mut Context<Self>) {
        let needed = self.leads || self.silence.is_some() || !self.watched.is_empty();
        if needed && !self.ticks {
            self.ticks = true;
            ctx.run_later(self.interval, Self::tick);
        }
    }

    fn tick(&mut self, ctx: &mut Context<Self>) {
        self.ticks = false;
        // Where silence counts, everybody gives signs of life, and not only who leads.
        if (self.leads || self.silence.is_some()) && !self.tick_is_out {
            self.tick_is_out = true;
            let answers = std::mem::take(&mut self.answers);
            self.replicator.do_send(FromHeartbeat::PulseDue(answers));
        }
        self.tell_who_lives();
        if let Some(found) = self.silence.as_mut().and_then(|silence| silence.look(Instant::now())) {
            self.tell(FromHeartbeat::Silence(found));
        }
        self.look_for_proof(ctx);
        self.arm(ctx);
    }

    /// Everything is told in the order in which it came to be known.
    fn tell(&mut self, news: FromHeartbeat) {
        self.hand_over_answers();
        self.replicator.do_send(news);
    }

    fn hand_over_answers(&mut self) {
        for (member, lines) in self.answers.drain(..) {
            self.replicator.do_send(FromHeartbeat::Lines(member, lines));
        }
    }

    /// Whether nobody minds if these lines come with the next tick. One of each peer: a second one is for a second round.
    fn can_wait(&self, member: Member, lines: &[PeerLine]) -> bool {
        let says_little =
            |line: &PeerLine| matches!(line, PeerLine::Frame(Frame::BeatReply { .. }) | PeerLine::News(_));
        self.leads
            && !self.is_awaited
            && self.silence.is_none()
            && lines.iter().all(says_little)
            && self.answers.iter().all(|(of, _)| *of != member)
    }

    fn tell_who_lives(&mut self) {
        let now = Instant::now();
        let answers = |link: &PulseLink| !self.leads || now.duration_since(link.heard) <= self.silence_max;
        let mut living: BTreeSet<ReplicaId> =
            self.links.iter().filter(|(_, link)| answers(link)).map(|(id, _)| *id).collect();
        living.insert(self.me);
        if living != self.living {
            self.living = living.clone();
            self.tell(FromHeartbeat::Living(living.clone()));
            self.election.do_send(ToElection::Living(living));
        }
    }

    /// The link ended: is the process gone, or only the connection?
    fn look_for_evidence(&self, member: Member, run: Run) {
        let id = member.id;
        let Some(address) = self.identity.book.borrow().internal(id).map(str::to_owned) else { return };
        let (identity, replicator, election) = (self.identity.clone(), self.replicator.clone(), self.election.clone());
        actix_rt::spawn(async move {
            let found = timeout(PROBE_TIMEOUT, probe(&identity, &address, id, run)).await.unwrap_or(Found::Nothing);
            if found == Found::Death {
                replicator.do_send(FromHeartbeat::Dead(member, run));
            }
            if found != Found::Life {
                election.do_send(ToElection::Gone(id, run));
            }
        });
    }

    /// A process dies descriptor by descriptor, and a link may never have come up: who is watched is looked for until
    /// there is proof of its death, or it is linked again.
    fn look_for_proof(&mut self, ctx: &Context<Self>) {
        for (member, run) in self.watched.clone() {
            let linked = self.links.get(&member.id).is_some_and(|link| (link.member, link.run) == (member, run));
            let address = self.identity.book.borrow().internal(member.id).map(str::to_owned);
            let Some(address) = address.filter(|_| !linked) else { continue };
            if !self.looking.insert(member.id) {
                continue;
            }
            let (identity, heartbeat) = (self.identity.clone(), ctx.address());
            actix_rt::spawn(async move {
                let is_dead = probe(&identity, &address, member.id, run).await == Found::Death;
                heartbeat.do_send(Looked { member, run, is_dead });
            });
        }
    }

    fn start_tasks(
        &self,
        stream: TcpStream,
        member: Member,
        ctx: &Context<Self>,
    ) -> (Arc<Outbox>, [JoinHandle<()>; 2]) {
        let (read, write) = stream.into_split();
        let outbox = Arc::new(Outbox::default());
        let (id, generation) = (member.id, self.generation);
        let writer = {
            let (outbox, addr) = (Arc::clone(&outbox), ctx.address());
            actix_rt::spawn(async move {
                // How it failed does not matter: that it ended does.
                let _ = outbox.write_to(write).await;
                addr.do_send(LinkEnded { id, generation });
            })
        };
        let reader = {
            let (addr, heartbeat) = (ctx.address(), ctx.address().recipient::<Heard>());
            actix_rt::spawn(async move {
                let hand_over = |lines| {
                    let sent = heartbeat.send(Heard { member, lines });
                    async move { sent.await.is_ok() }
                };
                let _ = link::read_from(read, PULSE_LINE_BYTES_MAX, hand_over).await;
                addr.do_send(LinkEnded { id, generation });
            })
        };
        (outbox, [reader, writer])
    }
}

/// What a connection to a replica's address says of one run of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// That very run answers.
    Life,
    /// The host refuses the connection, so that nobody listens there, as a living run always does; or another run has
    /// the address.
    Death,
    /// No answer, or one that is not of a replica.
    Nothing,
}

async fn probe(identity: &Identity, address: &str, id: ReplicaId, run: Run) -> Found {
    match identity.dial(address, id, Kind::Probe).await {
        Ok((_, hello)) if hello.who.run == run => Found::Life,
        Ok(_) => Found::Death,
        Err(LinkError::Io(error)) if error.kind() == io::ErrorKind::ConnectionRefused => Found::Death,
        Err(_) => Found::Nothing,
    }
}

/// A look for proof → Heartbeat: it is over.
#[derive(actix::Message)]
#[rtype(result = "()")]
struct Looked {
    member: Member,
    run: Run,
    is_dead: bool,
}

impl Handler<Looked> for Heartbeat {
    type Result = ();

    fn handle(&mut self, looked: Looked, _: &mut Self::Context) {
        self.looking.remove(&looked.member.id);
        if looked.is_dead {
            self.tell(FromHeartbeat::Dead(looked.member, looked.run));
        }
    }
}

/// The reader task of a pulse link → Heartbeat.
#[derive(actix::Message)]
#[rtype(result = "()")]
struct Heard {
    member: Member,
    lines: Vec<PeerLine>,
}

impl Actor for Heartbeat {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.tell_who_lives();
        self.arm(ctx);
    }
}

impl Handler<Attach> for Heartbeat {
    type Result = ();

    fn handle(&mut self, attach: Attach, ctx: &mut Self::Context) {
        let who = &attach.hello.who;
        // One that was accepted belongs to the reactor of the serving thread. Left there,
        //   1. clients keep that thread busy;
        //   2. a pulse arrives, and is not noticed until that thread looks at its sockets again, although this one has nothing to
        //      do;
        //   3. who is well is taken for silent.
        let stream = match attach.stream.into_std().and_then(TcpStream::from_std) {
            Ok(stream) => stream,
            Err(error) => return log::warn!("the reactor does not take the pulse link of {}: {error}", who.member.id),
        };
        self.generation += 1;
        self.hand_over_answers();
        let (outbox, tasks) = self.start_tasks(stream, who.member, ctx);
        let link = PulseLink {
            member: who.member,
            run: who.run,
            generation: self.generation,
            outbox,
            heard: Instant::now(),
            tasks,
            _alive: attach.alive,
        };
        self.identity.links.up(who.member.id, Kind::Pulse, who.run);
        if let Some(silence) = &mut self.silence {
            silence.heard(who.member, who.run, link.heard);
        }
        let before = self.links.insert(who.member.id, link);
        if let Some(before) = before.filter(|before| before.run != who.run) {
            // The end of the old link did not come, but a newer run of that replica did.
            self.election.do_send(ToElection::Gone(before.member.id, before.run));
        }
        self.tell_who_lives();
    }
}

impl Handler<LinkEnded> for Heartbeat {
    type Result = ();

    fn handle(&mut self, ended: LinkEnded, _: &mut Self::Context) {
        if self.links.get(&ended.id).is_some_and(|link| link.generation == ended.generation)
            && let Some(link) = self.links.remove(&ended.id)
        {
            self.hand_over_answers();
            self.identity.links.down(ended.id, Kind::Pulse);
            self.look_for_evidence(link.member, link.run);
            self.tell_who_lives();
        }
    }
}

impl Handler<Heard> for Heartbeat {
    type Result = ();

    fn handle(&mut self, heard: Heard, _: &mut Self::Context) {
        if let Some(link) = self.links.get_mut(&heard.member.id).filter(|link| link.member == heard.member) {
            link.heard = Instant::now();
            if let Some(silence) = &mut self.silence {
                silence.heard(link.member, link.run, link.heard);
            }
            if self.can_wait(heard.member, &heard.lines) {
                self.answers.push((heard.member, heard.lines));
            } else {
                self.tell(FromHeartbeat::Lines(heard.member, heard.lines));
            }
        }
    }
}

impl Handler<ToHeartbeat> for Heartbeat {
    type Result = ();

    fn handle(&mut self, message: ToHeartbeat, ctx: &mut Self::Context) {
        match message {
            ToHeartbeat::Watch(watched) => {
                if let Some(silence) = &mut self.silence {
                    silence.watch(&watched, Instant::now());
                }
                self.watched = watched;
                self.arm(ctx);
            }
            ToHeartbeat::Standing(standing) => {
                let leads = standing.role == Role::Leader;
                if leads && !self.leads {
                    // Nobody had a pulse to answer before.
                    self.links.values_mut().for_each(|link| link.heard = Instant::now());
                }
                self.leads = leads;
                self.hand_over_answers();
                self.tell_who_lives();
                self.arm(ctx);
            }
            ToHeartbeat::Pulses { lines, ticked, awaited } => {
                self.tick_is_out &= !ticked;
                self.is_awaited = awaited;
                if awaited {
                    self.hand_over_answers();
                }
                for (id, lines) in lines {
                    if let Some(link) = self.links.get(&id).filter(|link| link.outbox.len() < PULSE_OUT_BYTES_MAX) {
                        link.outbox.put(&lines);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::sync::atomic::AtomicU64;
    use std::sync::{Mutex, OnceLock, mpsc};

    use actix::{Addr, Arbiter};
    use tokio::net::TcpListener;
    use tokio::sync::watch;

    use super::*;
    use crate::actors::directory::{Book, Doom, LinkTable};
    use crate::actors::internal::Shared;
    use crate::consensus::founding::Introduction;
    use crate::consensus::{Boot, FoundingState, Incarnation, Index, Round, Standing, Term};
    use crate::wire::handshake::Hello;

    /// Longer than a line takes on a busy machine.
    const LINE_WAIT: Duration = Duration::from_secs(10);

    /// Repeats whose lines come, and whether with a tick.
    struct Ears(mpsc::Sender<(ReplicaId, bool)>);

    impl Actor for Ears {
        type Context = Context<Self>;
    }

    impl Handler<FromHeartbeat> for Ears {
        type Result = ();

        fn handle(&mut self, news: FromHeartbeat, _: &mut Self::Context) {
            let (lines, with_tick) = match news {
                FromHeartbeat::Lines(member, lines) => (vec![(member, lines)], false),
                FromHeartbeat::PulseDue(answers) => (answers, true),
                _ => return,
            };
            for (member, _) in lines {
                self.0.send((member.id, with_tick)).expect("the test listens");
            }
        }
    }

    impl Handler<ToElection> for Ears {
        type Result = ();

        fn handle(&mut self, _: ToElection, _: &mut Self::Context) {}
    }

    fn introduction(id: u16) -> Introduction {
        Introduction {
            member: Member { id: ReplicaId(id), incarnation: Incarnation(1) },
            run: Run { boot: Boot(1), nonce: 7 },
            cluster: None,
            founding: FoundingState::Blank,
            book: 7,
            joins: false,
            last: Index(0),
        }
    }

    fn settings() -> HeartbeatSettings {
        let shared = Shared {
            introduction: Mutex::new(introduction(1)),
            cluster: Arc::new(OnceLock::new()),
            term: AtomicU64::new(0),
            commit: AtomicU64::new(0),
        };
        let identity = Identity {
            cluster_name: "test".to_owned(),
            secret: String::new(),
            book: watch::channel(Book::default()).1,
            shared: Arc::new(shared),
            links: Arc::<LinkTable>::default(),
            doom: Doom::default(),
        };
        let (interval, silence_max) = (LINE_WAIT, LINE_WAIT);
        HeartbeatSettings { me: ReplicaId(1), interval, silence_max, drop_silent_after: None, identity }
    }

    /// A pulse link to replica 2, accepted on this thread; and its other end.
    async fn attach(heartbeat: &Addr<Heartbeat>) -> std::net::TcpStream {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
        let address = listener.local_addr().expect("bound");
        let far = std::net::TcpStream::connect(address).expect("it listens");
        let (stream, _) = listener.accept().await.expect("a connection waits");
        let hello = Hello {
            kind: Kind::Pulse,
            cluster_name: "test".to_owned(),
            to: ReplicaId(1),
            who: introduction(2),
            nonce: 7,
        };
        let attached = heartbeat.send(Attach { hello, stream, alive: oneshot::channel().0 }).await;
        attached.expect("it lives");
        far
    }

    fn leads() -> ToHeartbeat {
        ToHeartbeat::Standing(Standing { role: Role::Leader, term: Term(1), leader: Some(ReplicaId(1)) })
    }

    fn pulses(awaited: bool) -> ToHeartbeat {
        ToHeartbeat::Pulses { lines: Vec::new(), ticked: true, awaited }
    }

    fn answer() -> Heard {
        let reply = Frame::BeatReply { term: Term(1), round: Round(1), received: Index(0) };
        Heard { member: introduction(2).member, lines: vec![PeerLine::Frame(reply)] }
    }

    #[actix_rt::test]
    async fn a_pulse_is_heard_while_the_thread_that_accepted_its_link_is_busy() {
        let (pulse, (told, heard)) = (Arbiter::new(), mpsc::channel());
        let ears = Ears::start_in_arbiter(&pulse.handle(), |_| Ears(told));
        let heartbeat = Heartbeat::start_in_arbiter(&pulse.handle(), |_| {
            Heartbeat::new(settings(), ears.clone().recipient(), ears.recipient())
        });
        let mut far = attach(&heartbeat).await;
        far.write_all(b"clock|5\n").expect("it reads");
        // This blocks the thread: its reactor looks at nothing.
        assert_eq!(heard.recv_timeout(LINE_WAIT), Ok((ReplicaId(2), false)));
        pulse.stop();
    }

    #[actix_rt::test]
    async fn an_answer_waits_for_the_tick_unless_a_read_waits_for_it() {
        let (told, heard) = mpsc::channel();
        let ears = Ears(told).start();
        let heartbeat = Heartbeat::new(settings(), ears.clone().recipient(), ears.clone().recipient()).start();
        let _far = attach(&heartbeat).await;
        let how_many = async || {
            // It is handled behind all that was told before.
            ears.send(FromHeartbeat::PulseDue(Vec::new())).await.expect("it lives");
            heard.try_iter().count()
        };
        heartbeat.send(leads()).await.expect("it lives");
        heartbeat.send(answer()).await.expect("it lives");
        assert_eq!(how_many().await, 0, "nobody waits for it, and the tick is far");
        heartbeat.send(pulses(true)).await.expect("it lives");
        assert_eq!(how_many().await, 1, "what is known is told to whom a read waits for");
        heartbeat.send(answer()).await.expect("it lives");
        assert_eq!(how_many().await, 1, "at once");
        heartbeat.send(pulses(false)).await.expect("it lives");
        heartbeat.send(answer()).await.expect("it lives");
        assert_eq!(how_many().await, 0, "the read was answered");
        heartbeat.send(answer()).await.expect("it lives");
        assert_eq!(how_many().await, 2, "what came first is told first");
    }

    #[actix_rt::test]
    async fn what_waits_goes_with_the_tick() {
        let (pulse, (told, heard)) = (Arbiter::new(), mpsc::channel());
        let ears = Ears::start_in_arbiter(&pulse.handle(), |_| Ears(told));
        let settings = HeartbeatSettings { interval: Duration::from_millis(10), ..settings() };
        let heartbeat = Heartbeat::start_in_arbiter(&pulse.handle(), |_| {
            Heartbeat::new(settings, ears.clone().recipient(), ears.recipient())
        });
        let _far = attach(&heartbeat).await;
        heartbeat.send(leads()).await.expect("it lives");
        heartbeat.send(answer()).await.expect("it lives");
        // A tick that came before the answer was handled: the next may come.
        heartbeat.send(pulses(false)).await.expect("it lives");
        assert_eq!(heard.recv_timeout(LINE_WAIT), Ok((ReplicaId(2), true)));
        pulse.stop();
    }
}
