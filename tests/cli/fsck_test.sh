#!/usr/bin/env bash
# muster fsck as users meet it: what it says, its summary, its exit codes and JSON; --repair; --salvage of objects, of files
# outside any domain and of cut and headless ones, and the way back into a queue with send --from-json. Nothing is lost or overwritten.
. "$(dirname "$0")/support.sh"

# poke FILE OFFSET BYTES: bytes as printf writes them.
poke() { printf "$3" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none; }
path_of() { muster stat "$1" --json | json /0/path; }
size_of() { stat -c %s "$1"; }

# All is well, and it says how much was looked at.
expect 0 -- muster fsck
printed '0 objects checked, all well'
expect 0 -- muster mk mq /jobs --depth 5 --message-size 64
expect 0 -- muster mk sem 0x5 --values 1,2,3
expect 0 -- muster mk shm 0x6 --size 10000
expect 0 -- muster mk msg 0x7
expect 0 -- muster mk posix-sem /lock --value 2
expect 0 -- muster mk posix-shm /cache --size 100
expect 0 -- muster send /jobs --priority 7 seven
expect 0 -- muster send /jobs one two
printf 'nul\0and\xff' | muster send /jobs --priority 3
expect 0 -- muster send msg:0x7 --type 9 nine
expect 0 -- muster send msg:0x7 --type 2 zwei
expect 0 -- muster fsck
printed '6 objects checked, all well'
expect 0 -- muster fsck /jobs
printed '1 object checked, all well'
expect 0 -- muster fsck --json
printed '[]'
muster recv /jobs --peek --all --json >"$scratch/jobs.before"
muster recv msg:0x7 --peek --all --json >"$scratch/msg.before"

# A queue whose bookkeeping was overwritten: named as users name it, mended, nothing lost. (1056 is the count of its index.)
jobs=$(path_of /jobs)
cp "$jobs" "$scratch/jobs.whole"
muster recv /jobs --peek >/dev/null
poke "$jobs" 1056 '\x63'
expect 8 -- muster fsck
grep -q '^damaged: /jobs: the index holds another number of messages than it says; --repair: ' "$out" || complain "$(cat "$out")"
grep -q '^6 objects checked, 1 damaged.*muster fsck --repair` mends 1' "$out" || complain "$(cat "$out")"
expect 8 -- muster fsck --json
same "$(json /0/object <"$out"):$(json /0/repairable <"$out"):$(json /0/repaired <"$out")" /jobs:true:false
expect 0 -- muster fsck --repair /jobs
grep -q '^repaired: /jobs: ' "$out" && grep -q 'all of it was repaired$' "$out" || complain "$(cat "$out")"
expect 0 -- muster fsck
muster recv /jobs --peek --all --json | cmp - "$scratch/jobs.before" || complain 'messages changed'

# A header that follows from the rest comes back; one that does not is salvaged: the messages into a new queue.
poke "$jobs" 0 'XXXX'
expect 8 -- muster fsck /jobs
expect 0 -- muster fsck --repair /jobs
muster recv /jobs --peek --all --json | cmp - "$scratch/jobs.before" || complain 'messages changed'
dd if=/dev/zero of="$jobs" bs=256 count=1 conv=notrunc status=none
expect 8 -- muster fsck --repair /jobs
grep -q 'could not be repaired wholly; .*--salvage OUT' "$out" || complain "$(cat "$out")"
before=$(digest "$jobs")
mkdir "$scratch/saved"
expect 0 -- muster fsck --salvage "$scratch/saved" /jobs
grep -q '^/jobs: 4 messages, .* saved to ' "$out" && grep -q 'send QUEUE --from-json --file' "$out" || complain "$(cat "$out")"
same "$(digest "$jobs")" "$before"
expect 6 'exists already' -- muster fsck --salvage "$scratch/saved" /jobs
expect 0 -- muster mk mq /again --depth 5 --message-size 64
expect 0 -- muster send /again --from-json --file "$scratch/saved/jobs.json"
muster recv /again --peek --all --json | cmp - "$scratch/jobs.before" || complain 'the salvaged messages are others'

