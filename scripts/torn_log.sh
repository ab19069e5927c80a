#!/usr/bin/env bash
# Claim:   a replica whose log was torn off at any place takes nothing for acknowledged that is not there: it is
#          refilled from the others.
# Method:  four times: kill -9 a follower while the client writes, cut its write-ahead log off at a random place
#          (--seed N), start it.
# Pass:    as kill_leader, read from every replica; and it votes again each time (set_aside: how often it began anew by
#          itself).
. "$(dirname -- "${BASH_SOURCE[0]}")/drill.inc.sh"
drill torn_log "$@"
