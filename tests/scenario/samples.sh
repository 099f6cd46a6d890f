#!/bin/sh
# What the READMEs show of a scenario is what it prints. Arguments: a holdfast-sim, README files.
#
# A sample begins with "    $ holdfast-sim scenario NAME". Every indented line below it, up to the next command or the
# end of the block, must be a line of its output; "..." stands for lines that are left out. A command that shows no
# output is not run.
set -u
sim=$1
shift
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
samples=0
bad=0

# Blocks as files: the first line is the command, the others are what it prints.
awk -v dir="$work" '
    /^    \$ / { file = ""; if ($3 == "scenario" && $4 !~ /^-/) { file = dir "/" ++n; print $4 >file; next } }
    !/^    / && !/^$/ { file = "" }
    file != "" && /^    / { print substr($0, 5) >file }' "$@"

for sample in "$work"/*; do
    [ "$(wc -l <"$sample")" -gt 1 ] || continue # only how to call it
    samples=$((samples + 1))
    name=$(head -n 1 "$sample")
    "$sim" scenario "$name" >"$work.out" || bad=1
    sed 1d "$sample" | while IFS= read -r line; do
        [ "$line" = ... ] || grep -qxF -- "$line" "$work.out" || { echo "$name does not print: $line"; exit 1; }
    done || bad=1
    rm -f "$work.out"
done
echo "$samples samples"
[ $samples -gt 0 ] && [ $bad -eq 0 ]
