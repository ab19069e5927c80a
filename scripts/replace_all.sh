#!/usr/bin/env bash
# Claim:   all five replicas of a cluster can be replaced, one by one, under load, and nothing that was acknowledged is
#          lost, doubled or reordered.
# Method:  a client writes keyed messages; five times another replica joins, and when it votes one of the first five
#          leaves; then the mailbox is read back from every survivor: none of them was there at the start.
# Pass:    acked = sent, lost = doubled = reordered = unexpected = 0; five members are left, with ids 6 to 10.
#          gap_ms: per change, the longest time without an ok.
#
# Every drill: real processes in a temporary directory, judged by what the clients saw, not by logs or files.
# Usage:   scripts/NAME.sh [--messages N] [--seconds N] [--seed N] [--svg FILE] [--keep]
#          Uses $PLAINSONG if set, else builds the release binary (quick when it is up to date).
# Prints:  drill|replace_all|pass|sent=400|acked=400|lost=0|doubled=0|reordered=0|gap_ms=41,38|unexpected=0
# Exit:    0 passed, or skipped for want of something that the line names; 1 not passed.
. "$(dirname -- "${BASH_SOURCE[0]}")/drill.inc.sh"
drill replace_all "$@"
