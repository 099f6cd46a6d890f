#!/bin/sh
# demo.sh - the main job on real data: publish, cut an edge's link without a word, publish on, heal.
#
# usage: demo.sh [BUILD_DIR]          (make demo builds first; HOLDFAST_DEMO_KEEP=1 keeps the files)
#
# One core and three edges on loopback, each with a directory and a key of its own: lagos and recife
# join with tokens, ship is added by its key and reaches the core through a forwarder that can be
# silenced (sim/blackhole.c). Needs no port, no privilege and no network; takes about 20 seconds.
#
# Every step that can fail is checked, and the exit status is 0 only if all of them held. It must leave
# nothing behind: what it starts it stops, by process id, also when it is interrupted.
# Next: RUNBOOK.md, for the same commands in operation.
set -u

bin=$(cd "${1:-build}" 2>/dev/null && pwd) || bin=''
psl=/usr/share/publicsuffix/public_suffix_list.dat
certs=/etc/ssl/certs/ca-certificates.crt
withdrawn=psl/blogspot.com # a rule that is deleted while ship is cut off
rewritten=3000             # rules that get a new value meanwhile
dir=''
pids=''
step=0

stop_all() {
    status=$?
    trap '' INT TERM
    trap - EXIT
    for pid in $pids; do kill "$pid" 2>/dev/null; done
    for pid in $pids; do wait "$pid" 2>/dev/null; done
    cd /
    if [ -n "${HOLDFAST_DEMO_KEEP:-}" ]; then
        printf '\nfiles are kept in %s\n' "$dir"
    elif [ -n "$dir" ]; then
        rm -rf "$dir"
    fi
    exit "$status"
}
trap stop_all EXIT
trap 'exit 130' INT TERM

# ---- words ----

title() {
    step=$((step + 1))
    printf '\n%d. %s\n' "$step" "$1"
}

