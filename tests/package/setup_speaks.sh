#!/usr/bin/env bash
# Proves: tools/setup asks for exactly the missing packages by name, does nothing where none is missing, goes on without the
# optional ones, and says clearly what to do when it may not install. Stand-ins for dpkg-query, apt-get, id and sudo.
set -u
setup=$(cd "$(dirname "$0")/../.." && pwd)/tools/setup
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/bin"
export WORK=$work PATH=$work/bin:$PATH XDG_CACHE_HOME=$work/cache
unset CI
failed=0
check() { [ "$2" = "$3" ] || { printf 'FAIL %s: got "%s", wanted "%s"\n' "$1" "$2" "$3"; failed=1; }; }
says() { grep -qF -- "$2" "$work/said" || { printf 'FAIL %s: it does not say "%s", but:\n' "$1" "$2"; cat "$work/said"; failed=1; }; }

cat >"$work/bin/dpkg-query" <<'STUB'
#!/bin/bash
for word in "$@"; do grep -qxF -- "$word" "$WORK/installed" && echo "installed $word "; done; exit 0
STUB
cat >"$work/bin/apt-get" <<'STUB'
#!/bin/bash
echo "$*" >>"$WORK/calls"
case " $* " in *" update "*) exit 0 ;; esac
for word in "$@"; do
    grep -qxF -- "$word" "$WORK/unavailable" && exit 100
done
for word in "$@"; do case $word in -* | install | Dpkg*) ;; *) echo "$word" >>"$WORK/installed" ;; esac; done
STUB
printf '#!/bin/bash\necho "$FAKE_UID"\n' >"$work/bin/id"
printf '#!/bin/bash\nexit 1\n' >"$work/bin/sudo"
chmod +x "$work"/bin/*

all='g++ cmake ninja-build pkg-config binutils libgtest-dev libgmock-dev libbenchmark-dev libcli11-dev libfmt-dev
nlohmann-json3-dev libboost-dev stress-ng rt-tests buffer'
run() { : >"$work/calls"; bash "$setup" </dev/null >"$work/said" 2>&1; status=$?; }
installs() { grep -c ' install ' "$work/calls"; }

: >"$work/unavailable"
# shellcheck disable=SC2086
printf '%s\n' $all >"$work/installed"
FAKE_UID=0; export FAKE_UID
run; check "all there" "$status $(cat "$work/said" "$work/calls")" "0 "

# shellcheck disable=SC2086
printf '%s\n' $all | grep -vx -e cmake -e libfmt-dev >"$work/installed"
run; check "two missing: status" "$status" 0
says "two missing" "installing Debian packages: cmake libfmt-dev"
check "two missing: calls to install" "$(installs)" 1
run; check "the second time" "$status $(cat "$work/said" "$work/calls")" "0 "

: >"$work/installed"; echo stress-ng >"$work/unavailable"
run; check "no stress-ng: status" "$status" 0
says "no stress-ng" "stress-ng is not to be had"
grep -qx rt-tests "$work/installed" || { echo "FAIL rt-tests was not installed"; failed=1; }
run; check "no stress-ng, the second time" "$status $(cat "$work/calls")" "0 "

echo cmake >"$work/unavailable"; : >"$work/installed"
run; check "no cmake: status" "$status" 1
says "no cmake" "installing failed"

FAKE_UID=1000
run; check "may not: status" "$status" 1
says "may not" "    apt-get install g++ cmake ninja-build"
check "may not: calls" "$(cat "$work/calls")" ""
# shellcheck disable=SC2086
printf '%s\n' $all | grep -vx rt-tests >"$work/installed"; rm -rf "$work/cache"
run; check "may not, optional only: status" "$status" 0
says "may not, optional only" "rt-tests"

[ $failed = 0 ] && echo "setup says what it does"
exit $failed
