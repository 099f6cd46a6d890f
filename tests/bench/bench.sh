#!/bin/sh
# bench.sh - the figures that holdfast is held to, measured in one run beside redis-server.
#
# usage: bench.sh [BUILD_DIR] [PART...]        (make bench builds first and runs all parts)
#
#   publish    durable writes per second, one at a time and in windows of 100, until at the replica
#   propagate  500 writes a second: when each is visible at the replica
#   heal       silent links: when they are noticed, and when repair begins after they heal (heal.sh)
#   idle       processor time and memory of a core and an edge that have nothing to do
#   sim        virtual seconds of the simulator per real one
#   stages     microseconds per change in each stage of its path (stages.c)
#
# holdfast and redis-server (appendfsync always at both ends) run side by side, on the same disk,
# under the same client, in turns A B A B; a ratio is that of a pair, and the median of PAIRS pairs
# is compared with the target, so what else the machine does meets both alike. The load average is
# printed with each part: figures of a busy machine are indications.
#
# Invariant: nothing is left behind and nothing is touched that was not started here, also when it is
# interrupted: processes are ended by id, files are in one directory under /tmp (or $TMPDIR).
# It is no test: a missed target is printed, the exit status is 0 when all parts could be measured.
# Next: README.md beside it, for what the figures mean.
set -u

PAIRS=5
ONE=3000        # writes of a run one at a time: about a second
WINDOWS=100000  # writes of a run in windows: about a second
PACED=2000      # writes of a run at 500/s: four seconds
IDLE_S=20
KEYS=20000
SIM_S=3000

here=$(cd "$(dirname "$0")" && pwd)
. "$here/common.sh"
if [ "${1:-}" = --help ]; then
    sed -n '2,/^set -u/s/^# \{0,1\}//p' "$0"
    exit 0
