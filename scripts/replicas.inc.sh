# shellcheck shell=bash
# What the scripts share that start and stop replicas of a config on this machine, in the background.
#   $CONFIG  the config file (config.yaml);  $DATA  where the replicas' folders are (data, beside this repository)
# Each replica's log goes to $DATA/ID.log; its process is the one named in $DATA/ID/lock.
. "$(dirname -- "${BASH_SOURCE[0]}")/drill.inc.sh"
CONFIG=${CONFIG:-$root/config.yaml} DATA=${DATA:-$root/data}
WAIT=${WAIT:-60} # seconds, for whatever is waited for

say() { printf 'plainsong: %s\n' "$*"; }
fail() { printf 'plainsong: %s\n' "$*" >&2; exit 1; }
ps_() { "$PLAINSONG" --config "$CONFIG" "$@"; }
ids() { ps_ check-config | sed -n 's/^replica \([0-9]*\): .*/\1/p'; }
pid() { cut -d' ' -f2 "$DATA/$1/lock" 2>/dev/null; }
runs() { # ID; a dead process that nobody has waited for has an empty command line
  local pid; pid=$(pid "$1") && [ -n "$pid" ] && tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -q "server -i $1 "
}

launch() { # ID
  mkdir -p "$DATA"
  nohup "$PLAINSONG" --config "$CONFIG" server -i "$1" --data "$DATA" >>"$DATA/$1.log" 2>&1 </dev/null &
  say "replica $1 starts (process $!, log $DATA/$1.log)"
}

await() { # WHAT COMMAND…: polls, because neither a process nor a status table can be waited for
  local what=$1 end=$((SECONDS + WAIT)); shift
  until "$@"; do
    [ "$SECONDS" -lt "$end" ] || fail "gave up after $WAIT s: $what"
    sleep 0.1
  done
}

ps_ check-config >/dev/null || exit 78

leads() { ps_ status >/dev/null 2>&1; }
gone() { ! grep -q . "/proc/$1/cmdline" 2>/dev/null; }
can_spare_one() { ps_ status 2>/dev/null | grep -q 'survives [1-9]'; }
but() { ps_ check-config | sed -n "/^replica $1:/d; s/^replica [0-9]*: clients \([^,]*\),.*/--server=\1/p"; }
caught_up() { # ID, as the others see it; shellcheck disable=SC2046
  ps_ status $(but "$1") 2>/dev/null | awk -v id="$1" '$1 == id && $4 == "up" && $6 == 0 { ok = 1 } END { exit !ok }'
}
