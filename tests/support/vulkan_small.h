/* A small computation on the Vulkan backend, with the validation layer, for tests of the backend
 * itself. For one thread. */
#ifndef ZI_TEST_VULKAN_SMALL_H
#define ZI_TEST_VULKAN_SMALL_H

#include "harness.h"
#include "vulkan_faults.h"

#include "backend/vulkan/operations.h"

enum { T = 40, N = 96, K = 64 };

/* A backend, a session, its memory, and a weight [N, K]. */
typedef struct {
    zi_backend *backend;
    zi_exec *exec;
    zi_buffer *memory, *imported;
    zi_arena arena;
    zi_weight weight;
} zi_small;

extern float zi_small_weights[N * K], zi_small_inputs[T * K];

/* How many messages of the validation layer and remarks came, and the last ones. */
extern int zi_small_messages, zi_small_remarks;
extern char zi_small_last_message[512], zi_small_last_remark[1024];

/* To be called first in main: fills the weight and the inputs, and keeps drivers loaded. */
void zi_small_prepare(void);

/* Options of a backend with the validation layer, faults (vulkan_faults.h) and copies through
 * staging memory. */
zi_vulkan_options zi_small_options(void);

/* Opens a session with memory. False, with *error set: zi_small_end frees what there is. */
bool zi_small_begin(zi_small *r, zi_error *error);

/* Ends the session, if there is one, and frees its memory. */
void zi_small_end(zi_small *r);

/* Imports the weight, if that was not done. False, with *error set. */
bool zi_small_import(zi_small *r, zi_error *error);

/* y [T, N] = silu(x w^T), in a session of its own, with the first rows by themselves. */
bool zi_small_compute(zi_small *r, float *y, zi_error *error);

/* Whether y [T, N] is what zi_small_compute is to compute. */
bool zi_small_is_right(const float *y);

/* Frees the weight and the backend. */
void zi_small_close(zi_small *r);

/* Opens a backend and computes. False, with *error set; zi_small_close in any case. */
bool zi_small_run(const zi_vulkan_options *o, zi_small *r, zi_error *error);

/* No message of the validation layer has come. */
void zi_small_check_quiet(void);

/* Fills x with n numbers between -1 and 1, which `random` chooses. */
void zi_small_fill(float *x, size_t n, uint32_t random);

#endif
