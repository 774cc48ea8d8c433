/* The machine: a monotonic clock, and the processors and memory available to this process under its
 * affinity mask and control groups (cgroups). */
#ifndef ZI_BASE_MACHINE_H
#define ZI_BASE_MACHINE_H

#include "base/error.h"

/* Seconds of a monotonic clock with an arbitrary start. */
double zi_monotonic_seconds(void);

/* Number of processors that this process may use: the smaller of affinity mask and cgroup quota, at
 * least 1. */
size_t zi_usable_processors(void);

/* The two functions below read Linux's files in `root`/proc and `root`/sys/fs/cgroup (cgroup
 * versions 1 and 2, own group and all its parents). root is "" except in tests. SIZE_MAX: no limit
 * is known. */

/* Whole processors that the cgroup CPU quota allows, at least 1. */
size_t zi_cgroup_processors(const char *root);

/* Bytes that can be allocated without swapping: free memory and droppable file caches, within the
 * cgroup memory limits. */
size_t zi_available_memory(const char *root);

#endif
