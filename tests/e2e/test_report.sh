#!/bin/sh
# test_report.sh - the page of a report, read in headless Chromium without a network: what it shows is what the JSON
# says, it obeys mouse, keys and address, hostile texts do no harm; and a broken page is noticed.
#
# usage: test_report.sh [BUILD_DIR]
#
# report_probe.js does the reading, from behind the page's own program.
set -u
cd "$(dirname "$0")/../.." || exit 1
sim=$PWD/${1:-build}/holdfast-sim
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
failed=0

wrong() {
    printf 'test_report: %s\n' "$1" >&2
    failed=1
}
command -v chromium >/dev/null || { wrong 'no chromium; deploy/install-deps.sh --test installs it'; exit 1; }

# Prints what the probe found on PAGE, opened with FRAGMENT, against JSON.
probe() { # NAME PAGE JSON [FRAGMENT]
    json=$3 awk -v name="$1" '
        { print }
        /^<head>$/ {
            print "<script>const pageErrors = [];"
            print "addEventListener(\"error\", e => pageErrors.push(String(e.message)));"
            print "addEventListener(\"securitypolicyviolation\", e => pageErrors.push(e.violatedDirective));</script>"
        }
        /^<\/script>$/ { ends++ }
        ends == 1 && /^<\/script>$/ {
            print "<script>(async () => { \047use strict\047; const probe = \"" name "\"; const expected ="
            while ((getline line <ENVIRON["json"]) > 0) print line
            while ((getline line <"tests/e2e/report_probe.js") > 0) print line
            print "})();</script>"
        }' "$2" >"$work/probed.html"
    timeout -k 5 60 chromium --headless --no-sandbox --disable-gpu --disable-quic --no-first-run \
        --disable-background-networking --disable-component-update --disable-sync --disable-extensions \
        --host-resolver-rules='MAP * ~NOTFOUND' --user-data-dir="$work/profile" --window-size=1300,1000 \
        --virtual-time-budget=2000 --dump-dom "file://$work/probed.html${4:-}" 2>"$work/chromium.log" |
        sed -n 's/^PROBE //p' >"$work/found"
}

holds() { # WHAT NAME PAGE JSON [FRAGMENT]
    what=$1
    shift
    probe "$@"
    [ "$(grep -c '^ok' "$work/found")" -ge 8 ] || wrong "$what: the page was not read: $(tail -n 3 "$work/chromium.log")"
    if grep '^FAILED' "$work/found" >&2; then
        wrong "$what"
    fi
    printf '%s: %s checks hold\n' "$what" "$(grep -c '^ok' "$work/found")"
}

# Breaks the page of the run, by what sed does to it; every check that is named then must fail.
noticed() { # SED CHECK...
    sed "$1" "$work/run.html" >"$work/broken.html"
    ! cmp -s "$work/run.html" "$work/broken.html" || wrong "there is nothing to break by $1"
    probe whole "$work/broken.html" "$work/run.json"
    shift
    for check in "$@"; do
        grep -q "^FAILED $check" "$work/found" || wrong "a broken page passes: $check"
    done
    printf 'a broken page: %s checks fail\n' "$(grep -c '^FAILED' "$work/found")"
}

"$sim" scenario tests/scenario/cut-and-heal.sim --json "$work/run.json" --html "$work/run.html" >"$work/run.txt" ||
    wrong 'cut-and-heal.sim does not hold'
"$sim" scenario tests/scenario/cut-and-heal.sim --json - 2>/dev/null | cmp - "$work/run.json" ||
    wrong 'the same seed gives another report'
holds 'a run with a cut' whole "$work/run.html" "$work/run.json"
holds 'an address with a time' address "$work/run.html" "$work/run.json" '#t=10,20&edge=lagos'

# A file name is the title; an edge's name and an expectation are put in as a runner of daemons might have them.
mkdir -p "$work/x<"
hostile="$work/x</script><img src=x onerror=harmed=1><b>.sim"
cp tests/scenario/cut-and-heal.sim "$hostile"
echo 'expect mark core-fenced' >>"$hostile"
"$sim" scenario "$hostile" --json "$work/hostile.json" --html "$work/hostile.html" >"$work/hostile.txt"
[ $? -eq 1 ] && grep -q '^FAILED  mark core-fenced  not reached' "$work/hostile.txt" || wrong 'a failed expectation goes unsaid'
swap='s|"recife"|"\\u003cimg src=x onerror=harmed=1>\&amp;\x27\\"#t=1"|; s|mark cut|\\u003c/script>\\u003cb>|'
sed -i "$swap" "$work/hostile.json" "$work/hostile.html"
grep -q 'harmed=1>&amp;' "$work/hostile.html" || wrong 'the hostile name is not in the page'
holds 'hostile texts, and a failed run' hostile "$work/hostile.html" "$work/hostile.json"

# Its last edge 199 times: what the page does with many, without the time that a run of so many takes.
multiply() {
    awk '{
        at = index($0, ",{\"name\":\"recife\"")
        end = match($0, /\]}(<\/script>)?$/)
        if (!at) { print; next }
        printf "%s", substr($0, 1, at - 1)
        for (i = 1; i < 200; i++) {
            edge = substr($0, at, end - at)
            sub(/recife/, "shop-" i, edge)
            printf "%s", edge
        }
        print substr($0, end)
    }' "$1"
}
multiply "$work/run.json" >"$work/many.json"
multiply "$work/run.html" >"$work/many.html"
holds '200 edges' many "$work/many.html" "$work/many.json"

echo 'edges' >"$work/bad.sim"
"$sim" scenario "$work/bad.sim" --html "$work/bad.html" 2>"$work/err"
[ $? -eq 2 ] && [ ! -e "$work/bad.html" ] && grep -q 'bad.sim:1: expected names' "$work/err" ||
    wrong 'a scenario that cannot be read has a report'

noticed 's|clip(x(c.from_ms))|clip(x(c.from_ms + 900))|
    s|"applied":\([0-9]*\),|"applied":\11,|
    s|curve(p.applied_min, p.applied_max|curve(run.core.points.head_min, run.core.points.head_max|' \
    'the shade begins with the cut' 'lagos: applied and head' 'applied at 20010'
noticed 's|^showTiles();|showTiles(); nobody();|' 'no error'

"$sim" scenario tests/scenario/cut-and-heal.sim --html "$work/no/such.html" >/dev/null 2>"$work/err"
[ $? -eq 2 ] && grep -q 'no/such.html: No such file' "$work/err" || wrong 'a page that cannot be written goes unsaid'
exit "$failed"
