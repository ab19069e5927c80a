#!/usr/bin/env bash
# Claim:   whatever happens to one or two of five replicas, in whatever order, no message of 50 clients is lost, doubled or
#          reordered, and each is answered.
# Method:  50 clients chat at random, each message under a key, for 600 s (--seconds N); every few seconds one or two
#          replicas are killed, stopped, restarted, or cut off (in network namespaces; where those are not permitted,
#          nothing is cut, and the line says partitions=skipped). Then every mailbox is read back from every replica.
# Pass:    as kill_leader; attempted = acknowledged + refused, where one message in forty goes to nobody and is refused;
#          every push ascends on its connection; whoever is asked to end exits with 0.
#          gap_ms: the median and the worst, over all faults, of the longest time without an ok.
. "$(dirname -- "${BASH_SOURCE[0]}")/drill.inc.sh"
drill soak "$@"
