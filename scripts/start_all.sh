#!/usr/bin/env bash
# Starts every replica of the config in the background, waits until one leads, and says where to connect.
#
# Usage:   scripts/start_all.sh [N]      N replicas on this machine, if that is not what config.yaml describes: their
#          config is written to data/cluster-N/config.yaml, their data is beside it; CONFIG and DATA, for the other
#          scripts, are printed. Ports 5001… and 7001….
# Ends:    scripts/stop_all.sh, or kill the processes: no step of an orderly end is needed for the data.
. "$(dirname -- "${BASH_SOURCE[0]}")/replicas.inc.sh"
n=${1:-$(ids | wc -l)}
[[ $n =~ ^[1-9][0-9]?$ ]] || fail "'$n' is not a number of replicas: 1 to 99"
if [ "$n" != "$(ids | wc -l)" ]; then
  DATA=$DATA/cluster-$n
  CONFIG=$DATA/config.yaml
  mkdir -p "$DATA"
  { echo "data_dir: ."; echo "replicas:"
    for id in $(seq "$n"); do
      echo "  - { id: $id, host: 127.0.0.1, port: $((5000 + id)), internal_port: $((7000 + id)) }"
    done; } >"$CONFIG"
  say "for the other scripts: export CONFIG=$CONFIG DATA=$DATA"
fi
# Of two clusters with the same ports one would end at once, and the status of the other be taken for its own.
for id in $(ids); do
  at=$(ps_ check-config | sed -n "s/^replica $id: clients \([^,]*\),.*/\1/p")
  if ! runs "$id" && { ps_ status --server "$at" >/dev/null 2>&1 || [ $? != 69 ]; }; then
    fail "somebody serves at $at already: end it (\`ss -ltnp\` tells which process), or choose other ports"
  fi
done
for id in $(ids); do
  if runs "$id"; then say "replica $id runs already (process $(pid "$id"))"; else launch "$id"; fi
done
await "no replica leads; see $DATA/*.log" leads
ps_ status
