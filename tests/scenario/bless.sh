#!/bin/sh
# Rewrites every golden timeline. Argument: holdfast-sim. The diff is then reviewed as behaviour.
set -eu
for f in tests/scenario/*.sim; do
    "$1" scenario --trace "$f" >"${f%.sim}.trace" || { cat "${f%.sim}.trace"; exit 1; }
done
