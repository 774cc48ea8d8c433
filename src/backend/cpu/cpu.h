/* The backend that computes on the processor, in host memory. */
#ifndef ZI_BACKEND_CPU_H
#define ZI_BACKEND_CPU_H

#include "backend/backend.h"
#include "base/pool.h"
#include "kernels/kernels.h"

/* Sets *out to a new backend, which the caller destroys by its destroy operation. kernels are
 * copied, the pool is borrowed for as long. scratch: folder on a disk for memory that is large
 * beside what the machine has free, copied; NULL: /var/tmp. False: out of memory. */
bool zi_cpu_backend_create(const zi_kernels *kernels, zi_pool *pool, const char *scratch,
                           zi_backend **out, zi_error *error) ZI_CHECKED;

/* Whether a CPU backend's buffer was allocated in a file in the scratch folder (or /var/tmp), not
 * in RAM. False for imported memory, too, even of a mapped file. */
bool zi_cpu_buffer_in_file(const zi_buffer *buffer);

#endif
