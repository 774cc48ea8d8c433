#!/bin/sh
# Makes a Python environment at $1 with the packages that the file $2 lists; quick when it is there.
# What goes wrong stands in the last line of its output.
set -eu
dir=$1
wanted=$2
if [ -f "$dir/packages" ] && cmp -s "$wanted" "$dir/packages"; then exit 0; fi
command -v python3 >/dev/null || { echo "python3 is missing"; exit 1; }
[ -x "$dir/bin/pip" ] || python3 -m venv "$dir" || { echo "python3 cannot make environments (python3-venv?)"; exit 1; }
"$dir/bin/pip" install --quiet --disable-pip-version-check --retries 1 --timeout 15 -r "$wanted"
cp "$wanted" "$dir/packages"
