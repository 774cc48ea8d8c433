/* The backend that computes on the processor, in host memory. */
#ifndef ZI_BACKEND_CPU_H
#define ZI_BACKEND_CPU_H

#include "backend/backend.h"
#include "base/pool.h"
#include "kernels/kernels.h"

/* Sets *out to a new backend, which its destroy operation frees. kernels are copied; pool is
 * borrowed and must live as long. scratch: folder on a disk, copied and not checked here, for
 * memory that is large beside what the machine has free; NULL: /var/tmp. False, with *error set and
 * *out unchanged: out of memory. */
bool zi_cpu_backend_create(const zi_kernels *kernels, zi_pool *pool, const char *scratch,
                           zi_backend **out, zi_error *error) ZI_CHECKED;

/* Whether a CPU backend's buffer was allocated in a file in the scratch folder (or /var/tmp), not
 * in RAM. False for imported memory, too, even of a mapped file. */
bool zi_cpu_buffer_in_file(const zi_buffer *buffer);

#endif
