#!/bin/sh
# The same seed gives the same trace hash, twice and in two builds. Arguments: two holdfast-sim binaries.
set -u
hash_of() { # BINARY SEED: with all faults, and with its own
    "$1" run --seed "$2" --duration 30 --faults all | sed -n 's/.*trace hash \([0-9a-f]*\).*/\1/p'
    "$1" run --seed "$2" | sed -n 's/.*trace hash \([0-9a-f]*\).*/\1/p'
}
for seed in 3 5 8 14 15 92; do
    a=$(hash_of "$1" $seed | tr '\n' ' ')
    b=$(hash_of "$1" $seed | tr '\n' ' ')
    c=$(hash_of "$2" $seed | tr '\n' ' ')
    echo "seed $seed: $a/ $b/ $c"
    [ "${#a}" -eq 34 ] && [ "$a" = "$b" ] && [ "$a" = "$c" ] || exit 1
done
