#!/bin/sh
# test_swarm.sh - a swarm finds what is wrong, says so, and leaves nothing behind. Argument: build directory.
set -u
cd "$(dirname "$0")/../.." || exit 1
sim=$1/holdfast-sim
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
out=$work/out
failed=0

expect() { # STATUS LABEL COMMAND...
    want=$1
    label=$2
    shift 2
    "$@" >"$out" 2>"$work/err" </dev/null
    got=$?
    if [ "$got" -ne "$want" ]; then
        echo "FAILED $label: exit status $got, expected $want"
        cat "$out" "$work/err"
        failed=1
    else
        echo "ok $label"
    fi
}
says() { # PATTERN
    grep -Eq -e "$1" "$out" "$work/err" || { echo "FAILED: nothing like '$1' in:"; cat "$out" "$work/err"; failed=1; }
}

# An oracle that sees nothing would let everything pass.
expect 1 'the canary fails' "$sim" run --seed canary
says 'VIOLATION .*G11'
expect 0 'the same seed without the canary holds' "$sim" run --seed 1

expect 0 'seeds over three workers' "$sim" swarm --seeds 6 --jobs 3 --duration 10
says '^6 seeds, 0 violations'
sed -n '/^mark/p' "$out" >"$work/marks"
expect 0 'the same marks with one worker' "$sim" swarm --seeds 6 --jobs 1 --duration 10
grep '^mark' "$out" | cmp -s - "$work/marks" || { echo 'FAILED: marks depend on --jobs'; failed=1; }
expect 0 'each seed twice' "$sim" swarm --seeds 3 --duration 10 --twice
expect 1 'marks that must be hit' "$sim" swarm --seeds 1 --no-faults --duration 5 --marks
says 'marks were never hit'

# A failure is made smaller, printed, kept, and replayed from what was kept.
expect 1 'a failing swarm' "$sim" swarm --seed canary --seeds 2 --duration 20 --stop --jobs 1 \
    --save "$work/seeds.txt" --commit abc
says '^holdfast-sim run --trace --seed canary --edges 1 .*--faults none'
says '^edges edge1$'
says '^# VIOLATION'
sed -n '/^edges/,/^# VIOLATION/p' "$out" >"$work/world.sim"
grep -Eq '^[0-9-]{10} abc G11 --seed canary ' "$work/seeds.txt" || { echo 'FAILED: not kept:'; cat "$work/seeds.txt"; failed=1; }
expect 1 'the replay of what was kept' "$sim" swarm --replay "$work/seeds.txt"
says '1 runs of .*, 1 violations'
# Another seed's canary is another run: its replay ends with the same violation.
expect 1 'the canary of another seed' "$sim" swarm --seed canary --from 5 --seeds 1 --duration 20 --no-shrink
cp "$out" "$work/canary"
violation=$(sed -n 's/^seed 5: VIOLATION/VIOLATION/p' "$work/canary")
expect 1 'its replay' "$sim" $(sed -n 's/^replay: holdfast-sim //p' "$work/canary")
grep -qxF -e "${violation:-none}" "$out" || { echo "FAILED: its replay is not '$violation':"; cat "$out"; failed=1; }
expect 1 'its timeline' "$sim" run --timeline --seed canary:5 --duration 20
says '^# VIOLATION'
expect 2 'a timeline with a report' "$sim" run --timeline --json "$work/report"
says 'timeline prints nothing else'
for option in --twice --trace --all; do
    expect 2 "a timeline with $option" "$sim" run --timeline $option
done
for commit in 'my build 7' 'a#7' ''; do
    expect 2 "a commit '$commit'" "$sim" swarm --seeds 1 --save "$work/commit.txt" --commit "$commit"
    says 'commit takes one word'
done
expect 0 'what was printed is a scenario file' "$sim" scenario "$work/world.sim"
# Whatever strikes is written in words of the language: the first has them all, the second a fault that ends after the run.
words='cut,one-way,edge-crash,pause,clock,slow-disk,disk-full,disk-error,damage,revoke,restore'
for options in "--seed 6 --duration 120 --faults $words" '--seed 2 --duration 8 --faults all' '--no-faults'; do
    expect 0 "the timeline of $options is one, too" sh -c \
        "'$sim' run --timeline $options >'$work/world.sim' && echo 'converge no' >>'$work/world.sim' && \
        '$sim' scenario '$work/world.sim'"
done
# The replay of a scenario can be given to a shell, whatever the path has in it.
mkdir "$work/a dir" && printf 'edges lagos\nduration 5s\nexpect lagos frozen\n' >"$work/a dir/it's \$1.sim"
expect 1 'a path that a shell would take apart' "$sim" scenario "$work/a dir/it's \$1.sim"
cp "$out" "$work/first"
expect 1 'its replay' sh -c "'$sim' $(sed -n 's/^replay: holdfast-sim //p' "$work/first")"
says '^VIOLATION .*lagos frozen'
expect 0 'all that ever failed holds' "$sim" swarm --replay tests/seeds/seeds.txt

# A crash of a worker is a finding: this run is killed for being slow.
expect 1 'a run that takes too long' "$sim" swarm --seeds 1 --edges 100 --duration 100000 --limit 1 --no-shrink
says 'VIOLATION hang'

# A signal ends a run, and the run takes its directory along; so do the workers of a swarm that is killed.
left() { # PIDS: the directories of their runs
    for pid; do ls -d "/dev/shm/holdfast-sim.$pid".* "/tmp/holdfast-sim.$pid".*; done 2>/dev/null
}
await() { # SECONDS COMMAND...
    tenths=$(($1 * 10))
    shift
    until "$@"; do
        tenths=$((tenths - 1))
        [ "$tenths" -gt 0 ] && sleep 0.1 || return 1
    done
}
some_left() { [ -n "$(left "$@")" ]; }
none_left() { [ -z "$(left "$@")" ]; }
"$sim" run --duration 1000000 >"$out" 2>&1 &
pid=$!
await 20 some_left "$pid" && kill "$pid"
wait "$pid" 2>/dev/null
got=$?
[ "$got" -eq 143 ] && none_left "$pid" && echo 'ok a run is ended' ||
    { echo "FAILED a run is ended: exit status $got, expected 143; left: $(left "$pid")"; failed=1; }
"$sim" swarm --seeds 2 --jobs 2 --duration 1000000 >"$out" 2>&1 &
pid=$!
await 20 pgrep -P "$pid" >/dev/null
workers=$(pgrep -P "$pid")
await 20 some_left $workers && kill -9 "$pid"
wait "$pid" 2>/dev/null
await 20 none_left $workers && echo 'ok a swarm is killed' ||
    { echo "FAILED a swarm is killed; left: $(left $workers)"; failed=1; }

expect 2 'an unknown fault' "$sim" run --faults cuts
says "'cuts' is no kind of fault"
echo 'nonsense' >"$work/bad.txt"
expect 2 'a bad line in a file of seeds' "$sim" swarm --replay "$work/bad.txt"
says 'bad.txt:1: expected DATE COMMIT RULE'
exit "$failed"
