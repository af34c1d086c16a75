#!/usr/bin/env bash
# Proves: the unmodified pmqtest of rt-tests passes messages between threads by Muster's mq_send and mq_receive, all cycles
# done; mq_timedreceive times out when the message is held back, and goes on afterwards.
. "$(dirname "$0")/client_common.sh"
need pmqtest rt-tests

# The second pair runs at a longer interval and is stopped when the first has done its cycles.
said=$(on_muster timeout 60 pmqtest -q -t 2 -i 100 -l 5000 2>&1)
expect "exit status" $? 0
expect "the first pair did all its cycles" "$(($(grep -c 'Cycles 5000' <<<"$said") >= 1))" 1
[ $failed = 0 ] || printf '%s\n' "$said"

# It forces a time-out of each wait until it is stopped. (It prints its summary when interrupted.)
said=$(on_muster timeout -s INT 6 pmqtest -q -t 1 -i 100 -T 1 -f 2 2>&1)
expect "waits that timed out and were repeated" "$(grep -cE 'TO [1-9][0-9]*, Cycles [1-9]' <<<"$said")" 1
[ $failed = 0 ] || printf '%s\n' "$said"

exit $failed
