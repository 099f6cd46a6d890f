#!/bin/sh
# wan.sh - the table of catching up: what is promised of a heal, a join and a storm, measured and judged.
#
# usage: wan.sh [--build DIR] [--peers] [--big] [--repeat N] [PART...]     (make bench-wan: all parts)
#
#   A       20,000 keys, all changed by 200,000 writes in a cut of 20 s; rtt 100, 20 Mbit/s, 0.5 % loss:
#           heal to equal <= 2.0 s, no read failed or took more than 100 ms
#   B       (with A) bytes of both directions <= 1.1 x the changed keys and values, compressed
#   C       1,000,000 keys to an edge that joins; rtt 20, 100 Mbit/s: <= 1.15 x compressed bytes / rate
#   D       C over loopback, without a link: <= 1.3 x a plain load of the same data into LMDB (load.c)
#   E       5 MB changed; rtt 300, 2 Mbit/s, 10 % loss, cut for 5 s of every 20: it ends, and TCP was given
#           <= 1.15 x the compressed bytes
#   F       200 edges of 20,000 keys come back at once, 3,000 changed; the core's line has 50 Mbit/s: core
#           <= 64 MB more memory than before, the last edge <= 1.5 x bytes on the line / its rate
#   G       reads at the edge during A, and while 1,000,000 of 1,000,000 keys change (rtt 20, 100 Mbit/s;
#           in C itself nothing can be read): p99 <= 2 x that before the cut, none fails
#   growth  A by the number of changed keys, and by the keys in the store: linear, and flat
#
# "compressed" is what zstd at level 1 makes of them, 64 KiB at a time; the link's limit is that many bytes
# at its rate plus half a round trip. All TCP is cubic. A, C and D run three times (--repeat), a figure is
# "median [least-largest]"; the others run once. --peers measures A with redis-server too (6 minutes), --big
# adds a store of 10,000,000 keys to growth (5 minutes, 6 GB of disk). Without them about 14 minutes.
#
# It is no test: what is missed says NOT MET, the exit status is 1 only when a part could not be measured.
# It must not measure anything itself: catchup.sh, storm.sh and load do. Next: README.md beside it.
set -u

here=$(cd "$(dirname "$0")" && pwd)
. "$here/common.sh"

fail() {
    printf 'wan: %s\n' "$1" >&2
    exit 1
}

bin=build peers=no big=no repeat=3 parts=''
while [ $# -gt 0 ]; do
    case $1 in
    --help)
        sed -n '2,/^set -u/s/^# \{0,1\}//p' "$0"
        exit 0
        ;;
    --peers) peers=yes ;;
    --big) big=yes ;;
    --build | --repeat)
        [ $# -gt 1 ] || fail "$1 needs a value"
        [ "$1" = --build ] && bin=$2 || repeat=$2
        shift
        ;;
    A | C | D | E | F | G | growth) parts="$parts $1" ;;
    *) fail "no part or option is called $1" ;;
    esac
    shift
done
parts=${parts:-A C D E F G growth}
bin=$(cd "$bin" 2>/dev/null && pwd) || fail 'no build directory; make bench-wan makes it'

work=$(mktemp -d "${TMPDIR:-/tmp}/hf-wan.XXXXXX") || fail 'no temporary directory'
child=''
clean_up() {
    trap '' INT TERM
    [ -z "$child" ] || { kill "$child" && wait "$child"; } 2>/dev/null
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM
began=$(date +%s)
status=0
: >"$work/table"

# ---- rows ----

row() { # PART FIGURE MEASURED LIMIT TARGET VERDICT
    printf '%-7s %-42s %-24s %-20s %-20s %s\n' "$@" >>"$work/table"
}

verdict() { # VALUE TARGET: at most
    awk -v v="$1" -v t="$2" 'BEGIN { print (v != "never" && v != "-" && v + 0 <= t + 0) ? "met" : "NOT MET" }'
}

product() { # A B FORMAT: the product
    awk -v a="$1" -v b="$2" -v f="$3" 'BEGIN { printf f, a * b }'
}

# A row about NAME of the runs in FILES: at most FACTOR x LIMIT, both in units of DIVISOR.
row_factor() { # PART FIGURE NAME FORMAT UNIT LIMIT FACTOR DIVISOR FILES...
    part=$1 what=$2 value=$3 form=$4 unit=$5 limit=$6 factor=$7 divisor=$8
    shift 8
    target=$(product "$limit" "$factor" "$form")
    row "$part" "$what" "$(figure "$value" "$form" "$divisor" "$@") $unit" "$limit $unit" \
        "<= $factor x = $target $unit" "$(verdict "$(median "$value" %.6f "$divisor" "$@")" "$target")"
}

# Reads over all runs: none may fail, and none take more than 100 ms.
row_reads() { # PART FIGURE FILES...
    part=$1 what=$2
    shift 2
    bad=$(sed -n 's/^reads_failed //p; s/^reads_slow //p' "$@" | awk '{ n += $1 } END { print n + 0 }')
    row "$part" "$what" "$(sed -n 's/^reads_failed //p' "$@" | awk '{ n += $1 } END { print n }') and $(
        sed -n 's/^reads_slow //p' "$@" | awk '{ n += $1 } END { print n }') of $(
        sed -n 's/^reads //p' "$@" | awk '{ n += $1 } END { print n }')" '' '0 and 0' "$(verdict "$bad" 0)"
}

