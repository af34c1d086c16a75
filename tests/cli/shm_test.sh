#!/usr/bin/env bash
# muster shm: what is put is what is got, byte by byte, at any offset; dumps as hexdump -C makes them; too much input is told.
. "$(dirname "$0")/support.sh"

expect 0 -- muster mk shm 0x20 --size 100000
expect 0 -- muster mk posix-shm /cache --size 100000
head -c 100000 /dev/urandom >"$scratch/in"
for object in shm:0x20 posix-shm:/cache; do
    expect 0 -- muster shm put $object --file "$scratch/in"
    expect 0 -- muster shm get $object
    same "$(digest "$out")" "$(digest "$scratch/in")"
    expect 0 -- muster shm get $object --offset 4Ki --length 1000
    same "$(digest "$out")" "$(tail -c +4097 "$scratch/in" | head -c 1000 | sha256sum | cut -c1-64)"
    printf hello | muster shm put $object --offset 99995 || complain 'put'
    expect 0 -- muster shm get $object --offset 99995
    [ "$(cat "$out")" = hello ] || complain "$(cat "$out")"
    expect 0 -- muster shm get $object --offset 100000
    [ -s "$out" ] && complain 'bytes beyond the end'
    expect 2 'lies beyond its end' -- muster shm get $object --offset 100001
    expect 2 'from byte 99999 on' -- muster shm get $object --offset 99999 --length 2
    printf 'too much' >"$scratch/long"
    expect 1 'longer than the 4 bytes' -- muster shm put $object --offset 99996 --file "$scratch/long"
    expect 1 'ended after 8 of the 9 bytes' -- muster shm put $object --length 9 --file "$scratch/long"
    expect 0 -- muster shm put $object --length 3 --file "$scratch/long"
    expect 0 -- muster shm get $object --length 3
    [ "$(cat "$out")" = too ] || complain "$(cat "$out")"
done

expect 0 -- muster mk shm 0x21 --size 100
printf 'Hello, World! This is shared.' | muster shm put shm:0x21 --offset 16
expect 0 -- muster shm dump shm:0x21
if command -v hexdump >/dev/null; then
    { head -c 16 /dev/zero; printf 'Hello, World! This is shared.'; head -c 55 /dev/zero; } | hexdump -C >"$scratch/dump"
    cmp -s "$out" "$scratch/dump" || complain "$(diff "$out" "$scratch/dump")"
fi
grep -Fq '00000010  48 65 6c 6c 6f 2c 20 57  6f 72 6c 64 21 20 54 68  |Hello, World! Th|' "$out" || complain "$(cat "$out")"
grep -Fxq '*' "$out" || complain 'equal lines are not left out'
expect 0 -- muster shm dump shm:0x21 --offset 20 --length 9
printed $'00000014  6f 2c 20 57 6f 72 6c 64  21                       |o, World!|\n0000001d'

expect 2 'is no shared memory' -- muster shm get sem:0x20
expect 2 'OBJECT is missing' -- muster shm get
expect 5 'no such segment' -- muster shm get shm:0x22
expect 5 'no such POSIX shared memory' -- muster shm dump posix-shm:/none
expect 0 -- muster stat shm:0x20 --json
same "$(json /0/attachments <"$out")" 0
expect 0 -- muster rm shm:0x20 shm:0x21 posix-shm:/cache
done_testing
