#!/usr/bin/env bash
# Claim:   a leader that is cut off with one other answers nothing with ok; the three others go on; when the links are
#          back, what the cut-off side still holds does no harm.
# Method:  a network namespace for each replica, joined by a router of the drill's own that drops packets between the
#          sides for 10 s (--seconds N); the client writes through the cut-off side first. It then writes more messages
#          than keys are remembered, so that a late repetition could not be stopped by its key. Needs root and
#          iproute2, else it is skipped.
# Pass:    as kill_leader; a read at the cut-off leader is refused; and all vote again (recovered_ms).
. "$(dirname -- "${BASH_SOURCE[0]}")/drill.inc.sh"
drill partition "$@"
