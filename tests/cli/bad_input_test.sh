#!/usr/bin/env bash
# Usage errors end with 2 and a sentence; nothing is made, sent or taken by a command line that is not wholly understood.
. "$(dirname "$0")/support.sh"

expect 2 'COMMAND' -- muster
expect 2 "'bogus' is no command" -- muster bogus
expect 2 'a command is missing' -- muster mk
expect 2 'QUEUE is missing' -- muster send
expect 2 'QUEUE is missing' -- muster recv
expect 2 'not understood: --foo' -- muster recv /q --foo
expect 2 'not understood: b' -- muster recv /q b
expect 2 '--domain' -- muster ls --domain
expect 2 'the name is empty' -- muster --domain '' ls

for name in '' / q q/ ; do expect 2 'name' -- muster mk mq "$name"; done
expect 2 'did you mean /q\?' -- muster mk mq q
expect 2 'one slash' -- muster mk mq /a/b
expect 2 "file system's" -- muster mk mq /..
long=/$(printf 'x%.0s' $(seq 256))
expect 2 '256 bytes long' -- muster mk mq "$long"
expect 0 -- muster mk mq "${long%x}"
expect 0 -- muster rm "${long%x}"

for depth in 0 -1 1x 1.5 '' ' 1' 99999999999999999999; do expect 2 'depth|not understood' -- muster mk mq /q --depth="$depth"; done
for size in 0 -1 1K 1q k 0.1 1.0001k '' ' 8' 8\  99999999999999999999 99999999999G; do
    expect 2 'message-size' -- muster mk mq /q --message-size="$size"
done
expect 2 "above this domain's limit" -- muster mk mq /q --message-size 17Mi
expect 2 "above this domain's limit" -- muster mk mq /q --depth 1000001
for mode in 888 0o644 rw '' 1777 -1; do expect 2 'mode' -- muster mk mq /q --mode="$mode"; done
expect 5 'no such queue' -- muster stat /q

expect 0 -- muster mk mq /q --depth 4 --message-size 1.5k --mode 0640
same "$(field /q message_size_bytes_max)" 1500
same "$(field /q mode)" 0640
for duration in 1x s -1s 1.5.2s '' 99999999999h 0.0000000001s; do expect 2 'timeout' -- muster recv /q --timeout="$duration"; done
for priority in -1 32768 high 1.5 ''; do expect 2 'priority' -- muster send /q x --priority="$priority"; done
for count in 0 -1 many; do expect 2 'count' -- muster recv /q --count="$count"; done

expect 2 'exclude' -- muster send /q x --lines
expect 2 'exclude' -- muster send /q x --file /dev/null
expect 2 'exclude' -- muster send /q --lines --stream
expect 2 'exclude' -- muster send /q x --no-wait --timeout 1s
expect 2 'need --create' -- muster send /q x --depth 3
expect 2 'choose one' -- muster recv /q --hex --raw
expect 2 'choose one' -- muster recv /q --json --lines
expect 2 '--peek' -- muster recv /q --peek --count 2
expect 2 '--peek' -- muster recv /q --peek --follow
expect 2 '--stream' -- muster recv /q --stream --hex
expect 2 'exclude' -- muster recv /q --no-wait --timeout 1s
expect 2 'never waits' -- muster recv /q --all --timeout 1s
expect 2 'leave the names away' -- muster rm --all /q
expect 2 'which object' -- muster rm
expect 2 "no limit 'foo'" -- muster limits msg_max=5 foo=1
expect 2 'no NAME=VALUE' -- muster limits msg_max
expect 5 'no such queue' -- muster fsck --repair /fresh
expect 2 'to be named' -- muster domain --remove
expect 2 'leave --domain away' -- muster run --ephemeral --domain x true
expect 2 'which program' -- muster run
same "$(field /q messages)" 0

expect 1 'No such file' -- muster send /fresh --create --file "$scratch/missing"
expect 5 'no such queue' -- muster stat /fresh
expect 1 'is a directory' -- muster send /q --file "$scratch"
head -c 1501 /dev/zero >"$scratch/long"
expect 1 'more than 1500 bytes.*--stream' -- muster send /q --file "$scratch/long"
expect 1 '1501 bytes is too long' -- muster send /q "$(tr '\0' x <"$scratch/long")"
expect 1 '2 before it were sent' -- muster send /q a b "$(tr '\0' x <"$scratch/long")"
expect 1 'line 1' -- muster send /q --lines --file "$scratch/long"
expect 0 -- muster recv /q --count 2
printed $'a\nb'
touch "$scratch/file"
expect 1 'directory' -- muster --domain "$scratch/file" ls
done_testing
