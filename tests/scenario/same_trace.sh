#!/bin/sh
# The same seed gives the same trace hash, twice and in two builds. Arguments: two holdfast-sim binaries.
set -u
hash_of() { "$1" run --seed "$2" | sed -n 's/.*trace hash \([0-9a-f]*\).*/\1/p'; }
for seed in 3 14 15 92; do
    a=$(hash_of "$1" $seed)
    b=$(hash_of "$1" $seed)
    c=$(hash_of "$2" $seed)
    echo "seed $seed: $a $b $c"
    [ -n "$a" ] && [ "$a" = "$b" ] && [ "$a" = "$c" ] || exit 1
done
