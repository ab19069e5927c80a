#!/usr/bin/env bash
# Claim:   500 clients that come back at the same moment, just when the leader has died, are all served, and each once.
# Method:  kill -9 the leader; 500 connections at once to the four others, each with a login and a keyed message, none
#          waiting for another; who is refused tries again under its key.
# Pass:    as kill_leader, counted over all writers; clients=500 (storm_ms: until the last one had its ok).
. "$(dirname -- "${BASH_SOURCE[0]}")/drill.inc.sh"
drill reconnect_storm "$@"
