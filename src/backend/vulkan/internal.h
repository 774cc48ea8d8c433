/* What the files of the Vulkan backend share.
 *
 * Shaders get the addresses of their data as push constants (buffer device addresses): there are no
 * descriptors, and no limit of a binding's size is met. All pipelines share one layout. */
#ifndef ZI_BACKEND_VULKAN_INTERNAL_H
#define ZI_BACKEND_VULKAN_INTERNAL_H

#include "backend/arena.h"
#include "backend/vulkan/instance.h"
#include "backend/vulkan/shaders.h"

#include <pthread.h>
#include <stdatomic.h>

enum { GPU_MAX_PUSH = 128 }; /* bytes of push constants that every device has */

typedef struct gpu_pipeline gpu_pipeline;
typedef struct gpu_group gpu_group;
typedef struct gpu_exec gpu_exec;

/* What is kept on disk of a device and its driver, and results of self-checks: see cache.c. */
typedef struct {
    char *folder; /* NULL: nothing is kept on disk */
    uint64_t key; /* of the device and its driver */
    VkPipelineCache pipelines;
    bool changed; /* since it was saved */
    double saved; /* when; 0: never */
    struct gpu_checked {
        uint64_t key; /* of a shader's code with its constants */
        bool right;
    } * checked;
    size_t checked_count;
} gpu_cache;

/* How much work a submission may be: see pieces.c. */
typedef struct {
    uint64_t budget;
    unsigned calm, patience;
} gpu_pace;

typedef struct {
    zi_backend base;
    gpu_instance instance;
    gpu_functions vk;
    gpu_capabilities capabilities;
    VkDevice device;
    VkQueue queue;
    VkPipelineLayout layout;
    char variant[800];
    zi_vulkan_options options;
    pthread_mutex_t queue_mutex;    /* for submissions and the pace */
    pthread_mutex_t memory_mutex;   /* for weights, and for memory that must fit the limit */
    pthread_mutex_t pipeline_mutex; /* for pipelines and the cache; recursive; to be locked before
                                       memory_mutex */
    pthread_mutex_t state_mutex;    /* for users and reopening; recursive; likewise */
    size_t users;                   /* sessions and their buffers */
    atomic_bool lost;               /* the driver has reset the device */
    gpu_cache cache;
    gpu_pace pace;
    unsigned checks; /* self-checks that are under way, one within the other */
    gpu_pipeline *pipelines;
    /* Device memory, in bytes. */
    _Atomic uint64_t vram;    /* the limit that was given; 0: none */
    _Atomic uint64_t limit;   /* what all of it together may take, as known last */
    _Atomic uint64_t proved;  /* of which the driver refused more; UINT64_MAX: nothing yet */
    _Atomic uint64_t used;    /* all that is allocated */
    _Atomic uint64_t session; /* sessions' own buffers, a part of it */
    _Atomic uint64_t spilled; /* those that are in the host's memory, no part of it */
    _Atomic uint64_t shared;  /* of these, bytes that lie in the device's heap all the same */
    _Atomic uint64_t layers;  /* what sessions lack for streaming a layer, all together */
    uint64_t largest;         /* buffer of the sessions that are open, or were last */
    bool largest_spilled;
    _Atomic uint64_t serial;       /* number of the latest allocation */
    _Atomic uint64_t submissions;  /* of all sessions */
    _Atomic uint64_t idle_weights; /* how often one became idle */
    gpu_group *groups;             /* of weights, the latest first */
    uint64_t clock;                /* counts uses of weights */
} gpu_backend;

static inline gpu_backend *gpu_of(zi_backend *backend)
{
    return (gpu_backend *)backend;
}

/* Fills *error, if it is not NULL, for a Vulkan call that failed; `what` it was to do. Returns
 * false. */
bool gpu_error(gpu_backend *gpu, zi_error *error, VkResult result, const char *what);

/* Opens the instance and the device, and what the cache knows of it. False, with *error set: to be
 * closed, too. */
bool gpu_open(gpu_backend *gpu, zi_error *error) ZI_CHECKED;

/* Saves the cache, and frees pipelines, device and instance, as far as there are any. */
void gpu_close(gpu_backend *gpu);

/* ---- reopen.c ---- */

