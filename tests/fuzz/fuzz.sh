#!/bin/sh
# Runs every fuzz target for a while from its corpus; new inputs stay outside the tree. Arguments: directory of
# the binaries, seconds each. A crash leaves its input in the current directory and ends with status 1.
set -u
for t in tests/fuzz/fuzz_*.c; do
    name=$(basename "$t" .c)
    corpus=tests/fuzz/corpus/${name#fuzz_}
    [ -d "$corpus" ] || corpus=tests/fuzz/corpus/$name
    work=$(mktemp -d)
    echo "== $name"
    "$1/$name" -max_total_time="$2" -rss_limit_mb=256 -print_final_stats=1 "$work" "$corpus" 2>&1 |
        grep -E 'ERROR|SUMMARY|artifact|stat::number_of|stat::peak|cov:' | tail -n 6
    [ -z "$(ls crash-* 2>/dev/null)" ] || exit 1
    rm -rf "$work"
done
