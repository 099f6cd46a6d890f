#!/bin/sh
# test_hands.sh - what a user's hands do wrong gets a sentence, and harms nothing. Argument: build directory.
#
# One core and one edge on ports of their own; each line is a mistake that somebody made. Next: test_refusals.c, for what
# the daemons refuse.
set -u
bin=$(cd "$1" && pwd) || exit 1
PATH=$bin:$PATH
work=$(mktemp -d) || exit 1
cd "$work" || exit 1
pids=''
# shellcheck disable=SC2086 # a list of process ids
stop() {
    [ -z "$pids" ] || { kill $pids && wait $pids; }
    rm -rf "$work"
}
trap stop EXIT
trap 'exit 130' INT TERM
failed=0

expect() { # STATUS LABEL COMMAND...
    want=$1
    label=$2
    shift 2
    "$@" >out 2>err </dev/null
    got=$?
    if [ "$got" -ne "$want" ]; then
        echo "FAILED $label: exit status $got, expected $want"
        cat out err
        failed=1
    else
        echo "ok $label"
    fi
}
says() { # PATTERN, in what people read
    grep -Eq -e "$1" err || { echo "FAILED: nothing like '$1' in:"; cat err; failed=1; }
}
silent() {
    [ ! -s err ] || { echo 'FAILED: it said:'; cat err; failed=1; }
}
ready() { # DIR
    for _ in $(seq 100); do
        [ -S "$1/holdfast.sock" ] && return
        sleep 0.1
    done
    echo "FAILED: $1 did not start"
    exit 1
}

holdfast-core --data core --listen tcp://127.0.0.1:0 --resp 127.0.0.1:0 >core.out 2>core.err &
core_pid=$!
pids=$core_pid
ready core
stream=$(sed -n 's,^stream tcp://,,p' core.out)
token=$(holdfast --data core edge invite lagos 2>/dev/null)
holdfast-edge --data lagos --join "$token" --resp 127.0.0.1:0 >edge.out 2>edge.err &
pids="$pids $!"
ready lagos
seq 30000 | holdfast --data core import --format lines - >/dev/null

# Who expects "help" to be a command.
for command in 'holdfast help' 'holdfast -h' 'holdfast --data core -h' 'holdfast help put' 'holdfast-sim help'; do
    expect 0 "$command" $command
    grep -q '^usage: ' out || { echo "FAILED: $command prints no usage"; failed=1; }
done
for command in 'holdfast version' 'holdfast --version' 'holdfast --data core --version'; do
    expect 0 "$command" $command
    grep -q '^holdfast [0-9.]*$' out || { echo "FAILED: $command says:"; cat out; failed=1; }
done
expect 2 'help of what is none' holdfast help jump
says 'there is no subcommand jump'
expect 2 'a host without a port' holdfast --host foo status
expect 2 'two daemons at once' holdfast --data core status --host 127.0.0.1:7412
says 'give one of --data, --socket and --host'

# Output that does not arrive, and output of which somebody had enough.
for command in 'get 7' status 'status --json' 'edge list' export 'export --format jsonl' --help version; do
    expect 1 "$command on a full disk" sh -c "holdfast --data core $command >/dev/full"
    says 'cannot write the output'
    [ "$(grep -c . err)" = 1 ] || { echo 'FAILED: said more than once'; cat err; failed=1; }
done
for command in 'holdfast-core --example-config' 'holdfast-edge --help' 'holdfast-edge --version'; do
    expect 1 "$command on a full disk" sh -c "$command >/dev/full"
    says "^${command%% *}: cannot write the output"
done
for command in --help 'run --seed 1 --duration 3' 'run --seed 1 --duration 3 --trace'; do
    expect 2 "holdfast-sim $command on a full disk" sh -c "holdfast-sim $command >/dev/full"
    says '^holdfast-sim: cannot write the output'
done
for format in tsv jsonl; do
    expect 0 "export of $format into head" sh -c "holdfast --data core export --format $format | head -1"
    silent
done

