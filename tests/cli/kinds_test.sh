#!/usr/bin/env bash
# One notation for objects of every kind: made, listed, told about and removed by it; wrong names are refused with what to write instead.
. "$(dirname "$0")/support.sh"

expect 0 -- muster mk mq /jobs
expect 0 -- muster mk sem 0x1234 --values 1,0,9 --mode 0640
expect 0 -- muster mk sem sem:0x1235 --values 2 --count 3
expect 0 -- muster mk shm 0x1234 --size 10k
expect 0 -- muster mk msg 0x1234 --bytes 100
expect 0 -- muster mk posix-shm /cache --size 1Ki
expect 0 -- muster mk posix-sem posix-sem:/lock --value 7
expect 0 -- muster mk sem --values 5
set=$(cat "$out")
grep -Eq '^sem:id=[0-9]+$' "$out" || complain "mk sem prints $set"
expect 0 -- muster mk shm --size 1 --json
segment=$(json /name <"$out")
same "$(json /made <"$out"):$(json /kind <"$out")" true:shm

expect 6 'sem:0x1234: exists already; --exist-ok accepts that, `muster rm sem:0x1234`' -- muster mk sem 0x1234 --values 1
expect 0 'exists with 3 semaphores; left as it is' -- muster mk sem 0x1234 --values 1 --exist-ok
expect 0 'exists with 10000 bytes; left as it is' -- muster mk shm 0x1234 --size 1 --exist-ok
expect 6 'posix-shm:/cache: exists already' -- muster mk posix-shm /cache --size 1
expect 0 -- muster mk posix-sem /lock --value 1 --exist-ok

# ls: a table for each sort of thing, each name good for the other commands.
expect 0 -- muster ls
same "$(grep -c '^NAME ' "$out")" 3
grep -Eq "^sem:0x1234 +sem +[0-9]+ +0640 +$(id -un) +3 +1 0 9 +0 +[0-9]+ +20" "$out" || complain "$(cat "$out")"
grep -Eq "^shm:0x1234 +shm +[0-9]+ +0600 +$(id -un) +10000 +[0-9]+ +0 +- +20" "$out" || complain "$(cat "$out")"
grep -Eq "^msg:0x1234 +msg +[0-9]+ +0600 +$(id -un) +0 +100 +- +[0-9]+ +0/0 +20" "$out" || complain "$(cat "$out")"
grep -Eq '^posix-sem:/lock +posix-sem +- +0600 .* 7 ' "$out" || complain "$(cat "$out")"
grep -Eq '^posix-shm:/cache +posix-shm +- +0600 .* 1024 ' "$out" || complain "$(cat "$out")"
for name in $(awk '$1 != "NAME" && NF { print $1 }' "$out"); do expect 0 -- muster stat "$name"; done
expect 0 -- muster ls --kind sem --kind posix-sem --json
json <"$out" || complain 'no JSON'
same "$(json /0/name <"$out") $(json /0/key <"$out") $(json /0/values <"$out") $(json /3/kind <"$out")" 'sem:0x1234 4660 [1,0,9] posix-sem'
json /4/name <"$out" && complain 'more than the kinds asked for'
expect 0 -- muster rm msg:0x1234
expect 5 'msg:0x1234: no such System V message queue' -- muster stat msg:0x1234
expect 0 'none in' -- muster ls --kind msg
[ -s "$out" ] && complain 'a table of nothing'

expect 0 -- muster stat sem:0x1234
grep -Eq '^  held by +nobody with undo$' "$out" || complain "$(cat "$out")"
grep -Eq '^    \[2\] +9, last changed by nobody yet$' "$out" || complain "$(cat "$out")"
expect 0 -- muster stat shm:0x1234 posix-shm:/cache --json
same "$(json /0/size_bytes <"$out") $(json /1/size_bytes <"$out") $(json /0/attachments <"$out")" '10000 1024 0'

# Who sleeps at a queue, for what.
"$muster" recv /jobs >/dev/null &
sleeper=$!
until_true field_is /jobs receivers_waiting 1
expect 0 -- muster stat /jobs
grep -Eq "^    asleep +process $sleeper \(muster\), for a message, since 20" "$out" || complain "$(cat "$out")"
same "$(field /jobs waiters/0/pid)" $sleeper
expect 0 -- muster send /jobs x
wait $sleeper

