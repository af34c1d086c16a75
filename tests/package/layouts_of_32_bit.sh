#!/usr/bin/env bash
# Proves: what lies in shared memory lies there alike for 32-bit and 64-bit processes. Every layout header is compiled for both,
# its assertions with it: sizes, offsets, and that no struct has padding, so that fields of fixed widths can only be where the sum
# of those before them puts them. The fingerprints, made of sizes and offsets, must then be equal.
# Usage: layouts_of_32_bit.sh SOURCE-DIRECTORY COMPILER
set -u
source=$1 compiler=$2
work=$(mktemp -d "${TMPDIR:-/tmp}/layouts.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT

printf '#include <atomic>\n' >"$work/probe.cpp"
"$compiler" -m32 -std=c++20 -fsyntax-only "$work/probe.cpp" 2>/dev/null || {
    echo "SKIP: $compiler makes no 32-bit programs here (install g++-multilib)"
    exit 77
}
(cd "$source/src" && printf '#include "%s"\n' */*_layout.hpp) >"$work/layouts.cpp"
cat >>"$work/layouts.cpp" <<'END'
extern const unsigned muster_fingerprints[];
const unsigned muster_fingerprints[] = {muster::objects::kQueueFingerprint, muster::objects::kSegmentFingerprint,
                                        muster::objects::kSemaphoreSetFingerprint, muster::objects::kLivesFingerprint};
END
for bits in 32 64; do
    "$compiler" -m$bits -std=c++20 -Wall -Wextra -I "$source/src" -S -o "$work/$bits.s" "$work/layouts.cpp" || exit 1
    sed -n '/^muster_fingerprints:/,$p' "$work/$bits.s" | grep -E '^[[:space:]]\.(long|word|4byte)[[:space:]]' | head -4 >"$work/$bits"
done
[ "$(wc -l <"$work/32")" = 4 ] || { echo "FAIL no fingerprints were found"; exit 1; }
diff "$work/32" "$work/64" || { echo "FAIL the layouts differ (-m32 <, -m64 >)"; exit 1; }
echo "equal fingerprints: $(tr -s '[:space:].' ' ' <"$work/32")"
