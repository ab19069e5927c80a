//! One replica, run until it is told to stop: ports, data directory, threads and actors are made here, wired to each
//! other, and ended in the right order. Beside `actors`, the only place that knows actix.

mod by_config;

use std::collections::BTreeSet;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::num::NonZeroU32;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use actix::{Actor, Addr, Arbiter, ArbiterHandle, System};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{oneshot, watch};

use crate::actors::acceptor::{Door, Reception};
use crate::actors::archivist::{self, ArchivistSettings};
use crate::actors::courier::{self, CourierSettings};
use crate::actors::directory::{Book, Doom, LinkTable};
use crate::actors::election::{Election, timers::Timers};
use crate::actors::hasher::Hasher;
use crate::actors::heartbeat::{Heartbeat, HeartbeatSettings};
use crate::actors::internal::{Ending, Shared, Stop};
use crate::actors::joining;
use crate::actors::link::Identity;
use crate::actors::listener::{self, Owners};
use crate::actors::peer::{Peers, announce, keep_dialed};
use crate::actors::replicator::{Connect, MARKS_BYTES_MAX, Outlets, Replicator, ReplicatorSettings};
use crate::actors::session::{Attempts, Links, SessionConfig};
use crate::actors::store;
use crate::config::{self, Config, ReplicaConfig, Replication};
use crate::consensus::{ClusterId, Recovered, ReplicaId, Run, Settings};
use crate::machine::body::mode_word;
use crate::mode::Core;
use crate::storage::{self, Opened, StorageError};
use crate::wire::admin::Places;
use crate::wire::handshake::Kind;
use crate::{descriptors, panics, wire};

/// Connections that wait in the kernel to be accepted.
const BACKLOG: i32 = 1024;
/// A state that was derived so often in one run and is damaged again would be for ever.
const REBUILDS_MAX: u32 = 3;
/// After serving has ended, the pulse thread gets so long to end.
const ARBITER_END: Duration = Duration::from_secs(1);

// Whatever a replica may say fits a line between replicas.
const _: () = assert!(
    config::LINE_BYTES_MAX as usize + wire::limits::LINE_OVERHEAD_BYTES <= wire::limits::LINE_BYTES_MAX
        && MARKS_BYTES_MAX + wire::limits::LINE_OVERHEAD_BYTES <= wire::limits::LINE_BYTES_MAX
);

/// Why a replica does not run, or has stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The config does not name this replica.
    #[error("no replica {id} in the config: it names {known}; choose one with -i, or add it to `replicas`")]
    NoSuchReplica {
        /// The id asked for.
        id: u16,
        /// The ids there are, as text.
        known: String,
    },
    /// What the config asks for cannot be: for example, a host that is not this machine.
    #[error("{0}")]
    Config(String),
    /// Another process listens there.
    #[error("{address} is taken: find who holds it with `ss -ltnp`, end it, or choose another port in the config")]
    PortTaken {
        /// The address that could not be bound.
        address: String,
    },
    /// The cluster does not let it in.
    #[error("this replica cannot join: {0}")]
    NotLetIn(String),
    /// It was removed.
    #[error(
        "replica {id} was removed from the cluster, and serves no more; to take it in again, set {} aside, and start \
         it with --join HOST:PORT of a member",
        dir.display()
    )]
    Removed {
        /// Which.
        id: u16,
        /// Its data directory.
        dir: PathBuf,
    },
    /// Another process has its id.
    #[error(
        "another process runs as replica {id} of this cluster and was there first: end it, or give this one an id of its own"
    )]
    Twin {
        /// Which.
        id: u16,
    },
    /// The disk failed, is damaged, is locked or is another replica's.
    #[error("{0}")]
    Storage(String),
    /// Anything else the system refused.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// Runs replica `id` of `config` until SIGTERM or SIGINT, or until it can go on no longer. With `join`, the internal