fi
bin=$(cd "${1:-build}" 2>/dev/null && pwd) || bin=''
[ $# -eq 0 ] || shift
parts=${*:-stages publish propagate heal idle sim}
client=$bin/tests/bench/client
dir=''
pids=''

stop_all() {
    trap '' INT TERM
    trap - EXIT
    for pid in $pids; do kill "$pid" 2>/dev/null; done
    for pid in $pids; do wait "$pid" 2>/dev/null; done
    cd /
    [ -z "$dir" ] || rm -rf "$dir"
    exit "$1"
}
trap 'stop_all $?' EXIT
trap 'stop_all 130' INT TERM

fail() {
    printf 'bench: %s\n' "$1" >&2
    for log in "$dir"/*.log; do
        [ -s "$log" ] && printf -- '--- %s\n' "$(basename "$log")" >&2 && tail -n 5 "$log" >&2
    done
    exit 1
}

# ---- processes ----

start() { # NAME PROGRAM ARGUMENTS...; the process id is in $started
    name=$1
    shift
    "$@" >"$name.out" 2>"$name.log" </dev/null &
    started=$!
    pids="$started $pids"
}

word() { sed -n "s/^$2 //p" "$1.out"; }

start_holdfast() { # once: a core and an edge, with the keys in
    [ -z "${core_pid:-}" ] || return 0
    start core "$bin/holdfast-core" --data core --listen tcp://127.0.0.1:0 --resp 127.0.0.1:0
    core_pid=$started
    wait_for 10 'the core' grep -q '^ready' core.out
    token=$("$bin/holdfast" --data core edge invite edge 2>invite.log) || fail 'invite'
    start edge "$bin/holdfast-edge" --data edge --join "$token" --resp 127.0.0.1:0
    edge_pid=$started
    wait_for 10 'the edge' grep -q 'caught up' edge.log
    core=$(word core resp)
    edge=$(word edge resp)
    "$client" fill "$core" "$edge" "$KEYS" >/dev/null || fail 'fill'
}

# Above 20000 and below the range that the kernel gives to outgoing connections.
free_port() {
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        port=$((20001 + $(od -An -N2 -tu2 /dev/urandom) % 12000))
        redis-cli -p "$port" ping 2>&1 | grep -q 'refused' && return 0
    done
    fail 'no free port'
}

start_redis() { # NAME ARGUMENTS...: the port is in $port
    name=$1
    shift
    free_port
    mkdir "$name"
    start "$name" redis-server --port "$port" --bind 127.0.0.1 --dir "$dir/$name" --daemonize no \
        --save '' --appendonly yes --appendfsync always --auto-aof-rewrite-percentage 0 "$@"
    wait_for 10 "$name" redis-cli -p "$port" ping
}

synced() { redis-cli -p "$replica_port" info replication | grep -q 'master_link_status:up'; }

start_redises() { # once: both ends sync each write before they answer, as holdfast's do
    [ -z "${master:-}" ] || return 0
    command -v redis-server >/dev/null || fail 'no redis-server; deploy/install-deps.sh --bench'
    start_redis master
    master=127.0.0.1:$port
    start_redis replica --replicaof 127.0.0.1 "$port" --repl-diskless-load swapdb
    replica_port=$port
    replica=127.0.0.1:$port
    wait_for 20 'the replica' synced
    "$client" fill "$master" "$replica" "$KEYS" >/dev/null || fail 'fill'
}

# ---- figures ----

title() { printf '\n%s   (load %s)\n' "$1" "$(cut -d' ' -f1-3 /proc/loadavg)"; }

measure() { # MODE N: PAIRS runs of each in turn, into holdfast.MODE.I and redis.MODE.I
    for i in $(seq "$PAIRS"); do
        "$client" "$1" "$core" "$edge" "$2" >"holdfast.$1.$i" || fail "$1"
        sleep 0.5 # what is written later is written before the other's turn
        "$client" "$1" "$master" "$replica" "$2" >"redis.$1.$i" || fail "$1"
        sleep 0.5
    done
}

column() { # SYSTEM MODE FIGURE
    for i in $(seq "$PAIRS"); do sed -n "s/^$3 //p" "$1.$2.$i"; done
}

verdict() { awk -v a="$1" -v op="$2" -v b="$3" 'BEGIN {
    print (op == ">=" ? a >= b : a <= b) ? "met" : "NOT MET" }'; }

# The line of one figure: both systems, the median of the pairs' ratios, and how it is judged.
line() { # SENTENCE MODE FIGURE OP TARGET
    ratio=$(paste -d' ' - <<-ends | spread '%.2f' | middle
	$(column holdfast "$2" "$3" >a.num; column redis "$2" "$3" >b.num; paste a.num b.num |
        awk '{ print $1 / $2 }')
	ends
    )
    judged=''
    [ -z "${4:-}" ] || judged="target $4 $5: $(verdict "$ratio" "$4" "$5")"
    printf '  %-34s holdfast %-24s redis %-24s ratio %-6s %s\n' "$1" \
        "$(column holdfast "$2" "$3" | spread '%.0f')" \
        "$(column redis "$2" "$3" | spread '%.0f')" "$ratio" "$judged"
}

publish() {
    start_holdfast
    start_redises
    title "publish: 24-byte keys, 100-byte values, durable at both ends, $PAIRS pairs"
    measure one "$ONE"
    measure window "$WINDOWS"
    line 'one at a time, acked /s' one acked_per_s '>=' 1.0
    line '  ack p50, us' one ack_p50_us
    line '  ack p99, us' one ack_p99_us
    line 'windows of 100, acked /s' window acked_per_s
    line 'windows of 100, at the replica /s' window replica_per_s '>=' 1.0
    line '  window p50, us' window ack_p50_us
    line '  window p99, us' window ack_p99_us
}

tail_of() { # SYSTEM: p99 / p50 of each run
    column "$1" propagate visible_p50_us >a.num
    column "$1" propagate visible_p99_us >b.num
    paste a.num b.num | awk '{ print $2 / $1 }'
}

propagate() {
    start_holdfast
    start_redises
    title "propagate: 500 writes/s, from sending to visible at the replica, $PAIRS pairs"
    measure propagate "$PACED"
    line 'visible p50, us' propagate visible_p50_us '<=' 1.0
    line 'visible p99, us' propagate visible_p99_us
    line 'ack p50, us' propagate ack_p50_us
    line 'ack p99, us' propagate ack_p99_us
    printf '  %-34s holdfast %-24s redis %-24s target <= 3: %s\n' 'p99 / p50 of visible' \
        "$(tail_of holdfast | spread '%.1f')" "$(tail_of redis | spread '%.1f')" \
        "$(verdict "$(tail_of holdfast | spread '%.2f' | middle)" '<=' 3)"
}

heal() {
    title 'heal: a link that goes silent for 8 to 20 s under 10 writes/s'
    "$here/heal.sh" "$bin" "$dir/heal" >heal.num 2>heal.log || fail 'heal.sh'
    noticed=$(awk '{ print $2 }' heal.num | spread '%.0f')
    repaired=$(awk '{ print $3 }' heal.num | spread '%.0f')
    printf '  %-34s %-24s target <= 3 beacons of 1,000 ms: %s\n' 'dead link noticed after, ms' \
        "$noticed" "$(verdict "$(awk '{ print $2 }' heal.num | sort -g | tail -n 1)" '<=' 3100)"
    printf '  %-34s %-24s target <= 1,000 ms + 1 RTT: %s\n' 'first repaired batch after, ms' \
        "$repaired" "$(verdict "$(awk '{ print $3 }' heal.num | sort -g | tail -n 1)" '<=' 1000)"
    printf '  %s cuts, of %s s; the verdicts are on the slowest\n' "$(wc -l <heal.num)" \
        "$(awk '{ print $1 / 1000 }' heal.num | spread '%.0f')"
}

ticks() { awk '{ sub(/.*\) /, ""); print $12 + $13 }' "/proc/$1/stat"; }
memory() { awk -v f="$2:" '$1 == f { printf "%.1f", $2 / 1024 }' "/proc/$1/status"; }

idle() {
    start_holdfast
    sleep 3
    title "idle: a core and an edge with $KEYS keys, over $IDLE_S s"
    then_core=$(ticks "$core_pid")
    then_edge=$(ticks "$edge_pid")
    sleep "$IDLE_S"
    hertz=$(getconf CLK_TCK)
    for name in "core $core_pid $then_core" "edge $edge_pid $then_edge"; do
        set -- $name
        name=$1 pid=$2 then=$3
        cpu=$(awk -v n="$(($(ticks "$pid") - then))" -v h="$hertz" -v s="$IDLE_S" \
            'BEGIN { printf "%.2f", 100 * n / h / s }')
        # The store is a map of a file: its pages are the page cache's and can be taken back.
        own=$(memory "$pid" RssAnon)
        printf '  %-5s processor %s %% (target < 1: %s)   memory %s MiB of its own' \
            "$name" "$cpu" "$(verdict "$cpu" '<=' 0.99)" "$own"
        printf ' (target < 30 MB: %s), resident with files %s MiB\n' \
            "$(verdict "$own" '<=' 28.6)" "$(memory "$pid" VmRSS)"
    done
}

sim() {
    title "sim: 4 edges, one batch a second, $SIM_S virtual seconds"
    "$bin/holdfast-sim" run --no-faults --edges 4 --every 1000 --duration "$SIM_S" >sim.out ||
        fail 'the simulator'
    speed=$(sed -n 's/.*(\([0-9.]*\)x).*/\1/p' sim.out)
    printf '  %s virtual seconds per real second (target >= 300: %s)\n' "$speed" \
        "$(verdict "$speed" '>=' 300)"
}

stages() {
    title 'stages: where the time of a change goes'
    "$bin/tests/bench/stages" | sed 's/^/  /'
}

for part in $parts; do
    case $part in
    publish | propagate | heal | idle | sim | stages) ;;
    *) fail "no part is called $part" ;;
    esac
done
for program in "$client" "$bin/tests/bench/stages" "$bin/holdfast-core" "$bin/holdfast-blackhole"; do
    [ -n "$bin" ] && [ -x "$program" ] || fail "no $(basename "$program"); make bench builds it"
done
# Not deep: the path of a unix socket has room for 107 bytes.
dir=$(mktemp -d "${TMPDIR:-/tmp}/holdfast-bench.XXXXXX") && cd "$dir" || fail 'no temporary directory'
TMPDIR=$dir
export TMPDIR
began=$(date +%s)
printf 'machine: %s processors, Linux %s, %s\n' "$(nproc)" "$(uname -r)" \
    "$(redis-server --version 2>/dev/null | cut -d' ' -f1-3)"
for part in $parts; do
    taken_mark
    "$part"
    printf '  of the processors the host took %s\n' "$(taken)"
done
printf '\nmeasured in %d s\n' $(($(date +%s) - began))
