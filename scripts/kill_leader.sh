#!/usr/bin/env bash
# Claim:   killing the leader with kill -9, and then its successor, loses, doubles and reorders nothing that was
#          acknowledged; the three replicas that are left of five go on by themselves.
# Method:  a five-replica cluster of real processes on free ports in a temporary directory; a client writes keyed
#          messages through a follower, one after the other; the leader dies in the middle of the first half of them,
#          its successor in the middle of the second; then the recipient's mailbox is read back from a survivor.
#          Judged by what the clients saw, not by logs or files. gap_ms: per kill, the longest time without an ok.
# Pass:    acked = sent, lost = doubled = reordered = 0, and the writer got through after each kill.
#
# Usage:   scripts/kill_leader.sh [--messages N] [--keep]
#          Uses $PLAINSONG if set, else builds the release binary (quick when it is up to date).
# Prints:  drill|kill_leader|pass|sent=400|acked=400|lost=0|doubled=0|reordered=0|gap_ms=41,38
# Exit:    0 passed, 1 not.
set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
if [ -z "${PLAINSONG:-}" ]; then
  cargo build --quiet --release --locked --manifest-path "$root/Cargo.toml" --bin plainsong >&2 || exit 1
  PLAINSONG=${CARGO_TARGET_DIR:-$root/target}/release/plainsong
fi
"$PLAINSONG" drill kill_leader "$@" || exit 1
