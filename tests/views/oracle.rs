//! What must be true of the three together: checked by code apart from what it checks.

use std::collections::BTreeMap;

use plainsong::consensus::{Body, Entry, Frame, Index, Role, Run, View, ViewFrame, ViewId};
use plainsong::views::Node;

use super::disk::Disk;

/// See the module's header.
pub struct Oracle {
    /// Nobody is told of a death that has not happened.
    pub proofs_are_true: bool,
    /// Entry n of what was acknowledged stands at n − 1.
    pub committed: Vec<Entry>,
    /// The newest view that acknowledged something.
    pub serving: View,
    /// Views that were led.
    pub views: u64,
    /// Which view each number stands for.
    led: BTreeMap<u64, ViewId>,
    /// All have stopped, and nobody has led since: the newest view on any disk.
    stopped: Option<View>,
    pub newest_payload: u64,
}

impl Default for Oracle {
    fn default() -> Self {
        Self {
            proofs_are_true: true,
            committed: Vec::new(),
            serving: View::default(),
            views: 0,
            led: BTreeMap::new(),
            stopped: None,
            newest_payload: 0,
        }
    }
}

impl Oracle {
    /// A view begins to be led. None of its members had installed a newer one than its base, and nobody who lives and
    /// was told of a view is left out of this one.
    pub fn leads(&self, node: &Node, others: &[&Node]) {
        let view = &node.views().installed;
        for other in others {
            let (views, me) = (other.views(), other.me());
            if view.has(me) {
                let known = views.installed.id;
                assert!(known <= view.base || known == view.id, "{view} is led, but {me} had installed {known}");
            }
            let left_out = other.is_warm() && !view.has(me);
            assert!(
                !left_out || !self.proofs_are_true,
                "{view} is led without {me}, which lives in {}",
                views.installed
            );
        }
    }

    /// Looks at a replica after a turn.
    pub fn look(&mut self, node: &Node, disk: &Disk) {
        let (views, me) = (node.views(), node.me());
        let leads = node.standing().role == Role::Leader;
        if leads && !self.led.contains_key(&views.installed.id.number) {
            self.views += 1;
            self.led.insert(views.installed.id.number, views.installed.id);
            self.begins(node, disk);
        }
        if leads {
            let known = self.led[&views.installed.id.number];
            assert_eq!(known, views.installed.id, "two views of one number");
        }
        for index in 1..=node.commit().0 {
            // Looked at every time: what is acknowledged may not change anywhere, later either.
            let index = Index(index);
            let Some(entry) = entry(node, disk, index) else { continue };
            match self.committed.get(index.0 as usize - 1) {
                Some(known) => assert_eq!(known, &entry, "{me} has another entry where {index} was acknowledged"),
                None => self.acknowledged(node, entry, leads),
            }
        }
    }

    fn acknowledged(&mut self, node: &Node, entry: Entry, leads: bool) {
        let view = &node.views().installed;
        assert_eq!(entry.index.0 as usize, self.committed.len() + 1, "acknowledged with a gap before it");
        if entry.index > Index(1) {
            assert!(leads, "{} commits entry {} before its leader", node.me(), entry.index);
            assert!(view.id >= self.serving.id, "{view} acknowledges, although {} has", self.serving);
            self.serving = view.clone();
        }
        if let Body::Command(payload) = &entry.body {
            let text = std::str::from_utf8(payload).expect("payloads are numbers");
            self.newest_payload = self.newest_payload.max(text.parse().expect("payloads are numbers"));
        }
        self.committed.push(entry);
    }

    /// A view is led: its leader holds all that was ever acknowledged, and if all had stopped, it was among the last.
    fn begins(&mut self, node: &Node, disk: &Disk) {
        for known in &self.committed {
            let held = entry(node, disk, known.index);
            assert_eq!(held.as_ref(), Some(known), "{} leads without what was acknowledged", node.me());
        }
        if let Some(newest) = self.stopped.take() {
            assert!(newest.has(node.me()), "{} leads first, but the last view was {newest}", node.me());
        }
    }

    /// All have stopped: whoever leads next must be of the newest view that was ever installed, and that is on a disk.
    pub fn total_stop<'a>(&mut self, disks: impl Iterator<Item = &'a Disk>) {
        let views = disks.filter_map(|disk| disk.views.as_ref()).map(|views| &views.installed);
        if let Some(newest) = views.max_by_key(|view| view.id) {
            assert!(newest.id >= self.serving.id, "no disk knows of {}, which has served", self.serving);
            self.stopped = Some(newest.clone());
        }
    }

    /// What a replica says is on its disk.
    pub fn said(&self, disk: &Disk, run: Run, frame: &Frame) {
        let Frame::View(frame) = frame else { return };
        let me = disk.me;
        let views = disk.views.clone().unwrap_or_default();
        match frame {
            ViewFrame::Propose(view) => {
                assert!(view.names(me, run), "{me} proposes a view without itself");
                assert!(views.promised.id >= view.id, "{me} proposes what it has not promised");
            }
            ViewFrame::Accepted(id) => assert!(views.promised.id >= *id, "{me} accepts what it has not promised"),
            ViewFrame::Installed(view) => {
                assert!(views.installed.id >= view.id, "{me} tells of a view that its disk does not know");
            }
            ViewFrame::News { installed, promised, .. } => {
                assert!(views.installed.id >= *installed && views.promised.id >= *promised, "{me} claims {frame:?}");
            }
        }
    }
}

/// An entry of a replica's log, from its memory, or from its disk.
fn entry(node: &Node, disk: &Disk, index: Index) -> Option<Entry> {
    let entry = node.log().entries(index, index, usize::MAX).and_then(|mut entries| entries.pop());
    entry.or_else(|| disk.entry(index).cloned())
}
