# common.sh - what the scripts that measure share, those of bench and bench-wan and agree.sh; they source it.
#
# A run is a file of "name value" lines. "never" is a value that is more than any number, so that a run
# that did not end counts in a median instead of falling out of it. wait_for calls its script's fail.
# permit_congestion changes a setting of the system, which its caller must undo by forbid_congestion
# however it ends. It must not print units or judge. Next: bench.sh, catchup.sh, storm.sh, wan.sh.

wait_for() { # SECONDS WHAT COMMAND...
    tries=$(($1 * 20))
    what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || fail "waited too long: $what"
        sleep 0.05
    done
}

spread() { # FORMAT: "median [least-largest]" of the numbers on stdin
    sort -g | awk -v f="$1" '
        function text(v) { return v >= 1e99 ? "never" : sprintf(f, v) }
        { v[NR] = $1 }
        END {
            if (NR == 0) { printf "-"; exit }
            middle = (v[int((NR + 1) / 2)] + v[int((NR + 2) / 2)]) / 2
            printf "%s", text(middle)
            if (NR > 1) printf " [%s-%s]", text(v[1]), text(v[NR])
        }'
}

figure() { # NAME FORMAT DIVISOR FILE...
    name=$1 format=$2 divisor=$3
    shift 3
    sed -n "s/^$name //p" "$@" | awk -v d="$divisor" '{ print ($1 == "never" ? 1e99 : $1 / d) }' |
        spread "$format"
}

middle() { sed 's/ .*//'; } # of a spread: its median alone

median() { figure "$@" | middle; }

# What a host takes of the processors of a virtual machine is in nobody's load average.
processors() { sed -n 's/^cpu  *//p' /proc/stat; }

taken_mark() { taken_from=$(processors); }

taken() { # the percentage since taken_mark
    printf '%s\n%s\n' "$taken_from" "$(processors)" | awk '
        NR == 1 { split($0, from) }
        NR == 2 { for (i = 1; i <= 8; i++) all += $i - from[i]; steal = $8 - from[8] }
        END { printf "%.1f %%", (all > 0 ? 100 * steal / all : 0) }'
}

# A congestion control that is not permitted to all cannot be the default of a namespace, so root adds it
# to the system's list for as long as it takes.
allowed=/proc/sys/net/ipv4/tcp_allowed_congestion_control
permitted=''

permit_congestion() { # NAME: false when there is no such thing
    [ "$(id -u)" -eq 0 ] && ! grep -qw "$1" $allowed || return 0
    permitted=$(cat $allowed)
    echo "$permitted $1" >$allowed
}

forbid_congestion() {
    [ -z "$permitted" ] || echo "$permitted" >$allowed
    permitted=''
}
