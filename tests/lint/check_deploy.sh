#!/bin/sh
# check_deploy.sh - what deploy/ says about the daemons is true of the daemons in BUILD_DIR.
#
# usage: check_deploy.sh [BUILD_DIR]
#
# The example settings are what the option tables print, and the daemons accept them; the units parse,
# and leave a taken-over daemon no more than deploy/ promises (systemd-analyze security, 1.5 of 10); the
# scripts are POSIX sh; `make install` leaves all that a machine needs, with what each text refers to. What a machine has no tool for is skipped with a word. It changes nothing.
set -u
cd "$(dirname "$0")/../.." || exit 1
bin=${1:-build}
exposure_max=15 # tenths
failed=0
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

wrong() {
    printf 'check_deploy: %s\n' "$1" >&2
    failed=1
}

for role in core edge; do
    "$bin/holdfast-$role" --example-config >"$work/$role.conf" || wrong "holdfast-$role has no example"
    diff -u "deploy/$role.conf" "$work/$role.conf" >&2 ||
        wrong "deploy/$role.conf is not what holdfast-$role --example-config prints"
    # Settings are read before the missing directory is complained of, which is as far as this goes.
    "$bin/holdfast-$role" --config "deploy/$role.conf" >"$work/out" 2>&1
    grep -q -e '--data DIR is needed' "$work/out" ||
        wrong "holdfast-$role does not take deploy/$role.conf: $(cat "$work/out")"
    unit=deploy/holdfast-$role.service
    if command -v systemd-analyze >/dev/null; then
        systemd-analyze security --offline=true --threshold=$exposure_max "$unit" >"$work/out" 2>&1 ||
            wrong "$unit leaves too much open: $(tail -n 1 "$work/out")"
        # The programs' place is made up for a machine that has none installed.
        sed "s|^ExecStart=[^ ]*|ExecStart=/bin/true|" "$unit" >"$work/holdfast-$role.service"
        systemd-analyze verify --man=no "$work/holdfast-$role.service" >"$work/out" 2>&1
        [ ! -s "$work/out" ] || wrong "$unit: $(cat "$work/out")"
    else
        echo 'check_deploy: no systemd-analyze, the units are not judged'
    fi
done
for script in deploy/*.sh; do
    sh -n "$script" || wrong "$script does not parse"
    if command -v shellcheck >/dev/null; then
        shellcheck -S warning "$script" >&2 || wrong "$script"
    fi
done

# As it stands in the build directory: a test makes nothing. B is where the Makefile looks for programs.
make -s -o all install B="$bin" DESTDIR="$work/root" PREFIX=/usr >"$work/out" 2>&1 ||
    wrong "make install: $(cat "$work/out")"
for file in bin/holdfast bin/holdfast-core bin/holdfast-edge bin/holdfast-sim lib/systemd/system/holdfast-core.service \
    lib/systemd/system/holdfast-edge.service lib/sysusers.d/holdfast.conf share/doc/holdfast/examples/core.conf \
    share/doc/holdfast/examples/edge.conf share/doc/holdfast/README.md share/doc/holdfast/RUNBOOK.md \
    share/doc/holdfast/PROTOCOL.md share/doc/holdfast/LICENSE share/doc/holdfast/sim/README.md; do
    [ -s "$work/root/usr/$file" ] || wrong "make install leaves no $file"
done
exit "$failed"
