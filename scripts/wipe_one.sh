#!/usr/bin/env bash
# Claim:   a replica whose disk was emptied is filled from the others, and then counts like any other.
# Method:  kill -9 a follower, remove its data, start it; once it votes, kill two others: what is left is a majority
#          only with it.
# Pass:    as kill_leader, with the emptied one among those that everything is read from.
. "$(dirname -- "${BASH_SOURCE[0]}")/drill.inc.sh"
drill wipe_one "$@"
