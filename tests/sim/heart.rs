//! Who is alive, as the Heartbeat actor sees it: the pulse links of one process.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use plainsong::actors::silence::{Found, Silence};
use plainsong::consensus::{Member, ReplicaId, Role, Run, Standing};

/// `heartbeat_interval_ms` times `max_missed_heartbeats`.
const SILENCE_MAX: Duration = Duration::from_millis(250);

/// See the module's header.
pub struct Heart {
    me: ReplicaId,
    links: BTreeMap<ReplicaId, (Run, Instant)>,
    leads: bool,
    pub tick_is_out: bool,
    living: BTreeSet<ReplicaId>,
    watched: Vec<(Member, Run)>,
    /// Where silence counts as death.
    silence: Option<Silence>,
}

impl Heart {
    pub fn new(me: ReplicaId) -> Self {
        let (links, living, watched) = (BTreeMap::new(), BTreeSet::new(), Vec::new());
        Self { me, links, leads: false, tick_is_out: false, living, watched, silence: None }
    }

    /// From now on silence of that time counts as death.
    pub fn drops_silent(&mut self, after: Duration, now: Instant) {
        self.silence = Some(Silence::new(after, now));
    }

    /// These are watched now.
    pub fn watch(&mut self, watched: Vec<(Member, Run)>, now: Instant) {
        if watched != self.watched {
            if let Some(silence) = &mut self.silence {
                silence.watch(&watched, now);
            }
            self.watched = watched;
        }
    }

    /// Who is silent, if that has changed.
    pub fn look(&mut self, now: Instant) -> Option<Found> {
        self.silence.as_mut()?.look(now)
    }

    /// The interval has passed. Returns whether a round of pulses is to be asked for.
    pub fn tick(&mut self) -> bool {
        // Where silence counts, everybody gives signs of life, and not only who leads.
        let asks = (self.leads || self.silence.is_some()) && !self.tick_is_out;
        self.tick_is_out |= asks;
        asks
    }

    /// Who lives, if that has changed.
    pub fn news(&mut self, now: Instant) -> Option<BTreeSet<ReplicaId>> {
        let answers = |heard: Instant| !self.leads || now.duration_since(heard) <= SILENCE_MAX;
        let mut living: BTreeSet<ReplicaId> =
            self.links.iter().filter(|(_, (_, heard))| answers(*heard)).map(|(id, _)| *id).collect();
        living.insert(self.me);
        (living != self.living).then(|| {
            self.living = living.clone();
            living
        })
    }

    /// A pulse link is up. Gives the run that it shows to be over.
    pub fn attach(&mut self, member: Member, run: Run, now: Instant) -> Option<Run> {
        self.sign_of_life(member, run, now);
        self.links.insert(member.id, (run, now)).map(|(before, _)| before).filter(|before| *before != run)
    }

    /// A pulse link ended: gives the run at its other end.
    pub fn ended(&mut self, id: ReplicaId) -> Option<Run> {
        self.links.remove(&id).map(|(run, _)| run)
    }

    /// Whether a pulse link stands to that run.
    pub fn is_linked(&self, id: ReplicaId, run: Run) -> bool {
        self.links.get(&id).is_some_and(|(linked, _)| *linked == run)
    }

    /// Lines came over a pulse link.
    pub fn heard(&mut self, member: Member, now: Instant) {
        if let Some((run, heard)) = self.links.get_mut(&member.id) {
            *heard = now;
            let run = *run;
            self.sign_of_life(member, run, now);
        }
    }

    fn sign_of_life(&mut self, member: Member, run: Run, now: Instant) {
        if let Some(silence) = &mut self.silence {
            silence.heard(member, run, now);
        }
    }

    pub fn standing(&mut self, standing: Standing, now: Instant) {
        let leads = standing.role == Role::Leader;
        if leads && !self.leads {
            self.links.values_mut().for_each(|(_, heard)| *heard = now);
        }
        self.leads = leads;
    }
}
