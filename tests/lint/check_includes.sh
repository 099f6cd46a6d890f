#!/bin/sh
# Who may include what (README, map of the tree). Prints each line that breaks a rule.
set -u
cd "$(dirname "$0")/../.." || exit 1
bad=0

forbid() { # PATTERN WHY FILES...
    pattern=$1
    why=$2
    shift 2
    [ $# -gt 0 ] || return 0
    if grep -nE "^#include [<\"]($pattern)" "$@" /dev/null; then
        echo "    ^ $why"
        bad=1
    fi
}
files() { git ls-files -co --exclude-standard "$1" | grep -E '\.[ch]$'; }
without() { grep -vE "$1"; }

all=$( { files core; files edge; files proto; files include; files sim; } | sort -u)
forbid 'edge/' 'core/ must not know edge/' $(files core)
forbid 'core/' 'edge/ must not know core/' $(files edge)
forbid 'core/|edge/|sim/' 'proto/ and include/ are below everything' $(files proto) $(files include)
forbid 'core/|edge/' 'the simulator uses the public interfaces' $(files sim)
forbid 'nng/' 'nng is for proto/node' $(echo "$all" | without '^proto/node/')
forbid 'lmdb\.h' 'lmdb is for proto/store' $(echo "$all" | without '^proto/store/')
forbid 'sodium' 'sodium is for proto/wire and key files' $(echo "$all" | without '^proto/wire/|^proto/node/keyfile\.c')
forbid 'uv\.h' 'libuv is for proto/node, the daemons and who runs them' \
    $(echo "$all" | without '^proto/node/|/main\.c$|^sim/real/')
forbid 'msgpack' 'msgpack-c is for proto/wire' $(echo "$all" | without '^proto/wire/')
forbid 'hiredis' 'hiredis is for clients' $(echo "$all" | without '^core/cli/|^sim/real/')
forbid 'time\.h|sys/(socket|stat|time)|unistd|fcntl|pthread|stdio\.h>.*net' 'wire and engines are pure' \
    $(files proto/wire | without 'err\.c') edge/replica.c edge/held.c edge/apply.c edge/fetch.c edge/pace.c edge/share.c edge/width.c edge/repair.c edge/liveness.c core/publisher.c
for f in $all $(files tests); do
    lines=$(wc -l <"$f")
    if [ "$lines" -gt 800 ]; then
        echo "$f: $lines lines, the limit is 800"
        bad=1
    fi
done
stray=$(git ls-files | cut -d/ -f1 | sort -u | grep -vxE 'Makefile|README\.md|LICENSE|core|edge|proto|include|tests|sim|deploy|\..*')
[ -z "$stray" ] || { echo "top level: $stray"; bad=1; }
exit $bad
