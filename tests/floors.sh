#!/bin/bash
# Checks that includes point down the floors of the house (gateway/ARCHITECTURE.md): tests/floors.sh [--self-test | ROOT]
#
# Prints file:line of every include that points up or sideways, or that names no path from the root. --self-test shows, in a scratch tree, that each
# kind of violation is found and that what is allowed passes.
set -euo pipefail

# check ROOT: 0 when all includes are right.
check() {
    (
        cd "$1"
        # The sources of this tree; build directories hold none of these paths.
        find proto gateway loadtest -type f \( -name '*.c' -o -name '*.h' \) 2>/dev/null | LC_ALL=C sort |
            xargs -d '\n' awk '
        # "floor group" of a path; the groups of floor 4 are siblings that do not see each other. "" for a place that the house does not have.
        function place(path,    parts, n, name) {
            n = split(path, parts, "/")
            if (parts[1] == "proto" || parts[1] == "loadtest")
                return (parts[1] == "proto" ? 0 : 9) " " parts[1]
            if (parts[1] != "gateway")
                return ""
            if (n == 2) {
                name = parts[2]
                sub(/\..*/, "", name)
                if (match(name, /^(acceptor|reactor|publisher|admin)(_|$)/)) {
                    sub(/_.*/, "", name)
                    return "4 " name
                }
                return "5 gateway"
            }
            return (parts[2] in floors) ? floors[parts[2]] " " parts[2] : ""
        }
        # Why `from` may not include `to`; "" when it may.
        function objection(from, to,    a, b, target) {
            target = place(to)
            if (target == "")
                return "is no path from the root to a place of the house"
            split(place(from), a, " ")
            split(target, b, " ")
            if (a[2] == b[2])
                return ""
            if (a[2] == "base" || a[2] == "proto")
                return a[2] " includes only " a[2]
            if (a[2] == "loadtest")
                return b[1] <= 1 ? "" : "loadtest uses only proto, gateway/base and itself"
            if (b[1] > a[1])
                return b[2] == "loadtest" ? "loadtest is not the gateway'\''s" : "points up, from floor " a[1] " to floor " b[1]
            return a[1] == 4 && b[1] == 4 ? "siblings never include each other: " a[2] ", " b[2] : ""
        }
        function complain(text) {
            printf "%s:%d: %s\n", FILENAME, FNR, text
            bad = 1
        }
        BEGIN {
            floors["base"] = 1
            floors["settings"] = floors["tls"] = floors["auth"] = floors["broker"] = floors["adapter"] = floors["proxy"] = floors["demo"] = floors["status"] = 2
            floors["conn"] = 3
        }
        FNR == 1 {
            files++
            if (place(FILENAME) == "")
                complain("this directory stands on no floor: give it one in tests/floors.sh and gateway/ARCHITECTURE.md")
        }
        /^[ \t]*#[ \t]*include[ \t]*("|<(proto|gateway|loadtest|tests)\/)/ {
            target = $0
            sub(/^[^"<]*["<]/, "", target)
            sub(/[">].*/, "", target)
            why = place(FILENAME) == "" ? "" : objection(FILENAME, target)
            if (why != "")
                complain("\"" target "\" " (why ~ /^(is|points)/ ? why : "(" why ")"))
        }
        END {
            if (!files) {
                print "no sources found"
                bad = 1
            }
            exit bad
        }'
    )
}

# try FILE INCLUDE EXPECTED: a tree with this one include is good or bad, as expected.
try() {
    rm -rf "$scratch/tree"
    mkdir -p "$scratch/tree/"{proto,gateway,loadtest} "$scratch/tree/$(dirname "$1")"
    printf '#include <stdio.h>\n%s\n' "$2" >"$scratch/tree/$1"
    local found=good
    check "$scratch/tree" >"$scratch/output" || found=bad
    if [ $found != "$3" ] || { [ $found = bad ] && ! grep -q "^$1:" "$scratch/output"; }; then
        echo "self-test: $2 in $1 should be $3 but is $found"
        cat "$scratch/output"
        failed=1
    fi
}

self_test() {
    scratch=$(mktemp -d)
    trap 'rm -rf "$scratch"' EXIT
    failed=0
    local good bad
    good='proto/resp.c proto/parse.h
gateway/base/log.c gateway/base/clock.h
gateway/settings/settings.c gateway/base/config.h
gateway/tls/tls_context.c proto/tls_record.h
gateway/broker/message.h gateway/adapter/adapter.h
gateway/conn/conn.c gateway/broker/broker.h
gateway/conn/conn.c gateway/conn/outbox.h
gateway/reactor.c gateway/conn/conn.h
gateway/reactor_loop.c gateway/reactor.h
gateway/admin.c gateway/admin_routes.h
gateway/gateway.c gateway/reactor.h
gateway/main.c gateway/gateway.h
loadtest/client.c proto/ws_frame.h
loadtest/client.c gateway/base/histogram.h
loadtest/client.c loadtest/report.h'
    bad='proto/resp.c gateway/base/log.h
gateway/base/log.c proto/utf8.h
gateway/base/log.c gateway/settings/settings.h
gateway/settings/settings.c gateway/conn/conn.h
gateway/tls/tls_context.c gateway/conn/conn.h
gateway/conn/conn.c gateway/reactor.h
gateway/conn/conn.c gateway/acceptor_handshake.h
gateway/acceptor.c gateway/reactor.h
gateway/reactor_loop.c gateway/publisher.h
gateway/admin_routes.h gateway/acceptor_queue.h
gateway/publisher.c gateway/gateway.h
gateway/gateway.c loadtest/client.h
loadtest/client.c gateway/broker/broker.h
loadtest/client.c gateway/reactor.h
gateway/reactor.c reactor.h
gateway/reactor.c ../proto/resp.h
gateway/reactor.c tests/unit/helper.h
gateway/attic/old.c gateway/base/log.h
gateway/main.c gateway/attic/old.h'
    while read -r file target; do
        try "$file" "#include \"$target\"" good
    done <<<"$good"
    while read -r file target; do
        try "$file" "#include \"$target\"" bad
        try "$file" "  #  include \"$target\" /* why */" bad
    done <<<"$bad"
    try gateway/base/log.c '#include <gateway/broker/broker.h>' bad
    try gateway/base/log.c '/* see gateway/broker/broker.h */' good
    rm -rf "$scratch/tree"
    mkdir -p "$scratch/tree/"{proto,gateway,loadtest}
    if check "$scratch/tree" >/dev/null; then
        echo "self-test: an empty tree should be bad"
        failed=1
    fi
    return $failed
}

if [ "${1:-}" = --self-test ]; then
    self_test
else
    check "${1:-$(dirname "$0")/..}"
fi
