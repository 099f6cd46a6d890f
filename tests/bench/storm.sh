#!/bin/sh
# storm.sh - many edges come back at once after a long cut: what the core needs, when the last is done.
#
# usage: storm.sh [--build DIR] [--edges N] [--keys N] [--changed N] [--hub MBIT] [--rtt MS] [--cut S]
#
# Real daemons, each in a namespace of holdfast-sim link: N edges (200) with KEYS keys (20,000) each, of
# which CHANGED (3,000) change while all links are cut, as in ten minutes of a few writes a second, but
# written within the cut (15 s): what differs counts, not how long it took. Then all links heal at one
# moment, and the core's line to all of them together carries HUB Mbit/s (50), with RTT ms (50) to each.
#
# Prints storm.c's lines, and how often the core said that it is ready: more than once when it replaced
# itself by a new process image. Its warnings go to stderr. The edges' directories are in /dev/shm if there
# is one: 200 machines have 200 disks. Nothing is left behind: the emulator ends all processes, the
# directories are removed here. It is no test: the exit status is 1 only when it could not be measured.
# Next: storm.c, wan.sh.
set -u

here=$(cd "$(dirname "$0")" && pwd)
self=$here/$(basename "$0")
. "$here/common.sh"
bin=build edges=200 keys=20000 changed=3000 hub=50 rtt=50 cut=15

fail() {
    printf 'storm: %s\n' "$1" >&2
    tail -n 3 "${core:-/nonexistent}"/*.log >&2 2>/dev/null
    exit 1
}

# The fill comes before the edges: they join, ten at a time, so that none of it is the storm's.
inner() { # CORE_DIR EDGES_DIR BIN EDGES KEYS CHANGED CUT HUB
    core=$1 far=$2 bin=$3
    cd "$core" || exit 1
    ulimit -n 16384 2>/dev/null
    "$HF_WAN_SIM" link-exec 0 "$bin/holdfast-core" --data core --listen "tcp://$HF_WAN_ADDRESS_0:7410" \
        --resp off >core.out 2>core.log </dev/null &
    pid=$! # link-exec becomes the core
    wait_for 10 'the core' grep -q '^ready' core.out
    "$bin/tests/bench/catchup" fill "$core/core/holdfast.sock" "$5" || fail 'fill'
    i=0
    while [ "$i" -lt "$4" ]; do
        i=$((i + 1))
        token=$("$bin/holdfast" --data core edge invite "edge$i" 2>invite.log) || fail 'invite'
        "$HF_WAN_SIM" link-exec "$i" "$bin/holdfast-edge" --data "$far/$i" --join "$token" --resp off \
            --log warn >/dev/null 2>"$far/$i.log" </dev/null &
        [ $((i % 10)) -ne 0 ] || wait_for 30 "edge $i" test -S "$far/$i/holdfast.sock"
    done
    wait_for 30 'the last edge' test -S "$far/$4/holdfast.sock"
    "$bin/tests/bench/storm" "$core/core/holdfast.sock" "$pid" "$4" "$5" "$6" "$7" "hub rate=$8" \
        "$far/%/holdfast.sock" || exit
    grep -h ' warn \| error ' core.log | cut -d' ' -f2- | sed 's/[0-9][0-9]*/N/g' | sort | uniq -c |
        sort -rn | head -n 5 >&2
    printf 'core_starts %s\n' "$(grep -c '^ready' core.out)"
    exit 0
}

if [ "${1:-}" = --inner ]; then
    shift
    inner "$@"
fi

while [ $# -gt 0 ]; do
    if [ "$1" = --help ]; then
        sed -n '2,/^set -u/s/^# \{0,1\}//p' "$self"
        exit 0
    fi
    [ $# -gt 1 ] || fail "$1 needs a value"
    case $1 in
    --build) bin=$2 ;;
    --edges) edges=$2 ;;
    --keys) keys=$2 ;;
    --changed) changed=$2 ;;
    --hub) hub=$2 ;;
    --rtt) rtt=$2 ;;
    --cut) cut=$2 ;;
    *) fail "unknown option $1" ;;
    esac
    shift 2
done
bin=$(cd "$bin" 2>/dev/null && pwd) || fail 'no build directory; make bench-wan makes it'

shm=/dev/shm
[ -w $shm ] || shm=${TMPDIR:-/tmp}
near=$(mktemp -d "${TMPDIR:-/tmp}/hf-storm.XXXXXX") || fail 'no temporary directory'
far=''
child=''
clean_up() {
    trap '' INT TERM
    [ -z "$child" ] || { kill "$child" && wait "$child"; } 2>/dev/null
    forbid_congestion
    rm -rf "$near" ${far:+"$far"}
}
trap clean_up EXIT
trap 'exit 130' INT TERM
far=$(mktemp -d "$shm/hf-storm.XXXXXX") || fail 'no temporary directory'
permit_congestion cubic || fail 'the kernel has no cubic'

"$bin/holdfast-sim" link --quiet --nodes "$edges" --rtt "$rtt" --congestion cubic -- "$self" --inner "$near" \
    "$far" "$bin" "$edges" "$keys" "$changed" "$cut" "$hub" &
child=$!
wait "$child"
status=$?
child=''
[ "$status" -eq 0 ] || fail "could not be measured (status $status)"
