#!/bin/sh
# All of lint: include rules, purity, formatting, cppcheck, clang-tidy. Ends with a count of what failed.
set -u
cd "$(dirname "$0")/../.." || exit 1
make -s -j2 all || exit 1
bad=0
step() { echo "== $1"; shift; "$@" || bad=$((bad + 1)); }
sources=$(git ls-files '*.c')
step includes tests/lint/check_includes.sh
step purity tests/lint/check_purity.sh build
# Each patch of tests/bugs is for the source as it is; else nobody would know until somebody plants them.
bugs() {
    stale=0
    for p in tests/bugs/*.patch; do
        patch -s -p1 -F0 --dry-run <"$p" >/dev/null || { echo "$p: no longer applies, make it anew"; stale=1; }
    done
    return "$stale"
}
step bugs bugs
step format sh -c 'clang-format-14 --dry-run -Werror $(git ls-files "*.c" "*.h")'
# arrayIndexOutOfBoundsCond: it takes any check of a lower bound for a doubt about the upper one.
step cppcheck cppcheck --quiet --std=c11 -j"$(nproc)" --enable=warning,performance,portability --inline-suppr \
    --suppress=arrayIndexOutOfBoundsCond --error-exitcode=1 -Iinclude -I. $sources
tidy() {
    printf '%s\n' "$@" | xargs -P"$(nproc)" -n8 sh -c \
        'clang-tidy-14 --quiet "$@" -- -std=c11 -D_GNU_SOURCE -Iinclude -I. 2>/dev/null' tidy
}
step clang-tidy tidy $sources
[ "$bad" -eq 0 ] && echo "lint: clean" || echo "lint: $bad steps failed"
exit "$bad"
