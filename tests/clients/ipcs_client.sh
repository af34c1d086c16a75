#!/usr/bin/env bash
# Proves: the unmodified ipcs, lsipc, ipcmk and ipcrm work on a domain as on the kernel. One scenario of objects, limits and tools runs on
# both, each with namespaces of its own; what the tools print, and the files they read, are equal but for times, pids and random keys. The
# kernel holds no object afterwards, and its limits are what they were.
. "$(dirname "$0")/client_common.sh"
need ipcs util-linux
need ipcmk util-linux
need perl perl
lsipc=$(command -v lsipc || echo true)
export LC_ALL=C

own_ipc=
for way in "unshare --ipc" "unshare --user --map-root-user --ipc"; do
    $way true 2>/dev/null && { own_ipc=$way; break; }
done
[ -n "$own_ipc" ] || { echo "SKIP no IPC namespace of our own is to be had"; exit 77; }

cat >"$work/objects.pl" <<'END'
use IPC::SysV qw(IPC_CREAT IPC_PRIVATE IPC_RMID IPC_SET SETVAL);
$| = 1;
print "pid $$\n";
sub segment {
    my ($key, $bytes, $mode) = @_;
    my $id = shmget($key, $bytes, IPC_CREAT | $mode) // die;
    shmwrite($id, "x" x $bytes, 0, $bytes) || die;
    $id
}
segment(0x1001, 8192, 0640);
my $gap = segment(0x1002, 4096, 0600);
segment(0x7fffffff, 12288, 0606);
segment(IPC_PRIVATE, 4096, 0);
shmctl($gap, IPC_RMID, 0) // die;
my $set = semget(0x2001, 3, IPC_CREAT | 0640) // die;
$gap = semget(0x2002, 1, IPC_CREAT | 0600) // die;
semget(0x2003, 100, IPC_CREAT | 0666) // die;
semop($set, pack("s3 s3", 0, 5, 0, 2, 1, 0)) || die;
semctl($set, 1, SETVAL, 42) // die;
semctl($gap, 0, IPC_RMID, 0) // die;
my $queue = msgget(0x3001, IPC_CREAT | 0640) // die;
$gap = msgget(0x3002, IPC_CREAT | 0600) // die;
msgget(0x3003, IPC_CREAT | 0622) // die;
msgsnd($queue, pack("l! a*", $_, "message $_"), 0) || die for 1 .. 5;
msgrcv($queue, my $message, 100, 3, 0) // die;
msgctl($gap, IPC_RMID, 0) // die;
END

cat >"$work/scenario.sh" <<'END'
say() { echo "== $*"; "$@" 2>&1; echo "= $?"; }
lsipc=$1
tools() {
    say ipcs; say ipcs -a -p; say ipcs -a -t; say ipcs -a -c; say ipcs -u; say ipcs -l; say ipcs -m -u; say ipcs -s -c; say ipcs -q
    say "$lsipc"; say "$lsipc" -q; say "$lsipc" -m; say "$lsipc" -s; say "$lsipc" -q -J
    for kind in msg sem shm; do say cat "/proc/sysvipc/$kind"; done
}
limits() { say cat /proc/sys/kernel/{msgmni,msgmax,msgmnb,sem,shmmni,shmmax,shmall}; }
tools; limits
perl "$(dirname "$0")/objects.pl" || exit 1
tools
say ipcs -m -i 0; say ipcs -m -i 1; say ipcs -m -i 2; say ipcs -s -i 0; say ipcs -s -i 77
say ipcs -q -i 0; say "$lsipc" -m -i 0; say "$lsipc" -s -i 0; say "$lsipc" -q -i 0
set=$(ipcmk -S 3 -p 600); echo "$set"
segment=$(ipcmk -M 4096 -p 0600); echo "$segment"
say ipcrm -s "${set##* }"; say ipcrm -s "${set##* }"; say ipcrm -m "${segment##* }"; say ipcrm -S 0x2003; say ipcrm -M 0x1001 -S 0x1001
queue=$(ipcmk -Q); echo "$queue"; say ipcrm -q "${queue##* }"; say ipcrm -Q 0x3003; say ipcrm -Q 0x3003
tools
# Limits, as people set them, hold for the next call.
say sh -c 'echo 2 > /proc/sys/kernel/shmmni'; say sh -c 'echo 250 32000 100 2 > /proc/sys/kernel/sem'
say sh -c 'echo nonsense > /proc/sys/kernel/shmmni'; say sh -c 'echo 40000 > /proc/sys/kernel/shmmni'
say sh -c 'printf 100000 > /proc/sys/kernel/shmmax'; echo 33 | say tee /proc/sys/kernel/msgmnb
say bash -c 'echo 11 > /proc/sys/kernel/msgmni; read n < /proc/sys/kernel/msgmni; echo $n'
command -v sysctl >/dev/null && say sysctl -w kernel.msgmax=7000 && say sysctl kernel.msgmax && say sysctl -w kernel.msgmax=-1
limits; say ipcs -l
{ ipcmk -M 200000; ipcmk -M 4096; ipcmk -M 4096; ipcmk -S 251; ipcmk -S 1; ipcmk -S 1; } 2>&1 | sed 's/id: .*/id/'  # which id is the limit's affair
say ipcrm -a
tools
END

# normalised FILE: without times, the one pid, and the random keys of ipcmk.
normalised() {
    sed -E -e "s/ *\b$(sed -n 's/^pid //p' "$1")\b */ PID /g" -e 's/ +([CL]?PID) */ \1 /g' -e 's/\b[0-9]{10}\b/SECONDS/g' \
        -e 's/(Mon|Tue|Wed|Thu|Fri|Sat|Sun) //g' -e 's/[A-Z][a-z]{2} +[0-9]+ [0-9:]{8}( [0-9]{4})?/TIME/g' -e 's/\b[0-9]{2}:[0-9]{2}\b/TIME/g' "$1"
}

$own_ipc bash "$work/scenario.sh" "$lsipc" >"$work/kernel.raw" 2>&1
expect "the scenario on the kernel" $? 0
$own_ipc bash -c 'muster=$0; "$muster" run --domain "$1" -- bash "$2/scenario.sh" "$3" >"$2/muster.raw" 2>&1; echo $? >"$2/status"
                  cat /proc/sysvipc/{msg,sem,shm} /proc/sys/kernel/{msgmni,msgmax,msgmnb,sem,shmmni,shmmax,shmall} >"$2/kernel_then"' \
    "$MUSTER_COMMAND" "$domain" "$work" "$lsipc"
expect "the scenario on Muster" "$(cat "$work/status")" 0
$own_ipc cat /proc/sysvipc/{msg,sem,shm} /proc/sys/kernel/{msgmni,msgmax,msgmnb,sem,shmmni,shmmax,shmall} >"$work/kernel_fresh"
expect "what differs in the kernel afterwards" "$(diff "$work/kernel_fresh" "$work/kernel_then")" ""
normalised "$work/kernel.raw" >"$work/kernel"
normalised "$work/muster.raw" >"$work/muster"
expect "lines that differ" "$(diff "$work/kernel" "$work/muster" | grep -c '^[<>]')" 0
[ "$failed" = 0 ] || diff "$work/kernel" "$work/muster" | head -60
expect "lines compared, more than 200" "$(($(wc -l <"$work/muster") > 200))" 1
exit "$failed"
