#!/usr/bin/env bash
# Proves: Perl's own msg*, sem* and shm* functions and IPC::SysV's structures: forked workers take jobs of two kinds from a message
# queue by type, add up in shared memory under a semaphore with undo, and answer by a type of their own; some are killed with -9
# while they hold it, and their job is done by the next. What the stat calls tell of it all is as on the kernel.
. "$(dirname "$0")/client_common.sh"
need perl perl
perl -MIPC::SysV -e 1 2>/dev/null || skip "perl has no IPC::SysV (Debian package perl)"

client() {
    local line
    cat >"$work/jobs.pl" <<'PERL'
use strict;
use IPC::SysV qw(IPC_PRIVATE IPC_RMID IPC_STAT IPC_NOWAIT SEM_UNDO GETALL SETALL GETPID GETNCNT ftok);
use IPC::Msg;
use IPC::Semaphore;
use IPC::SharedMem;
my ($jobs, $workers, $killed) = (400, 4, 20);
my $queue = IPC::Msg->new(IPC_PRIVATE, 0600) // die "queue: $!\n";
my $turns = IPC::Semaphore->new(IPC_PRIVATE, 3, 0600) // die "semaphores: $!\n";
my $memory = IPC::SharedMem->new(IPC_PRIVATE, 4096, 0600) // die "memory: $!\n";
$turns->setall(1, 0, 7) or die;
$memory->write(pack("q q", 0, 0), 0, 16) or die;

# Type 1: a number to add; type 2: the end; type 3: for one that is to die. Answers have the worker's pid in their type.
sub worker {
    my ($dies) = @_;
    $memory->attach or exit 2;
    for (my $done = 0; ; $done++) {
        my $type = $queue->rcv(my $job, 64, $dies ? 3 : -2) // exit 3;
        exit 0 if $type == 2 && $queue->snd(1000 + $$, "$$ did");
        $turns->op(0, -1, SEM_UNDO) or exit 4;
        if ($dies) {  # gives the job back, holding the semaphore, and ends
            $queue->snd(1, $job) or exit 5;
            kill KILL => $$;
        }
        my ($count, $sum) = unpack "q q", $memory->read(0, 16);
        $memory->write(pack("q q", $count + 1, $sum + $job), 0, 16) or exit 6;
        $turns->op(0, 1, SEM_UNDO) or exit 7;
    }
}
sub start { my $pid = fork // die "fork: $!\n"; worker(@_) if $pid == 0; $pid }

my %workers = map { start(0) => 1 } 1 .. $workers;
my ($sent, %ends) = (0);
while ($sent < $jobs) {
    my $dies = ++$sent % ($jobs / $killed) == 0;
    $queue->snd($dies ? 3 : 1, $sent) or die "snd: $!\n";
    next unless $dies;
    waitpid start(1), 0;
    $ends{$? == 9 ? "killed" : "other $?"}++;
}
$queue->snd(2, "end") for 1 .. $workers;
for my $pid (keys %workers) {
    $queue->rcv(my $answer, 64, 1000 + $pid) // die "rcv: $!\n";
    $ends{answered}++ if $answer eq "$pid did";
    waitpid $pid, 0;
    $ends{$? == 0 ? "ended" : "other $?"}++;
}
print join(" ", map { "$_ $ends{$_}" } sort keys %ends), "\n";
$memory->attach or die;
print join(" ", unpack "q q", $memory->read(0, 16)), "\n";

my ($q, $s, $m) = ($queue->stat, $turns->stat, $memory->stat);
printf "queue: %d messages, mode %o, uid %d, last sender one of us %d, room %d\n", $q->qnum, $q->mode & 0777, $q->uid,
    $q->lspid > 0, $q->qbytes > 0;
printf "semaphores: %d, mode %o, values %s, waiting %d, last %d\n", $s->nsems, $s->mode & 0777, join(",", $turns->getall),
    $turns->getncnt(0), $turns->getpid(2) == $$;
printf "memory: %d bytes, attached %d, mode %o, maker %d\n", $m->segsz, $m->nattch, $m->mode & 0777, $m->cpid == $$;
print "empty: ", defined $queue->rcv(my $none, 64, 0, IPC_NOWAIT) ? "no" : $!, "\n";
print "would wait: ", $turns->op(1, -1, IPC_NOWAIT) ? "no" : $!, "\n";
$queue->snd(5, "long" x 5) or die;
print "too long: ", defined $queue->rcv(my $part, 3, 5, 0) ? "no" : $!, "\n";
$queue->set(mode => 0400, qbytes => 512) or die "set: $!\n";
$q = $queue->stat;
printf "set: mode %o, room %d\n", $q->mode & 0777, $q->qbytes;
$_->remove or print "remove: $!\n" for $queue, $turns, $memory;
print "gone: ", $queue->snd(1, "x") ? "no" : $!, ", ", $turns->op(0, -1, 0) ? "no" : $!, "\n";
PERL
    timeout 60 perl "$work/jobs.pl" >"$work/out" 2>&1
    expect "exit status" $? 0
    expect "how they ended" "$(sed -n 1p "$work/out")" "answered 4 ended 4 killed 20"
    expect "jobs, and their sum" "$(sed -n 2p "$work/out")" "400 80200"
    while read -r line; do same "${line%%:*}" "${line#*: }"; done < <(sed 1,2d "$work/out")
    expect "objects left behind" "$(objects_left)" 0
    [ $failed = 0 ] || cat "$work/out"
}
run_on_both client msg sem shm
