# For arm64 from another Linux machine: Debian's cross compiler, programs run by qemu's user mode.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
# Static programs run without a tree of arm64 libraries.
set(CMAKE_EXE_LINKER_FLAGS_INIT -static)
find_program(QEMU_AARCH64 NAMES qemu-aarch64 qemu-aarch64-static REQUIRED)
set(CMAKE_CROSSCOMPILING_EMULATOR ${QEMU_AARCH64} -cpu max) # with every instruction it knows