# How far an export is: for people who watch, and for nobody else.
slow='holdfast --data core export | { sleep 1; cat >/dev/null; }'
expect 0 'a slow export before a terminal' script -qec "$slow" /dev/null
grep -Eq '[1-9][0-9]* keys, [0-9]+ keys/s' out || { echo 'FAILED: no progress:'; cat -v out; failed=1; }
expect 0 'a slow export that nobody watches' sh -c "$slow"
silent
slow_core() { # it says nothing for a second
    kill -STOP "$core_pid"
    (sleep 1; kill -CONT "$core_pid") &
}
slow_core
expect 0 'a slow export to the terminal itself' script -qec 'holdfast --data core export' /dev/null
[ "$(wc -l <out)" -ge 30000 ] && ! grep -q 'keys/s' out || { echo 'FAILED: not the keys alone'; failed=1; }
slow_core
expect 0 'a slow export for an edge' script -qec 'holdfast --data core export --for lagos slow.hf' /dev/null
grep -Eq '[1-9][0-9]* bytes, [0-9]+ bytes/s' out || { echo 'FAILED: no progress:'; cat -v out; failed=1; }

# A daemon or a tool without its three descriptors.
holdfast-core --data closed --listen tcp://127.0.0.1:0 --resp off <&- >&- 2>&- &
pids="$pids $!"
ready closed
for fd in 0 1 2; do
    at=$(readlink "/proc/$!/fd/$fd")
    [ "$at" = /dev/null ] || { echo "FAILED: descriptor $fd of the daemon is $at"; failed=1; }
done
expect 1 'import from a closed standard input' sh -c 'holdfast --data core import --format lines - <&-'
says 'standard input: Bad file descriptor'
expect 1 'put from a closed standard input' sh -c 'holdfast --data core put k - <&-'
says 'standard input: Bad file descriptor'

# The wrong daemon, port, file or word.
expect 1 "the stream's port" holdfast --host "$stream" status
says 'does not speak RESP.*printed as resp'
expect 1 'an export for an edge, asked of an edge' holdfast --data lagos export --for lagos f.hf
says 'this is an edge.*ask it'
expect 1 'a --since that is none' holdfast --data core export --for lagos --since yesterday f.hf
says 'since is EPOCH:SEQ'
expect 1 'an export for an edge to standard output' holdfast --data core export --for lagos -
says 'written to a FILE'
mkfifo device
expect 1 'an export for an edge to a device' holdfast --data core export --for lagos device
says 'device is no regular file'
[ -p device ] || { echo 'FAILED: the device was replaced'; failed=1; }
expect 2 'a verb that edges have not' holdfast --data core edge remove lagos
says 'no subcommand edge remove'
expect 1 'no room for a copy of a pipe' sh -c 'seq 3 | TMPDIR=/nonexistent holdfast --data core import --once -'
says 'set TMPDIR'
expect 1 'certificates in a file that has none' holdfast --data core import --format pem core.out
says 'there is no certificate in it'

# What the shell has read of standard input is not imported.
printf 'HEADER\tskip\nk1\tv1\nk2\tv2\n' >with-header.tsv
expect 0 'an import behind a header' sh -c '{ read -r h; holdfast --data core import --prefix behind/ -; } <with-header.tsv'
expect 0 'what came of it' holdfast --data core export --prefix behind/
[ "$(wc -l <out)" -eq 2 ] || { echo 'FAILED: not two keys:'; cat out; failed=1; }
expect 0 'an export of the longest prefix' holdfast --data core export --prefix "$(printf '*%.0s' $(seq 480))"
silent

head -c 20000000 /dev/zero | tr '\0' x >long.tsv
expect 1 'an import of a line that is too long' holdfast --data core import long.tsv
says 'long.tsv:1: the line is too long'
! grep -q 'run it again' err || { echo 'FAILED: it would go the same way:'; cat err; failed=1; }

# An edge whose core is not there.
expect 0 'a token for this machine only' holdfast --data core edge invite near
says 'which is this machine only'
expect 0 'nobody is to use it' holdfast --data core edge revoke near
key=$(sed -n 's,^core key ,,p' core.out)
holdfast-edge --data alone --core tcp://127.0.0.1:1 --core-key "$key" --resp off >alone.out 2>&1 &
pids="$pids $!"
ready alone
for _ in $(seq 100); do
    grep -q 'cannot reach the core' alone.out && break
    sleep 0.1