fail() {
    printf '\nDEMO FAILED at step %d: %s\n' "$step" "$1" >&2
    for log in "$dir"/*.log; do
        [ -s "$log" ] && printf -- '--- %s\n' "$(basename "$log")" >&2 && tail -n 15 "$log" >&2
    done
    exit 1
}

held() { printf '   ok: %s\n' "$1"; }

check() { # SENTENCE EXPECTED ACTUAL
    [ "$2" = "$3" ] || fail "$1: expected '$2', got '$3'"
    held "$1"
}

# Shows a command as one would type it, runs it, and stops the demo if it fails.
show() {
    printf '\n   $'
    for word in "$@"; do
        case $word in
        *' '*) printf " '%s'" "$word" ;;
        *) printf ' %s' "$word" ;;
        esac
    done
    printf '\n'
    "$@" >out.txt 2>err.txt </dev/null || {
        sed 's/^./     &/' out.txt err.txt
        fail "that command ended with an error"
    }
    sed 's/^./     &/' out.txt
}

wait_for() { # SECONDS SENTENCE COMMAND...
    limit=$(($(now_ms) + $1 * 1000))
    what=$2
    shift 2
    until "$@"; do
        [ "$(now_ms)" -lt "$limit" ] || fail "waited too long: $what"
        sleep 0.05
    done
}

# ---- programs and numbers ----

holdfast() { "$bin/holdfast" "$@"; }
now_ms() { echo $(($(date +%s%N) / 1000000)); }
number() { sed -n "s/.*\"$1\":\\([0-9][0-9]*\\).*/\\1/p"; }
text() { sed -n "s/.*\"$1\":\"\\([^\"]*\\)\".*/\\1/p"; }

core_head() { holdfast --data core status --json | sed 's/"edges".*//' | number head; }
core_digest() { holdfast --data core status --json | sed 's/"edges".*//' | text digest; }
edge_number() { holdfast --data "$1" status --json | number "$2"; }
edge_text() { holdfast --data "$1" status --json | text "$2"; }
# The same two as the core sees an edge: its row of the list.
core_row() { holdfast --data core status --json | tr '{' '\n' | grep "\"name\":\"$1\""; }

has_word() { grep -q "^$2" "$1" 2>/dev/null; }
word() { sed -n "s/^$2 //p" "$1"; }
at_head() { [ "$(edge_number "$1" applied)" = "$(core_head)" ]; }
all_at_head() { at_head lagos && at_head recife && at_head ship; }
core_says() { core_row "$1" | grep -q "\"state\":\"$2\""; }
edge_says() { [ "$(edge_text "$1" state)" = "$2" ]; }
caught_up() { holdfast --data core status --max-lag 0 >/dev/null; }
counted() { [ "$(wc -l <proxy.out)" -gt "$1" ]; }

# Bytes that ship has taken in so far. By its own count; without redis-cli by the forwarder's, which
# also has what the core had written to the connections that ship gave up.
taken() {
    if command -v redis-cli >/dev/null; then
        resp=$(word ship.out resp)
        redis-cli -p "${resp##*:}" INFO holdfast | tr -d '\r' | sed -n 's/^received_bytes://p'
        return
    fi
    lines=$(wc -l <proxy.out)
    kill -HUP "$proxy" || fail 'the forwarder has gone'
    wait_for 5 'the forwarder counts' counted "$lines"
    tail -n 1 proxy.out | sed -n 's/.* down=\([0-9]*\) .*/\1/p'
}

start() { # NAME PROGRAM ARGUMENTS...: waits until it says that it is ready; $! is in $started
    name=$1
    shift
    "$@" >"$name.out" 2>"$name.log" </dev/null &
    started=$!
    pids="$started $pids"
    wait_for 10 "$name is ready" has_word "$name.out" ready
}

# ---- the demo ----

begin() {
    for program in holdfast-core holdfast-edge holdfast holdfast-blackhole; do
        [ -x "$bin/$program" ] || fail "no $program in ${1:-build}; run make first"
    done
    for file in "$psl" "$certs"; do
        [ -r "$file" ] || fail "no $file; deploy/install-deps.sh installs it"
    done
    # Not $TMPDIR: the path of a unix socket has room for 107 bytes.
    dir=$(mktemp -d /tmp/holdfast-demo.XXXXXX) && cd "$dir" || fail 'no temporary directory'
}

start_core() {
    title 'A core, with a key and a directory of its own'
    start core "$bin/holdfast-core" --data core --listen tcp://127.0.0.1:0 --resp 127.0.0.1:0
    core_key=$(word core.out 'core key')
    stream=$(word core.out stream)
    sed 's/^./     &/' core.out
}

start_edges() {
    title 'Three edges: lagos and recife join with tokens, ship is added by its key'
    for name in lagos recife; do
        printf '\n   $ holdfast-edge --data %s --join $(holdfast --data core edge invite %s)\n' \
            "$name" "$name"
        token=$(holdfast --data core edge invite "$name" 2>err.txt) || fail "invite $name"
        start "$name" "$bin/holdfast-edge" --data "$name" --join "$token" --resp 127.0.0.1:0
    done
    # The core's control port is the one above its stream port, and so it is on the forwarder.
    port=${stream##*:}
    start proxy "$bin/holdfast-blackhole" 0 "$port" 0 $((port + 1))
    proxy=$started
    through=$(sed -n 's/^listen \([0-9]*\) .*/\1/p' proxy.out | head -n 1)
    mkdir -m 700 ship || fail 'mkdir'
    show holdfast keygen ship/edge.key
    show holdfast --data core edge add ship "$(cat out.txt)"
    printf '   $ holdfast-edge --data ship --core tcp://127.0.0.1:%s --core-key %.12s...\n' \
        "$through" "$core_key"
    start ship "$bin/holdfast-edge" --data ship --core "tcp://127.0.0.1:$through" \
        --core-key "$core_key" --resp 127.0.0.1:0
}

publish() {
    title 'Real data: the public suffix list and the CA certificates of this machine'
    show holdfast --data core import --format lines --prefix psl/ "$psl"
    show holdfast --data core import --format pem --prefix ca/ "$certs"
    show holdfast --data core put notice 'all is well'
    wait_for 15 'all edges are at the head' all_at_head
    rules=$(sed 's/[[:space:]]*$//' "$psl" | grep -v -e '^//' -e '^$' | sort -u | wc -l)
    keys=$((rules + $(grep -c 'BEGIN CERTIFICATE' "$certs") + 1))
    for name in lagos recife ship; do
        check "$name holds every rule and certificate" "$keys" "$(edge_number "$name" live_keys)"
    done
}

read_edges() {
    title 'Each edge answers from its own disk'
    for name in lagos recife ship; do
        show holdfast --data "$name" get psl/co.uk
        holdfast --data core get --raw ca/0001 >want.txt
        holdfast --data "$name" get --raw ca/0001 >have.txt
        cmp -s want.txt have.txt || fail "certificate ca/0001 differs at $name"
    done
    if command -v redis-cli >/dev/null; then
        resp=$(word lagos.out resp)
        show redis-cli -p "${resp##*:}" MGET psl/co.uk psl/com.ng notice
        show redis-cli -p "${resp##*:}" STRLEN ca/0001
    fi
    held 'the certificates are the same, byte for byte'
    wait_for 10 'the core has heard that all edges are at the head' caught_up
    show holdfast --data core status
}

cut() {
    title "The link of ship is cut: connections stay open, bytes stop, new ones hear nothing"
    kill -USR1 "$proxy" || fail 'the forwarder has gone'
    cut_at=$(now_ms)
    sed -n -e 's/[[:space:]]*$//' -e '/^[a-z]/p' "$psl" | sort -u | head -n "$rewritten" |
        sed 's/$/\treviewed/' >review.tsv
    show holdfast --data core import --prefix psl/ --reason 'yearly review' review.tsv
    show holdfast --data core del "$withdrawn"
    show holdfast --data core put notice 'published while ship was away'
    news_at=$(now_ms)
    wait_for 10 'lagos and recife are at the head' at_head lagos
    wait_for 10 'lagos and recife are at the head' at_head recife
    check 'recife has the news' 'published while ship was away' "$(holdfast --data recife get notice)"
    check 'and without the withdrawn rule' '' "$(holdfast --data recife get "$withdrawn")"
}

read_cut_edge() {
    title 'ship, cut off, goes on answering, and says how old its answers may be'
    wait_for 15 'the core sees that ship is cut off' core_says ship cut-off
    check 'ship answers with what it had' 'all is well' "$(holdfast --data ship get notice)"
    wait_for 10 'ship knows that it is cut off' edge_says ship cut-off
    held "both ends know that the link is dead, $(($(now_ms) - cut_at)) ms after it was cut"
    true_age=$(($(now_ms) - news_at))
    age=$(edge_number ship staleness_ms)
    [ "${age:-0}" -ge "$true_age" ] || fail "ship claims to be $age ms old, but is $true_age"
    held "its bound, $age ms, is not below the true age, $true_age ms"
    if command -v redis-cli >/dev/null; then
        resp=$(word ship.out resp)
        show redis-cli -p "${resp##*:}" HF.GET notice
        printf '     (value, sequence number, age in ms, state)\n'
        printf '\n   $ redis-cli -p %s HF.GET notice MAXAGE 1000\n' "${resp##*:}"
        redis-cli -p "${resp##*:}" HF.GET notice MAXAGE 1000 >out.txt 2>&1
        sed 's/^./     &/' out.txt
        grep -q '^STALE' out.txt || fail 'an old value passed as fresh'
    fi
    show holdfast --data core status
}

heal() {
    title 'The link heals, and ship asks for exactly what it missed'
    missed=$(($(core_head) - $(edge_number ship applied)))
    lag_bytes=$(core_row ship | number lag_bytes)
    before=$(taken)
    kill -USR2 "$proxy" || fail 'the forwarder has gone'
    healed_at=$(now_ms)
    wait_for 20 'ship is at the head' at_head ship
    took=$(($(now_ms) - healed_at))
    after=$(taken)
    held "$missed missed batches ($((rewritten + 2)) changes) took $took ms"
    held "ship took $((after - before)) bytes in; what it missed is $lag_bytes bytes in the core's log"
    check 'ship has the news' 'published while ship was away' "$(holdfast --data ship get notice)"
    check 'the deleted rule stays deleted' '' "$(holdfast --data ship get "$withdrawn")"
}

compare() {
    title 'The same state everywhere: one digest over every key, value and sequence number'
    want=$(core_digest)
    printf '   %-7s %s\n' core "$want"
    for name in lagos recife ship; do
        have=$(edge_text "$name" digest)
        printf '   %-7s %s\n' "$name" "$have"
        [ -n "$want" ] && [ "$have" = "$want" ] || fail "the digest of $name differs"
    done
    wait_for 10 'the core hears that ship is live' core_says ship live
    wait_for 10 'the core has heard that all edges are at the head' caught_up
    show holdfast --data core status --max-lag 0
}

begin "$@"
started_at=$(now_ms)
start_core
start_edges
publish
read_edges
cut
read_cut_edge
heal
compare
printf '\nDEMO PASSED in %d s: every step held.\n' $((($(now_ms) - started_at) / 1000))
