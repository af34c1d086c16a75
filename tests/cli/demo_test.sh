#!/usr/bin/env bash
# muster demo crash: Muster loses nothing, what is not lost is counted somewhere, and nothing is left behind.
. "$(dirname "$0")/support.sh"

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
# In an IPC namespace of its own: nobody else makes the kernel's queues there.
if unshare --ipc true 2>/dev/null; then
    left=$(unshare --ipc bash -c '"$0" demo crash --rounds 3 >/dev/null; wc -l </proc/sysvipc/msg' "$muster")
    same "$left" 1
fi
done_testing
