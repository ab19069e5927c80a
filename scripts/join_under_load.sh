#!/usr/bin/env bash
# Claim:   two replicas that join a cluster of five while a client writes become voters that count, and nothing that
#          was acknowledged is lost, doubled or reordered.
# Method:  a client writes keyed messages; two replicas join; then the leader and another of the old ones are killed
#          with kill -9: of seven voters five are left. Then the mailbox is read back from every survivor.
# Pass:    acked = sent, lost = doubled = reordered = unexpected = 0; both vote; the writer got through after the kill.
#          gap_ms: per change, the longest time without an ok.
#
# Every drill: real processes in a temporary directory, judged by what the clients saw, not by logs or files.
# Usage:   scripts/NAME.sh [--messages N] [--seconds N] [--seed N] [--svg FILE] [--keep]
#          Uses $PLAINSONG if set, else builds the release binary (quick when it is up to date).
# Prints:  drill|join_under_load|pass|sent=400|acked=400|lost=0|doubled=0|reordered=0|gap_ms=41,38|unexpected=0
# Exit:    0 passed, or skipped for want of something that the line names; 1 not passed.
. "$(dirname -- "${BASH_SOURCE[0]}")/drill.inc.sh"
drill join_under_load "$@"