/// address of any member, it is or becomes one of a cluster that runs already.
pub fn run(config: &Config, id: u16, join: Option<&str>) -> Result<(), ServerError> {
    let Some(replica) = config.replica(id) else {
        let known: Vec<_> = config.replicas.iter().map(|replica| replica.id.to_string()).collect();
        return Err(ServerError::NoSuchReplica { id, known: known.join(", ") });
    };
    if join.is_some() && config.replication == Replication::PrimaryBackup {
        return Err(ServerError::Config(
            "--join is for `replication: quorum`: with primary-backup the members are those of the founding; start this \
             replica without it, also on a blank disk"
                .to_owned(),
        ));
    }
    let dir = config.replica_dir(id);
    let mut rebuilds = 0;
    loop {
        // Ports first: a process that cannot serve must not count a boot.
        let (clients, peers) = (bind(replica, replica.port)?, bind(replica, replica.internal_port)?);
        let opened = open(&dir, ReplicaId(id), &config.cluster)?;
        let given = match join {
            None => by_config::places(config),
            Some(contact) => known_or_asked(config, replica, contact, &opened.recovered)?,
        };
        let replica = Replica { config, replica, clients, peers, join, given };
        match replica.serve(opened)? {
            Ending::Stopped => return Ok(()),
            Ending::Restored => {
                log::error!(
                    "the other replicas know this data directory to be an old copy: it is set aside, and this replica \
                     starts again blank and is filled from them"
                );
                set_aside(&dir, ReplicaId(id), "restored-copy")?;
            }
            Ending::Install(snapshot) => match storage::install(&dir, ReplicaId(id), &config.cluster, &snapshot) {
                Ok(true) => {}
                Ok(false) => log::warn!("the copy is not installed: it is gone, or not needed any more"),
                // The copy itself has filled the disk: the next start removes it, and goes on as before.
                Err(error) if error.can_retry() => log::error!("the copy is not installed: {error}"),
                Err(error) => return Err(ServerError::Storage(error.to_string())),
            },
            Ending::StateDamaged => {
                rebuilds += 1;
                if rebuilds > REBUILDS_MAX {
                    return Err(ServerError::Storage(format!(
                        "state.db was damaged {rebuilds} times in this run: distrust this disk, or this memory"
                    )));
                }
                set_aside_state(&dir, ReplicaId(id))?;
            }
            Ending::Anew => {}
            Ending::Removed => return Err(ServerError::Removed { id, dir }),
            Ending::Twin => return Err(ServerError::Twin { id }),
        }
    }
}

/// Where everybody is, for a replica that was started with `--join`. One that votes by its own log has no need to ask
/// before it serves; its cluster may need it to have a leader at all.
fn known_or_asked(
    config: &Config,
    replica: &ReplicaConfig,
    contact: &str,
    recovered: &Recovered,
) -> Result<Places, ServerError> {
    let (me, at) = (recovered.me, by_config::address(replica));
    let membership = recovered.memberships.last().map(|(_, membership)| membership);
    if membership.is_some_and(|m| m.votes(me)) {
        return Ok(by_config::places(config));
    }
    log::info!("replica {me} asks {contact} to be let in");
    let cluster = recovered.cluster.or(recovered.record.as_ref().map(|record| record.cluster));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|source| ServerError::System { what: "cannot start a runtime", source })?;
    let asking = joining::ask_to_join(contact, (&config.cluster, &config.secret), (me, &at), cluster);
    runtime.block_on(asking).map_err(|why| ServerError::NotLetIn(why.to_string()))
}

fn bind(replica: &ReplicaConfig, port: u16) -> Result<TcpListener, ServerError> {
    let address = match replica.bind {
        Some(ip) => SocketAddr::new(ip, port),
        None => (replica.host.as_str(), port)
            .to_socket_addrs()
            .ok()
            .and_then(|mut found| found.next())
            .ok_or_else(|| ServerError::Config(format!("host {:?} has no address: correct it", replica.host)))?,
    };
    let listening = || -> io::Result<TcpListener> {
        let domain = if address.is_ipv4() { socket2::Domain::IPV4 } else { socket2::Domain::IPV6 };
        let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
        // A restarted replica takes its port back at once.
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    };
    listening().map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => ServerError::PortTaken { address: address.to_string() },
        io::ErrorKind::AddrNotAvailable => ServerError::Config(format!(
            "{address} is not an address of this machine: correct `host`, or set `bind` to one that is"
        )),
        _ => ServerError::System { what: "cannot listen", source },
    })
}