/* Counts a user of the device: a session or its buffer. A device that was lost is first opened
 * anew, if it has no user any more. False, with *error set: it has, or could not be opened. */
bool gpu_enter(gpu_backend *gpu, zi_error *error) ZI_CHECKED;
void gpu_leave(gpu_backend *gpu);

/* ---- cache.c ---- */

/* Makes gpu->cache what the folder has for the open device, or empty. */
void gpu_cache_open(gpu_backend *gpu);

/* Saves the cache if it has changed and that is due: at most once a minute. The caller holds
 * pipeline_mutex. */
void gpu_cache_save(gpu_backend *gpu);

/* Saves and empties the cache, but not its folder. */
void gpu_cache_close(gpu_backend *gpu);

/* The key of a shader with its constants [GPU_MAX_CONSTANTS] in results of self-checks. */
uint64_t gpu_cache_key(gpu_shader shader, const uint32_t *constants);

/* Finds the result of a self-check; NULL: there is none. The caller holds pipeline_mutex. */
const struct gpu_checked *gpu_cache_find(const gpu_backend *gpu, uint64_t key);

/* Adds the result of a self-check; without memory it does nothing. */
void gpu_cache_add(gpu_backend *gpu, uint64_t key, bool right);

/* ---- memory.c ---- */

/* A VkBuffer with memory of its own. */
typedef struct {
    VkBuffer handle;
    VkDeviceMemory memory;
    VkDeviceAddress address;
    VkDeviceSize size;
    unsigned char *host; /* NULL: not mapped */
    uint64_t serial;     /* no other memory has it, also later, when handle and address return */
    bool counted;        /* in gpu_backend.used */
    bool shared;         /* in the device's heap, though it is not counted */
} gpu_memory;

typedef enum {
    GPU_DEVICE_MEMORY,  /* fast for the device; not mapped */
    GPU_VISIBLE_MEMORY, /* of the device, mapped if its memory is visible to the host as a whole */
    GPU_HOST_MEMORY,    /* mapped, for copies to the device */
    GPU_CACHED_MEMORY,  /* mapped, for copies from the device */
    GPU_SPILLED_MEMORY  /* of the host, not mapped: in place of GPU_DEVICE_MEMORY */
} gpu_memory_kind;

/* Allocates memory for any use, without regard to the limit. False, with *error set and *out
 * unchanged. */
bool gpu_memory_alloc(gpu_backend *gpu, gpu_memory_kind kind, VkDeviceSize size, gpu_memory *out,
                      zi_error *error) ZI_CHECKED;
void gpu_memory_free(gpu_backend *gpu, gpu_memory *memory);

/* What device memory may take: the limit that was given, or what the driver says. It is asked only
 * if `refresh`. */
uint64_t gpu_memory_limit(gpu_backend *gpu, bool refresh);

/* The size of pieces for this limit, of weights or of a convolution's input: 64 MB, or less where
 * memory is short. */
static inline uint64_t gpu_share(uint64_t limit)
{
    const uint64_t most = 64u << 20;
    return limit / 64 < most ? limit / 64 : most;
}

/* A buffer of a session, with memory of its own; or a weight in host memory, see weights.c. */
typedef struct gpu_buffer gpu_buffer;
struct gpu_buffer {
    zi_buffer base;
    gpu_memory memory;     /* of a session's; zeros for weights, which have no fixed address */
    const void *data;      /* of a weight */
    gpu_group *group;      /* of a weight; NULL: it is none */
    VkDeviceSize place;    /* in the group's memory */
    gpu_buffer *next;      /* in the group */
    uint64_t last, before; /* when it was used last, and in the submission before that; 0: never */
    const gpu_exec *user;  /* who used it last, */
    uint64_t number;       /* and in which submission */
    bool idle;             /* not needed soon */
    bool streamed;         /* for its last use it was copied for one submission alone */
};

/* As zi_backend_ops has them. */
bool gpu_alloc(zi_backend *backend, size_t size, zi_buffer **out, zi_error *error);
void gpu_release(zi_buffer *buffer);

/* The device address of a view in a session's buffer; 0: it has no buffer, or is a weight. */
static inline uint64_t gpu_address(zi_view view)
{
    const gpu_buffer *buffer = (const gpu_buffer *)view.buffer;
    return buffer && buffer->memory.address ? buffer->memory.address + view.offset : 0;
}

