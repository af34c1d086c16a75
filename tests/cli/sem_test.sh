#!/usr/bin/env bash
# muster sem: post, wait, zero-wait, set, show; hold around a command, with its exit code, released however the command ends; sleepers
# and holders named.
. "$(dirname "$0")/support.sh"

value() { muster sem show "$1" --json | json "/0/values/${2:-0}"; }
waits() { [ "$(muster ls --kind sem --json | json /0/waiting)" = "$1" ]; }

expect 0 -- muster mk sem 0x10 --values 1,0
expect 0 -- muster sem post sem:0x10 --number 1 --amount 5
same "$(value sem:0x10 1)" 5
expect 0 -- muster sem wait sem:0x10 --number 1 --amount 2 --json
same "$(json /value <"$out")" 3
expect 3 'sem:0x10: semaphore 1 is 3, and 4 are wanted; without --no-wait it waits' -- muster sem wait sem:0x10 --number 1 --amount 4 --no-wait
expect 4 'sem:0x10: timed out; semaphore 1 is still 3, and 4 are wanted' -- muster sem wait sem:0x10 --number 1 --amount 4 --timeout 10ms
expect 4 'semaphore 1 is still 3, not 0' -- muster sem zero-wait sem:0x10 --number 1 --timeout 10ms
expect 0 -- muster sem set sem:0x10 --number 1 --value 0
expect 0 -- muster sem zero-wait sem:0x10 --number 1
expect 0 -- muster sem set sem:0x10 --values 4,6
same "$(value sem:0x10) $(value sem:0x10 1)" '4 6'
expect 1 '32767' -- muster sem post sem:0x10 --amount 32767
expect 2 'has 2 semaphores, counted from 0' -- muster sem post sem:0x10 --number 2
expect 2 'has 2 semaphores, not 3' -- muster sem set sem:0x10 --values 1,2,3
expect 2 'give --value N' -- muster sem set sem:0x10
expect 2 'exclude' -- muster sem wait sem:0x10 --no-wait --timeout 1s
expect 2 'amount' -- muster sem post sem:0x10 --amount 0
expect 2 'is no semaphore' -- muster sem post /jobs
expect 2 'which this needs' -- muster sem set posix-sem:/x --value 1
expect 2 'OBJECT is missing' -- muster sem post
expect 2 'a command is missing' -- muster sem
expect 5 'no such semaphore set' -- muster sem post sem:0x11

# A sleeper is shown with what it waits for, and goes on with the post.
expect 0 -- muster sem set sem:0x10 --values 0,0
"$muster" sem wait sem:0x10 --amount 2 &
sleeper=$!
until_true waits 1
expect 0 -- muster sem show sem:0x10
grep -Eq "^  waiting +process $sleeper \(muster\), to take 2 from semaphore 0, since 20" "$out" || complain "$(cat "$out")"
expect 0 -- muster sem post sem:0x10 --amount 2
wait $sleeper || complain 'the sleeper failed'

# hold: exclusive, with the command's own exit code, given back at its end.
expect 0 -- muster sem set sem:0x10 --values 1,0
expect 7 -- muster sem hold sem:0x10 -- sh -c "[ \"\$('$muster' sem show sem:0x10 --json | '$json_check' /0/values/0)\" = 0 ] && exit 7"
same "$(value sem:0x10)" 1
expect 143 -- muster sem hold sem:0x10 -- sh -c 'kill -TERM $$'
expect 127 'no such' -- muster sem hold sem:0x10 -- /does/not/exist
same "$(value sem:0x10)" 1
expect 0 -- muster sem hold sem:0x10 -- printf '%s\n' --json -- --number x
printed $'--json\n--\n--number\nx'
expect 2 'write -- before the command' -- muster sem hold sem:0x10 true
expect 2 'which command' -- muster sem hold sem:0x10 --
expect 2 'which command' -- muster sem hold sem:0x10

"$muster" sem hold sem:0x10 -- sleep 100 &
holder=$!
until_true eval '[ "$(muster sem show sem:0x10 --json | json /0/holders/0/pid)" = '$holder' ]'
expect 3 'semaphore 0 is 0, and 1 is wanted' -- muster sem hold sem:0x10 --no-wait -- true
expect 0 -- muster stat sem:0x10
grep -Eq "^  held by +process $holder \(muster\), which holds 1 of semaphore 0, last operation 20" "$out" || complain "$(cat "$out")"
"$muster" sem wait sem:0x10 &
next=$!
until_true waits 1
kill -KILL $holder  # the command dies with it, and the next one goes on
wait $next || complain 'the next one did not get it'
wait $holder 2>/dev/null

# Twenty at once, one after the other.
expect 0 -- muster sem set sem:0x10 --values 1,0
: >"$scratch/count"
for _ in $(seq 20); do
    "$muster" sem hold sem:0x10 -- sh -c 'n=$(cat "$0"); echo $((n + 1)) >"$0"' "$scratch/count" &
done
wait
same "$(cat "$scratch/count")" 20

# A POSIX semaphore, of the C library.
expect 0 -- muster mk posix-sem /lock --value 1
expect 0 -- muster sem post posix-sem:/lock --amount 2
expect 3 'do not allow it now' -- muster sem wait posix-sem:/lock --amount 4 --no-wait
expect 0 -- muster sem wait posix-sem:/lock --amount 3
expect 4 'timed out' -- muster sem wait posix-sem:/lock --timeout 10ms
same "$(value posix-sem:/lock)" 0
expect 2 'single semaphore' -- muster sem post posix-sem:/lock --number 0

# A removed set ends its sleepers.
"$muster" sem wait sem:0x10 --number 1 2>"$scratch/why" &
sleeper=$!
until_true waits 1
expect 0 -- muster rm sem:0x10
wait $sleeper
same "$?" 1
grep -q 'removed meanwhile' "$scratch/why" || complain "$(cat "$scratch/why")"
done_testing
