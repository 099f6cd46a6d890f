#!/bin/sh
# Plays a scenario and compares its timeline with the golden one beside it. Arguments: holdfast-sim, FILE.sim.
set -u
sim=$1
golden=${2%.sim}.trace
new=$(mktemp)
trap 'rm -f "$new"' EXIT INT TERM
"$sim" scenario --trace "$2" >"$new" || { cat "$new"; exit 1; }
diff -u "$golden" "$new" || { echo "the timeline differs; if that is meant: make bless, and review the diff"; exit 1; }