# A file outside any domain; cut short; without header, with the shape said.
expect 0 '^.*4 messages' -- muster fsck --salvage - "$scratch/jobs.whole"
sort "$out" | cmp - <(sort "$scratch/jobs.before") || complain 'salvage of a copy differs'
cp "$scratch/jobs.whole" "$scratch/headless"
dd if=/dev/zero of="$scratch/headless" bs=4096 count=1 conv=notrunc status=none
expect 0 '4 messages' -- muster fsck --salvage - --geometry 5,64 "$scratch/headless"
sort "$out" | cmp - <(sort "$scratch/jobs.before") || complain 'salvage without a header differs'
expect 0 'the file.s length' -- muster fsck --salvage - "$scratch/headless"
truncate -s 401700 "$scratch/jobs.whole"
expect 8 'could not be saved' -- muster fsck --salvage - "$scratch/jobs.whole"
expect 0 -- muster fsck --salvage "$scratch/list" --json "$jobs"
same "$(json /0/saved <"$out"):$(json /0/broken <"$out"):$(json /0/kind <"$out")" 4:0:mq

# A System V queue is two files; either is named, or the queue itself.
msg=$(path_of msg:0x7)
expect 0 '2 messages' -- muster fsck --salvage - msg:0x7
cmp "$out" "$scratch/msg.before" || complain 'types differ'
cp "$msg" "$scratch/msg-3"
cp "$msg.data" "$scratch/msg-3.data"
expect 0 '2 messages' -- muster fsck --salvage - "$scratch/msg-3.data"
expect 0 -- muster mk msg 0x17
muster fsck --salvage - msg:0x7 2>/dev/null | muster send msg:0x17 --from-json
muster recv msg:0x17 --peek --all --json | cmp - "$scratch/msg.before" || complain 'the salvaged messages are others'

# Sets and segments: values and bytes.
set=$(path_of sem:0x5)
expect 0 '3 semaphores' -- muster fsck --salvage - sem:0x5
same "$(sed -n 2p "$out" | json /value)" 2
poke "$set" 512 '\xff\xff'
expect 8 -- muster fsck --repair sem:0x5
grep -q 'sem:0x5: semaphore 0 has the value 65535.*it stands nowhere else' "$out" || complain "$(cat "$out")"
expect 0 -- muster sem set sem:0x5 --value 1
poke "$set" 264 '\x09'
expect 8 -- muster fsck sem:0x5
expect 0 -- muster fsck --repair sem:0x5
expect 0 -- muster fsck sem:0x5
echo segment | muster shm put shm:0x6
expect 0 '9.8 KiB saved' -- muster fsck --salvage - shm:0x6
same "$(head -1 "$out"):$(wc -c <"$out")" segment:10000
segment=$(path_of shm:0x6)
truncate -s 4096 "$segment.data"
expect 8 -- muster fsck shm:0x6
grep -q 'were cut short: 4096 of 10000 are left (5.8 KiB)' "$out" || complain "$(cat "$out")"
expect 0 '4.0 KiB saved' -- muster fsck --salvage - shm:0x6
expect 0 -- muster rm shm:0x6

