#!/usr/bin/env bash
# Proves: pmqtest of rt-tests passes messages between threads by mq_send and mq_receive, all cycles done; mq_timedreceive times
# out when the message is held back, and goes on afterwards. svsematest hands semaphores to and fro between threads, and
# between processes that were forked and executed anew.
. "$(dirname "$0")/client_common.sh"
need pmqtest rt-tests
need svsematest rt-tests
timeout 20 svsematest -q -t 1 -i 100 -l 1 2>&1 | grep -q 'scheduling policy' && skip "no rights here to change the scheduling policy, without which rt-tests do not start"

# The second pair runs at a longer interval and is stopped when the first has done its cycles.
all_cycles() {  # all_cycles CYCLES PROGRAM ARGUMENT...
    local cycles=$1 said
    shift
    said=$(timeout 60 "$@" -l "$cycles" 2>&1)
    expect "$*: exit status" $? 0
    expect "$*: the first pair did all its cycles" "$(at_least "$(grep -c "Cycles $cycles" <<<"$said")" 1)" yes
    note "$(tail -n 1 <<<"$said")"
    [ $failed = 0 ] || printf '%s\n' "$said"
}

client() {
    local said seconds timed_out
    all_cycles 5000 pmqtest -q -t 2 -i 100
    all_cycles 5000 svsematest -q -t 2 -i 100
    all_cycles 3000 svsematest -q -f -t 2 -i 100
    # It forces a time-out of each wait until it is stopped, and prints its summary then: on a busy machine there may be none yet.
    for seconds in 5 10 20 40; do
        said=$(timeout -s INT "$seconds" pmqtest -q -t 1 -i 100 -T 1 -f 2 2>&1)
        timed_out=$(grep -cE 'TO [1-9][0-9]*, Cycles [1-9]' <<<"$said")
        [ "$timed_out" = 0 ] || break
    done
    expect "waits that timed out and were repeated" "$timed_out" 1
    [ $failed = 0 ] || printf '%s\n' "$said"
}
run_on_both client mq sem
