#!/bin/bash
# Runs one program of this directory on the kernel and on Muster, and demands equal transcripts.
#
#   compare.sh [--deviates] PROGRAM LINKED-PROGRAM PRELOAD-LIBRARY ARGUMENT…
#
# On the kernel: PROGRAM. On Muster: PROGRAM with PRELOAD-LIBRARY preloaded, and LINKED-PROGRAM (the same sources linked with
# the library). An empty name or "-" leaves that side out. MUSTER_CONFORMANCE_MODES (default "preload linked") chooses, too.
# --deviates: Muster is meant to differ here, as docs/deviations.md tells; both sides are judged by their own steps, which know
# what each has to do, and the transcripts have to differ.
# Exit: 0 equal and passed, 1 failed or different, 77 skipped.
set -u
deviates=no
if [ "$1" = --deviates ]; then
    deviates=yes
    shift
fi
program=$1 linked=$2 preload=$3
shift 3
modes=${MUSTER_CONFORMANCE_MODES:-preload linked}

work=$(mktemp -d "${TMPDIR:-/tmp}/conformance.XXXXXX") || exit 1
domains=$(mktemp -d /dev/shm/conformance.XXXXXX) || exit 1
trap 'rm -rf "$work" "$domains"' EXIT
chmod 755 "$work" "$domains"
unset MUSTER_DOMAIN CONFORMANCE_SIDE

failed=0 ran=0
status_kernel=0
"$program" "$@" >"$work/kernel" 2>"$work/kernel.err" || status_kernel=$?
kernel_compares=yes
if [ "$status_kernel" = 77 ] && [ "$(wc -l <"$work/kernel")" = 1 ] && grep -q '^SKIP: mq_open' "$work/kernel"; then
    echo "kernel: refuses, so nothing to compare with: $(cat "$work/kernel")"
    kernel_compares=no
elif [ "$status_kernel" = 77 ]; then
    echo "kernel: skipped: $(grep '^SKIP' "$work/kernel")"
elif [ "$status_kernel" != 0 ]; then
    echo "kernel: FAILED (exit $status_kernel)"
    grep -a '^FAIL' "$work/kernel"
    cat "$work/kernel.err"
    failed=1
else
    echo "kernel: passed"
fi

# on_muster MODE PROGRAM [PRELOAD]
on_muster() {
    local mode=$1 binary=$2 library=${3:-} status=0 domain=$domains/$1
    CONFORMANCE_SIDE=muster MUSTER_DOMAIN=$domain LD_PRELOAD=$library "$binary" "${arguments[@]}" >"$work/$mode" 2>"$work/$mode.err" || status=$?
    ran=1
    if [ "$status" != 0 ] && [ "$status" != 77 ]; then
        echo "muster ($mode): FAILED (exit $status)"
        grep -a '^FAIL' "$work/$mode"
        cat "$work/$mode.err"
        failed=1
    elif [ "$status" = 77 ] && [ "$status_kernel" != 77 ]; then
        echo "muster ($mode): FAILED: skipped what the kernel ran: $(grep -a '^SKIP' "$work/$mode")"
        failed=1
    else
        echo "muster ($mode): passed"
    fi
    if [ $deviates = yes ]; then
        if [ $kernel_compares = yes ] && [ "$status" = 0 ] && [ "$status_kernel" = 0 ]; then
            if cmp -s "$work/kernel" "$work/$mode"; then
                echo "muster ($mode): FAILED: does as the kernel does: no deviation any more"
                failed=1
            else
                echo "muster ($mode): deviates as documented"
            fi
        fi
    elif [ $kernel_compares = yes ] && ! cmp -s "$work/kernel" "$work/$mode"; then
        echo "muster ($mode): the transcript DIFFERS from the kernel's (-) first at:"
        diff -a -U3 --label kernel --label "muster ($mode)" "$work/kernel" "$work/$mode" | head -n 40
        failed=1
    fi
    if [ "$status" != 77 ] && [ ! -d "$domain/mq" ]; then
        echo "muster ($mode): FAILED: no queue was ever made in the domain; did the program run on the kernel?"
        failed=1
    elif [ -d "$domain/mq" ] && [ -n "$(ls -A "$domain/mq")" ]; then
        echo "muster ($mode): FAILED: left in the domain: $(ls -A "$domain/mq" | head -n 5)"
        failed=1
    fi
}

arguments=("$@")
case $preload in '' | -) ;; *) [[ " $modes " == *" preload "* ]] && on_muster preload "$program" "$preload" ;; esac
case $linked in '' | -) ;; *) [[ " $modes " == *" linked "* ]] && on_muster linked "$linked" ;; esac

[ $failed = 0 ] || exit 1
[ $ran = 0 ] && [ "$status_kernel" = 77 ] && exit 77
[ "$status_kernel" = 77 ] && [ $kernel_compares = yes ] && exit 77
exit 0