/// Opens the data directory. One whose log ends before its state has lost what it had promised to hold: it counts as
/// wiped. A state that cannot be used is derived again from the log.
fn open(dir: &Path, id: ReplicaId, cluster: &str) -> Result<Opened, ServerError> {
    let fail = |error: StorageError| ServerError::Storage(error.to_string());
    match storage::open(dir, id, cluster) {
        Err(error) if error.counts_as_wiped() => {
            log::error!("{error}");
            set_aside(dir, id, error.reason())?;
            storage::open(dir, id, cluster).map_err(fail)
        }
        // A log that was cut cannot give a later version its state: every replica in turn would count as wiped.
        Err(error @ StorageError::Schema { .. }) if is_cut(dir) => Err(fail(error)),
        Err(error) if error.is_state_unusable() => {
            log::error!("{error}");
            set_aside_state(dir, id)?;
            open(dir, id, cluster)
        }
        opened => opened.map_err(fail),
    }
}

fn is_cut(dir: &Path) -> bool {
    storage::LogReader::open(dir).and_then(|log| log.base()).is_ok_and(|base| base.index.0 > 0)
}

fn set_aside(dir: &Path, id: ReplicaId, reason: &str) -> Result<(), ServerError> {
    let fail = |error: StorageError| ServerError::Storage(error.to_string());
    let folder = storage::DataDir::open(dir, id).and_then(|mut dir| dir.set_aside(reason)).map_err(fail)?;
    log::warn!("the old files are in {}", folder.display());
    Ok(())
}

fn set_aside_state(dir: &Path, id: ReplicaId) -> Result<(), ServerError> {
    let fail = |error: StorageError| ServerError::Storage(error.to_string());
    let folder = storage::DataDir::open(dir, id).and_then(|mut dir| dir.set_aside_state("damaged")).map_err(fail)?;
    log::warn!("the state is derived again from the log; the old one is in {}", folder.display());
    Ok(())
}

/// A replica that has its ports.
struct Replica<'a> {
    config: &'a Config,
    replica: &'a ReplicaConfig,
    clients: TcpListener,
    peers: TcpListener,
    join: Option<&'a str>,
    given: Places,
}

/// What runs beside the actors.
struct Running {
    replicator: Addr<Replicator>,
    pulse: Arbiter,
    door: Door,
    ending: oneshot::Receiver<Ending>,
    doom: Doom,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Replica<'_> {
    /// Serves until the end. The lock on the data directory is held as long.
    fn serve(self, opened: Opened) -> Result<Ending, ServerError> {
        let Opened { dir, log, state, recovered } = opened;
        let system = System::new();
        let ended = system.block_on(async {
            let mut running = self.start(log, state, &recovered)?;
            let ending = wait(&mut running).await?;
            running.door.close();
            running.pulse.stop();
            System::current().stop();
            Ok((ending, running.pulse, running.threads))
        });
        let (ending, pulse, threads) = ended?;
        join_within(pulse, ARBITER_END);
        system.run().map_err(|source| ServerError::System { what: "cannot end the actors", source })?;
        for thread in threads {
            // A panic has aborted the process already.
            let _ = thread.join();
        }
        drop(dir);
        Ok(ending)
    }

