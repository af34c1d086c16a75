# shellcheck shell=bash disable=SC2034
# Sourced by every *_client.sh: a domain of its own, and a kernel that gives no message queues.
set -u
domain=/dev/shm/muster-client-test-$$
work=$(mktemp -d) || exit 1
failed=0
trap 'rm -rf "$work" "$domain"' EXIT
# RLIMIT_MSGQUEUE does not bind Muster, but with 0 bytes the kernel cannot make a queue, not even for root:
# whoever gets one has it from Muster.
ulimit -q 0 || { echo "SKIP ulimit -q is not to be had"; exit 77; }

need() { command -v "$1" >/dev/null || { echo "SKIP $1 is not installed (Debian package $2)"; exit 77; }; }
expect() {  # expect WHAT GOT WANTED
    if [ "$2" = "$3" ]; then printf 'ok   %s = %s\n' "$1" "$2"; else printf 'FAIL %s: got "%s", wanted "%s"\n' "$1" "$2" "$3"; failed=1; fi
}
on_muster() { "$MUSTER_COMMAND" run --domain "$domain" -- "$@"; }
queues_left() { find "$domain/mq" -mindepth 1 2>/dev/null | wc -l; }
