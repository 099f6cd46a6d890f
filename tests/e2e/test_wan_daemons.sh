#!/bin/sh
# test_wan_daemons.sh - real daemons over an emulated WAN that loses packets: an edge that was cut off
# serves all the while, and equals the core again, key by key.
#
# usage: test_wan_daemons.sh [BUILD_DIR]
#
# A small case of tests/bench/catchup.sh, judged. Without the privilege to make network namespaces it
# says SKIP and why, and passes. It must not judge times: catchup.sh is for those.
set -u
cd "$(dirname "$0")/../.." || exit 1
bin=${1:-build}

why=$("$bin/holdfast-sim" link --quiet -- true 2>&1)
status=$?
case "$status $why" in
0*) ;;
125*needs\ root*)
    printf 'SKIP test_wan_daemons: %s\n' "$why"
    exit 0
    ;;
*)
    printf 'the emulated network does not start (status %s): %s\n' "$status" "$why" >&2
    exit 1
    ;;
esac

table=$(tests/bench/catchup.sh --build "$bin" --system holdfast --repeat 1 --keys 2000 --distinct 2000 \
    --writes 4000 --cut 4 --link 'rtt=60 rate=20 loss=2 burst=3 jitter=3 reorder=1 duplicate=1' --limit 40 \
    --congestion "$(cat /proc/sys/net/ipv4/tcp_congestion_control)") || exit 1
printf '%s\n' "$table"
printf '%s\n' "$table" | awk '$1 == "holdfast" {
    seen = 1
    if ($2 == "never") { print "the edge never equalled the core"; bad = 1 }
    if ($7 !~ /^0\// || $9 < 500) { print "reads failed or were few: " $7 " of " $9; bad = 1 }
} END { exit !seen || bad }'
