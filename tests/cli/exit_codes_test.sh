#!/usr/bin/env bash
# Each documented exit code, and that the sentence beside it names the object and what to do.
. "$(dirname "$0")/support.sh"

expect 0 -- muster mk mq /q --depth 2
expect 0 -- muster mk mq /q --exist-ok
expect 0 'exists with --depth 2' -- muster mk mq /q --exist-ok --depth 9
expect 6 '^muster: /q: exists already; .*`muster rm /q`' -- muster mk mq /q

expect 5 '^muster: /jobs: no such queue; `muster ls` shows what is there, `muster mk mq /jobs` makes it$' -- muster send /jobs x
expect 5 '/jobs: no such queue' -- muster recv /jobs
expect 5 '/jobs: no such queue' -- muster recv /jobs --peek
expect 5 '/jobs: no such queue' -- muster stat /jobs
expect 5 '/jobs: no such queue' -- muster rm /jobs
expect 5 '/jobs: no such queue' -- muster fsck /jobs
expect 5 "muster --domain $shm/other ls" -- muster --domain "$shm/other" recv /jobs
expect 0 -- muster rm --force /jobs

expect 3 '^muster: /q: empty$' -- muster recv /q --no-wait
expect 3 '/q: empty' -- muster recv /q --peek
expect 4 '/q: timed out; it was still empty' -- muster recv /q --timeout 1ms
expect 0 -- muster recv /q --peek --all
expect 0 -- muster recv /q --all
expect 0 -- muster send /q one two
expect 3 '/q: full' -- muster send /q three --no-wait
expect 4 '/q: timed out; it was still full' -- muster send /q three --timeout 1ms
expect 3 '1 of 5 messages|2 of 5 messages' -- muster recv /q --count 5 --no-wait
printed $'one\ntwo'

printf junk >"$MUSTER_DOMAIN/mq/bad"
expect 8 '^muster: /bad: damaged' -- muster recv /bad
expect 8 '/bad: damaged' -- muster send /bad x
expect 8 -- muster stat /bad
expect 8 -- muster fsck
expect 0 -- muster rm /bad
expect 0 -- muster fsck

# Two failures in one call: what can be done is done, and both are told.
expect 0 -- muster mk mq /r
expect 5 '/nope1: no such queue' -- muster rm /nope1 /r /nope2
grep -q /nope2 "$err" || complain 'the second failure is not told'
expect 5 '/r: no such' -- muster stat /r

# Another user: permission.
if [ "$(id -u)" -eq 0 ] && setpriv --reuid=65534 --clear-groups true 2>/dev/null; then
    chmod 755 "$shm"
    expect 7 'permission' -- setpriv --reuid=65534 --regid=65534 --clear-groups "$muster" recv /q --no-wait
fi
expect 0 -- muster --version
expect 0 -- muster --help
expect 0 -- muster help send
done_testing
