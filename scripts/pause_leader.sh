#!/usr/bin/env bash
# Claim:   a leader that stops for a while is replaced, and does not answer with old data when it wakes.
# Method:  SIGSTOP for 10 s (--seconds N); others go on; a read is sent to the stopped leader, and then it is woken: it
#          still believes that it leads, and its own mailbox is old.
# Pass:    as kill_leader; and the read shows everything that was acknowledged before it was sent, or is refused by
#          name (read=).
. "$(dirname -- "${BASH_SOURCE[0]}")/drill.inc.sh"
drill pause_leader "$@"