# What damage has left no object: named as `ls` names it, read, and taken away with its second file and its key.
expect 0 -- muster mk msg 0x8
expect 0 -- muster send msg:0x8 --type 4 vier
lost=$(path_of msg:0x8)
lost_name=sysv/${lost##*/}
scribble() { head -c 256 /dev/zero | tr '\0' Z | dd of="$1" conv=notrunc status=none; }
scribble "$lost"
muster ls 2>/dev/null | grep -q "^$lost_name .*no object of a format" || complain 'not listed'
expect 8 -- muster fsck "$lost_name"
grep -q "^damaged: .*no object of a format.*muster rm $lost_name. removes it" "$out" || complain "$(cat "$out")"
expect 0 '1 message' -- muster fsck --salvage - "$lost_name"
grep -q '"vier"' "$out" || complain "$(cat "$out")"
expect 0 -- muster rm "$lost_name"
[ ! -e "$lost" ] && [ ! -e "$lost.data" ] && [ ! -e "$MUSTER_DOMAIN/key/msg-00000008" ] || complain 'something of it is left'
expect 5 'No such file' -- muster rm "$lost_name"
expect 5 'No such file' -- muster fsck "$lost_name"
expect 1 'an object is there' -- muster rm "sysv/$(basename "$msg")"
expect 0 -- muster fsck msg:0x7
expect 0 -- muster mk msg 0x8
scribble "$(path_of msg:0x8)"
expect 0 -- muster rm --all --kind msg
expect 0 -- muster fsck sem:0x5
[ -z "$(ls "$MUSTER_DOMAIN/sysv" | grep '^msg-')" ] || complain 'a queue is left'

# Between the objects: keys, limits, FIFOs, leftovers. A stranger's file is told, left, and no damage.
rm "$MUSTER_DOMAIN"/key/sem-00000005
expect 5 'no such semaphore set' -- muster stat sem:0x5
expect 8 -- muster fsck
grep -q 'sem:0x5: its key leads nowhere .*--repair: ' "$out" || complain "$(cat "$out")"
expect 8 -- muster fsck --repair
expect 0 -- muster stat sem:0x5
expect 0 -- muster rm --force /jobs
expect 0 -- muster fsck
expect 0 -- muster limits msg_max=50
printf 'many\n' | dd of="$MUSTER_DOMAIN/limits/msg_max" bs=1 conv=notrunc status=none
expect 8 -- muster fsck
grep -q 'limits/msg_max: its text makes no sense' "$out" || complain "$(cat "$out")"
expect 0 -- muster fsck --repair
mkdir -p "$MUSTER_DOMAIN/poll"
: >"$MUSTER_DOMAIN/poll/0123456789abcdef0123456789abcdef"
: >"$MUSTER_DOMAIN/notes.txt"
mkdir "$MUSTER_DOMAIN/.mq-999999999"
expect 8 -- muster fsck
expect 0 -- muster fsck --repair
grep -q '^note: .*notes.txt: nothing that Muster made' "$out" || complain "$(cat "$out")"
[ -e "$MUSTER_DOMAIN/notes.txt" ] || complain 'a stranger was removed'
[ ! -e "$MUSTER_DOMAIN/.mq-999999999" ] || complain 'the half-made directory stays'
expect 0 -- muster fsck
truncate -s 3 "$MUSTER_DOMAIN/sem/"*
expect 8 -- muster fsck
expect 0 -- muster rm posix-sem:/lock
expect 0 -- muster fsck

# send --from-json takes what recv --json gives and nothing else.
expect 0 -- muster mk mq /in --depth 10 --message-size 64
printf '{"priority": 4, "size": 2, "text": "ab"}\n\n{"base64":"AP8=","priority":1}\n' | muster send /in --from-json || complain 'not sent'
expect 0 -- muster recv /in --all --json
same "$(sed -n 1p "$out" | json /priority):$(sed -n 2p "$out" | json /base64)" 4:AP8=
refuse() { printf '%s\n' "$1" >"$scratch/line"; expect 2 "line 1 is no message.*$2" -- muster send /in --from-json --file "$scratch/line"; }
refuse 'x' 'no JSON object'
refuse '[]' 'no JSON object'
refuse '{"text":"a"}' 'no priority'
refuse '{"type":1,"text":"a"}' 'have a priority'
refuse '{"priority":-1,"text":"a"}' '0 to 32767'
refuse '{"priority":99999999999999999999,"text":"a"}' 'priority'
refuse '{"priority":18446744073709551615,"text":"a"}' 'too large'
refuse '{"priority":1}' 'neither'
refuse '{"priority":1,"text":"a","base64":"YQ=="}' 'or both'
refuse '{"priority":1,"base64":"YQ="}' 'base64 is none'
refuse '{"priority":1,"base64":"YR=="}' 'base64 is none'
refuse '{"priority":1,"text":"a","size":2}' 'has 1 byte'
expect 3 'empty' -- muster recv /in --peek
expect 2 'its own priority' -- muster send /in --from-json --priority 3

# Bad input.
expect 2 'exclude each other' -- muster fsck --repair --salvage "$scratch/x" /in
expect 2 'goes with --salvage' -- muster fsck --geometry 1,1 /in
expect 2 'two numbers' -- muster fsck --salvage - --geometry 5 /in
expect 2 'no directory' -- muster fsck --salvage "$scratch/none"
expect 5 'not-there: No such file' -- muster fsck --salvage - "$scratch/not-there"
expect 1 'directory' -- muster fsck --salvage - "$scratch/saved/"
head -c 5000 /dev/urandom >"$scratch/noise"
expect 8 'tell' -- muster fsck --salvage - "$scratch/noise"
: >"$scratch/empty"
expect 8 'tell where the messages are; of a queue, --geometry' -- muster fsck --salvage - "$scratch/empty"
[ ! -s "$scratch/empty" ] || complain 'the file was written to'
done_testing