row_p99() { # PART FIGURE FILES...
    part=$1 what=$2
    shift 2
    idle=$(median idle_p99_us %.0f 1 "$@")
    row_factor "$part" "$what" busy_p99_us %.0f us "$idle" 2 1 "$@"
}

# ---- measuring ----

run() { # PART COMMAND...: its output in $work/PART.out
    part=$1
    shift
    printf '%s: load %s\n' "$part" "$(cut -d' ' -f1-3 /proc/loadavg)" >&2
    "$@" >"$work/$part.out" &
    child=$!
    wait "$child" && child='' && return 0
    child='' status=1
    row "$part" 'could not be measured' '' '' '' ''
    return 1
}

catchup() { # PART SYSTEMS REPEAT OPTIONS...: the runs are in $work/PART
    name=$1 systems=$2 count=$3
    shift 3
    run "$name" "$here/catchup.sh" --build "$bin" --system "$systems" --repeat "$count" --keep "$work/$name" "$@"
}

files() { # PART [SYSTEM]
    ls "$work/$1/${2:-holdfast}".*
}

part_A() {
    systems=holdfast
    [ "$peers" = no ] || systems='holdfast redis redis-resync'
    catchup A "$systems" "$repeat" --case A || return
    set -- $(files A)
    row A 'heal to equal, 20,000 keys' "$(figure equal_s %.2f 1 "$@") s" "$(median packed_s %.2f 1 "$@") s" \
        '<= 2.0 s' "$(verdict "$(median equal_s %.3f 1 "$@")" 2.0)"
    row_reads A 'reads that failed, over 100 ms' "$@"
    row_factor B 'bytes of A, both ways' both_bytes %.3f MB "$(median packed_bytes %.3f 1000000 "$@")" 1.1 \
        1000000 "$@"
    row_p99 G 'p99 of reads in A, beside idle' "$@"
    [ "$peers" = no ] && return
    for system in redis redis-resync; do
        set -- $(files A $system)
        row A "  $system" "$(figure equal_s %.2f 1 "$@") s" '' '' ''
        row B "  $system" "$(figure both_bytes %.3f 1000000 "$@") MB" '' '' ''
    done
}

part_C() {
    catchup C holdfast "$repeat" --case C || return
    set -- $(files C)
    row_factor C 'join, 1,000,000 keys, 100 Mbit/s' equal_s %.2f s "$(median packed_s %.2f 1 "$@")" 1.15 1 "$@"
}

part_D() {
    run load "$bin/tests/bench/load" 1000000 3 || return
    catchup D holdfast "$repeat" --case D || return
    sed -n 's/^plain load *\([0-9.]*\) s .*/plain_s \1/p' "$work/load.out" >"$work/load"
    row_factor D 'join, 1,000,000 keys, beside a plain load' equal_s %.2f s "$(median plain_s %.2f 1 "$work/load")" \
        1.3 1 $(files D)
}

part_E() {
    catchup E holdfast 1 --case E --limit 400 || return
    set -- $(files E)
    seconds=$(median equal_s %.0f 1 "$@")
    row E '40,000 changed keys, 10 % loss, flapping' "$seconds s" \
        "$(product "$(median packed_s %.2f 1 "$@")" 1.3333 %.1f) s" 'ends' "$(verdict "$seconds" 1e9)"
    row_factor E 'bytes handed to TCP by the core' handed_bytes %.2f MB \
        "$(median packed_bytes %.2f 1000000 "$@")" 1.15 1000000 "$@"
    row E '  sent once, sent again' "$(median sent_once_bytes %.2f 1000000 "$@") and $(
        median sent_again_bytes %.2f 1000000 "$@") MB" "$(median ended_sockets %.0f 1 "$@") sockets ended" '' ''
    row_reads E '  reads that failed, over 100 ms' "$@"
}

