#!/usr/bin/env bash
# Claim:   a replica that is filled with a copy of the state may be killed at any moment of it.
# Method:  keep a log of 1,000 entries; empty a follower's disk, and kill -9 the replica at 20 random moments of the time
#          that it takes to be filled; then let it be filled.
# Pass:    as kill_leader, with that one among those that everything is read from; and it did take a copy.
. "$(dirname -- "${BASH_SOURCE[0]}")/drill.inc.sh"
drill snapshot_kill "$@"
