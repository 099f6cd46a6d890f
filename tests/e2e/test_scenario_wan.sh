#!/bin/sh
# test_scenario_wan.sh - one scenario in both worlds: a cut and a crash, in virtual time and with real daemons; what is
# refused; and that nothing is left of a run that was killed.
#
# usage: test_scenario_wan.sh [BUILD_DIR]
#
# Without the privilege to make network namespaces it says SKIP and why, and passes. It must not judge times: they are
# compared by tests/reliability/agree.sh.
set -u
cd "$(dirname "$0")/../.." || exit 1
bin=${1:-build}
sim=$bin/holdfast-sim
bad=0
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT

wrong() {
    printf 'FAILED: %s\n' "$1"
    [ $# -lt 2 ] || cat "$2"
    bad=1
}

cat >"$work/cut.sim" <<'END'
# A cut and a crash
edges lagos recife
duration 7s
keys 100
value max 400
write every 50ms steady
beacon 200ms
link all delay 20ms rate 20Mbit
link recife loss 1%
at 1s crash core
at 1s start core
at 2s crash core for 500ms
at 3s cut lagos for 2s
at 3500ms restart recife
expect lagos live
expect recife converged within 60s of start
expect lagos converged within 60s of heal
expect staleness of lagos >= 1s
expect bytes to all <= 10MB
expect writes never refused
END

# ---- what is refused, before anything starts and whoever asks ----

refused() { # WORDS LINE
    printf 'edges lagos\n%s\n' "$2" >"$work/refused.sim"
    "$sim" wan --max 1h "$work/refused.sim" >"$work/out" 2>&1
    status=$?
    [ $status -eq 2 ] && grep -q -- "$1" "$work/out" || wrong "\`$2\` was not refused with '$1' (status $status)" "$work/out"
}
refused 'refused.sim:2: .forge.' 'at 1s forge lagos'
refused 'refused.sim:2: .drift.' 'at 1s clock drift lagos 20ppm'
refused 'refused.sim:2: .expect mark.' 'expect mark cut'
refused 'corrupt. of the link of lagos' 'link all corrupt 1%'
refused 'takes 7200 s of real time' 'duration 2h'
refused "refused.sim:2: 'cutt'" 'at 1s cutt lagos'
"$sim" wan "$work/none.sim" >"$work/out" 2>&1
[ $? -eq 2 ] && grep -q 'none.sim: cannot be read' "$work/out" || wrong 'a file that is not there' "$work/out"

# ---- both worlds ----

why=$("$sim" link --quiet -- true 2>&1)
case "$? $why" in
0*) ;;
125*needs\ root*)
    printf 'SKIP the real world: %s\n' "$why"
    exit $bad
    ;;
*)
    wrong "the emulated network does not start: $why"
    exit 1
    ;;
esac

"$sim" scenario "$work/cut.sim" >"$work/virtual" || wrong 'the virtual world' "$work/virtual"
mkdir "$work/t" # an own place, to see what is left in it
TMPDIR=$work/t "$sim" wan --quiet --history "$work/history" "$work/cut.sim" >"$work/real" 2>&1 ||
    wrong 'the real world' "$work/real"
cat "$work/virtual" "$work/real"
[ "$(grep -c '^ok ' "$work/real")" = 6 ] || wrong 'not all expectations were judged'
grep -q '^lagos .* 1 ' "$work/real" || wrong 'no cut of lagos in the table'
[ -z "$(ls -A "$work/t")" ] || wrong "a run left $(ls -A "$work/t")"

# What its clients saw holds under C1 to C9; and would not, had one answer been another.
"$sim" check "$work/history" >"$work/out" 2>&1 || wrong 'the history does not hold' "$work/out"
grep -q 'hold: [1-9][0-9]* writes, [1-9][0-9]* reads, [1-9][0-9]* states, 6 starts' "$work/out" ||
    wrong 'the history is too short' "$work/out"
sed '0,/"values":\["v/s//"values":["v9/' "$work/history" >"$work/other"
"$sim" check "$work/other" >"$work/out" 2>&1
[ $? -eq 1 ] && grep -q '^VIOLATION C1' "$work/out" || wrong 'a value that nobody wrote was not found' "$work/out"

# Daemons that die while they are written to, and asked: not a reason to die with them.
{
    printf 'edges lagos\nduration 4s\nkeys 1000\nwrite every 1ms steady\n'
    for tenth in $(seq 5 39); do
        printf 'at %d00ms crash core for 20ms\n' "$tenth"
    done
} >"$work/dying.sim"
TMPDIR=$work/t "$sim" wan --quiet "$work/dying.sim" >"$work/out" 2>&1 || wrong "a core that keeps dying (status $?)" "$work/out"

# An expectation that does not hold fails the run, and says what was measured.
sed 's/>= 1s/>= 50s/' "$work/cut.sim" >"$work/hopeless.sim"
TMPDIR=$work/t "$sim" wan --quiet "$work/hopeless.sim" >"$work/out" 2>&1
[ $? -eq 1 ] && grep -q '^FAILED  staleness of lagos >= 50s  *[0-9]' "$work/out" ||
    wrong 'an expectation that did not hold' "$work/out"

# ---- killed in the middle ----

TMPDIR=$work/t "$sim" wan --quiet "$work/cut.sim" >"$work/out" 2>&1 &
pid=$!
waited=0
until ls "$work"/t/holdfast.*/recife/holdfast.sock >/dev/null 2>&1; do
    waited=$((waited + 1))
    [ $waited -lt 100 ] || break
    sleep 0.1
done
daemons() { # those with the run's directory in their words
    grep -alF -- "$work/t/holdfast." /proc/[0-9]*/cmdline 2>/dev/null
}
[ -n "$(daemons)" ] || wrong 'the run to be killed did not start' "$work/out"
kill -9 $pid
wait $pid 2>/dev/null
waited=0
while [ -n "$(daemons)" ] && [ $waited -lt 50 ]; do
    waited=$((waited + 1))
    sleep 0.1
done
[ -z "$(daemons)" ] || wrong "kill -9 left processes: $(daemons)"
grep -q "$work" /proc/self/mountinfo && wrong 'kill -9 left a mount'
[ -z "$(ls -d "$work"/t/holdfast-wan.* 2>/dev/null)" ] || wrong 'kill -9 left the control socket'

# ---- without root, as nobody in a user namespace; with a /dev/net/tun that is open to all, as Debian's is ----

cat >"$work/nobody.sh" <<'END'
mknod "$work/tun" c 10 200 && chmod 666 "$work/tun" && mount --bind "$work/tun" /dev/net/tun || exit 99
exec runuser -u nobody -- env TMPDIR="$work/t" "$work/bin/holdfast-sim" wan --quiet "$work/cut.sim"
END
if [ "$(id -u)" -eq 0 ] && command -v runuser >/dev/null; then
    mkdir "$work/bin" && cp "$bin/holdfast-sim" "$bin/holdfast-core" "$bin/holdfast-edge" "$work/bin"
    chmod 755 "$work" "$work/bin" && chmod 777 "$work/t"
    work=$work unshare --mount sh "$work/nobody.sh" >"$work/out" 2>&1
    status=$?
    case "$status $(cat "$work/out")" in
    0*) ;;
    99* | 125*needs\ root* | 125*namespace*) printf 'NOTE not tried in a user namespace: %s\n' "$(tail -1 "$work/out")" ;;
    *) wrong 'in a user namespace' "$work/out" ;;
    esac
fi
exit $bad
