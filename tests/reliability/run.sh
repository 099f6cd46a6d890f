#!/bin/sh
# Runs the reliability campaigns and writes tests/RELIABILITY.md from their result lines.
#
#   run.sh [--count N] [ROW...]    all rows, or the named ones, with the counts below or with N
#   run.sh --short ROW...          the few seconds of each that make check has; writes no document
#   run.sh --list                  the rows
#   run.sh --report                the document again, from the results that are there
#
# Results are kept in BUILD/reliability/ROW.json (BUILD: the build directory, default build), so rows can be run one
# at a time; the document says of each when it ran, on which commit, by which command, or that it did not run.
# Exit status: 0 every row that ran held, 1 one did not, 2 wrong use.
set -u
cd "$(dirname "$0")/../.." || exit 1
B=${BUILD:-build}
kept=$B/reliability

# NAME | what it shows | program and settings | long count (0: to the end) | count of make check, with its settings
rows() {
    cat <<'ROWS'
kill-core|kill -9 at every write of 50 transactions: core|positions --node core --fault kill|0|4 --step 50
kill-edge|kill -9 at every write of 50 transactions: edge|positions --node edge --fault kill|0|4 --step 20
kill-core-new|kill -9 at every write of a first start: core|positions --node core --fault kill --new yes --transactions 5|0|-
kill-edge-new|kill -9 at every write of a first start: edge|positions --node edge --fault kill --new yes --transactions 5|0|-
eio-core|EIO once at every write: core|positions --node core --fault EIO --transactions 10|0|-
eio-core-stays|EIO from every write on, until lifted: core|positions --node core --fault EIO --lasting stays --transactions 10|0|2 --step 25
enospc-core|no space, once at every write: core|positions --node core --fault ENOSPC --transactions 10|0|-
enospc-core-stays|no space from every write on, until lifted: core|positions --node core --fault ENOSPC --lasting stays --transactions 10|0|-
eio-edge|EIO once at every write: edge|positions --node edge --fault EIO --transactions 10|0|-
eio-edge-stays|EIO from every write on, until lifted: edge|positions --node edge --fault EIO --lasting stays --transactions 10|0|3 --step 10
enospc-edge|no space, once at every write: edge|positions --node edge --fault ENOSPC --transactions 10|0|-
enospc-edge-stays|no space from every write on, until lifted: edge|positions --node edge --fault ENOSPC --lasting stays --transactions 10|0|-
kills|kill -9 at random, core and two edges, under load|kills --fault kill|1000|5
pauses|SIGSTOP for up to 2.5 s at random, core and two edges|kills --fault pause|100|-
clock|wall clock off by up to ten years at random, core and two edges|kills --fault clock|200|4
power|power cuts under core and edge|power|1000|2
power-control|the same without syncs: must be noticed|power --control yes|100|1
flips-state|one bit flipped in a state file, read in a child process|flips --what state|8000|60
flips-log|one bit flipped in a changelog, replayed in a child process|flips --what log|2000|30
flips-edge|one bit flipped under a real edge|flips --what edge|500|3
flips-core|one bit flipped under a real core|flips --what core|500|3
swarm|the simulator: seeds with a random subset of faults each|swarm|20000|-
ROWS
}

row() { # NAME: its line
    rows | grep "^$1|" || { echo "run.sh: no row '$1' (see --list)" >&2; exit 2; }
}

# The simulator's own verb, as a result line.
swarm() { # SEEDS
    began=$(date +%s)
    "$B/holdfast-sim" swarm --seeds "$1" >"$kept/swarm.log"
    status=$?
    last=$(tail -n 1 "$kept/swarm.log")
    printf '{"campaign":"swarm","count":%d,"summary":"%s","seconds":%d,"ok":%s}\n' "$1" \
        "$(printf %s "$last" | tr -d '"\\')" $(($(date +%s) - began)) "$([ $status -eq 0 ] && echo true || echo false)"
    return $status
}

one() { # ROW COUNT: runs it, keeps its result
    IFS='|' read -r name what command long _ <<EOR
$(row "$1")
EOR
    [ -n "$name" ] || exit 2
    times=${2:-$long}
    printf '== %s: %s\n' "$name" "$what" >&2
    mkdir -p "$kept"
    if [ "$name" = swarm ]; then
        shown="build/holdfast-sim swarm --seeds $times"
        swarm "$times" >"$kept/$name.out"
    else
        shown="build/tests/reliability/$command --count $times"
        # shellcheck disable=SC2086
        "$B/tests/reliability/"$command --count "$times" >"$kept/$name.out"
    fi
    status=$?
    line=$(grep '^{' "$kept/$name.out" | tail -n 1)
    [ -n "$line" ] || line='{"ok":false,"problem":"it ended without a result"}'
    [ $status -eq 0 ] || grep -v '^{' "$kept/$name.out" >&2
    dirty=$(git diff --quiet HEAD -- . ':!tests/RELIABILITY.md' 2>/dev/null || echo ' and changes')
    printf '{"date":"%s","commit":"%s%s","command":"%s","result":%s}\n' "$(date -u '+%Y-%m-%d %H:%M')" \
        "$(git rev-parse --short HEAD 2>/dev/null || echo unknown)" "$dirty" "$shown" "$line" >"$kept/$name.json"
    echo "$line" >&2
    return $status
}

short() { # ROW
    IFS='|' read -r name _ command _ few <<EOR
$(row "$1")
EOR
    [ -n "$name" ] || exit 2
    [ "$few" != - ] || { echo "run.sh: row '$name' has no short form" >&2; exit 2; }
    # shellcheck disable=SC2086
    "$B/tests/reliability/"$command --count $few
}

report() {
    mkdir -p "$kept"
    rows | cut -d'|' -f1,2 | "$B/tests/reliability/report" "$kept" "$(nproc)" \
        "$(uname -sr), $(awk -F': ' '/model name/ {print $2; exit}' /proc/cpuinfo)" "$(stat -f -c %T /tmp)" \
        >tests/RELIABILITY.md.new && mv tests/RELIABILITY.md.new tests/RELIABILITY.md
}

count=''
case ${1:-} in
--list) rows | cut -d'|' -f1,2 | tr '|' '\t'; exit ;;
--report) report; exit ;;
--short)
    shift
    bad=0
    for r in "$@"; do short "$r" || bad=1; done
    exit $bad
    ;;
--count)
    count=${2:?a number}
    shift 2
    ;;
--*) sed -n '2,12s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
[ $# -gt 0 ] || set -- $(rows | cut -d'|' -f1)
bad=0
for r in "$@"; do one "$r" "$count" || bad=1; done
report || bad=1
exit $bad
