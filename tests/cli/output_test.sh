#!/usr/bin/env bash
# Outputs that fail: an error and never silence, and a message that could not be passed on is back in its queue. A reader that goes
# away is no error to speak of. Signals end a wait at once.
. "$(dirname "$0")/support.sh"

expect 0 -- muster mk mq /q
full() { "$@" >/dev/full; }
closed() { "$@" >&-; }
expect 0 -- muster send /q precious --priority 4
for how in full closed; do
    for form in --raw --lines --hex --json; do
        expect 1 'standard output: .*the message \(8 bytes, priority 4\) is back in /q' -- $how muster recv /q $form
    done
done
expect 1 'No space left' -- muster recv /q --output /dev/full
expect 1 'No such file' -- muster recv /q --output "$scratch/no/such"
expect 1 'standard output' -- full muster recv /q --peek
expect 0 -- muster recv /q --json
same "$(json /text <"$out"):$(json /priority <"$out")" precious:4
for command in ls 'stat /q' limits domain --help 'send --help' --version 'ls --json' 'send /q x --json'; do
    expect 1 'standard output: No space left' -- full muster $command
done
muster recv /q --all >/dev/null

# A closed pipe: quiet, 141, nothing lost.
expect 0 -- muster send /q 1 2 3
mkfifo "$scratch/pipe"
"$muster" recv /q --follow >"$scratch/pipe" 2>"$err" &
follower=$!
exec 9<"$scratch/pipe"
until_true field_is /q receivers_waiting 1
exec 9<&-
expect 0 -- muster send /q 4
wait $follower
same $? 141
[ -s "$err" ] && complain "not quiet: $(cat "$err")"
expect 0 -- muster recv /q --no-wait
printed 4
# A stream cannot be put back, so that is told.
expect 0 -- muster mk mq /s --depth 100
head -c 100000 /dev/zero | muster send /s --stream
expect 1 'the rest is of no use' -- full muster recv /s --stream

# Signals.
for signal in INT TERM HUP; do
    for mode in '' --follow --stream --count=3 --timeout=1h; do
        env --default-signal=$signal "$muster" recv /q $mode >"$out" 2>"$err" &
        receiver=$!
        until_true field_is /q receivers_waiting 1
        kill -$signal $receiver
        wait $receiver 2>/dev/null
        same "$mode $?" "$mode $((128 + $(kill -l $signal)))"
        [ -s "$err" ] && complain "not quiet: $(cat "$err")"
        until_true field_is /q receivers_waiting 0
    done
done
expect 0 -- muster mk mq /full --depth 1
expect 0 -- muster send /full x
env --default-signal=INT "$muster" send /full y &
sender=$!
until_true field_is /full senders_waiting 1
kill -INT $sender
wait $sender 2>/dev/null
same $? 130
same "$(field /full messages)" 1
# nohup is respected.
(trap '' HUP; exec "$muster" recv /q >"$out") &
receiver=$!
until_true field_is /q receivers_waiting 1
kill -HUP $receiver
expect 0 -- muster send /q still
wait $receiver
same "$?:$(cat "$scratch/out")" "0:$(cat "$out")"
done_testing
