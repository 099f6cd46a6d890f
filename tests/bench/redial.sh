#!/bin/sh
# redial.sh - how soon both channels of an edge are up again after its link was a blackhole.
#
# usage: redial.sh BUILD_DIR [ROUNDS [CUT_S [LINK OPTIONS...]]]      (10 rounds of 20 s; root)
#
# One core, one edge, and between them the emulated link of holdfast-sim: by default a round trip of
# 100 ms, 20 Mbit/s, 0.5 % loss, and the system's congestion control. In each round the link is cut at IP level, SYNs included, for
# CUT_S seconds at a random phase. A line on stdout is one round: ms from the heal until the edge's log
# says "link up" for the stream and for control; the last line is median [min-max] of the later one.
# The times of the heal are taken here; script and log go by the same clock. It must not leave
# anything behind: holdfast-sim ends all that runs in its nodes.
set -u

if [ -z "${HF_WAN_SIM:-}" ]; then
    bin=$(realpath "$1")
    rounds=${2:-10}
    cut_s=${3:-20}
    shift $(($# < 3 ? $# : 3))
    [ $# -gt 0 ] || set -- --rtt 100 --rate 20 --loss 0.5
    dir=$(mktemp -d /tmp/hf-redial.XXXXXX) || exit 1
    trap 'rm -rf "$dir"' EXIT
    trap 'exit 130' INT TERM
    "$bin/holdfast-sim" link "$@" --quiet -- "$0" "$bin" "$rounds" "$cut_s" "$dir"
    exit $?
fi

bin=$1
rounds=$2
cut_s=$3
cd "$4" || exit 1

fail() {
    printf 'redial: %s\n' "$1" >&2
    exit 1
}

wait_for() { # WORD FILE COUNT
    for _ in $(seq 400); do
        [ "$(grep -c "$1" "$2" 2>/dev/null)" -ge "$3" ] && return 0
        sleep 0.05
    done
    fail "waited too long for '$1' in $2"
}

# Milliseconds from a time to the first line with a text that is not older.
since_ms() { # TEXT FROM_MS
    grep "$1" edge.log | while read -r stamp _; do
        at=$(($(date -u -d "$stamp" +%s%N) / 1000000))
        [ "$at" -ge "$2" ] && echo $((at - $2)) && break
    done
}

"$HF_WAN_SIM" link-exec 0 "$bin/holdfast-core" --data core --listen "tcp://$HF_WAN_ADDRESS_0:7410" \
    --resp off >core.out 2>core.log &
wait_for '^ready' core.out 1
core_key=$(sed -n 's/^core key //p' core.out)
mkdir -m 700 edge
key=$("$bin/holdfast" keygen edge/edge.key) || fail 'keygen'
"$bin/holdfast" --data core edge add edge "$key" >/dev/null || fail 'edge add'
"$HF_WAN_SIM" link-exec 1 "$bin/holdfast-edge" --data edge --core "tcp://$HF_WAN_ADDRESS_0:7410" \
    --core-key "$core_key" --resp off >edge.out 2>edge.log &
wait_for 'link up' edge.log 2
for round in $(seq "$rounds"); do
    sleep "3.$(($(od -An -N2 -tu2 /dev/urandom) % 900 + 100))"
    "$HF_WAN_SIM" link-do cut 1 >/dev/null || fail 'cut'
    sleep "$cut_s"
    ups=$(grep -c 'link up' edge.log)
    healed=$(($(date +%s%N) / 1000000))
    "$HF_WAN_SIM" link-do heal 1 >/dev/null || fail 'heal'
    wait_for 'link up' edge.log $((ups + 2))
    stream=$(since_ms 'link up channel=0' "$healed")
    control=$(since_ms 'link up channel=1' "$healed")
    echo "$round $stream $control"
    echo $((stream > control ? stream : control)) >>later
done
sort -n later | awk '{ v[NR] = $1 }
    END { m = NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2
          printf "both up after the heal: %d ms [%d-%d]\n", m, v[1], v[NR] }'
