#!/bin/sh
# Runs every test and counts: cmocka tests one by one, every other check as one. The last line is
# "N passed, N failed". Arguments: the plain build's directory, the sanitized one's. Output of what fails is shown.
#
# Five lanes for two processors: daemons, connections, and what is done to daemons and disks, which mostly wait, in
# three; units in the fourth; the simulator, which only computes, fills what they leave. The last two have a lower
# priority, so that timing is not judged by what runs beside it. Each result is printed when it is there, with its
# seconds.
# What measures microseconds has the machine for itself, at the end.
set -u
cd "$(dirname "$0")/.." || exit 1
B=$1
A=$2
work=$(mktemp -d) || exit 1
lanes=''
trap '[ -z "$lanes" ] || kill $lanes; wait; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

# What says why a test failed: of scripts, cmocka, the simulator, sanitizers and our own assertions.
reason='^FAILED|^\[  (ERROR|FAILED) |^\[   LINE|^VIOLATION|^holdfast-sim|assertion failed|ERROR: .*Sanitizer|runtime error:'

# Adds one result to the lane's tally and prints it, in one write. The output is in $out.
count() { # LABEL STATUS SECONDS
    ok=$(grep -c '^\[       OK \]' "$out")
    bad=$(grep -c '^\[  FAILED  \] [^0-9]' "$out")
    if [ "$ok" -eq 0 ] && [ "$bad" -eq 0 ]; then
        if [ "$2" -eq 0 ]; then ok=1; else bad=1; fi
    elif [ "$2" -ne 0 ] && [ "$bad" -eq 0 ]; then
        bad=1 # it died outside a test
    elif [ "$2" -ne 0 ]; then
        bad=$((bad > 1 ? bad / 2 : 1)) # cmocka names a failed test twice
    fi
    echo "$ok $bad" >>"$work/tally"
    if [ "$2" -ne 0 ]; then
        reasons=$(grep -a -m 12 -E "$reason" "$out")
        printf 'FAILED %s, %d s\n%s\n---- the end of what it printed:\n%s\n' "$1" "$3" "$reasons" "$(tail -n 60 "$out")"
    else
        printf 'ok     %s (%d), %d s\n' "$1" "$ok" "$3"
    fi
}

run() { # LABEL SECONDS COMMAND...
    label=$1
    limit=$2
    shift 2
    began=$(date +%s)
    timeout -k 5 "$limit" "$@" >"$out" 2>&1 </dev/null &
    running=$!
    wait "$running"
    count "$label" $? $(($(date +%s) - began))
}

# With the daemons as they are shipped: kill -9, the journeys that a user makes, what a quick loop is bound to, and what
# damaged pages make of LMDB, which may well run past a buffer before it dies. All others with sanitizers, whose
# complaints the harness finds.
daemons() {
    for t in tests/e2e/test_*.c; do
        name=$(basename "$t" .c)
        case $name in
        test_transport_* | test_repair | test_cut | test_carry | test_wan) ;; # they have other lanes
        test_bound | test_crash | test_damage | test_main_path)
            run "e2e $name" 150 env HOLDFAST_BIN="$B" "$B/tests/e2e/$name"
            ;;
        *) run "e2e $name (ASan, UBSan)" 200 env HOLDFAST_BIN="$A" "$A/tests/e2e/$name" ;;
        esac
    done
    # It is short and goes everywhere.
    run "e2e test_main_path (ASan, UBSan)" 150 env HOLDFAST_BIN="$A" "$A/tests/e2e/test_main_path"
    for t in tests/e2e/*.sh; do
        case $t in
        */test_report.sh | */test_swarm.sh) ;; # of the simulator, whose lane has them
        *) run "e2e $(basename "$t")" 150 "$t" "$B" ;;
        esac
    done
}

