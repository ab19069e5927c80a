#!/usr/bin/env bash
# Claim:   a single flipped bit in any file of a stopped replica is detected, refused or repaired; it is never shown to
#          a client, and never spreads to the others.
# Method:  log.db, state.db and their write-ahead logs, each at a random place and in a stored text (--seed N): stop a
#          follower, flip, start it, read from it. One that refuses is started blank.
# Pass:    as kill_leader, read from every replica, and from the damaged one each time.
. "$(dirname -- "${BASH_SOURCE[0]}")/drill.inc.sh"
drill flip_a_bit "$@"
