/* The backend itself: its memory, its sessions and its table of operations. */
#include "backend/cpu/internal.h"
#include "base/machine.h"
#include "base/memory.h"

#include <stdlib.h>

typedef struct {
    zi_backend base;
    zi_kernels kernels;
    zi_pool *pool;
    char *scratch;
} cpu_backend;

typedef struct {
    zi_buffer base;
    zi_memory memory; /* of imported memory: none */
} cpu_buffer;

/* ---- memory ---- */

/* Sets *out to a new buffer of *memory, which it owns from then on. False, with *error set: out of
 * memory; *out is unchanged, and *memory still is the caller's. */
static bool new_buffer(zi_backend *backend, const zi_memory *memory, zi_buffer **out,
                       zi_error *error)
{
    cpu_buffer *buffer = calloc(1, sizeof *buffer);
    if (!buffer) return zi_error_no_memory(error, sizeof *buffer);
    *buffer = (cpu_buffer){{backend, memory->size, memory->base}, *memory};
    *out = &buffer->base;
    return true;
}

/* Sets *out to a new buffer of `size` bytes, not cleared: in RAM, or in a file in the scratch
 * folder if that is large beside what is free. False, with *error set and *out unchanged: neither
 * can be had. */
static bool alloc_buffer(zi_backend *backend, size_t size, zi_buffer **out, zi_error *error)
{
    const cpu_backend *cpu = (const cpu_backend *)backend;
    zi_memory memory;
    if (!zi_memory_take_fitting(&memory, size, cpu->scratch, error)) return false;
    if (new_buffer(backend, &memory, out, error)) return true;
    zi_memory_release(&memory);
    return false;
}

/* Sets *out to a new buffer that borrows host memory and never frees it. Weights are never written
 * to, which is why the mapping may be a read-only one. False, with *error set and *out unchanged:
 * out of memory. */
static bool import_memory(zi_backend *backend, const void *data, size_t size, zi_buffer **out,
                          zi_error *error)
{
    zi_memory borrowed = {.base = (unsigned char *)(uintptr_t)data, .size = size};
    if (!new_buffer(backend, &borrowed, out, error)) return false;
    ((cpu_buffer *)*out)->memory = (zi_memory){0};
    return true;
}

/* Frees a buffer (not NULL), and its memory (or scratch file) unless that is imported. */
static void release_buffer(zi_buffer *buffer)
{
    zi_memory_release(&((cpu_buffer *)buffer)->memory);
    free(buffer);
}

bool zi_cpu_buffer_in_file(const zi_buffer *buffer)
{
    return ((const cpu_buffer *)buffer)->memory.in_file;
}

/* ---- sessions ---- */

/* Sets *out to a new session without scratch memory, which plan_scratch gives it; end_session frees
 * it. fast: integer products are allowed. False, with *error set and *out unchanged: out of
 * memory. */
static bool begin_session(zi_backend *backend, bool fast, zi_exec **out, zi_error *error)
{
    const cpu_backend *cpu = (const cpu_backend *)backend;
    cpu_exec *exec = calloc(1, sizeof *exec);
    if (!exec) return zi_error_no_memory(error, sizeof *exec);
    *exec = (cpu_exec){
        .base = {backend->ops, backend, fast}, .kernels = &cpu->kernels, .pool = cpu->pool};
    *out = &exec->base;
    return true;
}

/* Takes the session's scratch memory from the arena and sets scratch, scratch_stride, packed and
 * partials; a later call sets them anew. Addresses are NULL if the arena only measures or is too
 * small (arena->overflow). */
static void plan_scratch(zi_exec *base, zi_arena *arena, zi_exec_limits limits)
{
    cpu_exec *exec = exec_of(base);
    size_t linear = linear_scratch(exec->kernels);
    size_t attention = attention_scratch(exec->kernels, limits.head_dim);
    size_t conv = conv_scratch(exec->kernels), larger = linear > attention ? linear : attention;
    exec->scratch_stride = round_up(larger > conv ? larger : conv, 16);
    exec->scratch =
        floats_of(zi_arena_floats(arena, zi_pool_threads(exec->pool), exec->scratch_stride));
    exec->packed = floats_of(zi_arena_floats(arena, 1, linear_packed(exec->kernels, limits.depth)));
    exec->partials = floats_of(zi_arena_floats(arena, NORM_CHUNKS, (size_t)ZI_MAX_CHANNELS * 2));
}

