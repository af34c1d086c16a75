#!/usr/bin/env bash
# Proves: an X server attaches the segments that its clients make (MIT-SHM), for reading where the client says so, asks IPC_STAT
# whose they are, and keeps them when the client has marked them for destruction. x11perf puts pictures to the server that way
# and gets them back, as the server's user and as another.
. "$(dirname "$0")/client_common.sh"
need Xvfb xvfb
need x11perf x11-apps
need ps procps

client() {
    local users=("$(id -un)") user said
    [ "$(id -u)" != 0 ] || users+=(nobody)
    Xvfb -displayfd 7 -ac -screen 0 1280x1024x24 -nolisten tcp 7>"$work/display" >"$work/log" 2>&1 &
    daemons=($!)
    wait_until test -s "$work/display" || { cat "$work/log"; exit 1; }
    DISPLAY=:$(cat "$work/display")
    export DISPLAY
    for user in "${users[@]}"; do
        said=$(as "$user" timeout 60 x11perf -repeat 1 -reps 500 -time 1 -shmput10 -shmput500 -shmget100 2>&1)
        expect "$user: exit status" $? 0
        expect "$user: done" "$(grep -oE 'Shm(Put|Get)Image [0-9x]+' <<<"$said" | sort -u | paste -sd ';')" \
            "ShmGetImage 100x100;ShmPutImage 10x10;ShmPutImage 500x500"
        expect "$user: errors" "$(grep -ciE 'error|fail' <<<"$said")" 0
        [ $failed = 0 ] || printf '%s\n' "$said"
    done
    kill "${daemons[0]}"
    wait "${daemons[0]}"
    expect "the server's exit status" $? 0
    daemons=()
    expect "objects left behind" "$(objects_left)" 0
}
run_on_both client shm