part_F() {
    run F "$here/storm.sh" --build "$bin" --hub 50 || return
    value() { sed -n "s/^$1 //p" "$work/F.out"; }
    since() { echo $(($(value "after_$1") - $(value "before_$1"))); }
    more=$(product "$(($(value rss_most_bytes) - $(value rss_before_bytes)))" 0.000001 %.1f)
    row F 'core memory, 200 edges at once' "+$more MB" \
        "$(product "$(value rss_before_bytes)" 0.000001 %.1f) MB before" '<= 64 MB more' "$(verdict "$more" 64)"
    row_factor F 'the last edge, by bytes on the line' last_s %.2f s \
        "$(product "$(value down_bytes)" 0.00000016 %.2f)" 1.5 1 "$work/F.out"
    row F '  first, median' "$(product "$(value first_s)" 1 %.2f) and $(product "$(value median_s)" 1 %.2f) s" \
        "$(product "$(value packed_bytes)" 0.00000016 %.2f) s compressed" '' ''
    row F '  scans, cache hits, coalesced, busy' "$(since transfer_scans), $(since transfer_cache_hits), $(
        since transfer_coalesced), $(since busy)" "processors $(product "$(value processors_busy)" 100 %.0f) % busy" '' ''
    [ "$(value core_starts)" -eq 1 ] || row F '  the core replaced itself: counters are of the last' \
        "$(value core_starts) starts" '' '' ''
    [ "$(value overrun)" -eq 0 ] || row F '  void: packets dropped by a busy machine' "$(value overrun)" '' '' ''
}

part_G() {
    catchup G holdfast 1 --case G || return
    row G '1,000,000 changed keys, heal to equal' "$(median equal_s %.2f 1 $(files G)) s" \
        "$(median packed_s %.2f 1 $(files G)) s" '' ''
    row_p99 G '  p99 of reads, beside idle' $(files G)
    row_reads G '  reads that failed, over 100 ms' $(files G)
}

# "DISTINCT EQUAL LIMIT" of each cut of a series.
series() { # FILE
    awk '$1 == "step" { step = $2 } $1 == "equal_s" { equal = $2 }
        $1 == "packed_s" { print step, equal, $2 }' "$1"
}

# Linear: a key of the largest gap costs at most 1.3 x as much as one of a tenth of it. Flat: 20,000
# changed keys take at most 1.3 x as long, or 0.5 s longer, in the largest store than in the smallest.
part_growth() {
    catchup store holdfast 1 --case store || return
    catchup gap holdfast 1 --case gap || return
    series "$work/gap/holdfast.1" >"$work/gap.txt"
    while read -r keys equal limit; do
        row growth "$keys changed of 1,000,000" "$equal s" "$limit s" '' ''
    done <"$work/gap.txt"
    large=$(awk '$1 == 1000000 { print $2 / 10 }' "$work/gap.txt")
    small=$(awk '$1 == 100000 { print $2 }' "$work/gap.txt")
    row growth 'linear: 1,000,000 beside 100,000, each' "$(product "$large" 1 %.2f) s" "$small s" '<= 1.3 x' \
        "$(verdict "$large" "$(product "$small" 1.3 %.3f)")"
    small=$(median equal_s %.3f 1 $(files store))
    large=$(awk '$1 == 20000 { print $2 }' "$work/gap.txt")
    row growth '20,000 changed of 100,000' "$small s" "$(median packed_s %.3f 1 $(files store)) s" '' ''
    if [ "$big" = yes ] && catchup big holdfast 1 --case store --keys 10000000; then
        row growth '20,000 changed of 1,000,000' "$large s" '' '' ''
        large=$(median equal_s %.3f 1 $(files big))
        row growth '20,000 changed of 10,000,000' "$large s" '' '' ''
    fi
    row growth 'flat: largest store beside 100,000' "$large s" "$small s" '<= 1.3 x or + 0.5 s' \
        "$(verdict "$large" "$(awk -v s="$small" 'BEGIN { print (s * 1.3 > s + 0.5) ? s * 1.3 : s + 0.5 }')")"
}

for p in $parts; do
    taken_mark
    part_"$p"
    row "$p" 'taken of the processors by the host' "$(taken)" '' '' ''
done
printf '%s processors, Linux %s, load at the end %s; median [least-largest] of %s runs of A, C, D; %s s\n\n' \
    "$(nproc)" "$(uname -r)" "$(cut -d' ' -f1-3 /proc/loadavg)" "$repeat" "$(($(date +%s) - began))"
printf '%-7s %-42s %-24s %-20s %-20s %s\n' part figure measured 'beside (limit)' target verdict
cat "$work/table"
exit "$status"