    fn start(
        self,
        log: storage::LogStore,
        state: storage::StateStore,
        recovered: &crate::consensus::Recovered,
    ) -> Result<Running, ServerError> {
        let system = |what| move |source| ServerError::System { what, source };
        let config = self.config;
        let me = recovered.me;
        let random = || getrandom::u64().map_err(|_| ServerError::Config("no random numbers to be had".into()));
        let ids: Vec<ReplicaId> = config.replicas.iter().map(|r| ReplicaId(r.id)).collect();
        let run = Run { boot: recovered.boot, nonce: random()? as u32 };
        let fresh_cluster = ClusterId(random()?);
        let joins = self.join.is_some();
        let addresses = self.given.addresses.clone();
        let settings = Settings { run, ids, addresses, book: by_config::book(config), joins, fresh_cluster };
        let mode = by_config::mode(config);
        if let Some(founded) = recovered.record.as_ref().map(|record| record.mode).filter(|founded| *founded != mode) {
            let word = mode_word(founded);
            return Err(ServerError::Config(format!(
                "this data directory is of a cluster that was founded with `replication: {word}`: write that; a founded \
                 cluster keeps its mode"
            )));
        }
        let node = Core::new(mode, recovered, settings).dropping_silent(config.drop_silent_after().is_some());
        log::info!("replica {me}, boot {}, log up to {}, state at {}", run.boot, recovered.last, recovered.applied);

        let cluster = Arc::new(OnceLock::new());
        if let Some(id) = node.cluster() {
            // Empty until now.
            let _ = cluster.set(id.to_string());
        }
        let shared = Arc::new(Shared {
            introduction: Mutex::new(node.introduction()),
            cluster: Arc::clone(&cluster),
            term: AtomicU64::new(node.standing().term.0),
            commit: AtomicU64::new(node.commit().0),
        });
        panics::set_panic_context({
            let shared = Arc::clone(&shared);
            move || {
                let (term, commit) = (shared.term.load(Ordering::Relaxed), shared.commit.load(Ordering::Relaxed));
                format!("replica {me}, boot {}, term {term}, committed {commit}", run.boot)
            }
        });
        let (book_tx, book_rx) = watch::channel(Book::default());
        let (links, doom) = (Arc::new(LinkTable::default()), Doom::default());
        let identity = Identity {
            cluster_name: config.cluster.clone(),
            secret: config.secret.deref().to_owned(),
            book: book_rx,
            shared: Arc::clone(&shared),
            links: Arc::clone(&links),
            doom: doom.clone(),
        };

        let replicator = Replicator::new(
            ReplicatorSettings {
                me,
                boot: recovered.boot,
                request_timeout: config.request_timeout(),
                election_timeout_max: config.election_timeout_max(),
                quota: by_config::quota(&config.limits),
                drops_silent: config.drop_silent_after().is_some(),
                keep: by_config::keep(&config.log),
                given: self.given.clone(),
                joins,
                book: book_tx,
                doom: doom.clone(),
                shared,
            },
            node,
        )
        .start();
        let log = store::start_log(log, replicator.clone().recipient()).map_err(system("cannot start a thread"))?;
        let state = store::start_state(state, me, recovered.boot, replicator.clone().recipient())
            .map_err(system("cannot start a thread"))?;

        let carried = CourierSettings { dir: config.replica_dir(me.id.0), me, cluster: config.cluster.clone() };
        let courier =
            courier::start(carried, replicator.clone().recipient()).map_err(system("cannot start a thread"))?;

        let archivist = config.archive_dir(me.id.0).map(|archive| {
            let settings = ArchivistSettings { data: config.replica_dir(me.id.0), archive };
            archivist::start(settings, replicator.clone().recipient()).map_err(system("cannot start a thread"))
        });
        let archivist = archivist.transpose()?;

        // Nothing that sessions or peers can flood may hold a pulse up: another thread.
        let pulse = Arbiter::new();
        let timers = Timers::new(me.id, config.election_timeout_min(), config.election_timeout_max());
        let election = {
            let replicator = replicator.clone().recipient();
            Election::start_in_arbiter(&pulse.handle(), |_| Election::new(timers, replicator))
        };
        let heartbeat = {
            let settings = HeartbeatSettings {
                me: me.id,
                interval: config.heartbeat_interval(),
                silence_max: config.silence_max(),
                drop_silent_after: config.drop_silent_after(),
                identity: identity.clone(),
            };
            let (replicator, election) = (replicator.clone().recipient(), election.clone().recipient());
            Heartbeat::start_in_arbiter(&pulse.handle(), |_| Heartbeat::new(settings, replicator, election))
        };
        let peers = Peers::new(replicator.clone().recipient(), links);

        let (ending_tx, ending) = oneshot::channel();
        replicator.do_send(Connect(Outlets {
            log: log.jobs,
            state: state.access,
            courier: courier.jobs,
            archivist: archivist.as_ref().map(|archivist| archivist.jobs.clone()),
            peers: peers.clone(),
            heartbeat: heartbeat.clone().recipient(),
            election: election.recipient(),
            ending: ending_tx,
        }));
        actix_rt::spawn(dial_everybody(identity.clone(), me.id, peers.clone(), heartbeat.clone(), pulse.handle()));
        if let Some(contact) = self.join {
            let (at, contact) = (by_config::address(self.replica), contact.to_owned());
            actix_rt::spawn(joining::keep_asking(identity.clone(), me, at, contact));
        }
        let internal =
            self.peers.try_clone().and_then(tokio::net::TcpListener::from_std).map_err(system("cannot listen"))?;
        actix_rt::spawn(listener::listen(
            internal,
            identity,
            Owners { peers, heartbeat, replicator: replicator.clone().recipient() },
        ));

        let door = self.open_door(&replicator, cluster)?;
        log::info!("serving clients on {}", self.replica.client_address());
        let mut threads = vec![log.thread, state.thread, courier.thread];
        threads.extend(archivist.map(|archivist| archivist.thread));
        Ok(Running { replicator, pulse, door, ending, doom, threads })
    }

