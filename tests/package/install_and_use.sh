#!/usr/bin/env bash
# Proves: `cmake --install` gives a tree that others can build against and run from: find_package(muster) with the static
# and the shared library, pkg-config for the C++ library and for the C calls, the command finding its library, and the
# tree still working after it has been moved.
# Usage: install_and_use.sh BUILD_DIRECTORY SOURCE_DIRECTORY CXX
set -eu
build=$1 source=$2 cxx=$3
work=$(mktemp -d)
domain=/dev/shm/muster-install-test-$$
trap 'rm -rf "$work" "$domain"' EXIT
export MUSTER_DOMAIN=$domain
unset MAKEFLAGS MAKELEVEL MFLAGS PKG_CONFIG_PATH CMAKE_PREFIX_PATH LD_LIBRARY_PATH LD_PRELOAD
step() { printf -- '-- %s\n' "$*"; }

step install
cmake --install "$build" --prefix "$work/first" >"$work/install.log" || { cat "$work/install.log"; exit 1; }
mv "$work/first" "$work/prefix"  # nothing may remember where it was installed
prefix=$work/prefix
pkgconfig=$(dirname "$(find "$prefix" -name muster.pc)")
libdir=$(dirname "$pkgconfig")
[ -n "$(find "$prefix" -name muster.pc)" ] || { echo "FAIL no muster.pc installed"; exit 1; }
if grep -rIl -e "$build" -e "$source" "$prefix" --include='*.cmake' --include='*.pc' --include='*.hpp'; then
    echo "FAIL the files above name the build or source directory"; exit 1
fi

step "the examples through find_package"
cmake -S "$source/examples" -B "$work/examples" -G Ninja -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_CXX_COMPILER="$cxx" \
    -DCMAKE_BUILD_TYPE=Debug >"$work/configure.log" 2>&1 || { cat "$work/configure.log"; exit 1; }
cmake --build "$work/examples" >"$work/build.log" 2>&1 || { cat "$work/build.log"; exit 1; }
(cd "$work/examples" && ctest --output-on-failure --timeout 60) || exit 1

step "the same through pkg-config"
export PKG_CONFIG_PATH=$pkgconfig
[ "$(pkg-config --modversion muster)" = "$(pkg-config --modversion muster_posix)" ] || { echo "FAIL versions differ"; exit 1; }
# shellcheck disable=SC2046  # the flags are words
"$cxx" -std=c++20 -Wall -Wextra -Werror "$source/examples/work_queue.cpp" -o "$work/work_queue" $(pkg-config --cflags --libs muster)
LD_LIBRARY_PATH=$libdir "$work/work_queue"
# shellcheck disable=SC2046
"${CC:-cc}" -Wall -Wextra -Werror "$source/examples/c_calls.c" -o "$work/c_calls" $(pkg-config --cflags --libs muster_posix)
LD_LIBRARY_PATH=$libdir "$work/c_calls"

step "the installed command"
"$prefix/bin/muster" --version
# The C program again, this time linked against nothing of ours: the command must find the library to preload.
"${CC:-cc}" -Wall "$source/examples/c_calls.c" -o "$work/c_calls_plain"
"$prefix/bin/muster" run --ephemeral -- "$work/c_calls_plain" --on-muster
step "everything works"
