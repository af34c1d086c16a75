#!/usr/bin/env bash
# ls, stat, limits, domain, gc, fsck: tables whose columns stand in line, JSON with numbers and RFC 3339 times, damaged objects with
# their problem, foreign names escaped.
. "$(dirname "$0")/support.sh"

expect 0 'nothing in .*; `muster mk mq /NAME` makes a queue' -- muster ls
[ -s "$out" ] && complain 'an empty domain prints a table'
expect 0 -- muster ls --json
printed '[]'
expect 0 -- muster domain
printed "$MUSTER_DOMAIN"
expect 0 -- muster domain --json
same "$(json /path <"$out")" "$MUSTER_DOMAIN"

expect 0 -- muster mk mq /a --depth 7 --message-size 100 --mode 0640
expect 0 -- muster mk mq /longer-name --json
same "$(json /made <"$out"):$(json /messages_max <"$out")" true:10
expect 0 -- muster mk mq /longer-name --json --exist-ok
same "$(json /made <"$out")" false
expect 0 -- muster send /a hello
expect 0 -- muster ls
head -1 "$out" | grep -Eq '^NAME +KIND +MODE +OWNER +MESSAGES +CAPACITY +SIZE +BYTES +R/S WAITING +CREATED$' || complain "heads: $(head -1 "$out")"
grep -Eq "^/a +mq +0640 +$(id -un) +1 +7 +100 +[0-9]+ +0/0 +20[0-9]{2}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}$" "$out" || complain "$(cat "$out")"
# Numbers end, and text begins, in the same column in each line.
for column in MESSAGES CAPACITY SIZE BYTES; do
    end=$(awk -v c=$column 'NR == 1 { print index($0, c) + length(c) - 1 }' "$out")
    awk -v e="$end" 'substr($0, e, 1) == " " || substr($0, e + 1, 1) != " " { exit 1 }' "$out" || complain "$column is not aligned"
done
expect 0 -- muster ls --long
grep -q 'FILE' "$out" || complain 'no FILE'

expect 0 -- muster ls --json
same "$(json /0/name <"$out") $(json /0/messages <"$out") $(json /0/messages_max <"$out") $(json /0/mode <"$out")" '/a 1 7 0640'
json /0/created <"$out" | grep -Eq '^20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9:]{8}\.[0-9]{6}Z$' || complain "time: $(json /0/created <"$out")"
same "$(json /0/problem <"$out")" null
expect 0 -- muster stat /a /longer-name --json
same "$(json /1/name <"$out")" /longer-name
expect 0 -- muster stat /a
grep -Eq '^  messages +1 of 7$' "$out" || complain "$(cat "$out")"
grep -Eq '^  last receiver +nobody yet$' "$out" || complain "$(cat "$out")"

# Names are bytes.
odd=$'/o\ndd\x1b[31m\xff'
expect 0 -- muster mk mq "$odd"
expect 0 -- muster ls
grep -q '^/o\\ndd\\x1b\[31m\\xff  *mq' "$out" || complain "$(cat "$out")"
expect 0 -- muster ls --json
json <"$out" || complain 'no JSON'
expect 0 -- muster rm "$odd"

printf junk >"$MUSTER_DOMAIN/mq/bad"
expect 0 -- muster ls
grep -q 'PROBLEM$' "$out" || complain 'no column for the problem'
grep -Eq '^/bad +(mq|unknown) .*[a-z]' "$out" || complain 'the damaged object is not shown'
expect 0 -- muster ls --json
grep -q '"problem": "' "$out" || complain 'no problem in JSON'
expect 8 -- muster fsck /bad
expect 0 -- muster fsck /a
expect 8 -- muster fsck --json
json /0/what <"$out" >/dev/null || complain 'no finding'
expect 0 -- muster rm /bad

expect 0 -- muster limits
grep -Eq '^msg_max +1000000 ' "$out" || complain "$(cat "$out")"
expect 0 -- muster limits msg_default=20 msgsize_default=1Ki
expect 0 -- muster limits --json
same "$(json /msg_default <"$out"):$(json /msgsize_default <"$out")" 20:1024
expect 0 -- muster mk mq /b
same "$(field /b messages_max):$(field /b message_size_bytes_max)" 20:1024
expect 0 -- muster gc --dry-run --json
json <"$out" || complain 'gc prints no JSON'
expect 0 -- muster rm --all --json
same "$(json /removed/0 <"$out")" /a
expect 0 'nothing in' -- muster ls

expect 0 -- muster --domain "$MUSTER_DOMAIN" domain --remove
[ -e "$MUSTER_DOMAIN" ] && complain 'the domain is still there'
done_testing