links() {
    for t in tests/e2e/test_transport_*.c; do
        name=$(basename "$t" .c)
        run "e2e $name (ASan, UBSan)" 200 env HOLDFAST_BIN="$A" "$A/tests/e2e/$name"
    done
    for t in tests/unit/test_transport*.c; do
        name=$(basename "$t" .c)
        run "unit $name (ASan, UBSan)" 120 "$A/tests/unit/$name"
    done
}

harm() {
    for name in test_repair test_cut test_carry; do
        run "e2e $name (ASan, UBSan)" 200 env HOLDFAST_BIN="$A" "$A/tests/e2e/$name"
    done
    # A few seconds of each campaign of `make reliability`, with the daemons as they are shipped.
    for row in kill-core kill-edge eio-core-stays eio-edge-stays kills clock power power-control hung-disk full-map lost-writes \
        dead-edge dead-core flips-state flips-log flips-edge flips-core; do
        run "reliability $row" 60 env BUILD="$B" tests/reliability/run.sh --short "$row"
    done
}

units() {
    for t in tests/unit/test_*.c; do
        name=$(basename "$t" .c)
        case $name in test_transport*) continue ;; esac # they have another lane
        run "unit $name (ASan, UBSan)" 120 "$A/tests/unit/$name"
    done
    for t in tests/fuzz/fuzz_*.c; do
        name=$(basename "$t" .c)
        corpus=tests/fuzz/corpus/${name#fuzz_}
        [ -d "$corpus" ] || corpus=tests/fuzz/corpus/$name
        run "corpus $name (ASan, UBSan)" 120 "$A/tests/fuzz/$name" "$corpus"
    done
    for t in tests/lint/check_*.sh; do
        run "lint $(basename "$t" .sh)" 120 "$t" "$B"
    done
}

simulator() {
    for t in tests/scenario/*.sim; do
        run "scenario $(basename "$t" .sim)" 60 tests/scenario/compare.sh "$A/holdfast-sim" "$t"
    done
    # With the plain build: some of them are long, and what they run is what the others run with sanitizers.
    # An hour of 200 edges takes a minute: of those that are called so, a tenth of the edges.
    for t in sim/scenarios/*.sim; do
        name=$(basename "$t" .sim)
        case $name in
        hour-*)
            sed '/^edges /s/\([0-9]\)0\>/\1/g' "$t" >"$work/$name.sim"
            t=$work/$name.sim
            ;;
        esac
        run "scenario $name (shipped)" 120 "$B/holdfast-sim" scenario "$t"
    done
    run "scenario files that are wrong" 60 tests/scenario/wrong_files.sh "$B/holdfast-sim"
    run "scenario samples in the READMEs" 60 tests/scenario/samples.sh "$B/holdfast-sim" README.md sim/README.md
    run "simulator: same seed, two builds, same trace" 60 \
        tests/scenario/same_trace.sh "$B/holdfast-sim" "$A/holdfast-sim"
    run "simulator: three planted bugs" 400 tests/bugs/bugs.sh --few
    run "simulator: its report, in a browser" 150 tests/e2e/test_report.sh "$B"
    run "simulator: what a swarm says" 150 tests/e2e/test_swarm.sh "$B"
    run "simulator: 200 seeds" 300 "$B/holdfast-sim" swarm --seeds 200 --jobs 1
}

alone() {
    run "e2e test_wan" 150 env HOLDFAST_BIN="$B" "$B/tests/e2e/test_wan"
}

lane() { # NAME NICENESS
    (
        running=''
        trap '[ -z "$running" ] || kill "$running"; exit 130' TERM
        out=$work/$1
        renice -n "$2" "$(exec sh -c 'echo $PPID')" >/dev/null
        "$1"
    ) &
    lanes="$lanes $!"
}
lane daemons 0
lane links 0
lane harm 0
lane units 10
lane simulator 15
wait
lanes=''
lane alone 0
wait
lanes=''
awk '{ passed += $1; failed += $2 } END { printf "%d passed, %d failed\n", passed, failed; exit failed > 0 || NR == 0 }' \
    "$work/tally"
