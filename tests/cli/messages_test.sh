#!/usr/bin/env bash
# What is sent is what is received, byte for byte: arguments, standard input, files, lines; every output form; order by priority;
# peeking takes nothing.
. "$(dirname "$0")/support.sh"

expect 0 -- muster mk mq /q --depth 100
# Arguments that mean something to shells, parsers or to muster itself are messages like others.
words=('{}' '%%' '' '[a,b]' ls run '"x"' "'y'" 'a b' 'é' $'\x01''0' /q -)
expect 0 -- muster send /q "${words[@]}"
expect 0 -- muster send /q -- -x --json -- '{}'
expect 0 -- muster recv /q --count 17
printed "$(printf '%s\n' "${words[@]}" -x --json -- '{}')"

expect 0 -- muster send /q low --priority 0
expect 0 -- muster send --priority 32767 /q high
expect 0 -- muster send /q --priority=5 middle middle2
expect 0 -- muster recv /q --peek
printed high
expect 0 -- muster recv /q --peek --all --json
json --lines /priority <"$out" >"$scratch/priorities"
same "$(tr '\n' ' ' <"$scratch/priorities")" '32767 5 5 0 '
same "$(field /q messages)" 4
expect 0 -- muster recv /q --all
printed $'high\nmiddle\nmiddle2\nlow'

printf 'a\0b\xff\n' >"$scratch/binary"
muster send /q <"$scratch/binary"
muster send /q --file "$scratch/binary"
muster send /q --stdin <"$scratch/binary"
muster send /q --file - <"$scratch/binary"
expect 0 -- muster recv /q --raw
same "$(digest "$out")" "$(digest "$scratch/binary")"
expect 0 -- muster recv /q --raw --output "$scratch/file"
same "$(digest "$scratch/file")" "$(digest "$scratch/binary")"
expect 0 -- muster recv /q --json
json /base64 <"$out" >"$scratch/base64"
same "$(base64 -d "$scratch/base64" | sha256sum)" "$(sha256sum <"$scratch/binary")"
expect 0 -- muster recv /q --hex
printed '# priority 0, 5 bytes
00000000  61 00 62 ff 0a                                    |a.b..|
00000005'

# The dump is hexdump's, where that is to be had.
head -c 1000 /dev/urandom >"$scratch/random"
muster send /q --file "$scratch/random"
muster recv /q --hex | tail -n +2 >"$scratch/dump"
if command -v hexdump >/dev/null; then
    grep -q '^\*' <(hexdump -C "$scratch/random") || same "$(cat "$scratch/dump")" "$(hexdump -C "$scratch/random")"
fi

printf 'one\n\nthree\0x\r\nlast without newline' >"$scratch/lines"
expect 0 -- muster send /q --lines --file "$scratch/lines"
same "$(field /q messages)" 4
expect 0 -- muster recv /q --count 4 --lines
same "$(digest "$out")" "$({ cat "$scratch/lines"; echo; } | sha256sum | cut -c1-64)"

# A message of the greatest size, and an empty one.
head -c 8192 /dev/urandom >"$scratch/greatest"
muster send /q --file "$scratch/greatest"
muster send /q </dev/null
expect 0 -- muster recv /q --raw
same "$(digest "$out")" "$(digest "$scratch/greatest")"
expect 0 -- muster recv /q --raw
[ -s "$out" ] && complain 'the empty message is not empty'

expect 0 -- muster send /new --create --depth 3 --message-size 1Ki x
same "$(field /new messages_max) $(field /new message_size_bytes_max)" '3 1024'
expect 0 -- muster send /new --create --depth 7 y
same "$(field /new messages_max) $(field /new messages)" '3 2'

# A receiver that waits gets what comes; one that follows goes on.
muster recv /q >"$scratch/waited" &
receiver=$!
until_true field_is /q receivers_waiting 1
expect 0 -- muster send /q 'at last'
wait $receiver
same "$?:$(cat "$scratch/waited")" '0:at last'
# A sender that waits goes on when there is room.
expect 0 -- muster mk mq /one --depth 1
expect 0 -- muster send /one first
muster send /one second &
sender=$!
until_true field_is /one senders_waiting 1
expect 0 -- muster recv /one --count 2
printed $'first\nsecond'
wait $sender || complain 'the sender failed'
done_testing
