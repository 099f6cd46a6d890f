#!/bin/sh
# Runs the reliability campaigns and writes tests/RELIABILITY.md from their result lines.
#
#   run.sh [OPTION...] [ROW...]    all rows, or the named ones
#     --nightly                    with the counts of a night: a third of the kills and cuts
#     --count N                    with N instead of the counts below
#     --swarm-seeds N              of the simulator's row (default 20000, forty minutes of two processors)
#     --jobs N                     rows at a time (default: one more than processors; 1 unless root, see below)
#   run.sh --short ROW...          the few seconds of each that make check has; writes no document
#   run.sh --list                  the rows
#   run.sh --report                the document again, from the results that are there
#
# Most of a row is waiting, so several run at a time. As root each campaign has a network of its own (daemons.h), and
# none can take another's ports; otherwise one runs after the other. The simulator only computes, and has what they leave.
#
# Results are kept in BUILD/reliability/ROW.json (BUILD: the build directory, default build), so rows can be run one
# at a time. The document is written only from results of one commit; rows without one say that they did not run.
# Exit status: 0 every row that ran held, 1 one did not, 2 wrong use.
set -u
cd "$(dirname "$0")/../.." || exit 1
B=${BUILD:-build}
kept=$B/reliability

# NAME | what it shows | program and settings | long count (0: to the end) | of a night | of make check, with settings.
# The longest ones come first, so that none is left alone at the end.
rows() {
    cat <<'ROWS'
swarm|the simulator: seeds with a random subset of faults each|swarm|20000|2000|-
power|power cuts under core and edge|power|1000|300|2
kills|kill -9 at random, core and two edges, under load|kills --fault kill|1000|300|5
kill-core|kill -9 at every write of 50 transactions: core|positions --node core --fault kill|0|0|4 --step 50
kills-wan|the same over a WAN: 80 ms, 20 Mbit/s, 1 % loss|kills --fault kill --link wan|200|50|-
lost-writes|disks that lost, tore or reordered what was not synced: core|lost|1000|300|2
lost-writes-edge|disks that lost, tore or reordered what was not synced: edge|lost --node edge|1000|300|-
kill-core-new|kill -9 at every write of a first start: core|positions --node core --fault kill --new yes --transactions 5|0|0|-
eio-core-stays|EIO from every write on, until lifted: core|positions --node core --fault EIO --lasting stays --transactions 10|0|0|2 --step 25
enospc-core|no space, once at every write: core|positions --node core --fault ENOSPC --transactions 10|0|0|-
eio-core|EIO once at every write: core|positions --node core --fault EIO --transactions 10|0|0|-
enospc-core-stays|no space from every write on, until lifted: core|positions --node core --fault ENOSPC --lasting stays --transactions 10|0|0|-
kill-edge|kill -9 at every write of 50 transactions: edge|positions --node edge --fault kill|0|0|4 --step 20
pauses|SIGSTOP for up to 2.5 s at random, core and two edges|kills --fault pause|100|30|-
power-control|the same without syncs: must be noticed|power --control yes|100|30|1
flips-edge|one bit flipped under a real edge|flips --what edge|500|100|3
lost-writes-control|the same as if nothing had been synced: must be noticed|lost --control yes|100|30|-
slow-disk|syncs that take 200 ms longer, core and edge in turn: readers do not notice|disks --what slow|100|30|-
hung-disk|syncs that take 3 s, core and edge in turn: readers do not notice|disks --what hang --slow-ms 3000|40|10|2 --slow-ms 500
dead-edge|the file system under it ends, and it goes on answering reads: edge|dead --node edge|50|15|2
dead-core|the same: core|dead --node core|50|15|2
dead-edge-xfs|the same on XFS, which takes no write to a shared page then: edge|dead --node edge --fs xfs|50|15|-
dead-core-xfs|the same: core|dead --node core --fs xfs|50|15|-
full-map|a map of 1 MiB, full again and again, and kill -9 in between|disks --what map|300|100|10
flips-state|one bit flipped in a state file, read in a child process|flips --what state|8000|2000|60
flips-core|one bit flipped under a real core|flips --what core|500|100|3
clock|wall clock off by up to ten years at random, core and two edges|kills --fault clock|200|100|4
eio-edge|EIO once at every write: edge|positions --node edge --fault EIO --transactions 10|0|0|-
eio-edge-stays|EIO from every write on, until lifted: edge|positions --node edge --fault EIO --lasting stays --transactions 10|0|0|3 --step 10
enospc-edge|no space, once at every write: edge|positions --node edge --fault ENOSPC --transactions 10|0|0|-
enospc-edge-stays|no space from every write on, until lifted: edge|positions --node edge --fault ENOSPC --lasting stays --transactions 10|0|0|-
kill-edge-new|kill -9 at every write of a first start: edge|positions --node edge --fault kill --new yes --transactions 5|0|0|-
flips-log|one bit flipped in a changelog, replayed in a child process|flips --what log|2000|1000|30
ROWS
}

row() { # NAME: its line
    rows | grep "^$1|" || { echo "run.sh: no row '$1' (see --list)" >&2; return 1; }
}

usage() {
    sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2
    exit 2
}

# ---- one row ----

