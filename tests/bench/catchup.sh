#!/bin/sh
# catchup.sh - a replica is cut off, the source is written to, the link heals: how long until they are equal?
#
# usage: catchup.sh [--build DIR] [--case A|C|D|E|G|gap|store] [options]     (make bench-wan: wan.sh)
#
#   --system LIST      of holdfast redis redis-resync redis-backlog ("holdfast redis redis-resync")
#   --repeat N         runs of each, in turns (3)
#   --keys N           keys of the store, all there before the cut (20000)
#   --distinct N,...   that many of them change while the link is cut; a cut for each number (20000)
#   --writes N         by so many writes, evenly over the cut (200000; at least one for each key)
#   --cut S            how long it lasts (20)
#   --flap CUT/EVERY   and after the heal so many seconds of every so many again (none)
#   --link WORDS       settings of sim/README.md ("rtt=100 rate=20 loss=0.5"); none: both ends are on one
#                      node and use its loopback device, which counts no bytes
#   --congestion NAME  TCP congestion control at both ends (cubic, Debian's default)
#   --join             no cut: the edge starts with nothing, over the link
#   --limit S          a run that takes longer is "never" (400)
#   --keep DIR         leaves the lines of each run there, in SYSTEM.RUN
#
# Case A is the default of each option. C: an edge that joins, 1,000,000 keys, rtt=20 rate=100. D: C with
# --link none. E: 40,000 keys, 5 MB, all changed; rtt=300 rate=2 loss=10, cut for 5 s of every
# 20. G: 1,000,000 changed keys of 1,000,000, rtt=20 rate=100. gap: 1,000 to 1,000,000 changed keys of
# 1,000,000, cut after cut. store: A with 100,000 keys. What comes after --case changes that case.
#
# The link is the emulator's (holdfast-sim link), one for each run, with fresh servers on a real disk. Each
# run fills the store and waits for equality while the link is still unshaped. redis-server syncs each write
# at both ends, as holdfast does. redis: all other settings its own. redis-resync: it gives a link up after
# 4 s, and comes back with a backlog of 1 MiB that is too small: a full resync. redis-backlog: the same with
# a backlog that has everything. Times, reads and bytes are catchup.c's; a figure is "median [least-largest]".
#
# It is no test: the exit status is 1 only when a run could not be measured. Nothing is left behind, but for
# kill -9: the system's list of permitted congestion controls, to which the one asked for is added during a
# run by root. Next: README.md beside it.
set -u

here=$(cd "$(dirname "$0")" && pwd)
self=$here/$(basename "$0")
. "$here/common.sh"

