#!/usr/bin/env bash
# muster demo crash: Muster loses nothing, what is not lost is counted somewhere, and nothing is left behind.
. "$(dirname "$0")/support.sh"

kernel_objects() { cat /proc/sysvipc/msg 2>/dev/null | wc -l; }
domains() { find /dev/shm -maxdepth 1 -name 'muster-*' | sort; }
objects=$(kernel_objects) before=$(domains)
expect 0 -- muster demo crash --rounds 40
grep -Eq '^Muster, POSIX queue +[0-9]+ +[0-9]+ +0$' "$out" || complain "$(cat "$out")"
grep -Eq '^Muster, System V queue +[0-9]+ +[0-9]+ +0$' "$out" || complain "$(cat "$out")"

expect 0 -- muster demo crash --rounds 5 --json
json <"$out" || complain 'no JSON'
for queue in 0 1 2 3; do
    [ -n "$(json /$queue/missing <"$out")" ] && continue  # the kernel has none here
    sum=$(($(json /$queue/received <"$out") + $(json /$queue/kept <"$out") + $(json /$queue/lost <"$out")))
    same "$sum" 5
done
same "$(json /2/lost <"$out")" 0
same "$(json /3/lost <"$out")" 0

expect 2 'a command is missing' -- muster demo
expect 2 'not in range' -- muster demo crash --rounds 0
[ "$(kernel_objects)" = "$objects" ] || complain 'a kernel queue is left'
[ -z "$(comm -13 <(printf '%s\n' "$before") <(domains) | grep -v muster-stepped)" ] || complain "a domain is left: $(domains)"
done_testing
