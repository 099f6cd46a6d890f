#!/bin/sh
# What `holdfast-sim scenario` says, and exits with, when a file is missing or wrong, when an expectation does not
# hold, and when it does. Argument: holdfast-sim.
set -u
sim=$1
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT INT TERM
bad=0

check() { # STATUS TEXT FILE
    "$sim" scenario "$3" >"$work/out" 2>&1
    status=$?
    [ "$status" -eq "$1" ] && grep -qF -- "$2" "$work/out" && return
    printf '%s: expected status %s and "%s", got status %s and:\n' "$3" "$1" "$2" "$status"
    cat "$work/out"
    bad=1
}

check 2 "holdfast-sim scenario: unrecognized option '--csv'" --csv
check 2 "cannot be read: No such file" "$work/missing.sim"
check 2 "cannot be read: No such file" no-scenario-of-this-name
printf 'edges lagos\nat 5s cutt lagos\n' >"$work/word.sim"
check 2 "word.sim:2: 'cutt': expected an action; did you mean 'cut'?" "$work/word.sim"

printf 'edges lagos\nexpect mark core-fence\n' >"$work/mark.sim"
check 2 "mark.sim:2: there is no mark called 'core-fence'" "$work/mark.sim"
printf 'edges lagos\nkeys 5000\n' >"$work/keys.sim"
check 2 "keys.sim: the virtual world has 4096 keys at most, not 5000" "$work/keys.sim"

run() { # LINE...: what these expect of an edge that is cut off for 30 s
    { printf 'edges lagos\nwrite every 1s\nduration 60s\nat 10s cut lagos for 30s\n'; printf '%s\n' "$@"; } \
        >"$work/run.sim"
}

# Each of these must fail: an expectation that cannot is worth nothing.
while read -r line; do
    run "expect $line"
    check 1 "FAILED  $line  " "$work/run.sim"
done <<END
lagos cut-off
lagos converged within 1ms of heal
lagos cut-off within 1s of cut
lagos converged within 5s of crash
lagos revoked within 5s of heal
staleness of lagos <= 20s
staleness of lagos >= 60s
staleness of lagos <= 10ms while linked
bytes to lagos <= 1kB
bytes from lagos >= 1GB
plan of lagos snapshot
writes refused
core refusing
mark core-fenced
END
run 'at 50s crash lagos for 5s' 'expect reads at lagos never fail'
check 1 "FAILED  reads at lagos never fail  " "$work/run.sim"
run 'at 50s disk full at core for 5s' 'expect writes never refused'
check 1 "FAILED  writes never refused  " "$work/run.sim"

# And each of these must hold.
run 'expect lagos live' 'expect lagos converged within 3s of heal' 'expect lagos cut-off within 4s of cut' \
    'expect staleness of lagos >= 29s' 'expect staleness of lagos <= 2s while linked' 'expect bytes to lagos <= 5MB' \
    'expect plan of lagos log' 'expect reads at lagos never fail' 'expect writes never refused' 'expect mark cut'
check 0 "ok      staleness of lagos >= 29s              3" "$work/run.sim"

# What would hold without having happened, or be counted where it did not.
lagos() { # STATUS TEXT LINE...: of one edge, with nothing but these lines
    status=$1 text=$2
    shift 2
    { printf 'edges lagos\nduration 60s\n'; printf '%s\n' "$@"; } >"$work/lagos.sim"
    check "$status" "$text" "$work/lagos.sim"
}
lagos 2 'has not joined by then' 'at 0s crash lagos'
lagos 2 'lagos.sim:3' 'value max'
lagos 2 'lagos.sim:3' 'link lagos rate 0.5bit'
lagos 2 'lagos.sim:5' 'at 20s backup core' 'at 30s restore core' 'expect lagos converged within 5s of restore'
lagos 1 'FAILED  writes never refused  ' 'write never' 'expect writes never refused'
lagos 1 'FAILED  staleness of lagos <= 25s' 'write every 1s' 'at 10s cut lagos for 40s' 'at 20s restart lagos' \
    'expect staleness of lagos <= 25s'
lagos 1 'FAILED  reads at lagos never fail' 'write every 1s' 'read every 10s' 'at 22s crash lagos for 5s' \
    'at 25s read lagos' 'expect reads at lagos never fail'
lagos 1 'FAILED  lagos revoked within 10s of revoke' 'write every 1s' 'at 20s crash core for 20s' \
    'at 25s revoke lagos' 'expect lagos revoked within 10s of revoke'
lagos 0 'ok      lagos cut-off' 'write every 1s' 'converge no' 'at 50s cut lagos' 'expect lagos cut-off'
exit $bad
