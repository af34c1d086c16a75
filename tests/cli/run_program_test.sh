#!/usr/bin/env bash
# muster run: environment, exit codes as a shell's, and what cannot work is explained before it fails in silence.
. "$(dirname "$0")/support.sh"

expect 0 -- muster run sh -c 'echo "$MUSTER_DOMAIN"; grep -c libmuster_posix /proc/self/maps >/dev/null && echo loaded'
printed "$MUSTER_DOMAIN"$'\nloaded'
expect 0 -- muster --domain "$shm/other" run sh -c 'echo "$MUSTER_DOMAIN" "$@"' x --json --domain y -h
printed "$shm/other --json --domain y -h"
expect 0 -- muster run --domain="$shm/other" -- sh -c 'echo "$MUSTER_DOMAIN"'
printed "$shm/other"
LD_PRELOAD=libm.so.6 expect 0 -- muster run sh -c 'echo "$LD_PRELOAD"'
grep -Eq '^/.*libmuster_posix\.so[.0-9]*:libm\.so\.6$' "$out" || complain "$(cat "$out")"
expect 7 -- muster run sh -c 'exit 7'
(muster run sh -c 'kill -9 $$') 2>/dev/null
same $? 137

cd "$scratch" || exit 1
expect 127 'no-such-program: no such program in PATH' -- muster run no-such-program
expect 127 './missing: no such program' -- muster run ./missing
expect 126 'is a directory' -- muster run "$scratch"
touch plain
expect 126 'not executable; `chmod' -- muster run ./plain
PATH=$scratch:$PATH expect 126 'not executable' -- muster run plain
printf '#!/no/such/interpreter\n' >script
printf '#!/bin/sh\r\necho\r\n' >crlf
printf '#!./loop\n' >loop
printf '\0\1\2' >noise
printf 'echo from "$1"\n' >bare
: >nothing
head -c 100 /bin/sh >cut
cp "$(type -P true)" other-machine
printf '\xab\xab' | dd of=other-machine bs=1 seek=18 conv=notrunc status=none
cp "$(type -P true)" other-class
printf '\x01' | dd of=other-class bs=1 seek=4 conv=notrunc status=none
chmod +x script crlf loop noise bare nothing cut other-machine other-class
expect 127 'its interpreter /no/such/interpreter is not installed' -- muster run ./script
expect 127 'CR LF' -- muster run ./crlf
expect 126 'script to script' -- muster run ./loop
expect 126 'neither a program of this system nor a script' -- muster run ./noise
expect 126 'cut off or damaged' -- muster run ./cut
expect 126 'another kind of machine' -- muster run ./other-machine
expect 126 '32-bit program' -- muster run ./other-class
expect 0 -- muster run ./bare here
printed 'from here'
expect 0 -- muster run ./nothing

if command -v cc >/dev/null && echo 'int main(void) { return 3; }' >c.c && cc -static -o static c.c 2>/dev/null; then
    expect 126 'statically linked.*libmuster_posix' -- muster run ./static
    printf '#!%s/static\n' "$scratch" >static-script
    chmod +x static-script
    expect 126 'its interpreter .*static.*statically linked' -- muster run ./static-script
    cc -static-pie -o static-pie c.c 2>/dev/null && expect 126 'statically linked' -- muster run ./static-pie
    cc -Wl,--dynamic-linker=/lib/no-such-loader -o foreign c.c 2>/dev/null && expect 127 'its loader /lib/no-such-loader' -- muster run ./foreign
    cc -o dynamic c.c && expect 3 -- muster run ./dynamic
fi
cp "$(type -P true)" mine
chmod u+s mine
expect 0 -- muster run ./mine  # of our own: nothing changes at its start, so preloading works
if [ "$(id -u)" -eq 0 ]; then
    cp "$(type -P true)" theirs && chown 65534 theirs && chmod u+s theirs
    findmnt -no OPTIONS -T . 2>/dev/null | grep -q nosuid || expect 126 'is setuid: .*ignores preloaded' -- muster run ./theirs
    cp "$(type -P true)" group && chgrp 65534 group && chmod g+s group
    findmnt -no OPTIONS -T . 2>/dev/null | grep -q nosuid || expect 126 'is setgid' -- muster run ./group
fi

if command -v setcap >/dev/null && cp "$(type -P true)" capable && setcap cap_net_raw+ep capable 2>/dev/null; then
    chmod 755 "$scratch" "$shm"
    expect 126 'file capabilities' -- setpriv --reuid=65534 --regid=65534 --clear-groups env MUSTER_DOMAIN="$scratch/elsewhere" "$muster" run ./capable
    expect 0 -- muster run ./capable  # root gains nothing by them
fi

# Library: named, missing, and below a path that LD_PRELOAD cannot say.
MUSTER_LIBRARY=/no/such expect 1 'MUSTER_LIBRARY: /no/such' -- muster run true
library=$(muster run sh -c 'echo "${LD_PRELOAD%%:*}"')
mkdir -p 'a b:c'
cp "$library" 'a b:c/libmuster_posix.so'
XDG_RUNTIME_DIR=$scratch MUSTER_LIBRARY="$scratch/a b:c/libmuster_posix.so" expect 0 -- muster run sh -c 'grep -q "a b:c" /proc/self/maps && echo loaded'
printed loaded
XDG_RUNTIME_DIR=$scratch MUSTER_LIBRARY="$scratch/a b:c/libmuster_posix.so" expect 0 -- muster run true
for link in .muster-*-library-*.so; do ln -sfn /somewhere/else "$link"; done
XDG_RUNTIME_DIR=$scratch MUSTER_LIBRARY="$scratch/a b:c/libmuster_posix.so" expect 1 'is not the link' -- muster run true
done_testing