fail() {
    printf 'catchup: %s\n' "$1" >&2
    for log in "${dir:-/nonexistent}"/*.log; do
        [ -s "$log" ] && printf -- '--- %s\n' "$(basename "$log")" >&2 && tail -n 5 "$log" >&2
    done
    exit 1
}

# ---- one run, inside the emulated network; all that it starts ends with it ----

start() { # NODE NAME PROGRAM ARGUMENTS...
    node=$1
    name=$2
    shift 2
    "$HF_WAN_SIM" link-exec "$node" "$@" >"$name.out" 2>"$name.log" </dev/null &
}

core_of_holdfast() {
    start 0 core "$bin/holdfast-core" --data core --listen "tcp://$HF_WAN_ADDRESS_0:7410" --resp off
    wait_for 10 'the core' grep -q '^ready' core.out
    token=$("$bin/holdfast" --data core edge invite edge 2>invite.log) || fail 'invite'
    core=$dir/core/holdfast.sock
    edge=$dir/edge/holdfast.sock
}

edge_of_holdfast() {
    start "$edge_node" edge "$bin/holdfast-edge" --data edge --join "$token" --resp off
}

redis() { # NODE NAME ARGUMENTS...
    node=$1
    name=$2
    shift 2
    mkdir "$name"
    start "$node" "$name" redis-server --port 6379 --bind 0.0.0.0 --protected-mode no --dir "$dir/$name" \
        --unixsocket "$dir/$name.sock" --daemonize no --save '' --appendonly yes --appendfsync always \
        --auto-aof-rewrite-percentage 0 $settings "$@"
}

core_of_redis() {
    settings='' # of both ends
    case $1 in
    redis-resync) settings='--repl-timeout 4 --repl-ping-replica-period 1 --repl-diskless-sync-delay 0' ;;
    redis-backlog) settings='--repl-timeout 4 --repl-ping-replica-period 1 --repl-backlog-size 256mb' ;;
    esac
    redis 0 core
    core=$dir/core.sock
    edge=$dir/edge.sock
    wait_for 10 'redis-server' redis-cli -s "$core" ping
}

edge_of_redis() {
    redis "$edge_node" edge --replicaof "$HF_WAN_ADDRESS_0" 6379
}

inner() { # DIR BIN SYSTEM JOIN KEYS LINK OPTIONS...: prints the figures
    dir=$1 bin=$2 system=$3 join=$4 keys=$5 link=$6 edge_node=1
    shift 6
    [ "$link" != none ] || link='' edge_node=0
    catchup=$bin/tests/bench/catchup
    cd "$dir" || exit 1
    server=${system%%-*}
    "core_of_$server" "$system"
    if [ "$join" = yes ]; then
        "$catchup" fill "$core" "$keys" || fail 'fill'
        [ -z "$link" ] || "$HF_WAN_SIM" link-do set 1 $link || fail 'link'
        since=$(date +%s.%N)
        "edge_of_$server"
        "$catchup" join "$core" "$edge" --keys "$keys" --profile "$link" --since "$since" "$@"
    else
        "edge_of_$server"
        wait_for 20 'the edge' test -S "$edge"
        "$catchup" fill "$core" "$keys" && "$catchup" equal "$core" "$edge" "$keys" || fail 'fill'
        "$catchup" cut "$core" "$edge" --keys "$keys" --profile "$link" "$@"
    fi
    exit
}

if [ "${1:-}" = --inner ]; then
    shift
    inner "$@"
fi

# ---- options ----

keep='' bin=build case=A systems='holdfast redis redis-resync' repeat=3 congestion=cubic limit=400
set_case() {
    keys=20000 distinct=20000 writes=200000 cut=20 flap='' join=no link='rtt=100 rate=20 loss=0.5'
    case $1 in
    A) ;;
    C) keys=1000000 join=yes link='rtt=20 rate=100' ;;
    D) keys=1000000 join=yes link=none ;;
    E) keys=40000 distinct=40000 link='rtt=300 rate=2 loss=10' flap=5/20 limit=1200 ;;
    G) keys=1000000 distinct=1000000 writes=1000000 link='rtt=20 rate=100' ;;
    gap) keys=1000000 distinct=1000,10000,20000,100000,1000000 ;;
    store) keys=100000 ;;
    *) fail "no case is called $1" ;;
    esac
    case=$1
}
set_case A
while [ $# -gt 0 ]; do
    option=$1
    case $option in
    --join)
        join=yes
        shift
        continue
        ;;
    --help)
        sed -n '2,/^set -u/s/^# \{0,1\}//p' "$self"
        exit 0
        ;;
    esac
    [ $# -gt 1 ] || fail "$option needs a value"
    case $option in
    --build) bin=$2 ;;
    --case) set_case "$2" ;;
    --system) systems=$2 ;;
    --repeat) repeat=$2 ;;
    --keys) keys=$2 ;;
    --distinct) distinct=$2 ;;
    --writes) writes=$2 ;;
    --cut) cut=$2 ;;
    --flap) flap=$2 ;;
    --link) link=$2 ;;
    --congestion) congestion=$2 ;;
    --limit) limit=$2 ;;
    --keep) keep=$2 ;;
    *) fail "unknown option $option" ;;
    esac
    shift 2
done
bin=$(cd "$bin" 2>/dev/null && pwd) || fail 'no build directory; make bench-wan makes it'
for system in $systems; do
    case $system in
    holdfast | redis | redis-resync | redis-backlog) ;;
    *) fail "no system is called $system" ;;
    esac
done

# ---- all runs ----

work=$(mktemp -d "${TMPDIR:-/tmp}/hf-catchup.XXXXXX") || fail 'no temporary directory'
child=''
clean_up() {
    trap '' INT TERM
    [ -z "$child" ] || { kill "$child" && wait "$child"; } 2>/dev/null
    forbid_congestion
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

permit_congestion "$congestion" || fail "the kernel has no $congestion"

runs() { # SYSTEM: the files of its runs
    seq -f "$work/$1.%g" "$repeat"
}

reads() { # SYSTEM: failed/slow of all
    [ "$join" = yes ] || printf '%s/%s of %s' "$(median reads_failed %.0f 1 $(runs "$1"))" \
        "$(median reads_slow %.0f 1 $(runs "$1"))" "$(median reads %.0f 1 $(runs "$1"))"
}

measure() { # SYSTEM RUN
    dir=$work/run
    mkdir -m 700 "$dir"
    "$bin/holdfast-sim" link --quiet --congestion "$congestion" -- "$self" --inner "$dir" "$bin" "$1" "$join" \
        "$keys" "$link" --distinct "$distinct" --writes "$writes" --cut "$cut" --limit "$limit" \
        ${flap:+--flap "$flap"} >"$work/$1.$2" &
    child=$!
    wait "$child"
    status=$?
    child=''
    rm -rf "$dir"
    grep -q '^equal_s' "$work/$1.$2" || fail "$1 could not be measured (status $status)"
    overrun=$(sed -n 's/^overrun //p' "$work/$1.$2" | sort -n | tail -n 1)
    [ "$overrun" -eq 0 ] || printf '  too busy a machine: %s packets were dropped\n' "$overrun" >&2
    printf '  run %s  %-14s equal after %s s\n' "$2" "$1" \
        "$(sed -n 's/^equal_s //p' "$work/$1.$2" | tr '\n' ' ' | sed 's/ $//')" >&2
    [ -z "$keep" ] || { mkdir -p "$keep" && cp "$work/$1.$2" "$keep"; } || fail "cannot write to $keep"
}

describe() {
    printf 'case %s: %s keys' "$case" "$keys"
    [ "$join" = yes ] && printf ', an edge joins' ||
        printf ', %s s cut with %s writes over %s of them' "$cut" "$writes" "$distinct"
    printf '; link %s, %s%s\n' "${link:-unshaped}" "$congestion" "${flap:+, cut $flap s}"
    printf 'machine: %s processors, Linux %s, load %s; median [least-largest] of %s runs\n' "$(nproc)" \
        "$(uname -r)" "$(cut -d' ' -f1-3 /proc/loadavg)" "$repeat"
}

describe
for i in $(seq "$repeat"); do
    for system in $systems; do measure "$system" "$i"; done
done
case $distinct in *,*) exit 0 ;; esac # a series has no median: its lines are in --keep
row='%-14s %-24s %-10s %-10s %-22s %-22s %-18s %s\n'
printf "\n$row" system 'equal after, s' 'first, s' 'flows, s' 'MB down' 'MB up' 'reads failed/slow' \
    'worst read, ms'
for system in $systems; do
    set -- $(runs "$system")
    printf "$row" "$system" "$(figure equal_s %.2f 1 "$@")" "$(median first_s %.2f 1 "$@")" \
        "$(median flows_s %.2f 1 "$@")" "$(figure down_bytes %.2f 1000000 "$@")" \
        "$(figure up_bytes %.2f 1000000 "$@")" "$(reads "$system")" "$(figure read_worst_ms %.1f 1 "$@")"
done
printf "$row" 'as it is' "$(median floor_s %.2f 1 "$1")" '' '' "$(median floor_bytes %.2f 1000000 "$1")" \
    "$(median changed_keys %.0f 1 "$1") keys, once"
printf "$row" 'compressed' "$(median packed_s %.2f 1 "$1")" '' '' "$(median packed_bytes %.2f 1000000 "$1")"
