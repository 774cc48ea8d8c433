#!/bin/sh
# Builds stable-diffusion-cpp-python from its source package for this very processor and installs it into the
# active Python environment. A patch lets the number of Z-Image's layers be set, which the source has as constants.
# GGML_LLAMAFILE brings ggml's blocked matrix products, which this package leaves out unless told.
# Extra CMake options are taken from CMAKE_ARGS.
set -e
version=0.4.7
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
pip download --no-deps --no-binary stable-diffusion-cpp-python --dest "$work" "stable-diffusion-cpp-python==$version"
tar -xf "$work/stable_diffusion_cpp_python-$version.tar.gz" -C "$work"
cd "$work/stable_diffusion_cpp_python-$version"
patch -p1 < "$here/sdcpp-layers.patch"
CMAKE_ARGS="-DGGML_NATIVE=ON -DGGML_LLAMAFILE=ON $CMAKE_ARGS" pip install --no-cache-dir .
