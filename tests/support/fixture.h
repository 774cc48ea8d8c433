/* A test fixture for operations and model stages: backend, session, memory, random inputs. */
#ifndef ZI_TEST_FIXTURE_H
#define ZI_TEST_FIXTURE_H

#include "backend/cpu/cpu.h"
#include "backend/vulkan/vulkan.h"
#include "base/memory.h"
#include "model/run.h"

/* A CPU backend with one session, 256 MB of backend memory and 256 MB of host memory. */
typedef struct {
    zi_kernels kernels;
    zi_pool *pool;
    zi_backend *backend;
    zi_exec *exec;
    zi_buffer *buffer;
    zi_arena arena;
    zi_run run;
    zi_memory host;
    size_t host_used;
    zi_buffer **imported;
    size_t imported_count;
    uint32_t random; /* state of the generator */
} zi_fixture;

/* Ends the program as skipped if there is no Vulkan device, or no loader. */
void zi_test_need_gpu(void);

/* The Vulkan backend if the environment variable ZI_TEST_BACKEND is "vulkan", else NULL: fixtures
 * and golden weights use it then. With ZI_TEST_VALIDATION, each message of the validation layer is
 * a failed check. It is never freed. Without a loader or device, the program ends as skipped. */
zi_backend *zi_test_gpu(void);

/* threads 0: one per processor. tier NULL: the best one. fast: integer arithmetic for quantized
 * weights. Exits the program on failure. */
void zi_fixture_start(zi_fixture *fixture, size_t threads, const char *tier, bool fast);
void zi_fixture_stop(zi_fixture *fixture);

/* A position in both memories; reset frees all that was allocated after the mark. */
typedef struct {
    size_t host, device;
} zi_fixture_position;
zi_fixture_position zi_fixture_mark(const zi_fixture *fixture);
void zi_fixture_reset(zi_fixture *fixture, zi_fixture_position mark);

/* ---- the host's memory ---- */

/* Uninitialized host memory, aligned to 64 bytes. Exits the program when the fixture is full. */
void *zi_fixture_alloc(zi_fixture *fixture, size_t count, size_t size);

/* Next random value in [-1, 1); every fixture has the same sequence. */
float zi_fixture_random(zi_fixture *fixture);

/* n random values in [-1, 1). */
float *zi_fixture_random_values(zi_fixture *fixture, size_t n);

/* n random values as F32, F16 or BF16 at an odd address; *meaning receives them as f32. */
void *zi_fixture_random_stored(zi_fixture *fixture, zi_dtype type, size_t n, float **meaning);

/* ---- the backend's memory ---- */

/* A new tensor in backend memory with these values (NULL: uninitialized). */
zi_view zi_fixture_view(zi_fixture *fixture, const float *values, size_t rows, size_t columns);

/* Waits and copies a view to host memory, rows without gaps. */
float *zi_fixture_read(zi_fixture *fixture, zi_view view);

/* Imports unquantized weights; data is borrowed as long as the fixture lives. A vector is F32. */
zi_weight zi_fixture_weight(zi_fixture *fixture, zi_dtype type, const void *data, size_t rows,
                            size_t columns);
zi_weight zi_fixture_vector(zi_fixture *fixture, const float *values, size_t n);

/* ---- tiers ---- */

/* Iterates over the kernel tiers that this machine can run: returns the next one from *index on,
 * NULL after the last. Prints the name of each tier, and SKIP for those that it leaves out. */
const char *zi_test_next_tier(size_t *index);

/* ---- fast products ---- */

/* How a tier quantizes a group of n values: x becomes rint(x * *top / result), where the result is
 * the largest magnitude (or sum of magnitudes, see q_sums_limited in kernels.h). */
float zi_test_quantization_max(const zi_kernels *kernels, const float *x, size_t n, float *top);

/* Rounds n inputs as a tier quantizes them in runs of `unit` values; n is a multiple of it. */
void zi_test_quantize(const zi_kernels *kernels, const float *x, size_t n, size_t unit,
                      double *out);

/* y [T, N] = x [T, K] times the transpose of w [N, K]. */
typedef struct {
    const float *x, *w;
    size_t T, N, K;
    size_t unit; /* inputs are quantized in runs of `unit` values */
    double loss; /* share of the largest weight in a run that a weight may be off by */
} zi_test_product;

/* Checks that y [T, N] is a fast product: of inputs rounded by zi_test_quantize, and exact but for
 * the loss of weights and for f32 rounding, of numbers from 0 to 255 with a bias. */
void zi_test_check_fast(const zi_kernels *kernels, const char *what, const zi_test_product *product,
                        const float *y);

#endif
