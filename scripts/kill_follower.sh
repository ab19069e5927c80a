#!/usr/bin/env bash
# Claim:   killing a follower, the one that a client writes through, costs that client a reconnect and nobody a
#          message; it catches up by itself when it is started again.
# Method:  kill -9 while the client writes; it moves on to another replica and repeats what was open under its key; the
#          follower is started again.
# Pass:    as kill_leader; and the follower votes again (recovered_ms after its start).
. "$(dirname -- "${BASH_SOURCE[0]}")/drill.inc.sh"
drill kill_follower "$@"
