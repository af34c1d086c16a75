#!/usr/bin/env bash
# Proves: PHP's sysvsem and sysvshm: processes that take turns at a variable in shared memory by sem_acquire, one after the other
# killed with -9 while it holds the semaphore; each time the next one gets it, and no turn is counted twice or lost. And one
# that ends without giving its semaphore back has it given back for it.
. "$(dirname "$0")/client_common.sh"
need php php-cli
for extension in sysvsem sysvshm pcntl posix; do
    php -m | grep -qx "$extension" || skip "php has no $extension (Debian package php-cli)"
done

client() {
    cat >"$work/turns.php" <<'PHP'
<?php
const ROUNDS = 200, TURNS_OF_THE_KILLED = 5, KILLED = 40;
$file = $argv[1];
touch($file);
$key = ftok($file, 'm');

// A turn moves one from a to b.
function worker(int $key, int $turns, bool $dies): never {
    $semaphore = sem_get($key, 1, 0600, true);
    $memory = shm_attach($key, 20000, 0600);
    for ($i = 0; ; $i++) {
        if (!sem_acquire($semaphore)) exit(3);
        $account = shm_get_var($memory, 1);
        if ($dies && $i == $turns) posix_kill(posix_getpid(), SIGKILL);
        $account['a']--;
        $account['b']++;
        shm_put_var($memory, 1, $account);
        // It ends holding it.
        if ($i == $turns - 1 && !$dies) exit(0);
        if (!sem_release($semaphore)) exit(4);
    }
}
function start(int $key, int $turns, bool $dies): void {
    $pid = pcntl_fork();
    if ($pid == 0) worker($key, $turns, $dies);
    if ($pid < 0) exit(5);
}

$memory = shm_attach($key, 20000, 0600);
shm_put_var($memory, 1, ['a' => 10000, 'b' => 0]);
$ends = ['ended' => 0, 'killed' => 0, 'other' => 0];
for ($i = 0; $i < 4; $i++) start($key, ROUNDS, false);
for ($i = 0; $i < 3; $i++) start($key, TURNS_OF_THE_KILLED, true);
for ($left = KILLED - 3; pcntl_wait($status) > 0;) {
    if (pcntl_wifsignaled($status) && pcntl_wtermsig($status) == SIGKILL) {
        $ends['killed']++;
        if ($left-- > 0) start($key, TURNS_OF_THE_KILLED, true);
    } else $ends[pcntl_wifexited($status) && pcntl_wexitstatus($status) == 0 ? 'ended' : 'other']++;
}
echo json_encode($ends), "\n", json_encode(shm_get_var($memory, 1)), "\n";

// Two that hold: the one that sleeps gets it when the one that holds it is killed.
$semaphore = sem_get($key, 1, 0600, true);
[$near, $far] = stream_socket_pair(STREAM_PF_UNIX, STREAM_SOCK_STREAM, 0);
$holder = pcntl_fork();
if ($holder == 0) { sem_acquire($semaphore); fwrite($far, "holds\n"); sleep(60); exit(6); }
echo fgets($near);
echo sem_acquire($semaphore, true) ? "free\n" : "taken\n";
$sleeper = pcntl_fork();
if ($sleeper == 0) exit(sem_acquire($semaphore) ? 0 : 7);
usleep(50000);
posix_kill($holder, SIGKILL);
pcntl_waitpid($holder, $status);
pcntl_waitpid($sleeper, $status);
echo pcntl_wifexited($status) ? pcntl_wexitstatus($status) : 'signal', "\n";
echo sem_acquire($semaphore, true) ? "free\n" : "taken\n";
echo shm_remove($memory) && sem_remove($semaphore) ? "removed\n" : "not removed\n";
PHP
    timeout 60 php "$work/turns.php" "$work/key" >"$work/out" 2>&1
    expect "exit status" $? 0
    expect "how they ended" "$(sed -n 1p "$work/out")" '{"ended":4,"killed":40,"other":0}'
    expect "what they counted" "$(sed -n 2p "$work/out")" '{"a":9000,"b":1000}'
    expect "while one holds it" "$(sed -n 3,4p "$work/out" | paste -sd ' ')" "holds taken"
    expect "after it was killed" "$(sed -n '5,$p' "$work/out" | paste -sd ' ')" "0 free removed"
    expect "objects left behind" "$(objects_left)" 0
    [ $failed = 0 ] || cat "$work/out"
}
run_on_both client sem shm
