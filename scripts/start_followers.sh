#!/usr/bin/env bash
# Starts N of the config's replicas that do not run, lowest id first, and waits until each has caught up.
#
# Usage:   scripts/start_followers.sh [N]      all of them unless said. CONFIG, DATA: see replicas.inc.sh.
# A new cluster is founded only when all replicas of its config run: until then those that run wait for the rest.
. "$(dirname -- "${BASH_SOURCE[0]}")/replicas.inc.sh"
n=${1:-99} started=()
for id in $(ids); do
  if [ "${#started[@]}" -lt "$n" ] && ! runs "$id"; then launch "$id" && started+=("$id"); fi
done
[ "${#started[@]}" -gt 0 ] || { say "every replica runs already"; exit 0; }
for id in "${started[@]}"; do await "replica $id has not caught up; see $DATA/$id.log" caught_up "$id"; done
ps_ status
