//! Clusters for the tests, and who may use the machine when.

use std::ops::Deref;
use std::path::Path;
use std::sync::{OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use plainsong::drill::{Cluster, ClusterOptions, KeyedWriter};

/// Every wait for something that should come soon; far beyond `request_timeout_ms`.
pub const PATIENCE: Duration = Duration::from_secs(15);
/// `request_timeout_ms` as shipped: within it every request is answered.
pub const REQUEST_TIMEOUT: Duration = Duration::from_millis(3000);
/// What a busy two-core machine may add to a promised time.
pub const SLACK: Duration = Duration::from_millis(500);
/// `limits.list` of the shared cluster: small, so that a test can go beyond it.
pub const SHARED_LIST_LIMIT: usize = 50;

static MACHINE: RwLock<()> = RwLock::new(());

/// The right to use the machine beside other tests.
pub fn together() -> RwLockReadGuard<'static, ()> {
    // A failed test leaves no harm in a unit.
    MACHINE.read().unwrap_or_else(PoisonError::into_inner)
}

/// The right to use the machine while no other test does.
pub fn alone() -> RwLockWriteGuard<'static, ()> {
    MACHINE.write().unwrap_or_else(PoisonError::into_inner)
}

/// The binary under test.
pub fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_plainsong"))
}

/// The cluster that most tests share: three replicas that nobody hurts.
pub struct Shared {
    cluster: &'static Cluster,
    _turn: RwLockReadGuard<'static, ()>,
}

/// Starts the shared cluster at its first use.
pub fn shared() -> Shared {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    let turn = together();
    let cluster = CLUSTER.get_or_init(|| {
        let extra = format!("limits: {{ list: {SHARED_LIST_LIMIT} }}");
        start(&ClusterOptions { replicas: 3, extra })
    });
    Shared { cluster, _turn: turn }
}

impl Deref for Shared {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        self.cluster
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.cluster.log_tails());
        }
    }
}

/// A cluster of one test's own.
pub fn start(options: &ClusterOptions) -> Cluster {
    Cluster::start(binary(), options).expect("a fresh cluster elects a leader")
}

/// The shipped cluster: five replicas.
pub fn five() -> Cluster {
    start(&ClusterOptions::default())
}

/// Three replicas: enough where nothing hangs on five.
pub fn three() -> Cluster {
    start(&ClusterOptions { replicas: 3, ..ClusterOptions::default() })
}

/// A follower that is not likely to lead next: ranks let the lowest id go first.
pub fn last_follower(cluster: &Cluster, leader: u16) -> u16 {
    cluster.running().into_iter().rfind(|&id| id != leader).expect("more than one replica runs")
}

/// A writer through these replicas, in this order.
pub fn writer(cluster: &Cluster, account: &str, to: &str, through: &[u16]) -> KeyedWriter {
    KeyedWriter::new(account, to, through.iter().map(|&id| cluster.address(id)).collect())
}