# The simulator's own verb, as a result line. Whoever waits for a daemon goes before it.
swarm() { # SEEDS
    began=$(date +%s)
    nice -n 19 "$B/holdfast-sim" swarm --seeds "$1" >"$kept/swarm.log"
    status=$?
    last=$(tail -n 1 "$kept/swarm.log")
    printf '{"campaign":"swarm","count":%d,"summary":"%s","seconds":%d,"ok":%s}\n' "$1" \
        "$(printf %s "$last" | tr -d '"\\')" $(($(date +%s) - began)) "$([ $status -eq 0 ] && echo true || echo false)"
    return $status
}

commit() { # that the results are of
    dirty=$(git diff --quiet HEAD -- . ':!tests/RELIABILITY.md' 2>/dev/null || echo ' and changes')
    printf '%s%s' "$(git rev-parse --short HEAD 2>/dev/null || echo unknown)" "$dirty"
}

one() { # ROW COUNT: runs it, keeps its result
    IFS='|' read -r name what command _ <<EOR
$(row "$1")
EOR
    [ -n "$name" ] || return 2
    printf 'begins %s: %s\n' "$name" "$what" >&2
    # Not the result of the last time, should this one be ended from outside.
    rm -f "$kept/$name.json"
    if [ "$name" = swarm ]; then
        shown="build/holdfast-sim swarm --seeds $2"
        swarm "$2" >"$kept/$name.out"
    else
        shown="build/tests/reliability/$command --count $2"
        # shellcheck disable=SC2086
        "$B/tests/reliability/"$command --count "$2" >"$kept/$name.out" 2>"$kept/$name.err"
    fi
    status=$?
    line=$(grep '^{' "$kept/$name.out" | tail -n 1)
    [ -n "$line" ] || line='{"ok":false,"problem":"it ended without a result"}'
    printf '{"date":"%s","commit":"%s","command":"%s","result":%s}\n' "$(date -u '+%Y-%m-%d %H:%M')" \
        "$(commit)" "$shown" "$line" >"$kept/$name.json"
    if [ $status -eq 0 ]; then
        printf 'ok     %s: %s\n' "$name" "$line" >&2
    else
        printf 'FAILED %s: %s\n%s\n' "$name" "$what" \
            "$(cat "$kept/$name.err" "$kept/$name.out" 2>/dev/null | tail -n 60)" >&2
    fi
    return $status
}

short() { # ROW
    IFS='|' read -r name _ command _ _ few <<EOR
$(row "$1")
EOR
    [ -n "$name" ] || exit 2
    [ "$few" != - ] || { echo "run.sh: row '$name' has no short form" >&2; exit 2; }
    # shellcheck disable=SC2086
    "$B/tests/reliability/"$command --count $few
}

# ---- the document ----

# The commits of all results; more than one line, and they say nothing together.
commits() {
    cat "$kept"/*.json 2>/dev/null | sed -n 's/.*"commit":"\([^"]*\)".*/\1/p' | sort | uniq -c
}

report() {
    mkdir -p "$kept"
    if [ "$(commits | wc -l)" -gt 1 ]; then
        printf 'run.sh: tests/RELIABILITY.md is left as it is, for the results are of several commits:\n%s\n%s\n' \
            "$(commits)" "Run all rows, or remove what is old from $kept." >&2
        return 1
    fi
    rows | cut -d'|' -f1,2 | "$B/tests/reliability/report" "$kept" "$(nproc)" \
        "$(uname -sr), $(awk -F': ' '/model name/ {print $2; exit}' /proc/cpuinfo)" "$(stat -f -c %T /tmp)" \
        >tests/RELIABILITY.md.new && mv tests/RELIABILITY.md.new tests/RELIABILITY.md
}

# ---- all rows ----

count_of() { # ROW
    case $1-$seeds in
    swarm-?*) echo "$seeds" ;;
    *) if [ -n "$count" ]; then echo "$count"; else row "$1" | cut -d'|' -f"$column"; fi ;;
    esac
}

column=4
count=''
seeds=''
jobs=$([ "$(id -u)" -eq 0 ] && echo $(($(nproc) + 1)) || echo 1)
while [ $# -gt 0 ]; do
    case $1 in
    --one) one "$2" "$3"; exit ;;
    --list) rows | cut -d'|' -f1,2 | tr '|' '\t'; exit ;;
    --report) report; exit ;;
    --short)
        shift
        bad=0
        for r in "$@"; do short "$r" || bad=1; done
        exit $bad
        ;;
    --nightly) column=5 && shift ;;
    --count) count=${2:?a number} && shift 2 ;;
    --swarm-seeds) seeds=${2:?a number} && shift 2 ;;
    --jobs) jobs=${2:?a number} && shift 2 ;;
    -*) usage ;;
    *) break ;;
    esac
done
all=$([ $# -eq 0 ] && echo yes)
# shellcheck disable=SC2046
[ $# -gt 0 ] || set -- $(rows | cut -d'|' -f1)
for r in "$@"; do row "$r" >/dev/null || exit 2; done
mkdir -p "$kept"
bad=0
began=$(date +%s)
for r in "$@"; do printf '%s %s\n' "$r" "$(count_of "$r")"; done | BUILD=$B xargs -L 1 -P "$jobs" "$0" --one || bad=1
printf '%d rows, %d at a time, %d s\n' $# "$jobs" $(($(date +%s) - began)) >&2
report || [ -z "$all" ] || bad=1
exit $bad