    fn open_door(&self, replicator: &Addr<Replicator>, cluster_id: Arc<OnceLock<String>>) -> Result<Door, ServerError> {
        let config = self.config;
        let system = |what| move |source| ServerError::System { what, source };
        let listener = self.clients.try_clone().and_then(tokio::net::TcpListener::from_std);
        let links = Links {
            opened: replicator.clone().recipient(),
            closed: replicator.clone().recipient(),
            submit: replicator.clone().recipient(),
            hasher: Hasher::start().map_err(system("cannot start a thread"))?,
            attempts: Arc::new(Mutex::new(Attempts::default())),
        };
        let session = SessionConfig {
            replica: self.replica.id,
            cluster: config.cluster.clone(),
            cluster_id,
            line_bytes: config.limits.line_bytes as usize,
            list: config.limits.list as usize,
            require_password: config.accounts.require_password,
            requests_per_second: NonZeroU32::new(config.limits.requests_per_second),
            idle: config.limits.idle(),
        };
        let here = Arbiter::current();
        let reception = Reception {
            config: Arc::new(session),
            links,
            connections_max: descriptors::make_room(config.limits.connections, config.replicas.len()) as usize,
            connections_per_address: NonZeroU32::new(config.limits.connections_per_address),
            threads: vec![Box::new(move |serve| {
                // The arbiter ends only with the process.
                here.spawn_fn(serve);
            })],
        };
        Ok(Door::open(listener.map_err(system("cannot listen"))?, reception))
    }
}

/// Every replica that the book ever names is dialed by two tasks of its own, and one more shows this replica to those that
/// dial it. They find in the book whether to dial, and where.
async fn dial_everybody(
    mut identity: Identity,
    me: ReplicaId,
    peers: Peers,
    heartbeat: Addr<Heartbeat>,
    pulse: ArbiterHandle,
) {
    let mut known = BTreeSet::from([me]);
    loop {
        let named: Vec<ReplicaId> = identity.book.borrow_and_update().places.keys().copied().collect();
        for id in named.into_iter().filter(|id| known.insert(*id)) {
            actix_rt::spawn(keep_dialed(identity.clone(), me, id, Kind::Data, peers.of(id)));
            pulse.spawn(keep_dialed(identity.clone(), me, id, Kind::Pulse, heartbeat.clone()));
            if id > me {
                actix_rt::spawn(announce(identity.clone(), id));
            }
        }
        if identity.book.changed().await.is_err() {
            return;
        }
    }
}

/// Waits for the end: a signal asks for it, and the replicator says when it has come. A second signal ends the process
/// at once.
async fn wait(running: &mut Running) -> Result<Ending, ServerError> {
    let fail = |source| ServerError::System { what: "cannot wait for signals", source };
    let mut term = signal(SignalKind::terminate()).map_err(fail)?;
    let mut int = signal(SignalKind::interrupt()).map_err(fail)?;
    let mut asked = false;
    let (doom, mut doomed) = (running.doom.clone(), None);
    loop {
        tokio::select! {
            ending = &mut running.ending => {
                let ending = ending.unwrap_or(Ending::Stopped);
                return Ok(doomed.filter(|_| ending == Ending::Stopped).unwrap_or(ending));
            }
            // Its clients go elsewhere in good order.
            word = doom.spoken(), if doomed.is_none() => {
                doomed = Some(word);
                running.door.close();
                running.replicator.do_send(Stop);
                continue;
            }
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        if asked {
            log::warn!("asked twice: ending at once");
            std::process::exit(130);
        }
        asked = true;
        log::info!("stopping: no new connections, then leadership is handed over, then sessions end");
        running.door.close();
        running.replicator.do_send(Stop);
    }
}

fn join_within(arbiter: Arbiter, limit: Duration) {
    let (done, ended) = std::sync::mpsc::channel();
    let joiner = std::thread::spawn(move || {
        // A panic has aborted the process already.
        let _ = arbiter.join();
        // Nobody waits any more if it took too long.
        let _ = done.send(());
    });
    if ended.recv_timeout(limit).is_ok() {
        // It has just sent.
        let _ = joiner.join();
    }
}