done
grep -q 'cannot reach the core reason="tcp://127.0.0.1:2: connection refused"' alone.out ||
    { echo 'FAILED: no reason in:'; cat alone.out; failed=1; }
expect 1 'a read of an edge that cannot reach its core' holdfast --data alone get k
says 'it cannot reach tcp://127.0.0.1:2: connection refused'
expect 0 'its status' holdfast --data alone status
grep -q '^THE CORE CANNOT BE REACHED: tcp' out || { echo 'FAILED: no reason in:'; cat out; failed=1; }
expect 0 'its status as JSON' holdfast --data alone status --json
grep -q '"unreached":"tcp://127.0.0.1:2: connection refused"' out || { echo 'FAILED: not in:'; cat out; failed=1; }
expect 124 'its repair' timeout 3 holdfast --data alone repair
says '^the core cannot be reached \(tcp://127.0.0.1:2: connection refused\); waiting for it up to 10 s$'
[ "$(grep -c . err)" = 1 ] || { echo 'FAILED: said more than once'; cat err; failed=1; }

# A token that went to the wrong hands.
lost=$(holdfast --data core edge invite lost 2>/dev/null)
expect 0 'the list with an open token' holdfast --data core edge list
grep -q '^lost	-	invited$' out || { echo 'FAILED: no invitation in:'; cat out; failed=1; }
expect 0 'a token that is withdrawn' holdfast --data core edge revoke lost
expect 0 'the list without it' holdfast --data core edge list
! grep -q lost out || { echo 'FAILED: still in:'; cat out; failed=1; }
expect 124 'an edge with a withdrawn token' timeout 2 holdfast-edge --data thief --join "$lost" --resp off
says 'refused the join'
expect 1 'a withdrawal for nobody' holdfast --data core edge revoke nobody
says 'no edge of this name, and no join token for it'

expect 2 'an export for an edge of a part' holdfast --data core export --for lagos --prefix k carried
says '--for EDGE takes whole batches'
expect 2 'an export for an edge as lines' holdfast --data core export --for lagos --format jsonl carried
says '--for EDGE takes whole batches'

kill -STOP "$core_pid"
expect 1 'the status of a core that stands still' timeout 30 holdfast --data core status
says 'no answer for 10 s'
kill -CONT "$core_pid"

# The simulator: a history that is none, numbers that do not fit, files that cannot be written.
expect 2 'an empty history' holdfast-sim check /dev/null
says 'no history: nothing was written and nothing was read'
echo '{"time_us":1,"type":"start","node":"core"}' >starts
expect 2 'a history of a start' holdfast-sim check starts
says 'no history'
expect 2 'a history without lines or an end' sh -c 'ulimit -v 1000000; holdfast-sim check /dev/zero'
says 'line 1: longer than 4194303 bytes'
expect 2 'failures kept where nothing can be written' holdfast-sim swarm --seeds 1 --save /nonexistent/seeds
says '/nonexistent/seeds: No such file or directory'
printf 'edges lagos\nduration 5s\n' >five.sim
expect 2 'two reports on one output' holdfast-sim run --json - --html -
says 'cannot both go to standard output'
for command in 'run --seed' 'scenario five.sim --seed' 'swarm --seeds 1 --from' 'wan five.sim --seed' 'link --seed'; do
    expect 2 "$command with more than a number has" holdfast-sim $command 99999999999999999999999
    says 'expected a number'
done
for command in 'run --duration 1000000 --json' 'scenario five.sim --html' 'wan five.sim --json' 'wan five.sim --html' \
    'wan five.sim --history'; do
    expect 2 "$command to where nothing can be written" timeout 10 holdfast-sim $command /nonexistent/x
    says '/nonexistent/x: No such file or directory'
    [ ! -s out ] || { echo 'FAILED: it ran:'; cat out; failed=1; }
done

exit "$failed"
