/* The backend that computes on the processor, in host memory. */
#ifndef ZI_BACKEND_CPU_H
#define ZI_BACKEND_CPU_H

#include "backend/backend.h"
#include "base/pool.h"
#include "kernels/kernels.h"

/* kernels are copied, the pool is borrowed. scratch: folder on a disk for memory that is large
 * beside what the machine has free, copied; NULL: /var/tmp. */
bool zi_cpu_backend_create(const zi_kernels *kernels, zi_pool *pool, const char *scratch,
                           zi_backend **out, zi_error *error) ZI_CHECKED;

/* Whether memory of a CPU backend lies in a file in the scratch folder. */
bool zi_cpu_buffer_in_file(const zi_buffer *buffer);

#endif