/* Bytes from a view's first element to the next address that is a multiple of GPU_ALIGNMENT, for
 * shaders that load vectors. */
enum { GPU_ALIGNMENT = 16 };
static inline size_t gpu_gap(zi_view view)
{
    return (size_t)(-gpu_address(view) % GPU_ALIGNMENT);
}

/* ---- staging.c ---- */

/* A stretch of memory, which it borrows. */
typedef struct {
    gpu_memory memory;
    VkDeviceSize offset;
} gpu_place;

/* Memory that one of the submissions that are under way takes piece by piece. */
typedef struct {
    gpu_memory_kind kind;
    gpu_memory *chunks;
    size_t count, chunk; /* chunk: the one in use, */
    VkDeviceSize used;   /* with so many bytes taken */
    VkDeviceSize total;  /* bytes taken of all chunks */
    unsigned unused;     /* how often nothing was taken, one time after the other */
} gpu_staging;

/* Takes `size` bytes at a multiple of `alignment` (a power of two). False: no chunk has them. */
bool gpu_staging_take(gpu_staging *staging, VkDeviceSize size, VkDeviceSize alignment,
                      gpu_place *out);
/* Adds a chunk of this size. False, with *error set. */
bool gpu_staging_grow(gpu_backend *gpu, gpu_staging *staging, VkDeviceSize size,
                      zi_error *error) ZI_CHECKED;
/* Makes all of it free again. idle: no pending submission uses it; then several chunks, and one
 * that is smaller than `least`, are replaced by one as large as that and as what was taken, and
 * much that was not used for long is freed. */
void gpu_staging_reset(gpu_backend *gpu, gpu_staging *staging, VkDeviceSize least, bool idle);
/* Bytes of all chunks. */
VkDeviceSize gpu_staging_size(const gpu_staging *staging);
/* Frees all chunks, which no pending submission uses. */
void gpu_staging_free(gpu_backend *gpu, gpu_staging *staging);

/* ---- weights.c ---- */

/* As zi_backend_ops has them. */
bool gpu_import(zi_backend *backend, const void *data, size_t size, zi_buffer **out,
                zi_error *error);
void gpu_set_idle(zi_buffer *buffer);

/* Takes a weight out of its group. */
void gpu_weight_release(gpu_backend *gpu, gpu_buffer *buffer);

/* Returns the device address of a view of a weight, or of a session's buffer, for the submission
 * that is recorded; copies the weight to the device if need be. 0: the view has no buffer, or there
 * is too little memory, which is kept in the session. */
uint64_t gpu_weight(gpu_exec *exec, zi_view view);

static inline uint64_t gpu_vector(gpu_exec *exec, const zi_weight *weight)
{
    return weight ? gpu_weight(exec, weight->data) : 0;
}

/* Forgets a session that ends, and whose submissions have ended. */
void gpu_weights_forget(gpu_exec *exec);

/* Makes all weights leave a device that no session uses. */
void gpu_weights_drop(gpu_backend *gpu);

/* ---- residency.c ---- */

/* Makes weights leave the device until `size` more bytes fit the limit: those that are not needed
 * soon first, then those that were used longest ago; waits for submissions that use them. The
 * caller holds memory_mutex. False: they do not fit. */
bool gpu_make_room(gpu_backend *gpu, uint64_t size) ZI_CHECKED;

/* Makes weights leave the device if the limit has become smaller than what is used. */
void gpu_fit_limit(gpu_backend *gpu);

/* Bytes of weights on the device, and of those that pending submissions use. The caller holds
 * memory_mutex. */
uint64_t gpu_resident_bytes(gpu_backend *gpu, uint64_t *pinned);

/* ---- streaming.c ---- */

/* Makes the memory free to which the next submission streams weights, and as large as others needed
 * it, for which weights leave. idle: submissions that used the next one's slot have ended. */
void gpu_reset_stream(gpu_exec *exec, bool idle);

/* Lets buffers of sessions leave so much room for what this one streams to. */
void gpu_reserve_layer(gpu_exec *exec, uint64_t bytes);

/* ---- pipelines.c ---- */

