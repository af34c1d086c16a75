#!/bin/bash
# Runs the fuzzers of a build by the preset `fuzz`, one after the other, and tells what each did.
#
#   tests/fuzz/run.sh [SECONDS of each, 30] [BUILD directory, build/fuzz]
#
# Inputs that were found are kept for the next run below BUILD/fuzz/corpus; one that crashes or hangs is left in BUILD/fuzz/found. Figures
# go to the file that MUSTER_PROOF_FIGURES names, too. Ends with the number of fuzzers that found something.
set -u
seconds=${1:-30}
build=${2:-$(cd "$(dirname "$0")/../.." && pwd)/build/fuzz}
bad=0
cd "$build/fuzz" || exit 2
for fuzzer in *_fuzz; do
    mkdir -p "corpus/$fuzzer" found
    "./$fuzzer" "corpus/$fuzzer" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=4096 -max_len=1024 -len_control=0 -print_final_stats=1 \
        -artifact_prefix="found/$fuzzer-" > "$fuzzer.log" 2>&1
    status=$?
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$fuzzer.log" | tail -1)
    coverage=$(grep -o 'cov: [0-9]*' "$fuzzer.log" | tail -1)
    line="fuzz: ${fuzzer%_fuzz}: ${runs:-?} runs in $seconds s, ${coverage:-cov: ?} edges, $([ $status -eq 0 ] && echo 'nothing found' || echo "FOUND, status $status: $build/fuzz/$fuzzer.log")"
    echo "figure: $line"
    [ -n "${MUSTER_PROOF_FIGURES:-}" ] && echo "$line" >> "$MUSTER_PROOF_FIGURES"
    [ $status -eq 0 ] || bad=$((bad + 1))
done
exit $bad
