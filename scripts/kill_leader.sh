#!/usr/bin/env bash
# Claim:   killing the leader with kill -9, and then its successor, loses, doubles and reorders nothing that was
#          acknowledged; the three replicas that are left of five go on by themselves.
# Method:  a client writes keyed messages through a follower, one after the other; the leader dies in the middle, and
#          later its successor; then the recipient's mailbox is read back from every survivor.
# Pass:    acked = sent, lost = doubled = reordered = unexpected = 0, and the writer got through after each kill.
#          gap_ms: per kill, the longest time without an ok.
#
# Every drill: real processes in a temporary directory, judged by what the clients saw, not by logs or files.
# Usage:   scripts/NAME.sh [--messages N] [--seconds N] [--seed N] [--svg FILE] [--keep]
#          Uses $PLAINSONG if set, else builds the release binary (quick when it is up to date).
# Prints:  drill|kill_leader|pass|sent=400|acked=400|lost=0|doubled=0|reordered=0|gap_ms=41,38|unexpected=0
# Exit:    0 passed, or skipped for want of something that the line names; 1 not passed.
. "$(dirname -- "${BASH_SOURCE[0]}")/drill.inc.sh"
drill kill_leader "$@"
