#!/bin/sh
# Runs what has threads under ThreadSanitizer: the unit tests that are named, then real daemons over the main path
# and a restart in place. Arguments: the build with SAN=thread, names of unit tests. A report of a daemon is found
# by its file, because a daemon that is killed has no exit status for it. Ends with a count of what failed.
set -u
cd "$(dirname "$0")/.." || exit 1
B=$1
shift
logs=$(mktemp -d) || exit 1
trap 'rm -rf "$logs"' EXIT
trap 'exit 130' INT TERM
failed=0
suppressions="suppressions=$PWD/tests/lint/tsan.supp"

run() { # LABEL COMMAND...
    label=$1
    shift
    if TSAN_OPTIONS="$suppressions log_path=$logs/report" timeout -k 5 150 "$@" >"$logs/out" 2>&1 </dev/null &&
        [ -z "$(find "$logs" -name 'report*')" ]; then
        printf 'ok     %s\n' "$label"
    else
        printf 'FAILED %s\n' "$label"
        tail -n 40 "$logs/out"
        cat "$logs"/report* 2>/dev/null | head -n 120
        rm -f "$logs"/report*
        failed=$((failed + 1))
    fi
}

for t in "$@"; do
    run "unit $t" "$B/tests/unit/$t"
done
for t in main_path reexec; do
    run "e2e $t" env HOLDFAST_BIN="$B" "$B/tests/e2e/test_$t"
done
[ "$failed" -eq 0 ] && echo 'tsan: no races' || echo "tsan: $failed failed"
exit "$failed"
