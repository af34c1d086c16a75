# shellcheck shell=bash
# Sourced by the scripts here. $1: the JSON checker. MUSTER_COMMAND: the command.
# Each script gets a domain of its own, which is gone when it ends, and counts what does not hold.
set -u
export LC_ALL=C
unset MUSTER_LIBRARY XDG_RUNTIME_DIR
muster=${MUSTER_COMMAND:?names the muster command}
json_check=${1:?is the JSON checker}
scratch=$(mktemp -d "${TMPDIR:-/tmp}/muster-cli-XXXXXX") || exit 1
shm=$(mktemp -d /dev/shm/muster-cli-XXXXXX) || exit 1
export MUSTER_DOMAIN=$shm/domain
trap 'rm -rf "$scratch" "$shm"' EXIT
exec </dev/null
failures=0
out=$scratch/out err=$scratch/err

muster() { "$muster" "$@"; }
complain() { echo "FAIL line ${BASH_LINENO[1]}: $*"; failures=$((failures + 1)); }

# expect CODE [PATTERN] -- COMMAND…: its exit code, and an extended regular expression that must match standard error;
# without a pattern standard error must be empty. Leaves the outputs in $out and $err.
expect() {
    local code=$1 pattern='' got
    shift
    if [ "$1" != -- ]; then pattern=$1; shift; fi
    shift
    "$@" >"$out" 2>"$err"
    got=$?
    [ $got -eq "$code" ] || complain "exit $got, not $code: $* ($(head -c 300 "$err"))"
    if [ -n "$pattern" ]; then
        grep -Eq -- "$pattern" "$err" || complain "stderr of $*: '$(head -c 300 "$err")' has no '$pattern'"
    elif [ -s "$err" ]; then
        complain "stderr of $* is not empty: $(head -c 300 "$err")"
    fi
}

# What the last `expect` printed.
printed() { [ "$(cat "$out"; echo .)" = "$1"$'\n.' ] || complain "printed '$(head -c 300 "$out")', not '$1'"; }
same() { [ "$1" = "$2" ] || complain "'$1' is not '$2'"; }
digest() { sha256sum <"$1" | cut -c1-64; }
json() { "$json_check" "$@"; }

# Until a condition holds; CTest's time-out ends a wait in vain.
until_true() { until "$@"; do :; done; }
field() { muster stat "$1" --json | json "/0/$2"; }
field_is() { [ "$(field "$1" "$2")" = "$3" ]; }

done_testing() {
    [ $failures -eq 0 ] && echo ok && exit 0
    echo "$failures failed"
    exit 1
}