# The kernel's own beside them.
expect 0 'mqueue|^$' -- muster ls --kernel --json
json <"$out" || complain 'no JSON'
same "$(json /0/where <"$out")" muster
if command -v ipcmk >/dev/null && kernel=$(ipcmk -M 4321 2>/dev/null); then
    kernel=${kernel##* }
    expect 0 '' -- muster ls --kernel --kind shm
    grep -Eq "^shm:0x[0-9a-f]+ +shm +kernel +$kernel .* 4321 " "$out" || complain "$(cat "$out")"
    ipcrm -m "$kernel"
fi

# Wrong names.
expect 2 'sem:0x5 for the key, sem:id=5 for the identifier' -- muster stat sem:5
expect 2 'hexadecimal' -- muster stat sem:xyz
expect 2 'hexadecimal' -- muster stat shm:0x123456789
expect 2 'IPC_PRIVATE' -- muster stat shm:0x0
expect 2 "'foo' is no kind" -- muster stat foo:bar
expect 2 'begins with a slash' -- muster stat posix-shm:cache
expect 2 'one slash' -- muster stat posix-sem:/a/b
expect 2 'decimal' -- muster stat sem:id=x
expect 2 'did you mean /jobs' -- muster stat jobs
expect 2 "'bogus' is no kind" -- muster ls --kind bogus
expect 2 'given out, not chosen' -- muster mk sem sem:id=5 --values 1
for values in '' x 32768 -1 1,,2 1,; do expect 2 'values|not understood' -- muster mk sem --values="$values"; done
expect 2 'repeats one value' -- muster mk sem --values 1,2 --count 3
expect 2 'at least 1 byte' -- muster mk shm --size 0
expect 5 'sem:0x99: no such semaphore set; .*`muster mk sem 0x99 …` makes it' -- muster stat sem:0x99
expect 5 'shm:id=99: no such segment' -- muster stat shm:id=99
expect 5 'posix-sem:/none: no such POSIX semaphore' -- muster stat posix-sem:/none

# rm, one by one and by kind.
expect 0 -- muster rm sem:0x1234 "$segment" posix-shm:/cache
expect 5 'sem:0x1234: no such semaphore set' -- muster rm sem:0x1234
expect 0 -- muster rm --force sem:0x1234 posix-shm:/cache
expect 2 'goes with --all' -- muster rm --kind sem /jobs
expect 0 -- muster rm --all --kind sem --json
same "$(json /removed/0 <"$out" | cut -c1-4)" sem:
expect 0 -- muster ls --kind sem --json
printed '[]'
expect 0 'shm:0x1234: shm is no message queue and stays' -- muster rm --all
expect 5 'no such queue' -- muster stat /jobs
expect 0 -- muster rm --all --kind shm --kind posix-sem
expect 0 -- muster ls --json
printed '[]'

# Damage: listed with its problem, told by fsck, removed.
expect 0 -- muster mk sem 0x7 --values 1
file=$(muster stat sem:0x7 --json | json /0/path)
printf 'X' | dd of="$file" bs=1 seek=8 conv=notrunc status=none
expect 0 -- muster ls
grep -Eq '^sem:0x7 .*PROBLEM|^sem:0x7 .*[a-z]{4}' "$out" || complain "$(cat "$out")"
expect 8 -- muster stat sem:0x7
expect 8 -- muster fsck
expect 8 -- muster fsck --repair sem:0x7
expect 8 'sem:0x7: damaged' -- muster sem post sem:0x7
expect 0 -- muster rm sem:0x7
expect 0 -- muster fsck

# What the dead left: told, then released.
expect 0 -- muster mk sem 0x8 --values 1
"$muster" sem hold sem:0x8 -- sleep 100 &
holder=$!
until_true eval '[ "$(muster sem show sem:0x8 --json | json /0/holders/0/pid)" = '$holder' ]'
kill -KILL $holder
wait $holder 2>/dev/null
expect 0 -- muster gc --dry-run --json
grep -q '1 process ended while holding' "$out" || complain "$(cat "$out")"
expect 0 -- muster gc --dry-run
grep -q '^left behind: .*not given back yet' "$out" || complain "$(cat "$out")"
expect 0 -- muster gc
grep -q '^released: ' "$out" || complain "$(cat "$out")"
expect 0 -- muster gc --dry-run
# (What others' runs left in /dev/shm is theirs.)
grep -v 'ephemeral domain' "$out" | grep -q . && complain "$(cat "$out")"
done_testing
