#!/usr/bin/env bash
# muster run --ephemeral: a domain of its own, gone at the end however the program ends; signals reach the program; what a killed
# muster leaves is found and removed by gc, and never while its owner lives.
. "$(dirname "$0")/support.sh"

ours() { find /dev/shm -maxdepth 1 -uid "$(id -u)" -name "muster-$(id -u)-e-*" | sort; }
# Others may use ephemeral domains at the same time: each one is looked at by its name.
gone() { [ -s "$scratch/domain" ] && [ ! -e "$(cat "$scratch/domain")" ] || complain "$(cat "$scratch/domain") is still there"; }
tell='echo "$MUSTER_DOMAIN" >"$0/domain"; '

expect 5 -- muster run --ephemeral sh -c "$tell"'"$1" mk mq /x && "$1" send /x hi && "$1" ls >/dev/null; "$1" domain; exit 5' "$scratch" "$muster"
same "$(cat "$out")" "$(cat "$scratch/domain")"
case $(cat "$scratch/domain") in /dev/shm/muster-$(id -u)-e-*) ;; *) complain "domain: $(cat "$scratch/domain")" ;; esac
gone
expect 143 -- muster run --ephemeral sh -c "$tell"'kill -TERM $$' "$scratch"
gone
expect 137 -- muster run --ephemeral sh -c "$tell"'kill -KILL $$' "$scratch"
gone
before=$(ours)
expect 127 'no such program' -- muster run --ephemeral no-such-program
expect 126 'is a directory' -- muster run --ephemeral /
for domain in $(comm -13 <(echo "$before") <(ours)); do  # others may make one at this moment: theirs has a living owner, or is gone soon
    owner=$(sed -n 's/^pid //p' "$domain/ephemeral" 2>/dev/null)
    [ -n "$owner" ] && [ -d "/proc/$owner" ] && continue
    until_true test ! -e "$domain" || complain "$domain is left"
done

start() {  # start SCRIPT: runs it in the background, returns once it is up; $program is the muster process
    rm -f "$scratch/up"
    env --default-signal=INT,TERM,HUP "$muster" run --ephemeral sh -c "$tell$1" "$scratch" &
    program=$!
    until_true test -s "$scratch/up"
}
wait_line='echo $$ >"$0/up"; while [ -e "$0/up" ]; do read -r line <"$0/up"; done'

# TERM and HUP are handed on.
for signal in TERM HUP; do
    start "trap 'exit 9' $signal; $wait_line"
    kill -$signal $program
    wait $program
    same "$signal $?" "$signal 9"
    gone
done
# INT and QUIT come to the whole group from the terminal, so muster itself stays until the program is done.
start "$wait_line; exit 4"
kill -INT $program
kill -QUIT $program
rm "$scratch/up"
wait $program
same $? 4
gone

# Killed without a chance: gc.
start "$wait_line"
domain=$(cat "$scratch/domain")
child=$(cat "$scratch/up")
expect 0 -- muster gc
[ -d "$domain" ] || complain 'gc removed the domain of a living owner'
kill -KILL $program
wait $program 2>/dev/null
[ -d "$domain" ] || complain 'the domain went with its owner'
expect 0 -- muster gc --dry-run
grep -q "left behind: $domain: .*dead" "$out" || complain "$(cat "$out")"
[ -d "$domain" ] || complain 'a dry run removed something'
expect 0 -- muster gc --json
json <"$out" || complain 'no JSON'
[ -e "$domain" ] && complain 'gc left the domain'
kill -KILL "$child"
rm -f "$scratch/up"

# An owner's number that is somebody else's now is no living owner; an unknown one is let be.
mkdir -m 700 "/dev/shm/muster-$(id -u)-e-reused$$" "/dev/shm/muster-$(id -u)-e-unknown$$"
printf 'pid %d\nstart 1\npidns %d\n' $$ "$(stat -Lc %i /proc/self/ns/pid)" >"/dev/shm/muster-$(id -u)-e-reused$$/ephemeral"
expect 0 -- muster gc
[ -e "/dev/shm/muster-$(id -u)-e-reused$$" ] && complain 'taken for alive by its number alone'
[ -d "/dev/shm/muster-$(id -u)-e-unknown$$" ] || complain 'removed without knowing its owner'
grep -q "not released: .*unknown$$: .*left alone" "$out" || complain "$(cat "$out")"
rm -rf "/dev/shm/muster-$(id -u)-e-reused$$" "/dev/shm/muster-$(id -u)-e-unknown$$"
done_testing
