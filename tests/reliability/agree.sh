#!/bin/sh
# agree.sh - whether the virtual and the real world say the same of a scenario: how long it takes until all is equal
# again, and how many bytes that costs.
#
# usage: agree.sh [--build DIR] [--limit PERCENT] [FILE...]     (build, 25, tests/scenario/agree/*.sim)
#
# Plays each file in both worlds and compares what they measured for each of its expectations that is a time or a
# number of bytes. The ratio is the larger by the smaller. Exit status: 0 all within the limit, 1 not, 2 wrong use.
#
# Both worlds write the same (one seed, and the scenarios read nothing, since readers draw from the same stream of
# random numbers in the virtual world). The daemons' disks are memory here, as those of the virtual world are quick.
# A machine that is busy makes the real world slower than it is: look at the load before you look at the code.
set -u
cd "$(dirname "$0")/../.." || exit 1
bin=build
limit=25
while [ $# -gt 0 ]; do
    case $1 in
    --build) bin=$2 && shift 2 ;;
    --limit) limit=$2 && shift 2 ;;
    -*)
        sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2
        exit 2
        ;;
    *) break ;;
    esac
done
[ $# -gt 0 ] || set -- tests/scenario/agree/*.sim
[ -d /dev/shm ] && export TMPDIR=/dev/shm
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT

# NAME<tab>AMOUNT<tab>UNIT of each expectation that was measured.
measured() {
    sed -nE 's/^(ok|FAILED) +(expect )?(.*[^ :]):? +([0-9.]+) (s|bytes)( at .*)?$/\3\t\4\t\5/p' "$1"
}

play() { # FILE OUT COMMAND...: the run must end by itself, and all that it expects must hold
    out=$2
    shift 2
    if ! "$@" >"$out" 2>&1; then
        printf 'FAILED %s\n' "$*"
        cat "$out"
        return 1
    fi
}

bad=0
printf '%-14s %-48s %12s %12s %6s\n' scenario measured virtual real ratio
for file in "$@"; do
    name=$(basename "$file" .sim)
    if ! play "$file" "$work/virtual" "$bin/holdfast-sim" scenario "$file" ||
        ! play "$file" "$work/real" "$bin/holdfast-sim" wan --quiet --congestion cubic "$file"; then
        bad=1
        continue
    fi
    grep '^note:' "$work/real"
    measured "$work/virtual" >"$work/v"
    measured "$work/real" >"$work/r"
    paste "$work/v" "$work/r" | awk -F '\t' -v name="$name" -v limit="$limit" '
        $1 != $4 { print name ": the two worlds judged different things: " $1 ", " $4; bad = 1; next }
        {
            ratio = $2 > $5 ? $2 / ($5 > 0 ? $5 : 0.001) : $5 / ($2 > 0 ? $2 : 0.001)
            far = ratio > 1 + limit / 100
            bad += far
            sub(/ (within|<=|>=) .*/, "", $1)
            printf "%-14s %-48s %12s %12s %6.2f%s\n", name, $1 " (" $3 ")", $2, $5, ratio, far ? "  beyond" : ""
        }
        END { if (NR == 0) { print name ": nothing was measured"; bad = 1 } exit bad > 0 }' || bad=1
done
printf 'load average %s\n' "$(cut -d' ' -f1-3 /proc/loadavg)"
exit $bad
