#!/usr/bin/env bash
# System V queues with send, recv, stat and mk: types where POSIX queues have priorities, every selector, peeking, streams by type,
# sleepers told with what they wait for, --create and --bytes; the same queue by the C calls; what is not meant for msg: is refused.
. "$(dirname "$0")/support.sh"

expect 0 -- muster mk msg 0x77 --mode 0640
same "$(field msg:0x77 mode) $(field msg:0x77 bytes_max) $(field msg:0x77 last_send_pid)" '0640 16384 null'
id=$(field msg:0x77 id)

# Type 1 unless said; the oldest first, of those that are asked for; by key and by identifier.
expect 0 -- muster send msg:0x77 first
expect 0 -- muster send msg:id="$id" --type 9 nine
expect 0 -- muster send --type=3 msg:0x77 three '{}' -- --type
expect 0 -- muster send msg:0x77 --type 9223372036854775807 greatest --json
same "$(cat "$out")" '{"queue":"msg:0x77","messages":1,"bytes":8}'
types() { json --lines /type <"$out" | tr '\n' ' '; }
expect 0 -- muster recv msg:0x77 --peek --all --json
same "$(types)" '1 9 3 3 3 9223372036854775807 '
same "$(head -1 "$out")" '{"type":1,"size":5,"text":"first"}'
expect 0 -- muster recv msg:0x77 --peek --all --except 3 --json
same "$(types)" '1 9 9223372036854775807 '
expect 0 -- muster recv msg:0x77 --peek --all --up-to 9 --json
same "$(types)" '1 3 3 3 9 '
expect 0 -- muster recv msg:0x77 --peek --type 9
printed nine
expect 0 -- muster recv msg:0x77 --peek
printed first
expect 0 -- muster recv msg:0x77 --peek --except 1
printed nine
same "$(field msg:0x77 messages) $(field msg:0x77 bytes)" '6 30'
expect 0 -- muster recv msg:0x77 --type 3 --count 2 --lines
printed $'three\n{}'
expect 0 -- muster recv msg:id="$id" --up-to 9223372036854775807 --hex
printed '# type 1, 5 bytes
00000000  66 69 72 73 74                                    |first|
00000005'
expect 0 -- muster recv msg:0x77 --except 9 --all --json
same "$(types)" '3 9223372036854775807 '
expect 3 'msg:0x77: no message of type 7$' -- muster recv msg:0x77 --type 7 --no-wait
expect 3 'no message of a type up to 8$' -- muster recv msg:0x77 --up-to 8 --peek
expect 4 'msg:0x77: timed out; there was still no message of any type but 9$' -- muster recv msg:0x77 --except 9 --timeout 5ms
expect 0 -- muster recv msg:0x77 --all
printed nine
expect 3 'msg:0x77: empty$' -- muster recv msg:0x77 --no-wait
expect 4 'timed out; it was still empty' -- muster recv msg:0x77 --timeout 5ms
expect 0 -- muster recv msg:0x77 --all --type 5
[ -s "$out" ] && complain 'something of type 5'

# Bytes, lines and files, as with POSIX queues.
printf 'a\0b\xff\n' >"$scratch/binary"
muster send msg:0x77 --type 2 <"$scratch/binary"
muster send msg:0x77 --file "$scratch/binary"
expect 0 -- muster recv msg:0x77 --raw --type 1
same "$(digest "$out")" "$(digest "$scratch/binary")"
expect 0 -- muster recv msg:0x77 --json
same "$(json /type <"$out") $(json /base64 <"$out" | base64 -d | sha256sum)" "2 $(sha256sum <"$scratch/binary")"
printf 'one\n\nthree' | muster send msg:0x77 --lines --type 4
expect 0 -- muster recv msg:0x77 --count 3 --type 4
printed $'one\n\nthree'
head -c 8193 /dev/zero >"$scratch/long"
expect 1 'more than 8192 bytes' -- muster send msg:0x77 --file "$scratch/long"
muster send msg:0x77 </dev/null
expect 0 -- muster recv msg:0x77 --json
printed '{"type":1,"size":0,"text":""}'

# Room is counted in bytes. What can never fit is refused, not waited for.
expect 0 -- muster mk msg 0x78 --bytes 100
expect 0 -- muster send msg:0x78 "$(printf 'x%.0s' $(seq 60))"
expect 3 'msg:0x78: full; without --no-wait' -- muster send msg:0x78 "$(printf 'y%.0s' $(seq 60))" --no-wait
expect 4 'still full' -- muster send msg:0x78 "$(printf 'y%.0s' $(seq 60))" --timeout 5ms
expect 1 '101 bytes is too long; at most 100' -- muster send msg:0x78 "$(printf 'y%.0s' $(seq 101))"
expect 0 'exists with --bytes 100; left as it is' -- muster mk msg 0x78 --bytes 200 --exist-ok
expect 0 -- muster mk msg 0x78 --exist-ok
expect 6 'exists already' -- muster mk msg 0x78
expect 0 -- muster rm msg:0x78
expect 0 -- muster mk msg --bytes 1Ki --mode 0666
grep -Eq '^msg:id=[0-9]+$' "$out" || complain "mk msg prints $(cat "$out")"
private=$(cat "$out")
expect 0 -- muster send "$private" x
same "$(field "$private" bytes_max) $(field "$private" messages) $(field "$private" mode)" '1024 1 0666'
expect 0 -- muster send msg:0x79 --create --bytes 2000 --mode 0644 x
expect 0 -- muster recv msg:0x79 --create --bytes 3000
printed x
same "$(field msg:0x79 bytes_max) $(field msg:0x79 mode)" '2000 0644'

