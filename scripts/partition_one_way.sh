#!/usr/bin/env bash
# Claim:   a leader that hears nobody, and one that nobody hears, is replaced.
# Method:  as partition, but packets are dropped in one direction only: first to the leader, then from the leader of
#          that time. Needs root and iproute2, else it is skipped.
# Pass:    as kill_leader; reads at that leader are fresh or refused; and all vote again each time (recovered_ms).
. "$(dirname -- "${BASH_SOURCE[0]}")/drill.inc.sh"
drill partition_one_way "$@"
