# shellcheck shell=bash disable=SC2034
# Sourced by every *_client.sh: how somebody else's program is run on the kernel and on Muster, and what is asked of both.
#
#   need stress-ng stress-ng                  # a command, and the Debian package that has it; without it the test is skipped
#   client() { expect ... ; }                 # runs the program and judges what it did
#   run_on_both client sem shm                # the families of calls that it uses: mq msg sem shm
#
# `run_on_both` starts the script again twice, once plainly and once under `muster run --ephemeral`, shell, awk and all. Each
# run has an IPC namespace of its own, where the kernel's first System V object of a kind has the identifier 0: so it shows
# afterwards whether the kernel made any. It must have for the families named on the kernel, and none at all under Muster.
set -u
# By hand: what `make build` built, unless told otherwise.
: "${MUSTER_COMMAND:=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)/build/release/bin/muster}"
: "${MUSTER_POSIX_LIBRARY:=$(dirname "$MUSTER_COMMAND")/../lib/libmuster_posix.so}"
export MUSTER_COMMAND MUSTER_POSIX_LIBRARY
domain=/dev/shm/muster-client-test-$$
work=$(mktemp -d) || exit 1
chmod 755 "$work"
failed=0
daemons=()  # process ids that are to end with the script
trap 'leave' EXIT

leave() {
    local daemon
    for daemon in "${daemons[@]}"; do kill "$daemon" 2>/dev/null; done
    rm -rf "$work" "$domain"
}

skip() { echo "SKIP $*"; exit 77; }
need() { command -v "$1" >/dev/null || skip "$1 is not installed (Debian package $2)"; }
need_root() { [ "$(id -u)" = 0 ] || skip "only root can run this: $1"; }
expect() {  # expect WHAT GOT WANTED
    if [ "$2" = "$3" ]; then printf 'ok   %s = %s\n' "$1" "$2"; else printf 'FAIL %s: got "%s", wanted "%s"\n' "$1" "$2" "$3"; failed=1; fi
}
same() { printf 'ok   %s = %s\n' "$1" "$2"; }  # what the two runs have to agree on, whatever it is
note() { printf '     %s\n' "$*"; }  # what may differ between the two runs
at_least() { if [ "$1" -ge "$2" ]; then echo yes; else echo "no, $1"; fi; }
# A command as another user if we are root, else as ourselves.
as() {
    local user=$1
    shift
    if [ "$(id -u)" != 0 ]; then "$@"; return; fi
    setpriv --reuid="$user" --regid="$(id -g "$user")" --init-groups env HOME="$work" "$@"
}
# RLIMIT_MSGQUEUE does not bind Muster, but with 0 bytes the kernel cannot make a POSIX queue, not even for root:
# whoever gets one has it from Muster.
without_kernel_queues() { (ulimit -q 0 || skip "ulimit -q is not to be had"; exec "$@"); }
on_muster() { without_kernel_queues "$MUSTER_COMMAND" run --domain "$domain" -- "$@"; }
queues_left() { find "$domain/mq" -mindepth 1 2>/dev/null | wc -l; }

