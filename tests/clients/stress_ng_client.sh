#!/usr/bin/env bash
# Proves: the unmodified stress-ng runs its mq stressor on Muster with --verify, all operations done, no failure reported,
# its own checks of mq_open's flags, attributes, notification and poll among them; and it leaves no queue behind.
. "$(dirname "$0")/client_common.sh"
need stress-ng stress-ng

said=$(on_muster stress-ng --mq 2 --mq-ops 200000 --verify --timeout 60 --metrics-brief --oomable --temp-path "$work" 2>&1)
expect "exit status" $? 0
expect "lines that tell a failure" "$(grep -ciE 'fail:|unsuccessful|skipp' <<<"$said")" 0
expect "operations done" "$(awk '{ for (i = 1; i < NF; i++) if ($i == "mq" && $(i + 1) ~ /^[0-9]+$/) { print $(i + 1); exit } }' <<<"$said")" 200000
expect "queues left behind" "$(queues_left)" 0
[ $failed = 0 ] || printf '%s\n' "$said"
exit $failed
