/* The machine: a monotonic clock, and the processors and memory available to this process under its
 * affinity mask and control groups (cgroups). */
#ifndef ZI_BASE_MACHINE_H
#define ZI_BASE_MACHINE_H

#include "base/error.h"

/* Returns seconds of a monotonic clock with an arbitrary start. */
double zi_monotonic_seconds(void);

/* Returns the number of processors that this process may use: the smaller of affinity mask (or,
 * without one, the processors online) and cgroup quota, at least 1. Asks the system at each
 * call. */
size_t zi_usable_processors(void);

/* Returns the whole processors that the cgroup CPU quota allows, rounded down, at least 1; SIZE_MAX
 * when no quota is known. Reads root/proc and root/sys/fs/cgroup (cgroup versions 1 and 2, own
 * group and all its parents); root is "" except in tests. */
size_t zi_cgroup_processors(const char *root);

/* Returns the bytes that can be allocated without swapping: free memory and droppable file caches
 * (MemAvailable), within the cgroup memory limits; SIZE_MAX when neither MemAvailable nor a limit
 * is known. Reads root/proc and root/sys/fs/cgroup as zi_cgroup_processors does; root is "" except
 * in tests. */
size_t zi_available_memory(const char *root);

#endif
