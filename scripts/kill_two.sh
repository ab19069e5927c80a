#!/usr/bin/env bash
# Claim:   any two of five may die at the same moment: here the leader and the replica that the client writes through.
# Method:  kill -9 to both before either is waited for; the client goes on through the three others; both are started
#          again.
# Pass:    as kill_leader; and both vote again (recovered_ms).
. "$(dirname -- "${BASH_SOURCE[0]}")/drill.inc.sh"
drill kill_two "$@"
