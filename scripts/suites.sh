#!/bin/sh
# Runs the test suites of a build folder with ctest and sums them up.
#
#   suites.sh NAME BUILD JOBS [CTEST-OPTION...]
#
# Prints what the suites skipped, one line each, and at the end "NAME: 64 suites passed, 0 parts skipped". That line is
# also appended to the file that RESULTS names, if set. Exit code 1: a suite failed; its output is shown.
set -u
name=$1 build=$2 jobs=$3
shift 3
cd "$build" || exit 1
ctest --output-on-failure --parallel "$jobs" "$@" || exit 1
# C suites print "SKIP PART: REASON" or "SKIP: REASON", Python's unittest "TEST ... skipped 'REASON'".
log=Testing/Temporary/LastTest.log
skips=$(awk '
    /^[0-9]+\/[0-9]+ Testing: / { suite = $3 }
    /^SKIP: / { sub(/^SKIP/, "SKIP " suite) }
    / \.\.\. skipped / { sub(/ \.\.\. skipped /, ": "); $0 = "SKIP " suite ": " $0 }
    /^SKIP / && !seen[$0]++ { print }
' "$log")
passed=$(grep -c '^Test Passed\.$' "$log")
skipped=0
if [ -n "$skips" ]; then
    printf '%s\n' "$skips"
    skipped=$(printf '%s\n' "$skips" | wc -l | tr -d ' ')
fi
line="$name: $passed suites passed, $skipped parts skipped"
echo "$line"
if [ -n "${RESULTS:-}" ]; then echo "$line" >>"$RESULTS"; fi
