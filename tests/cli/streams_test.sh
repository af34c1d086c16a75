#!/usr/bin/env bash
# Streams: the same bytes at both ends for every length around a block; mixed, torn, foreign, damaged streams and dead senders are told,
# never passed off as the data.
. "$(dirname "$0")/support.sh"

pass() {  # pass QUEUE FILE
    muster send "$1" --stream --file "$2" &
    muster recv "$1" --stream >"$scratch/arrived" || complain "recv --stream failed for $2"
    wait $! || complain "send --stream failed for $2"
    same "$(digest "$scratch/arrived")" "$(digest "$2")"
    same "$(field "$1" messages)" 0
}
expect 0 -- muster mk mq /q
for size in 0 1 8159 8160 8161 16320 1048576 6000001; do
    head -c $size /dev/urandom >"$scratch/bytes"
    pass /q "$scratch/bytes"
done
expect 0 -- muster mk mq /narrow --message-size 64 --depth 3
head -c 5000 "$scratch/bytes" >"$scratch/little"
pass /narrow "$scratch/little"
expect 0 -- muster mk mq /wide --message-size 1Mi --depth 2
pass /wide "$scratch/bytes"
expect 0 -- muster mk mq /tiny --message-size 63
expect 1 'needs 64 or more' -- muster send /tiny --stream --file "$scratch/little"

# From a pipe, into a pipe, at a priority; two streams one after the other.
cat "$scratch/bytes" | muster send /q --stream --priority 9 &
same "$(muster recv /q --stream | sha256sum)" "$(sha256sum <"$scratch/bytes")"
wait
expect 0 -- muster mk mq /roomy --depth 100
echo a | muster send /roomy --stream
echo b | muster send /roomy --stream
expect 0 -- muster recv /roomy --stream
printed a
expect 0 -- muster recv /roomy --stream --output "$scratch/b"
same "$(cat "$scratch/b")" b

empty() { muster recv /roomy --all --raw >/dev/null; }
# Nothing is taken that is no stream.
expect 0 -- muster send /roomy plain
expect 1 'no part of the stream. Nothing was taken' -- muster recv /roomy --stream
expect 0 -- muster recv /roomy --no-wait
printed plain
# A message in between goes back.
muster send /roomy --stream --file "$scratch/little"
expect 0 -- muster send /roomy --priority 3 urgent
mkfifo "$scratch/pipe"
empty
muster send /roomy --stream --file "$scratch/pipe" &
sender=$!
exec 9>"$scratch/pipe"
printf part >&9
until_true field_is /roomy messages 2
expect 0 -- muster send /roomy between
expect 1 'between.*no part|no part of the stream; the message \(7 bytes, priority 0\) is back' -- muster recv /roomy --stream
exec 9>&-
wait $sender
empty

# Its beginning, its middle or its end is missing.
muster send /roomy --stream --file "$scratch/bytes" --no-wait 2>/dev/null
muster recv /roomy --raw >/dev/null
expect 1 'begins in the middle of stream' -- muster recv /roomy --stream
empty
head -c 20000 "$scratch/bytes" | muster send /roomy --stream
muster recv /roomy --raw --output "$scratch/block"
muster recv /roomy --raw >/dev/null
muster send /roomy --priority 1 --file "$scratch/block"
expect 1 'a block of the stream missing after block 0' -- muster recv /roomy --stream
empty
# The same opening twice, and a flipped bit.
muster send /roomy --priority 1 --file "$scratch/block"
muster send /roomy --file "$scratch/block"
expect 1 'came twice' -- muster recv /roomy --stream
empty
size=$(stat -c %s "$scratch/block")
for at in 40 20 6 9 27 $((size - 1)); do
    cp "$scratch/block" "$scratch/flipped"
    byte=$(od -An -tu1 -j $at -N 1 "$scratch/block")
    printf "\\x$(printf %x $((byte ^ 4)))" | dd of="$scratch/flipped" bs=1 seek=$at conv=notrunc status=none
    muster send /roomy --file "$scratch/flipped"
    expect 1 'damaged|newer' -- muster recv /roomy --stream
    empty
done
# Two at once.
for letter in x y; do
    mkfifo "$scratch/$letter"
    muster send /roomy --stream --file "$scratch/$letter" &
done
exec 7>"$scratch/x" 8>"$scratch/y"
echo x >&7
echo y >&8
until_true field_is /roomy messages 4
exec 7>&- 8>&-
wait
expect 1 'two streams are mixed' -- muster recv /roomy --stream
empty

# A sender that dies, or gives up, does not keep its receiver waiting, and what came is not taken for the whole.
for signal in KILL TERM INT; do
    env --default-signal="${signal/KILL/TERM}" "$muster" send /roomy --stream --file "$scratch/pipe" &
    sender=$!
    exec 9>"$scratch/pipe"
    printf part >&9
    until_true field_is /roomy messages 2
    muster recv /roomy --stream >"$scratch/arrived" 2>"$err" &
    receiver=$!
    until_true field_is /roomy receivers_waiting 1
    kill -$signal $sender
    wait $sender 2>/dev/null
    same $? $((128 + $(kill -l $signal)))
    wait $receiver
    same "$?:$(cat "$scratch/arrived")" 1:part
    grep -Eq 'died; the stream breaks off after 4 bytes|gave up after 4 bytes' "$err" || complain "said: $(cat "$err")"
    exec 9>&-
    empty
done
expect 4 'timed out' -- muster recv /roomy --stream --timeout 1ms
expect 3 'empty' -- muster recv /roomy --stream --no-wait
expect 3 'breaks off after' -- muster send /q --stream --no-wait --file "$scratch/bytes"
muster recv /q --stream >/dev/null 2>"$err"
same $? 1
grep -Eq 'gave up|died' "$err" || complain "said: $(cat "$err")"
done_testing
