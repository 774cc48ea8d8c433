#!/bin/sh
# Runs the fuzz targets, or rebuilds their packed seeds. README.md describes the corpus.
#
#   run.sh PROGRAMS SECONDS JOBS   runs each target for SECONDS, JOBS targets at a time
#   run.sh PROGRAMS --pack         rebuilds corpus/TARGET.tar.gz from all inputs known
#
# PROGRAMS is the folder with the built fuzz_TARGET programs (build-check-fuzz/tests/fuzz). It also
# receives TARGET.log, TARGET.new (inputs that reached new code) and TARGET.found (inputs that
# failed). Prints one line per target. Exit code 1: a target failed; the end of its log is shown.
set -u
here=$(cd "$(dirname "$0")" && pwd)
# Inputs above 32 KB run longer without reaching other code.
limits="-max_len=32768 -rss_limit_mb=1024"

# Unpacks the packed seeds of a target into PROGRAMS/TARGET.seeds.
unpack() { # TARGET
    rm -rf "$programs/$1.seeds"
    mkdir -p "$programs/$1.seeds" "$programs/$1.new" "$programs/$1.found" &&
        tar -xzf "$here/corpus/$1.tar.gz" -C "$programs/$1.seeds"
}

fuzz() { # TARGET
    target=$1
    unpack "$target" || return 1
    # -malloc_limit_mb limits a single allocation. fuzz.c limits all memory in use and the time of
    # a run: libFuzzer's own time limit also counts pauses of the machine.
    "$programs/fuzz_$target" $limits -max_total_time="$seconds" -malloc_limit_mb=80 \
        -print_final_stats=1 -dict="$here/dictionaries/$target" \
        -artifact_prefix="$programs/$target.found/" "$programs/$target.new" \
        "$programs/$target.seeds" "$here/corpus/$target" >"$programs/$target.log" 2>&1
    status=$?
    if [ $status = 0 ]; then
        sed -n "s/^Done \([0-9]* runs in [0-9]* second(s)\)/fuzz $target: \1, nothing found/p" \
            "$programs/$target.log"
    else
        tail -n 60 "$programs/$target.log"
        echo "fuzz $target: see $programs/$target.log and $programs/$target.found"
    fi
    return $status
}

# Packs the fewest inputs that together reach all code that any known input reaches. Inputs that
# are files in corpus/TARGET are not packed again.
pack() { # TARGET
    target=$1
    unpack "$target" || return 1
    rm -rf "$programs/$target.fewest"
    mkdir "$programs/$target.fewest"
    "$programs/fuzz_$target" $limits -set_cover_merge=1 "$programs/$target.fewest" \
        "$here/corpus/$target" "$programs/$target.seeds" "$programs/$target.new" \
        >"$programs/$target.log" 2>&1 || return 1
    for file in "$here/corpus/$target"/*; do
        rm -f "$programs/$target.fewest/$(sha1sum <"$file" | cut -d ' ' -f 1)"
    done
    tar -C "$programs/$target.fewest" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner \
        --mode=u=rw,go=r -cf - $(ls "$programs/$target.fewest") | gzip -9n >"$here/corpus/$target.tar.gz"
    echo "$target: $(ls "$programs/$target.fewest" | wc -l) inputs packed"
}

targets() {
    for program in "$programs"/fuzz_*; do
        echo "${program##*/fuzz_}"
    done
}

programs=$1 seconds=$2
if [ "$seconds" = --pack ]; then
    for target in $(targets); do pack "$target" || exit 1; done
    exit
fi
jobs=$3
if [ $# = 4 ]; then # one target, called by xargs below
    fuzz "$4"
    exit
fi
targets | xargs -n 1 -P "$jobs" "$0" "$programs" "$seconds" "$jobs" || exit 1
