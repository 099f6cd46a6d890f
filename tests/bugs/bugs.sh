#!/bin/sh
# bugs.sh - plants bugs in a copy of the source, one at a time, and has a swarm find each of them.
#
# usage: tests/bugs/bugs.sh [--seeds N] [--few] [NAME...]
#
# NAME: parts of the names of patches in tests/bugs (all without). --few: three quick ones, others each day. A patch
# begins with a line "G5: what it breaks". Prints a table: the rule that caught the bug, after how many seeds and
# seconds. Exit status 1 when one was not found in N seeds (default 600), or a patch no longer applies.
set -u
cd "$(dirname "$0")/../.." || exit 1
root=$PWD
seeds=600
few=0
while [ $# -gt 0 ]; do
    case $1 in
    --seeds) seeds=$2 && shift 2 ;;
    --few) few=1 && shift ;;
    -*) echo "bugs.sh: $1: expected --seeds N, --few or names of patches" >&2 && exit 2 ;;
    *) break ;;
    esac
done
work=$(mktemp -d /tmp/holdfast-bugs.XXXXXX) || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

chosen() { # NAME...: the patches, a line each
    for p in tests/bugs/*.patch; do
        [ $# -gt 0 ] || echo "$p"
        for name; do
            case $(basename "$p" .patch) in *"$name"*) echo "$p" && break ;; esac
        done
    done
}
patches=$(chosen "$@")
[ -n "$patches" ] || { echo "bugs.sh: no patch in tests/bugs has such a name" >&2; exit 2; }
# Those that take more than a few dozen seeds are for the long form.
slow='closed-until|repair-outrun|refusing-after|log-without|revoked-but|newer-edge|failed-commit'
if [ "$few" -eq 1 ]; then
    patches=$(echo "$patches" | grep -vE -e "$slow")
    count=$(echo "$patches" | wc -l)
    first=$(($(date +%j | sed 's/^0*//') * 3 % count))
    patches=$(echo "$patches" "$patches" | tr ' ' '\n' | sed -n "$((first + 1)),$((first + 3))p")
fi

make -s build/holdfast-sim || exit 1
mkdir "$work/clean" "$work/clean/build" || exit 1
cp -a Makefile core edge include proto sim "$work/clean" || exit 1
for d in core edge proto sim; do cp -a "build/$d" "$work/clean/build"; done

missed=0
total=0
failed() { # NAME SENTENCE
    printf '%-36s %s\n' "$1" "$2"
    missed=$((missed + 1))
}
printf '%-36s %-8s %-10s %6s %8s\n' BUG PROMISE 'CAUGHT BY' SEEDS SECONDS
for p in $patches; do
    name=$(basename "$p" .patch)
    promise=$(sed -n '1s/:.*//p' "$p")
    total=$((total + 1))
    rm -rf "$work/tree"
    cp -a "$work/clean" "$work/tree"
    if ! (cd "$work/tree" && patch -s -p1 -F0 <"$root/$p") >"$work/out" 2>&1; then
        failed "$name" "the patch no longer applies; make it anew for the source as it is: $p"
        continue
    fi
    if ! (cd "$work/tree" && make -s build/holdfast-sim) >"$work/out" 2>&1; then
        failed "$name" "does not compile: $(grep -m 1 error "$work/out")"
        continue
    fi
    begin=$(date +%s%N)
    timeout 900 "$work/tree/build/holdfast-sim" swarm --seeds "$seeds" --stop --no-shrink --no-marks \
        >"$work/out" 2>/dev/null
    tenths=$((($(date +%s%N) - begin) / 100000000))
    rule=$(sed -n 's/^seed [0-9]*: VIOLATION \(at [0-9.]* s: \)\{0,1\}\([^:]*\):.*/\2/p' "$work/out" | head -n 1)
    used=$(sed -n 's/^\([0-9]*\) seeds, .*/\1/p' "$work/out")
    if [ -n "$rule" ]; then
        printf '%-36s %-8s %-10s %6s %6d.%d\n' "$name" "$promise" "$rule" "$used" $((tenths / 10)) $((tenths % 10))
    else
        failed "$name" "$promise is broken, and $seeds seeds did not notice: $(sed -n 1p "$p")"
    fi
done
printf '%d of %d bugs found\n' $((total - missed)) "$total"
[ "$missed" -eq 0 ]