/* Frees the session itself; its scratch memory belongs to the arena's buffer. */
static void end_session(zi_exec *exec)
{
    free(exec);
}

/* Submits or waits: operations have ended when they return, so that this only reports. False: a
 * check has found values that are not finite; sets *error (if error is not NULL) to that, as do all
 * later calls. */
static bool report_failure(zi_exec *exec, zi_error *error)
{
    const zi_error *failure = &exec_of(exec)->failure;
    if (failure->code == ZI_OK) return true;
    if (error) *error = *failure;
    return false;
}

/* Checks the means and m2 of `channels` channels in the view at once: if one is not finite, or too
 * large for f32, stores an error with this name (a copy) in the session, unless it has one. */
static void check_moments(zi_exec *exec, zi_view view, size_t channels, const char *name)
{
    cpu_check_finite(exec, moments_view(view, channels), name);
}

/* Copies `from`, rows without gaps, to the view, whose rows may have gaps. */
static void write_view(zi_exec *exec, zi_view to, const void *from)
{
    size_t bytes = to.columns * zi_dtype_size(to.type);
    (void)exec;
    for (size_t row = 0; row < to.rows; row++)
        memcpy(zi_view_host(zi_view_rows(to, row, 1)), (const char *)from + row * bytes, bytes);
}

/* Copies a view, whose rows may have gaps, to `to` without gaps. False: a check earlier in this
 * session has found values that are not finite; error is set, in this and all later calls, and `to`
 * is untouched. */
static bool read_view(zi_exec *exec, zi_view from, void *to, zi_error *error)
{
    size_t bytes = from.columns * zi_dtype_size(from.type);
    if (!report_failure(exec, error)) return false;
    for (size_t row = 0; row < from.rows; row++)
        memcpy((char *)to + row * bytes, zi_view_host(zi_view_rows(from, row, 1)), bytes);
    return true;
}

/* ---- peak ---- */

/* Measures the peak of all threads together: each counts its operations in the same time interval.
 */
typedef struct {
    size_t (*loop)(size_t rounds);
    double seconds;
    _Atomic size_t done;
} peak_job;

/* Task of the thread pool; context: a peak_job. Repeats its loop for its `seconds` and adds,
 * atomically, the multiply-adds that were executed to its `done`. */
static void peak_task(void *context, size_t task, size_t worker)
{
    (void)task;
    (void)worker;
    peak_job *job = context;
    size_t done = 0;
    for (double end = zi_monotonic_seconds() + job->seconds; zi_monotonic_seconds() < end;)
        done += job->loop(20000);
    job->done += done;
}

/* Runs the tier's peak loop, which returns its multiply-adds, on all threads for 40 ms and returns
 * operations per second (two per multiply-add). */
static double measure_peak(zi_backend *backend, bool fast)
{
    const cpu_backend *cpu = (const cpu_backend *)backend;
    peak_job job = {.loop = fast ? cpu->kernels.peak_integer : cpu->kernels.peak_f32,
                    .seconds = 0.04};
    double start = zi_monotonic_seconds();
    zi_pool_run(cpu->pool, zi_pool_threads(cpu->pool), peak_task, &job);
    return 2 * (double)job.done / (zi_monotonic_seconds() - start);
}

/* ---- the backend ---- */

/* Frees the backend (not NULL), but not its thread pool. Sessions and buffers must be gone. */
static void destroy_backend(zi_backend *backend)
{
    cpu_backend *cpu = (cpu_backend *)backend;
    free(cpu->scratch);
    free(cpu);
}

static const zi_backend_ops cpu_ops = {
    .name = "cpu",
    .alloc = alloc_buffer,
    .import = import_memory,
    .release = release_buffer,
    .begin = begin_session,
    .plan = plan_scratch,
    .end = end_session,
    .write = write_view,
    .read = read_view,
    .submit = report_failure,
    .wait = report_failure,
    .linear = cpu_linear,
    .embed = cpu_embed,
    .attention = cpu_attention,
    .norm = cpu_norm,
    .rope = cpu_rope,
    .elementwise = cpu_elementwise,
    .permute = cpu_permute,
    .conv3x3 = cpu_conv3x3,
    .conv3x3_workspace = cpu_conv3x3_workspace,
    .moments = cpu_moments,
    .group_norm = cpu_group_norm,
    .check_finite = cpu_check_finite,
    .check_moments = check_moments,
    .peak = measure_peak,
    .destroy = destroy_backend,
};

