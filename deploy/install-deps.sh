#!/bin/sh
# install-deps.sh - installs the Debian packages that holdfast needs, and only those that are missing.
#
# usage: install-deps.sh [--test] [--lint] [--bench] [--list]
#
# Without an option: what building and the demo need. --list prints the packages and installs nothing.
# Says nothing and needs no privilege when nothing is missing, so the Makefile can call it each time.
# Runs apt-get without questions, through sudo unless it is root already.
#
# It must not start a service. Debian starts and enables redis-server when it installs it, so that
# package is installed last and alone, under a policy-rc.d of ours that says no and lives for that one
# call of apt-get; afterwards the unit is disabled. RUNLEVEL=1 would do for init scripts only: systemd
# does not look at it. A policy or a redis-server that was there before is left as it is.
set -eu

build='gcc libc6-dev make libnng-dev liblmdb-dev libsodium-dev libuv1-dev libzstd-dev libxxhash-dev
libmsgpack-dev libhiredis-dev libinih-dev libjansson-dev publicsuffix ca-certificates'
test='libcmocka-dev redis-tools systemd clang libclang-rt-14-dev chromium'
lint='clang-format clang-tidy cppcheck patch'
bench='redis-tools redis-server iproute2 iptables'

wanted=$build
list=no
for option in "$@"; do
    case $option in
    --test) wanted="$wanted $test" ;;
    --lint) wanted="$wanted $lint" ;;
    --bench) wanted="$wanted $bench" ;;
    --list) list=yes ;;
    *)
        printf 'usage: %s [--test] [--lint] [--bench] [--list]\n' "$0" >&2
        exit 2
        ;;
    esac
done

if [ "$list" = yes ]; then
    printf '%s\n' $wanted | sort -u
    exit 0
fi

fail() {
    printf 'install-deps: %s\n' "$1" >&2
    printf 'install-deps: holdfast needs these packages of Debian 12, or what they are called elsewhere:\n' >&2
    printf '%s\n' $wanted | sort -u | sed 's/^/  /' >&2
    exit 1
}

command -v dpkg-query >/dev/null && command -v apt-get >/dev/null ||
    fail 'this is not a Debian system (no dpkg-query or no apt-get); install them by hand'

missing=''
installed=$(dpkg-query -W -f '${binary:Package} ${db:Status-Status}\n' $wanted 2>/dev/null |
    sed -n 's/^\([^ :]*\)[^ ]* installed$/\1/p' || true)
for package in $wanted; do
    case " $(echo $installed) $missing " in
    *" $package "*) ;;
    *) missing="$missing $package" ;;
    esac
done
[ -n "$missing" ] || exit 0

as_root=''
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || fail "missing:$missing; run this as root, there is no sudo"
    as_root=sudo
fi

log=$(mktemp)
policy=''
finish() {
    rm -f "$log"
    [ -z "$policy" ] || $as_root rm -f "$policy"
}
trap finish EXIT
trap 'exit 1' INT TERM

apt() {
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=120 "$@" \
        >>"$log" 2>&1
}

install() {
    apt install --no-install-recommends "$@" && return
    tail -n 20 "$log" >&2
    fail "apt-get could not install: $*"
}

install_redis_server() {
    if [ ! -e /usr/sbin/policy-rc.d ]; then
        policy=/usr/sbin/policy-rc.d
        printf '#!/bin/sh\nexit 101\n' | $as_root tee "$policy" >/dev/null
        $as_root chmod 755 "$policy"
    fi
    install redis-server
    if [ -d /run/systemd/system ]; then
        $as_root systemctl --quiet disable redis-server.service >>"$log" 2>&1 || true
    fi
}

printf 'installing:%s\n' "$missing"
# Package lists that are a little old often still do, so a failed update alone is no reason to stop.
apt update || printf 'install-deps: apt-get update failed; going on with the lists there are\n' >&2
others=''
for package in $missing; do
    [ "$package" = redis-server ] || others="$others $package"
done
[ -z "$others" ] || install $others
case " $missing " in
*' redis-server '*) install_redis_server ;;
esac
