#!/bin/sh
# agree.sh - whether the virtual and the real world say the same of a scenario: how long it takes until all is equal
# again, and how many bytes that costs.
#
# usage: agree.sh [--build DIR] [--limit PERCENT] [--runs N] [FILE...]
#        (build, 25, 1, tests/scenario/agree/*.sim: three minutes for each run)
#
# Plays each file in both worlds and compares what they measured for each expectation that is a time or a number of
# bytes: the median of nine virtual runs (seeds 1 to 9) and of N real ones (seeds 1 to N), for on a lossy link single
# runs differ, in both worlds. The ratio is the larger by the smaller. Bytes from an edge are shown and not judged:
# they are a twentieth of all, and mostly acknowledgements, which the virtual world only estimates.
# Exit status: 0 all within the limit, 1 not, 2 wrong use.
#
# The daemons' disks are memory here, as those of the virtual world are quick. A machine that is busy makes the real
# world slower than it is: look at the load before you look at the code.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/bench/common.sh
bin=build
limit=25
runs=1
while [ $# -gt 0 ]; do
    case $1 in
    --build) bin=$2 && shift 2 ;;
    --limit) limit=$2 && shift 2 ;;
    --runs) runs=$2 && shift 2 ;;
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
trap 'rm -rf "$work"; forbid_congestion' EXIT
trap 'exit 130' INT TERM
permit_congestion cubic || exit 1

# NAME<tab>AMOUNT<tab>UNIT of each expectation that was measured, in all runs.
measured() {
    sed -nE 's/^(ok|FAILED) +(.*[^ ]) +([0-9.]+) (s|bytes)( at .*)?$/\2\t\3\t\4/p' "$1"
}

play() { # OUT SEEDS COMMAND...: every run must end by itself, and all that it expects must hold
    out=$1
    last=$2
    shift 2
    seed=1
    : >"$out"
    while [ "$seed" -le "$last" ]; do
        if ! "$@" --seed "$seed" >"$work/run" 2>&1; then
            printf 'FAILED %s --seed %s\n' "$*" "$seed"
            cat "$work/run"
            return 1
        fi
        grep '^note:' "$work/run"
        cat "$work/run" >>"$out"
        seed=$((seed + 1))
    done
}

bad=0
printf '%-12s %-40s %12s %12s %6s\n' scenario measured virtual real ratio
for file in "$@"; do
    name=$(basename "$file" .sim)
    if ! play "$work/virtual" 9 "$bin/holdfast-sim" scenario "$file" ||
        ! play "$work/real" "$runs" "$bin/holdfast-sim" wan --quiet --congestion cubic "$file"; then
        bad=1
        continue
    fi
    measured "$work/virtual" >"$work/v"
    measured "$work/real" >"$work/r"
    awk -F '\t' -v name="$name" -v limit="$limit" '
        function median(world, what,    n, i, j, t, a) {
            n = split(seen[world, what], a, " ")
            for (i = 2; i <= n; i++)
                for (j = i; j > 1 && a[j] + 0 < a[j - 1] + 0; j--) { t = a[j]; a[j] = a[j - 1]; a[j - 1] = t }
            return n % 2 ? a[(n + 1) / 2] : (a[n / 2] + a[n / 2 + 1]) / 2
        }
        FNR == 1 { world++ }
        {
            if (!($1 in unit)) { order[++count] = $1; unit[$1] = $3 }
            seen[world, $1] = seen[world, $1] " " $2
        }
        END {
            if (count == 0) { print name ": nothing was measured"; exit 1 }
            for (i = 1; i <= count; i++) {
                what = order[i]
                v = median(1, what); r = median(2, what)
                ratio = v <= 0 || r <= 0 ? 999 : v > r ? v / r : r / v
                judged = what !~ /^bytes from /
                far = judged && ratio > 1 + limit / 100
                bad += far
                text = what
                sub(/ (within|<=|>=) .*/, "", text)
                printf "%-12s %-40s %12s %12s %6.2f%s\n", name, text " (" unit[what] ")", v, r, ratio,
                    far ? "  beyond" : judged ? "" : "  not judged"
            }
            exit bad > 0
        }' "$work/v" "$work/r" || bad=1
done
printf 'load average %s\n' "$(cut -d' ' -f1-3 /proc/loadavg)"
exit $bad