bool zi_cpu_backend_create(const zi_kernels *kernels, zi_pool *pool, const char *scratch,
                           zi_backend **out, zi_error *error)
{
    cpu_backend *cpu = calloc(1, sizeof *cpu);
    char *folder = scratch ? strdup(scratch) : NULL;
    if (!cpu || (scratch && !folder)) {
        free(folder);
        free(cpu);
        return zi_error_no_memory(error, sizeof *cpu);
    }
    *cpu = (cpu_backend){{&cpu_ops, kernels->tier}, *kernels, pool, folder};
    *out = &cpu->base;
    return true;
}

/* ---- what operations share ---- */

zi_matrix cpu_matrix(const zi_weight *w)
{
    return (zi_matrix){.data = zi_view_host(w->data),
                       .type = w->data.type,
                       .rows = w->data.rows,
                       .columns = w->data.columns,
                       .bits = w->bits,
                       .group = w->group,
                       .scales = zi_view_host(w->scales),
                       .biases = zi_view_host(w->biases),
                       .scale_type = w->scales.type,
                       .row_scale = floats_of(w->factors),
                       .row_scales = w->factors.columns,
                       .codes = w->codes,
                       .padded_columns = w->padded_columns,
                       .swizzled = w->swizzled,
                       .first_row = w->first_row,
                       .rotation = w->rotation};
}

feature_map cpu_map(const zi_feature_map *map)
{
    return (feature_map){floats_of(map->view), map->view.rows, map->width, map->channels,
                         map->view.stride};
}

typedef struct {
    size_t n, grain;
    row_fn fn;
    const void *context;
} row_job;

/* A pool task: calls the job's function for rows [task * grain, (task + 1) * grain), fewer at the
 * end. */
static void row_task(void *context, size_t task, size_t worker)
{
    (void)worker;
    const row_job *job = context;
    size_t from = task * job->grain;
    job->fn(job->context, from, smaller(from + job->grain, job->n));
}

void run_rows(cpu_exec *exec, size_t n, size_t grain, row_fn fn, const void *context)
{
    row_job job = {n, grain ? grain : 1, fn, context};
    zi_pool_run(exec->pool, (n + job.grain - 1) / job.grain, row_task, &job);
}

/* ---- finite values ---- */

typedef struct {
    const char *first;
    size_t bytes; /* of a row's stride */
    zi_dtype type;
    size_t columns;
    _Atomic bool *found; /* something that is not finite */
} finite_job;

/* A row_fn: sets *job->found, which threads share, if rows [begin, end) hold an infinity, a NaN or
 * an F64 value too large for f32; never clears it. For finite values only, x - x is 0; summing
 * keeps the loop free of branches. */
static void find_not_finite(const void *context, size_t begin_row, size_t end_row)
{
    const finite_job *job = context;
    for (size_t row = begin_row; row < end_row; row++) {
        const void *at = job->first + row * job->bytes;
        float sum = 0;
        if (job->type == ZI_F32) {
            const float *x = at;
            for (size_t i = 0; i < job->columns; i++) sum += x[i] - x[i];
        } else {
            const double *x = at;
            for (size_t i = 0; i < job->columns; i++) sum += (float)x[i] - (float)x[i];
        }
        if (sum != 0) *job->found = true;
    }
}

/* Checks an F32 or F64 view at once. If a value is not finite, or too large for f32, stores an
 * error with this name (a copy) in the session, for the next submit, wait or read; an earlier error
 * stays. */
void cpu_check_finite(zi_exec *exec, zi_view x, const char *name)
{
    enum { GRAIN = 64 };
    zi_error *failure = &exec_of(exec)->failure;
    _Atomic bool found = false;
    finite_job job = {zi_view_host(x), x.stride * zi_dtype_size(x.type), x.type, x.columns, &found};
    run_rows(exec_of(exec), x.rows, GRAIN, find_not_finite, &job);
    if (found && failure->code == ZI_OK) zi_error_not_finite(failure, name);
}
