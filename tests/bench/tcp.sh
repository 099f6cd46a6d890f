#!/bin/sh
# tcp.sh - whether TCP of the virtual world (sim/tcp.h) takes as long as the kernel's, for answers of some sizes.
#
# usage: tcp.sh [--runs N] [--peers N] [--sizes LIST] BUILD_DIR [RTT_MS RATE_MBIT LOSS_PERCENT]...
#        (3, 1, '64000 350000 1500000'; the five lines below; needs root)
#
# For each line, at each of ten edges of an emulated link (holdfast-sim link, cubic), --peers connections at once ask
# for each size three times, one answer after the other: the first finds a new connection, the others one whose window
# has grown. And so --runs times; 500 times in the virtual world. A line on stdout is one size and round: median
# [least-largest] of both, and how many times longer the virtual one takes, by median and by mean. With losses single
# answers differ tenfold, so look at the means of a few dozen. It judges nothing.
set -u

here=$(cd "$(dirname "$0")" && pwd)
. "$here/common.sh"
sizes='64000 350000 1500000'
rounds=3
edges=10

if [ -n "${HF_WAN_SIM:-}" ]; then # in the emulated network
    bin=$1
    runs=$2
    sizes=$5
    : >"$3/ready"
    "$HF_WAN_SIM" link-exec 0 "$bin/tests/bench/tcp" serve >"$3/ready" &
    server=$!
    until grep -q ready "$3/ready"; do sleep 0.05; done
    asking=''
    for edge in $(seq "$HF_WAN_NODES"); do
        # shellcheck disable=SC2086
        "$HF_WAN_SIM" link-exec "$edge" \
            "$bin/tests/bench/tcp" fetch "$HF_WAN_ADDRESS_0" "$runs" "$4" $rounds $sizes >"$3/real.$edge" &
        asking="$asking $!"
    done
    # shellcheck disable=SC2086
    wait $asking
    kill "$server"
    exit 0
fi

runs=3
peers=1
while [ $# -gt 1 ]; do
    case $1 in
    --runs) runs=$2 ;;
    --peers) peers=$2 ;;
    --sizes) sizes=$2 ;;
    *) break ;;
    esac
    shift 2
done
if [ $# -lt 1 ] || [ $((($# - 1) % 3)) -ne 0 ]; then
    sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
bin=$(realpath "$1")
shift
[ $# -gt 0 ] || set -- 160 3 0 160 3 1 40 8 1 60 20 0.2 600 4 0.5
work=$(mktemp -d /tmp/hf-tcp.XXXXXX) || exit 1
trap 'rm -rf "$work"; forbid_congestion' EXIT
trap 'exit 130' INT TERM
permit_congestion cubic || exit 1

printf '%-22s %8s %5s  %-26s %-26s %6s %6s\n' line bytes round kernel virtual median mean
while [ $# -gt 0 ]; do
    rm -f "$work"/*
    "$bin/holdfast-sim" link --rtt "$1" --rate "$2" --loss "$3" --congestion cubic --nodes $edges --quiet -- \
        "$0" "$bin" "$runs" "$work" "$peers" "$sizes" || exit 1
    # shellcheck disable=SC2086
    "$bin/tests/bench/tcp" virtual "$1" "$2" "$3" 500 "$peers" $rounds $sizes >"$work/virtual" || exit 1
    for size in $sizes; do
        for round in $(seq $rounds); do
            for world in real virtual; do
                cat "$work/$world"* | sed -n "s/^$size $round //p" >"$work/took"
                printf '%s\t%s\n' "$(spread %.3f <"$work/took")" "$(awk '{ sum += $1 } END { print sum / NR }' "$work/took")"
            done | awk -F '\t' -v line="$1 ms $2 Mbit $3 %" -v size="$size" -v round="$round" '
                { text[NR] = $1; mean[NR] = $2 } # as a number, the text is its median
                END { printf "%-22s %8d %5d  %-26s %-26s %6.2f %6.2f\n", line, size, round, text[1], text[2],
                             text[2] / text[1], mean[2] / mean[1] }'
        done
    done
    shift 3
done
