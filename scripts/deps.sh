#!/bin/sh
# Finds out which tools and libraries the build needs and this machine lacks, and installs them by
# apt-get or Homebrew. Silent when all is there.
#
#   deps.sh           what the build needs
#   deps.sh --tests   what the tests need, too
#   deps.sh --arm64   what it takes to build for arm64 and run that here, on Debian, too
#   deps.sh --fuzz    what it takes to build the fuzz targets, on Debian, too
#   deps.sh --web     the browser that tests the page, on Debian, too
#   deps.sh --vulkan  what it takes to build the Vulkan backend, too
#   deps.sh --gpu     what it takes to test that without a GPU, on Debian, too
#   deps.sh --look    install nothing, only say what is missing
#
# Exit code 1 when something is missing at the end; one line names it.
set -u

tests=no
arm64=no
fuzz=no
web=no
vulkan=no
gpu=no
look=no
for option in "$@"; do
    case $option in
    --tests) tests=yes ;;
    --arm64) arm64=yes ;;
    --fuzz) fuzz=yes ;;
    --web) web=yes ;;
    --vulkan) vulkan=yes ;;
    --gpu) gpu=yes ;;
    --look) look=yes ;;
    *)
        echo "deps.sh: $option: unknown option; there are --tests, --arm64, --fuzz, --web, --vulkan, --gpu and --look" >&2
        exit 2
        ;;
    esac
done

# One line each: what, how to look for it, its Debian packages (joined by +), its Homebrew formula.
needs() {
    cat <<END
C-compiler compiler gcc+libc6-dev gcc
cmake      tool     cmake         cmake
pkg-config tool     pkg-config    pkgconf
libcjson   module   libcjson-dev  cjson
libpng     module   libpng-dev    libpng
libjpeg    module   libjpeg-dev   jpeg-turbo
libwebp    module   libwebp-dev   webp
libwebpmux module   libwebp-dev   webp
libpcre2-8 module   libpcre2-dev  pcre2
libutf8proc module  libutf8proc-dev utf8proc
libcurl    module   libcurl4-openssl-dev curl
libcrypto  module   libssl-dev    openssl@3
libmicrohttpd module libmicrohttpd-dev libmicrohttpd
sqlite3    module   libsqlite3-dev sqlite
zlib       module   zlib1g-dev    zlib
END
    if [ $tests = yes ]; then
        echo "python3 tool python3 python3"
        echo "c++ tool build-essential gcc"
    fi
    if [ $web = yes ]; then echo "chromium tool chromium none"; fi
    if [ $vulkan = yes ]; then
        echo "vulkan/vulkan.h header libvulkan-dev vulkan-headers"
        echo "glslangValidator tool glslang-tools glslang"
    fi
    if [ $gpu = yes ]; then
        echo "lavapipe driver mesa-vulkan-drivers none"
        echo "validation-layers layer vulkan-validationlayers none"
        echo "spirv-val tool spirv-tools spirv-tools"
    fi
    if [ $arm64 = yes ]; then
        echo "aarch64-linux-gnu-gcc cross gcc-aarch64-linux-gnu+libc6-dev-arm64-cross none"
        echo "qemu-aarch64 tool qemu-user none"
    fi
    if [ $fuzz = yes ]; then echo "libFuzzer fuzzer clang+libclang-rt-dev none"; fi
}

present() { # WHAT HOW
    case $2 in
    tool) command -v "$1" ;;
    compiler) echo '#include <stdio.h>' | ${CC:-cc} -fsyntax-only -x c - ;;
    fuzzer) echo 'int LLVMFuzzerTestOneInput(void) { return 0; }' |
        clang -fsanitize=fuzzer,address -x c -o /dev/null - ;;
    header) echo "#include <$1>" | ${CC:-cc} -fsyntax-only -x c - ;;
    driver) ls /usr/share/vulkan/icd.d/lvp_icd*.json ;;
    layer) ls /usr/share/vulkan/explicit_layer.d/VkLayer_khronos_validation.json ;;
    cross) echo '#include <stdio.h>' | "$1" -fsyntax-only -x c - ;;
    module) pkg-config --exists "$1" ;;
    esac >/dev/null 2>&1
}

# The lines of needs() that are not met.
missing() {
    needs | while read -r what how debian brew; do
        present "$what" "$how" || echo "$what $how $debian $brew"
    done
}

packages() { # COLUMN: the packages in it, each once
    missing | awk -v column="$1" '{ gsub(/\+/, "\n", $column); print $column }' | sort -u
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null 2>&1 && { [ -t 0 ] || sudo -n true 2>/dev/null; }; then
        sudo "$@" # asks for the password, if it must, on the terminal
    else
        return 1
    fi
}

apt_install() { # PACKAGE...
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -qq -y --no-install-recommends "$@" >/dev/null
}

install_missing() {
    if command -v apt-get >/dev/null 2>&1; then
        set -- $(packages 3)
        echo "installing: $*"
        # Lists may be absent or stale, so fetch them; without a network a local mirror may do.
        as_root apt-get update -qq >/dev/null 2>&1
        apt_install "$@"
    elif command -v brew >/dev/null 2>&1; then
        set -- $(packages 4)
        echo "installing: $*"
        brew install --quiet "$@"
    fi
}

lacking=$(missing)
if [ -z "$lacking" ]; then exit 0; fi
if [ $look = no ]; then
    install_missing >&2
    lacking=$(missing)
    if [ -z "$lacking" ]; then exit 0; fi
fi

system=Debian column=3
if [ "$(uname)" = Darwin ]; then system=Homebrew column=4; fi
how='install it and run make again'
if [ $look = yes ]; then how='`make deps` installs what it can'; fi
printf '%s\n' "$lacking" | awk -v system_name=$system -v column=$column -v how="$how" '
    { gsub(/\+/, " ", $column) }
    { list = list (NR > 1 ? ", " : "") $1 " (" system_name ": " $column ")" }
    END { print "missing: " list "; " how }' >&2
exit 1
