#!/usr/bin/env bash
# Proves: the user emulator of QEMU, which puts a guest's segments where it has kept room for them (shmat with an address and
# SHM_REMAP), runs guests that attach, write, fork and detach: Perl's shared memory, and stress-ng's checks of it where that is
# installed. The guest is this machine's own kind, and without Muster's library (-U): the emulator alone makes the calls.
. "$(dirname "$0")/client_common.sh"
qemu=qemu-$(uname -m)
need "$qemu" qemu-user
need perl perl
perl -MIPC::SysV -e 1 2>/dev/null || skip "perl has no IPC::SysV (Debian package perl)"

client() {
    local said
    cat >"$work/guest.pl" <<'PERL'
use strict;
use IPC::SysV qw(IPC_PRIVATE IPC_RMID SHM_RDONLY shmat shmdt memread memwrite);
my $id = shmget(IPC_PRIVATE, 65536, 0600) // die "shmget: $!\n";
my $sum = 0;
for my $k (1 .. 60) {
    defined(my $pid = fork) or die "fork: $!\n";
    if ($pid == 0) {
        my $here = shmat($id, undef, 0) // exit 2;
        memwrite($here, sprintf("%08d", $k), 8 * $k, 8);
        my $there = shmat($id, undef, SHM_RDONLY) // exit 3;
        memread($there, my $seen, 8 * $k, 8);
        shmdt($here) // exit 4;
        exit($seen == $k ? 0 : 5);
    }
    waitpid $pid, 0;
    die "child $k: $?\n" if $?;
    shmread($id, my $seen, 8 * $k, 8) or die "shmread: $!\n";
    $sum += $seen;
}
shmctl($id, IPC_RMID, 0) or die "shmctl: $!\n";
print "$sum\n";
PERL
    expect "what 60 children wrote" "$(timeout 120 "$qemu" -U LD_PRELOAD "$(command -v perl)" "$work/guest.pl" 2>&1)" 1830
    if command -v stress-ng >/dev/null; then
        said=$(timeout 120 "$qemu" -U LD_PRELOAD "$(command -v stress-ng)" --shm-sysv 1 --shm-sysv-ops 40 --verify --timeout 60 \
            --metrics-brief --temp-path "$work" </dev/null 2>&1)
        expect "stress-ng: exit status" $? 0
        expect "stress-ng: lines that tell a failure" "$(grep -ciE 'fail:|unsuccessful|skipp' <<<"$said")" 0
        [ $failed = 0 ] || printf '%s\n' "$said"
    fi
    expect "objects left behind" "$(objects_left)" 0
}
run_on_both client shm
