#!/bin/sh
# heal.sh - silent links: how soon an edge notices, and how soon repair begins after the link heals.
#
# usage: heal.sh BUILD_DIR DIR          (bench.sh heal calls it and prints the figures)
#
# One core that takes 10 writes a second, EDGES edges, and before each edge a forwarder that can be
# silenced without a word (sim/blackhole.c). In each round all links are cut, each for a random time of
# 8 to 20 s of its own. A line on stdout is one cut: how long it lasted, how long until the edge's log
# says "link silent", and how long from the heal to "first repaired batch", all in ms, by the wall
# clock that both this script and the log go by.
#
# It must not take what an edge says about itself for the measure: the times of cut and heal are taken
# here. Where the log has no "first repaired batch", its later "caught up" counts. A cut that was not
# noticed, or not repaired, ends it with an error. DIR is left to the caller.
set -u

EDGES=5
ROUNDS=2
SETTLE_S=4

bin=$1
mkdir -p "$2" && cd "$2" || exit 1
pids=''

stop_all() {
    trap - EXIT
    for pid in $pids; do kill "$pid" 2>/dev/null; done
    for pid in $pids; do wait "$pid" 2>/dev/null; done
    exit "$1"
}
trap 'stop_all $?' EXIT
trap 'stop_all 130' INT TERM

fail() {
    printf 'heal: %s\n' "$1" >&2
    exit 1
}

start() { # NAME WORD FILE PROGRAM ARGUMENTS...: waits for the word in the file
    name=$1
    ready=$2
    file=$3
    shift 3
    "$@" >"$name.out" 2>"$name.log" </dev/null &
    started=$!
    pids="$started $pids"
    for _ in $(seq 200); do
        grep -q "$ready" "$file" 2>/dev/null && return 0
        sleep 0.05
    done
    fail "waited too long for $name"
}

now_ms() { echo $(($(date +%s%N) / 1000000)); }

# Milliseconds of the first line with a text in a log that is not older than a time; empty if none.
seen_ms() { # LOG TEXT FROM_MS
    grep "$2" "$1" | while read -r stamp _; do
        at=$(($(date -u -d "$stamp" +%s%N) / 1000000))
        [ "$at" -ge "$3" ] && echo "$at" && break
    done
}

start_edge() { # NUMBER
    start "proxy$1" '^ready' "proxy$1.out" \
        "$bin/holdfast-blackhole" 0 "$port" 0 $((port + 1))
    eval "proxy$1=$started"
    through=$(sed -n 's/^listen \([0-9]*\) .*/\1/p' "proxy$1.out" | head -n 1)
    mkdir -m 700 "edge$1"
    key=$("$bin/holdfast" keygen "edge$1/edge.key") || fail 'keygen'
    "$bin/holdfast" --data core edge add "edge$1" "$key" >/dev/null || fail 'edge add'
    start "edge$1" 'caught up' "edge$1.log" "$bin/holdfast-edge" --data "edge$1" \
        --core "tcp://127.0.0.1:$through" --core-key "$core_key" --resp off
}

cut_once() { # NUMBER: writes when it was cut and when it healed
    eval "proxy=\$proxy$1"
    length=$((8000 + $(od -An -N2 -tu2 /dev/urandom) % 12000))
    kill -USR1 "$proxy" || return
    cut_at=$(now_ms)
    sleep "$((length / 1000)).$(printf '%03d' $((length % 1000)))"
    kill -USR2 "$proxy" || return
    echo "$cut_at $(now_ms)" >"cut$1"
}

report() { # NUMBER
    read -r cut_at healed_at <"cut$1" || fail "edge$1 was not cut"
    noticed=$(seen_ms "edge$1.log" 'link silent' "$cut_at")
    repaired=$(seen_ms "edge$1.log" 'first repaired batch\|caught up' "$healed_at")
    [ -n "$noticed" ] || fail "edge$1 did not notice a cut of $((healed_at - cut_at)) ms"
    [ -n "$repaired" ] || fail "edge$1 repaired nothing after a cut of $((healed_at - cut_at)) ms"
    echo "$((healed_at - cut_at)) $((noticed - cut_at)) $((repaired - healed_at))"
}

start core '^ready' core.out "$bin/holdfast-core" --data core --listen tcp://127.0.0.1:0 \
    --resp 127.0.0.1:0
core_key=$(sed -n 's/^core key //p' core.out)
resp=$(sed -n 's/^resp //p' core.out)
port=$(sed -n 's/^stream .*://p' core.out)
for n in $(seq "$EDGES"); do start_edge "$n"; done
"$bin/tests/bench/client" drip "$resp" "$resp" 10000 >drip.out 2>drip.log </dev/null &
pids="$! $pids"
for round in $(seq "$ROUNDS"); do
    sleep "$SETTLE_S"
    cuts=''
    for n in $(seq "$EDGES"); do
        rm -f "cut$n"
        cut_once "$n" &
        cuts="$cuts $!"
    done
    for pid in $cuts; do wait "$pid"; done
    sleep "$SETTLE_S"
    for n in $(seq "$EDGES"); do report "$n"; done
done
