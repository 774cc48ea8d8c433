/* The machine: its clock, and what this process may take of its processors and memory, control
 * groups considered. */
#ifndef ZI_BASE_MACHINE_H
#define ZI_BASE_MACHINE_H

#include "base/error.h"

/* Seconds on a clock that only goes forward. */
double zi_monotonic_seconds(void);

/* Processors that this process may keep busy: affinity mask and the quotas below. */
size_t zi_usable_processors(void);

/* The two below read files that Linux has below `root`/proc and `root`/sys/fs/cgroup (versions 1
 * and 2, own group and all above it). root is "" but for tests. SIZE_MAX: no limit is known. */

/* Whole processors that control groups grant, at least one. */
size_t zi_cgroup_processors(const char *root);

/* Bytes that can be taken without anything having to be written out: free memory and file caches,
 * as far as control groups let this process have them. */
size_t zi_available_memory(const char *root);

#endif
