#!/usr/bin/env bash
# Proves: stress-ng runs its stressors of all four families with --verify, all operations done, no failure reported, its own
# checks of every call's flags and errors among them; and it leaves nothing behind.
. "$(dirname "$0")/client_common.sh"
need stress-ng stress-ng

client() {
    local stressor instances operations said
    while read -r stressor instances operations; do
        said=$(timeout 120 stress-ng "--$stressor" "$instances" "--$stressor-ops" "$operations" --verify --timeout 60 \
            --metrics-brief --oomable --temp-path "$work" </dev/null 2>&1)
        expect "$stressor: exit status" $? 0
        expect "$stressor: lines that tell a failure" "$(grep -ciE 'fail:|unsuccessful|skipp' <<<"$said")" 0
        expect "$stressor: operations done" "$(awk -v stressor="$stressor" '
            { for (i = 1; i < NF; i++) if ($i == stressor && $(i + 1) ~ /^[0-9]+$/) { print $(i + 1); exit } }' <<<"$said")" "$operations"
        expect "$stressor: objects left behind" "$(objects_left)" 0
        [ $failed = 0 ] || { printf '%s\n' "$said"; return; }
    done <<'STRESSORS'
mq 2 200000
msg 4 40000
sem-sysv 4 20000
shm-sysv 2 600
STRESSORS
}
run_on_both client mq msg sem shm
