/* Before a loop over registers: an array stays in them only if no loop over it is left. */
#ifndef ZI_KERNELS_UNROLL_H
#define ZI_KERNELS_UNROLL_H

#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 32")
#endif

#endif
