#!/usr/bin/env bash
# muster doctor: nothing to find ends with 0; each finding names what, why and a command, and ends with 1; also as JSON.
. "$(dirname "$0")/support.sh"

mkdir -p "$scratch/root/etc/systemd/logind.conf.d" "$scratch/root/proc/sys/fs" "$scratch/root/run" "$scratch/root/proc/1"
ln -s "$$" "$scratch/root/proc/self"
: >"$scratch/root/proc/1/stat"
doctor() { muster doctor --root "$scratch/root" "$@"; }
finds() { doctor --json | grep -q "\"check\": \"$1\""; }
misses() { ! finds "$1"; }

# This machine may have something of its own to find; the planted ones come and go.
doctor >"$out" 2>"$err"
[ -s "$err" ] && complain "$(cat "$err")"
tail -1 "$out" | grep -Eq "^$MUSTER_DOMAIN: (nothing found by [0-9]+ checks|[0-9]+ findings?)$" || complain "$(cat "$out")"
for check in remove-ipc protected-regular objects file-size descriptors proc domain; do misses $check || complain "$check is found"; done

printf 'junk' >"$MUSTER_DOMAIN/limits-are-no-objects"
mkdir -p "$MUSTER_DOMAIN/mq"
printf junk >"$MUSTER_DOMAIN/mq/bad"
doctor >"$out"
same $? 1
grep -q '^/bad: ' "$out" || complain "$(cat "$out")"
grep -q '^  why  ' "$out" && grep -q '^  fix  muster fsck --repair /bad; muster rm /bad$' "$out" || complain "$(cat "$out")"
doctor --json >"$out"
same $? 1
json <"$out" || complain 'no JSON'
[ -n "$(json /0/what <"$out")" ] && [ -n "$(json /0/why <"$out")" ] && [ -n "$(json /0/fix <"$out")" ] || complain "$(cat "$out")"
expect 0 -- muster rm /bad
misses objects || complain 'the removed one is found'

(ulimit -f 1024; finds file-size) || complain 'no file-size'
(ulimit -n 64; finds descriptors) || complain 'no descriptors'

# logind: the last file counts; only in /dev/shm, only for users or domains of users.
case $(stat -c %a "$MUSTER_DOMAIN") in 1777) shared=1 ;; *) shared='' ;; esac
if [ -n "$shared" ] || [ "$(id -u)" -ge 1000 ]; then
    printf '[Login]\n#RemoveIPC=no\nRemoveIPC=yes\n' >"$scratch/root/etc/systemd/logind.conf"
    finds remove-ipc || complain 'RemoveIPC=yes is not found'
    printf '[Login]\nRemoveIPC = no\n' >"$scratch/root/etc/systemd/logind.conf.d/50-ours.conf"
    misses remove-ipc || complain 'RemoveIPC=no is found'
fi
if [ -n "$shared" ]; then
    echo 2 >"$scratch/root/proc/sys/fs/protected_regular"
    misses protected-regular || complain 'it matters to no object'
    expect 0 -- muster mk posix-shm /shared --size 1 --mode 0666
    finds protected-regular || complain 'protected_regular is not found'
fi

# A domain that cannot be used is a finding, not a failure.
mkdir "$shm/open" && chmod 0777 "$shm/open"
muster --domain "$shm/open" doctor --json >"$out" 2>"$err"
same $? 1
same "$(json /0/check <"$out")" domain
json /0/what <"$out" | grep -q 'chmod' || complain "$(cat "$out")"
done_testing
