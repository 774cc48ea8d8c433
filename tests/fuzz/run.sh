#!/bin/sh
# Runs fuzz targets for a while each, some at a time, from the corpora beside this script.
#
#   run.sh FOLDER-OF-THE-PROGRAMS SECONDS AT-A-TIME
#
# Says a line about each. What a target finds is kept in FOLDER/NAME.found, and its last lines are
# shown; exit code 1 then.
set -u
here=$(cd "$(dirname "$0")" && pwd)

one() { # NAME: runs build folder's fuzz_NAME
    name=$1
    mkdir -p "$programs/$name.new" "$programs/$name.found"
    # Larger inputs take longer and reach no other code. A single allocation beyond the limit is
    # found here; fuzz.c looks at all that is in use at a time, and at the time a run takes: libFuzzer
    # limits that only after 20 minutes, as it counts a machine's pauses, too.
    "$programs/fuzz_$name" -max_total_time="$seconds" -rss_limit_mb=1024 \
        -malloc_limit_mb=80 -max_len=32768 -print_final_stats=1 \
        -dict="$here/dictionaries/$name" -artifact_prefix="$programs/$name.found/" \
        "$programs/$name.new" "$here/corpus/$name" >"$programs/$name.log" 2>&1
    status=$?
    if [ $status = 0 ]; then
        sed -n "s/^Done \([0-9]* runs in [0-9]* second(s)\)/fuzz $name: \1, nothing found/p" \
            "$programs/$name.log"
    else
        tail -n 60 "$programs/$name.log"
        echo "fuzz $name: see $programs/$name.log and $programs/$name.found"
    fi
    return $status
}

programs=$1 seconds=$2 at_a_time=$3
if [ $# = 4 ]; then
    one "$4"
    exit
fi
for program in "$programs"/fuzz_*; do
    echo "${program##*/fuzz_}"
done | xargs -n 1 -P "$at_a_time" "$0" "$programs" "$seconds" "$at_a_time"
[ $? = 0 ] # xargs has codes of its own
