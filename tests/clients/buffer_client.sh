#!/usr/bin/env bash
# Proves: buffer, whose forked reader and writer share a ring in shared memory and pass its blocks with two semaphores, hands
# everything on unchanged, at one pair of semop calls for every small block, also five of them in a chain.
. "$(dirname "$0")/client_common.sh"
need buffer buffer

sum() { sha256sum | cut -d ' ' -f 1; }

client() {
    local bytes=40000000 wanted arguments
    seq 1000000000 1010000000 | head -c "$bytes" >"$work/in"
    wanted=$(sum <"$work/in")
    for arguments in "" "-s 4k -b 16" "-s 1k -b 8" "-s 64k -p 75" "-B -s 512 -b 32"; do
        # -B fills the last block up.
        # shellcheck disable=SC2086
        expect "buffer $arguments" "$(timeout 60 buffer $arguments <"$work/in" 2>/dev/null | head -c "$bytes" | sum)" "$wanted"
    done
    expect "bytes out of nothing" "$(timeout 60 buffer </dev/null 2>/dev/null | wc -c)" 0
    expect "five in a chain" "$(timeout 60 buffer -s 2k <"$work/in" 2>/dev/null | buffer -s 8k 2>/dev/null |
        buffer -s 1k -b 4 2>/dev/null | buffer 2>/dev/null | buffer -s 3k 2>/dev/null | sum)" "$wanted"
    expect "objects left behind" "$(objects_left)" 0
}
run_on_both client sem shm