# Sleepers, told with what they wait for.
waiting() { [ "$(field msg:0x77 receivers_waiting)" = "$1" ]; }
start=(any '--type 7' '--except 7' '--up-to 7')
for number in 0 1 2 3; do
    # shellcheck disable=SC2086
    "$muster" recv msg:0x77 ${start[number]#any} --json >"$scratch/got$number" &
    sleepers[number]=$!
    until_true waiting $((number + 1))
done
expect 0 -- muster stat msg:0x77
for words in "${sleepers[0]} .*of any type" "${sleepers[1]} .*of type 7" "${sleepers[2]} .*of any type but 7" "${sleepers[3]} .*of a type up to 7"; do
    grep -Eq "^  waiting +process $words, since 20" "$out" || complain "no '$words' in $(cat "$out")"
done
same "$(for number in 0 1 2 3; do field msg:0x77 waiters/$number/selector; done | tr '\n' ' ')" 'any type except up-to '
same "$(field msg:0x77 waiters/1/type) $(field msg:0x77 waiters/1/for) $(field msg:0x77 waiters/1/pid)" "7 a message ${sleepers[1]}"
field msg:0x77 waiters/0/type && complain 'any type is a type'
expect 0 -- muster send msg:0x77 --type 7 a
until_true waiting 3
expect 0 -- muster send msg:0x77 --type 7 b
until_true waiting 2
expect 0 -- muster send msg:0x77 --type 8 c
expect 0 -- muster send msg:0x77 --type 5 d
for number in 0 1 2 3; do wait "${sleepers[number]}" || complain "sleeper $number failed"; done
same "$(for number in 0 1 2 3; do json /text <"$scratch/got$number"; done | tr '\n' ' ')" 'a b c d '
same "$(field msg:0x77 last_receive_pid)" "${sleepers[3]}"
expect 0 -- muster stat msg:0x77
grep -Eq '^  last sender +process [0-9]+ \(gone\), at 20[^ ]+ [^ ]+ \(.* ago\)$' "$out" || complain "$(cat "$out")"
grep -Eq '^  bytes +0 of 16384$' "$out" || complain "$(cat "$out")"
field_is msg:0x77 last_send null && complain 'no time of the last message'
for _ in 1 2; do head -c 8192 /dev/zero | muster send msg:0x77; done
"$muster" send msg:0x77 --type 6 room &
sender=$!
until_true field_is msg:0x77 senders_waiting 1
expect 0 -- muster stat msg:0x77
grep -Eq "^  waiting +process $sender \(muster\), for room to send, since 20" "$out" || complain "$(cat "$out")"
same "$(field msg:0x77 waiters/0/for)" 'room to send'
expect 0 -- muster recv msg:0x77 --type 1 --count 2 --raw
wait $sender || complain 'the sender failed'
expect 0 -- muster recv msg:0x77
printed room

# A receiver that is killed while it sleeps takes nothing with it.
"$muster" recv msg:0x77 --type 7 &
sleeper=$!
until_true waiting 1
kill -KILL $sleeper
wait $sleeper 2>/dev/null
expect 0 -- muster send msg:0x77 --type 7 kept
expect 0 -- muster recv msg:0x77 --type 7
printed kept

# Streams carry a type, so that several go through one queue at once.
head -c 300000 /dev/urandom >"$scratch/a"
head -c 200001 /dev/urandom >"$scratch/b"
for type in 11 12; do
    name=$([ $type = 11 ] && echo a || echo b)
    muster send msg:0x77 --stream --type $type --file "$scratch/$name" & senders[type]=$!
    muster recv msg:0x77 --stream --type $type --output "$scratch/$name.got" & receivers[type]=$!
done
for type in 11 12; do
    wait "${senders[type]}" || complain "sender $type"
    wait "${receivers[type]}" || complain "receiver $type"
done
same "$(digest "$scratch/a.got") $(digest "$scratch/b.got")" "$(digest "$scratch/a") $(digest "$scratch/b")"
muster send msg:0x79 --stream --file "$scratch/a" & sender=$!  # in blocks of what the queue holds
expect 0 -- muster recv msg:0x79 --stream --output "$scratch/a.got"
wait $sender || complain 'sender of small blocks'
same "$(digest "$scratch/a.got")" "$(digest "$scratch/a")"
expect 0 -- muster send msg:0x77 --type 2 plain
expect 1 'a message \(5 bytes, type 2\) is no part of the stream. Nothing was taken; `muster recv --raw msg:0x77 --except 3`' \
    -- muster recv msg:0x77 --stream --except 3
expect 3 'no message of type 11' -- muster recv msg:0x77 --stream --type 11 --no-wait
expect 0 -- muster recv msg:0x77
printed plain

# The C calls on the same queue.
if command -v perl >/dev/null && muster run -- true; then
    expect 0 -- muster send msg:0x77 --type 5 'to perl'
    expect 0 -- muster run -- perl -e '
        my $id = msgget(0x77, 0) // die $!;
        my $got;
        msgrcv($id, $got, 100, 5, 0) or die $!;
        my ($type, $text) = unpack("l! a*", $got);
        print "$id $type $text\n";
        msgsnd($id, pack("l! a*", 8, "from perl"), 0) or die $!;'
    printed "$id 5 to perl"
    expect 0 -- muster recv msg:0x77 --type 8 --json
    printed '{"type":8,"size":9,"text":"from perl"}'
    # One who sleeps in msgrcv(), seen and served from here.
    "$muster" run -- perl -e 'my $got; msgrcv(msgget(0x77, 0), $got, 100, -6, 0) or die $!; print substr($got, 8)' >"$scratch/perl" &
    sleeper=$!
    until_true waiting 1
    same "$(field msg:0x77 waiters/0/selector) $(field msg:0x77 waiters/0/type) $(field msg:0x77 waiters/0/pid)" "up-to 6 $sleeper"
    expect 0 -- muster send msg:0x77 --type 7 later
    expect 0 -- muster send msg:0x77 --type 6 now
    wait $sleeper || complain 'perl failed'
    same "$(cat "$scratch/perl")" now
    expect 0 -- muster recv msg:0x77
    printed later
fi

# An output that is full, a removed queue.
expect 0 -- muster send msg:0x77 --type 3 back
[ -w /dev/full ] && expect 1 'the message \(4 bytes, type 3\) is back in msg:0x77, behind all others' \
    -- bash -c '"$0" recv msg:0x77 >/dev/full' "$muster"
same "$(field msg:0x77 messages)" 1
"$muster" recv msg:0x77 --type 99 2>"$scratch/why" &
sleeper=$!
until_true waiting 1
expect 0 -- muster rm msg:0x77
wait $sleeper
same "$?" 1
grep -q 'msg:0x77: removed meanwhile' "$scratch/why" || complain "$(cat "$scratch/why")"
expect 5 'msg:0x77: no such System V message queue; .*`muster mk msg 0x77' -- muster send msg:0x77 x
expect 5 "msg:id=$id: no such System V message queue" -- muster recv msg:id=$id
if [ $((0x$(awk '/^CapEff:/ { print $2 }' /proc/self/status) >> 24 & 1)) = 1 ]; then  # CAP_SYS_RESOURCE
    expect 0 -- muster mk msg 0x7a --bytes 1Mi
    same "$(field msg:0x7a bytes_max)" 1048576
else
    expect 7 "above this domain's limit of 16384.*limits msgmnb=1048576" -- muster mk msg 0x7a --bytes 1Mi
    expect 5 'no such' -- muster stat msg:0x7a
fi
if [ "$(id -u)" != 0 ]; then
    expect 0 -- muster mk msg 0x7b --mode 0200
    expect 0 -- muster send msg:0x7b x
    expect 7 'no permission' -- muster recv msg:0x7b --no-wait
fi

# What does not fit the kind of queue.
expect 0 -- muster mk mq /q
expect 2 '--priority is for POSIX queues such as /jobs; messages of msg:0x79 have a type: --type N' -- muster send msg:0x79 x --priority 3
expect 2 '--type is for System V queues such as msg:0x1234; messages of /q have a priority' -- muster send /q x --type 3
for option in --type --up-to --except; do expect 2 'are for System V queues' -- muster recv /q $option 3; done
expect 2 'choose one of --type' -- muster recv msg:0x79 --type 3 --except 4
for type in 0 -1 x 1.5 9223372036854775808 ''; do
    expect 2 'type' -- muster send msg:0x79 x --type="$type"
    expect 2 'type|up-to' -- muster recv msg:0x79 --up-to="$type"
done
expect 2 'sem:0x5 is no message queue' -- muster send sem:0x5 x
expect 2 'sem:0x5 is no message queue' -- muster recv sem:0x5
expect 2 'msg:0x79 for the key, msg:id=121' -- muster send msg:121 x
expect 2 'did you mean /q' -- muster recv q
expect 2 'QUEUE is missing' -- muster send
expect 2 'need --create' -- muster send msg:0x79 x --bytes 3
expect 2 '--depth and --message-size are for POSIX queues' -- muster send msg:0x79 x --create --depth 3
expect 2 '--bytes is for System V queues' -- muster send /q x --create --bytes 3
expect 2 'given out, not chosen' -- muster send msg:id=5 x --create
expect 2 'at least 1 byte' -- muster mk msg --bytes 0
same "$(field /q messages) $(field msg:0x79 messages)" '0 0'
done_testing
