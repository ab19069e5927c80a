#!/usr/bin/env bash
# Claim:   a message counts as delivered only when its reader's kernel has acknowledged it; until then it waits, and
#          comes again.
# Method:  a reader lives on a host of its own, and is logged in. First its packets vanish on the way to its replica, then
#          those from the replica, too, while a writer goes on; another connection of the same account looks at what is
#          undelivered. Each time the links come back, and the old connection goes on. In the end its host is gone, and
#          a new connection shows the rest.
# Pass:    as kill_leader, judged by what was shown on the reader's connections together; all that was sent during a
#          cut was undelivered. shown_again counts what both connections showed: taken, and not heard of, before the
#          host was gone; a client passes over it by its id. Skipped where namespaces are not permitted.
. "$(dirname -- "${BASH_SOURCE[0]}")/drill.inc.sh"
drill half_dead_reader "$@"
