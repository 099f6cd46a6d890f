#!/bin/sh
# Runs fuzz targets one after the other, each from its corpus. Arguments: the directory of the binaries, seconds each,
# names of targets (without any: all). New inputs stay outside the tree. A line a target says what it did, the last line
# is the verdict; status 1 when something was found, and then how to see it again.
set -u
cd "$(dirname "$0")/../.." || exit 1
B=$1
seconds=$2
shift 2
[ $# -gt 0 ] || set -- $(for t in tests/fuzz/fuzz_*.c; do basename "$t" .c; done)
work=$(mktemp -d) || exit 1
fuzzer=''
trap '[ -z "$fuzzer" ] || kill "$fuzzer"; wait; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
found=build/fuzzer/found
mkdir -p "$found"
# Freed memory that is kept aside would count against the limit.
export ASAN_OPTIONS="quarantine_size_mb=16${ASAN_OPTIONS:+:$ASAN_OPTIONS}"

stat() { # NAME: of the statistics that libFuzzer prints at its end
    sed -n "s/^stat::$1: *//p" "$work/log"
}

echo "fuzz: $# targets, $seconds s each: about $((($# * seconds + 59) / 60)) min"
n=0
bad=''
for name in "$@"; do
    name=fuzz_${name#fuzz_}
    n=$((n + 1))
    corpus=tests/fuzz/corpus/${name#fuzz_}
    [ -d "$corpus" ] || corpus=tests/fuzz/corpus/$name
    mkdir "$work/new"
    printf '[%d/%d] %-16s ' "$n" $# "${name#fuzz_}"
    "$B/$name" -max_total_time="$seconds" -rss_limit_mb=256 -timeout=20 -print_final_stats=1 \
        -artifact_prefix="$found/${name#fuzz_}-" "$work/new" "$corpus" >"$work/log" 2>&1 &
    fuzzer=$!
    wait "$fuzzer"
    status=$?
    fuzzer=''
    covered=$(sed -n 's/.* cov: \([0-9]*\).*/\1/p' "$work/log" | tail -n 1)
    printf '%9s inputs, %5s edges covered, %4s MB: ' "$(stat number_of_executed_units)" "$covered" "$(stat peak_rss_mb)"
    if [ "$status" -eq 0 ]; then
        echo ok
    else
        echo FOUND
        bad="$bad ${name#fuzz_}"
        grep -aE 'assertion|stuck|runtime error|ERROR|SUMMARY|cannot' "$work/log" | sed 's/^/    /' | head -n 12
        sed -n "s|^artifact_prefix=.*written to \(.*\)|    again: $B/$name \1|p" "$work/log"
    fi
    rm -rf "$work/new"
done
if [ -n "$bad" ]; then
    echo "fuzz: FAILED:$bad"
    exit 1
fi
echo "fuzz: ok, $n targets found nothing"