/* A compute pipeline, a shader with its specialization constants. */
enum { GPU_MAX_CONSTANTS = 16 };
struct gpu_pipeline {
    VkPipeline handle;
    gpu_shader shader;
    uint32_t constants[GPU_MAX_CONSTANTS];
    bool checked; /* or being checked */
    bool wrong;   /* failed its self-check: not to be used */
    bool missed;  /* its self-check did not use it: a case is not what it should be */
    gpu_pipeline *next;
};

/* Returns the pipeline of a shader with these constants (as many as it has), which the backend
 * keeps; if need be, makes it first, and checks it. It may be wrong, see gpu_pipeline. NULL, with
 * *error set: it cannot be made. */
const gpu_pipeline *gpu_pipeline_find(gpu_backend *gpu, gpu_shader shader,
                                      const uint32_t *constants, size_t count, zi_error *error);
void gpu_pipelines_free(gpu_backend *gpu);

/* ---- selfcheck.c ---- */

/* Compares what a pipeline computes with a reference, unless the result is known, and sets
 * pipeline->wrong. The caller holds pipeline_mutex. False, with *error set: the check could not be
 * made. */
bool gpu_self_check(gpu_backend *gpu, gpu_pipeline *pipeline, zi_error *error) ZI_CHECKED;

/* ---- pieces.c ---- */

/* A part of a session's log that is submitted at once. */
typedef struct {
    const unsigned char *log;
    size_t size;
    uint64_t cost;
} gpu_piece;

/* Where in its log, and in the dispatch there, a session is. */
typedef struct {
    size_t at;
    uint32_t group;
} gpu_cut;

void gpu_pace_init(gpu_backend *gpu);

/* Lets the time that a piece took say how large others may be; exact: else it was no longer. */
void gpu_pace_note(gpu_backend *gpu, uint64_t cost, double seconds, bool exact);

/* ---- log.c, record.c and session.c ---- */

/* A stretch of memory that a command reads or writes. */
typedef struct {
    uint64_t begin, end;
    bool write;
} gpu_range;

/* The stretches of a view from its first element to its last; an empty one for no view. */
gpu_range gpu_reads(zi_view view);
gpu_range gpu_writes(zi_view view);

/* A finished recording of commands, to be compared with later ones. */
typedef struct {
    unsigned char *log;
    size_t size;
    VkCommandBuffer commands;
    uint64_t last; /* number of the latest piece that used it */
} gpu_recording;

/* A weight that was copied to the device for one submission alone. */
typedef struct {
    const gpu_buffer *weight;
    uint64_t address;
} gpu_streamed;

/* A piece that was submitted. */
typedef struct {
    uint64_t cost;
    double begun;
} gpu_pending;

enum {
    GPU_SLOTS = 3,        /* submissions: two under way and one that is recorded */
    GPU_PIECES = 4,       /* pieces of submissions of which the times are kept */
    GPU_MAX_RANGES = 32,  /* kept since the last barrier */
    GPU_RECORDINGS = 512, /* kept for being submitted again */
    GPU_MAX_CHECKS = 256, /* names of checks */
    GPU_MOMENT_PARTS = 64 /* parts of a feature map whose moments are computed apart */
};

/* A session. Operations append commands to a log; submitting turns the log into a command buffer,
 * or finds one that was made of the same log before. */
