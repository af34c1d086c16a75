#!/usr/bin/env bash
# Proves: libmuster_posix.so asks the dynamic linker for libc (and its loader) alone, carries its soname, resolves
# everything at load, is never unloaded, and has its thread storage laid out at start-up.
# Usage: needs_libc_alone.sh LIBRARY
set -u
library=$1
failed=0
complain() { printf 'FAIL %s\n' "$*"; failed=1; }

dynamic=$(LC_ALL=C readelf --wide --dynamic "$library") || exit 1
needed=$(sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' <<<"$dynamic")
printf 'needed: %s\n' "$(tr '\n' ' ' <<<"$needed")"
while read -r name; do
    case $name in
        '' | libc.so.6 | ld-linux*.so.*) ;;
        *) complain "it needs $name; C programs have libc alone" ;;
    esac
done <<<"$needed"
grep -q '(SONAME).*\[libmuster_posix\.so\.[0-9]*\]' <<<"$dynamic" || complain "no soname libmuster_posix.so.N"
grep -qE '\((BIND_NOW|FLAGS)\).*BIND_NOW|\(FLAGS_1\).*NOW|\(BIND_NOW\)' <<<"$dynamic" || complain "symbols are bound lazily"
grep -q '(FLAGS_1).*NODELETE' <<<"$dynamic" || complain "dlclose() could unmap it"
grep -q '(TEXTREL)' <<<"$dynamic" && complain "it has text relocations"
if LC_ALL=C readelf --wide --relocs "$library" | grep -q 'DTPMOD'; then
    # Ours is initial-exec; what comes with the static libstdc++ may be dynamic, but none of our names.
    LC_ALL=C readelf --wide --relocs "$library" | grep 'DTPMOD' | grep -i muster && complain "dynamic thread storage of our own"
fi
exit $failed
