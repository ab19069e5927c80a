#!/usr/bin/env bash
# Claim:   taking the leader out of the cluster, and then its successor, loses, doubles and reorders nothing that was
#          acknowledged; each ends by itself, and the three that are left go on.
# Method:  a client writes keyed messages through followers; `plainsong leave` takes the leader out, twice; then the
#          mailbox is read back from every survivor.
# Pass:    acked = sent, lost = doubled = reordered = unexpected = 0; both processes have ended; three members are left.
#          gap_ms: per change, the longest time without an ok.
#
# Every drill: real processes in a temporary directory, judged by what the clients saw, not by logs or files.
# Usage:   scripts/NAME.sh [--messages N] [--seconds N] [--seed N] [--svg FILE] [--keep]
#          Uses $PLAINSONG if set, else builds the release binary (quick when it is up to date).
# Prints:  drill|remove_leader|pass|sent=400|acked=400|lost=0|doubled=0|reordered=0|gap_ms=41,38|unexpected=0
# Exit:    0 passed, or skipped for want of something that the line names; 1 not passed.
. "$(dirname -- "${BASH_SOURCE[0]}")/drill.inc.sh"
drill remove_leader "$@"