struct gpu_exec {
    zi_exec base;
    gpu_backend *gpu;
    zi_error failure; /* sticky */
    unsigned char *log;
    size_t log_size, log_capacity;
    gpu_range ranges[GPU_MAX_RANGES];
    size_t range_count;
    VkCommandPool pool;
    VkSemaphore timeline;
    _Atomic uint64_t submitted; /* the number of submissions */
    unsigned char *piece;       /* [piece_capacity]: a part of the log */
    size_t piece_capacity;
    uint64_t log_cost;      /* of the whole log */
    VkSemaphore counter;    /* of pieces */
    uint64_t pieces, noted; /* pieces that were submitted; whose times are noted */
    double ended;           /* when the last one of these had ended */
    gpu_pending pending[GPU_PIECES];
    const gpu_pipeline *forced; /* in a self-check: what operations are to use, where they have a
                                   choice; NULL: they choose */
    bool forced_used;
    gpu_staging staging[GPU_SLOTS]; /* host memory, from which commands copy */
    gpu_staging streams[GPU_SLOTS]; /* device memory for weights that leave it again */
    gpu_streamed *streamed;         /* those of the submission that is recorded */
    size_t streamed_count, streamed_capacity;
    VkDeviceSize stream_need; /* the most that a submission streamed */
    uint64_t idle_weights;    /* gpu->idle_weights, as seen last */
    size_t streams_to_free;   /* how many streams are still to be given up */
    uint64_t layer;           /* bytes of weights that one submission uses */
    uint64_t lacking;         /* of it, what the streams do not have yet, a part of gpu->layers */
    bool one_stream; /* memory is too short for more: submissions that stream share streams[0] */
    VkDeviceSize band_bytes;   /* of the input of a convolution's band */
    gpu_recording *recordings; /* [GPU_RECORDINGS] */
    size_t recording_count;
    gpu_memory flags; /* a uint32_t for each check: not 0 if it failed */
    gpu_memory readback;
    char (*checks)[256]; /* [GPU_MAX_CHECKS] names */
    size_t check_count;
    zi_view rotated, partials; /* scratch memory */
    zi_view halves, exponents; /* rows of x as f16; no buffer: without cooperative matrices */
    zi_view codes, scales;     /* rows of x as bytes; no buffer: without integer dot products */
    gpu_range narrowed;        /* the view of f32 that lies in halves or codes; empty: none */
    size_t narrowed_columns;
};

static inline gpu_exec *gpu_exec_of(zi_exec *exec)
{
    return (gpu_exec *)exec;
}

/* What a dispatch needs beside its pipeline. */
typedef struct {
    const void *push;
    size_t push_size;
    uint32_t groups[3];
    const gpu_range *ranges; /* of what sessions write to; weights need none */
    size_t range_count;
    uint64_t cost; /* of a workgroup: multiplications, or what takes as long; 0: some */
    int axis;      /* 1 to 3: its groups may be computed apart along x, y, z; 0: they may not, as
                      where gl_NumWorkGroups of this axis counts */
} gpu_work;

/* Appends a dispatch, after a barrier if it needs results of what came before. Errors are kept in
 * the session. */
void gpu_dispatch(gpu_exec *exec, gpu_shader shader, const uint32_t *constants,
                  size_t constant_count, const gpu_work *work);

/* Whether the pipeline of a shader with these constants can be used: it is not wrong. True also if
 * it cannot be made, which is kept in the session. */
bool gpu_usable(gpu_exec *exec, gpu_shader shader, const uint32_t *constants,
                size_t constant_count);

/* Copies bytes to memory that commands recorded next can read, and returns where that is: the
 * device address, or 0 when memory is short (kept in the session). place: if not NULL, the same. */
uint64_t gpu_stage(gpu_exec *exec, const void *data, size_t size, gpu_place *place);

/* Appends a copy to memory that no pending submission uses: it begins without waiting for earlier
 * submissions, before all other commands of this one. */
void gpu_upload(gpu_exec *exec, const gpu_place *from, const gpu_place *to, size_t size);

/* Waits until a semaphore has this value: forever, or not at all. */
VkResult gpu_wait_value(const gpu_exec *exec, VkSemaphore semaphore, uint64_t value, bool forever);

/* The number of the latest submission of a session that has ended. From any thread, while the
 * session is open. */
uint64_t gpu_finished(const gpu_exec *exec);

/* Waits until a submission has ended. False: the device failed. From any thread, while the session
 * is open. */
bool gpu_wait_finished(const gpu_exec *exec, uint64_t number);

bool gpu_begin(zi_backend *backend, bool fast, zi_exec **out, zi_error *error);
void gpu_end(zi_exec *exec);
void gpu_write(zi_exec *exec, zi_view to, const void *from);
bool gpu_read(zi_exec *exec, zi_view from, void *to, zi_error *error);
bool gpu_submit(zi_exec *exec, zi_error *error);
bool gpu_wait(zi_exec *exec, zi_error *error);

/* Splits n workgroups, one for each row or so, over two dimensions, each within what devices
 * allow; there may be more than n. */
static inline void gpu_spread(size_t n, uint32_t groups[3])
{
    const size_t max = 32768;
    groups[0] = (uint32_t)(n < max ? n : max);
    groups[1] = (uint32_t)((n + max - 1) / max);
    groups[2] = 1;
}

static inline size_t gpu_div_up(size_t a, size_t b)
{
    return (a + b - 1) / b;
}

#endif