# Waits until the command succeeds, a minute at most.
wait_until() { local i; for i in $(seq 600); do "$@" && return 0; sleep 0.1; done; return 1; }
# A process has ended, be its parent told of it or not.
dead() { local state; state=$(ps -o stat= -p "$1") || return 0; [[ $state == Z* ]]; }
# The kernel's System V objects of this namespace, as a program without Muster sees them.
kernel_objects() { env -u LD_PRELOAD cat /proc/sysvipc/{msg,sem,shm} 2>/dev/null | grep -vc 'msqid\|semid\|shmid'; }
# What the client has left behind: of System V on the kernel, of all families on Muster.
objects_left() {
    if [ "$MUSTER_CLIENT_RUN" = muster ]; then
        find "$MUSTER_DOMAIN"/mq "$MUSTER_DOMAIN"/sysv -mindepth 1 ! -name '.*' 2>/dev/null | wc -l
    else
        echo $(($(kernel_objects) - MUSTER_CLIENT_BEFORE))
    fi
}
# A port of 127.0.0.1 where nobody listens, from the given one on.
free_port() {
    local port=${1:-$((20000 + $$ * 7 % 12000))}
    while (: <>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do port=$((port + 1)); done
    echo "$port"
}

run_on_both() {
    local client=$1 status on namespace=()
    shift
    if [ -n "${MUSTER_CLIENT_RUN-}" ]; then
        "$client"
        exit "$failed"
    fi
    if unshare --ipc true 2>/dev/null; then
        namespace=(unshare --ipc)
    elif unshare --user --map-current-user --ipc true 2>/dev/null; then
        namespace=(unshare --user --map-current-user --ipc)
    else
        note "no IPC namespace is to be had: the kernel's objects are counted before and after"
    fi
    reach_library
    for on in kernel muster; do
        printf -- '--- on %s\n' "$on"
        # shellcheck disable=SC2016
        "${namespace[@]}" bash -c '. "$0"; one_run "$@"' "${BASH_SOURCE[0]}" "${BASH_SOURCE[-1]}" "$on" "${#namespace[@]}" "$@" 2>&1 |
            tee "$work/said.$on"
        status=${PIPESTATUS[0]}
        [ "$status" = 0 ] || { printf 'FAIL status %s on %s\n' "$status" "$on"; exit "$status"; }
    done
    diff <(grep '^ok' "$work/said.kernel") <(grep '^ok' "$work/said.muster") >"$work/differences" ||
        { echo "FAIL the results differ:"; cat "$work/differences"; exit 1; }
    printf 'PASS in %s s on the kernel, %s s on Muster\n' "$(seconds_of kernel)" "$(seconds_of muster)"
    exit 0
}

seconds_of() { sed -n 's/^ *seconds: //p' "$work/said.$1"; }

# Programs that change to another user have to be able to load the library from where it lies.
reach_library() {
    [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null || return 0
    setpriv --reuid=65534 --regid=65534 --clear-groups test -r "$MUSTER_POSIX_LIBRARY" && return 0
    cp -L "$MUSTER_POSIX_LIBRARY" "$work/libmuster_posix.so" && chmod 755 "$work/libmuster_posix.so"
    export MUSTER_LIBRARY=$work/libmuster_posix.so
}

# one_run SCRIPT kernel|muster WORDS_OF_THE_COMMAND_THAT_MADE_THE_NAMESPACE FAMILY...
one_run() {
    local script=$1 on=$2 own_namespace=$3 before status from family made
    shift 3
    before=$(kernel_objects)
    export MUSTER_CLIENT_RUN=$on MUSTER_CLIENT_BEFORE=$before
    from=$(date +%s.%N)
    if [ "$on" = muster ]; then
        without_kernel_queues "$MUSTER_COMMAND" run --ephemeral -- bash "$script"
    else
        bash "$script"
    fi
    status=$?
    note "seconds: $(awk -v from="$from" -v to="$(date +%s.%N)" 'BEGIN { printf "%.1f", to - from }')"
    [ "$status" = 0 ] || exit "$status"
    if [ "$own_namespace" = 0 ]; then
        expect "objects that the kernel has more than before" $(($(kernel_objects) - before)) 0
        exit "$failed"
    fi
    # The first of its kind in the namespace has identifier 0; one made before, and be it removed, has raised it.
    made=$(ipcmk --semaphore 1 --shmem 1 --queue |
        awk '$NF == 0 { next } /^Sem/ { print "sem" } /^Shared/ { print "shm" } /^Mess/ { print "msg" }' | sort | paste -sd ' ')
    note "kernel objects: $before before, $(($(kernel_objects) - 3)) after; families in which it made any: ${made:-none}"
    if [ "$on" = muster ]; then
        [ -z "$made" ] || { echo "FAIL the kernel made objects under Muster: $made"; failed=1; }
    else
        for family; do
            [ "$family" = mq ] || [[ $made == *$family* ]] || { echo "FAIL it made no $family objects on the kernel"; failed=1; }
        done
    fi
    exit "$failed"
}
