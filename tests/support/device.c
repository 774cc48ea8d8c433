#include "device.h"
#include "harness.h"

#include "backend/arena.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    zi_backend base;
    zi_backend *cpu;
    bool unified;
    size_t overflow; /* see zi_test_device_overflow */
    zi_device_counts counts;
} device;

typedef struct {
    zi_buffer base;
    zi_buffer *inner;
    void *copy; /* of imported memory; NULL: it was allocated */
} device_buffer;

/* A call, with copies of all that it was given. Views and weights are the inner ones. */
typedef struct {
    zi_device_call kind;
    zi_view x, y, moments;
    zi_weight weight, bias, shortcut, shortcut_bias, norm_weight, norm_bias;
    bool has_bias, has_weight;
    zi_attention_args attention;
    zi_norm_args norm;
    zi_rope_args rope;
    zi_permute_args permute;
    zi_conv3x3_args conv;
    zi_group_norm group_norm;
    zi_feature_map map;
    zi_elementwise_kind elementwise;
    float a, b;
    size_t n;
    void *data; /* row numbers, or what is written */
    char name[256];
} call;

typedef struct {
    zi_exec base;
    zi_exec *cpu;
    call *calls; /* [count] */
    size_t count;
    size_t submitted;   /* of these, those that were submitted last or before */
    size_t checks;      /* recorded ones of what is finite */
    char overflow[256]; /* name of the one that failed; empty: none */
} device_exec;

static device *device_of(const zi_backend *backend)
{
    return (device *)(uintptr_t)backend;
}

static device_exec *exec_of(zi_exec *exec)
{
    return (device_exec *)exec;
}

/* Sessions count in threads of their own. */
static void count(size_t *counter)
{
    __atomic_fetch_add(counter, 1, __ATOMIC_RELAXED);
}

static void *copy_of(const void *data, size_t size)
{
    void *copy = malloc(size ? size : 1);
    return memcpy(copy, data, size);
}

/* ---- views ---- */

enum { GAPS = 1, WRITTEN = 2 }; /* what an operation may have, and does */

/* The inner view of one that an operation may be given. */
static zi_view inner(zi_view view, unsigned flags)
{
    if (!view.buffer) return view;
    device_buffer *buffer = (device_buffer *)view.buffer;
    size_t size = zi_dtype_size(view.type), rows = view.rows ? view.rows - 1 : 0;
    size_t end = view.offset + (rows * view.stride + view.columns) * size;
    CHECK_MSG(end <= buffer->base.size && view.offset % 4 == 0,
              "a view of bytes %zu to %zu in a buffer of %zu", view.offset, end, buffer->base.size);
    CHECK_MSG(flags & GAPS || zi_view_contiguous(view), "a view with gaps: %zu of %zu",
              view.columns, view.stride);
    CHECK_MSG(!(flags & WRITTEN && buffer->copy), "weights are written to");
    view.buffer = buffer->inner;
    return view;
}

/* Rows are packed: what counts is where the data begins. */
static zi_view inner_data(zi_view view)
{
    if (view.buffer) view.buffer = ((device_buffer *)view.buffer)->inner;
    return view;
}

static zi_weight inner_weight(const zi_weight *weight)
{
    zi_weight w = {0};
    if (!weight) return w;
    w = *weight;
    w.data = inner_data(w.data);
    w.scales = inner_data(w.scales);
    w.biases = inner_data(w.biases);
    w.factors = inner_data(w.factors);
    return w;
}

static zi_feature_map inner_map(const zi_feature_map *map, unsigned flags)
{
    zi_feature_map m = *map;
    m.view = inner(m.view, flags | GAPS);
    return m;
}

/* ---- memory ---- */

static bool new_buffer(zi_backend *backend, const device_buffer *from, zi_buffer **out)
{
    device_buffer *buffer = copy_of(from, sizeof *from);
    buffer->base.backend = backend;
    count(&device_of(backend)->counts.buffers);
    *out = &buffer->base;
    return true;
}

static bool alloc(zi_backend *backend, size_t size, zi_buffer **out, zi_error *error)
{
    device_buffer b = {0};
    if (!zi_buffer_alloc(device_of(backend)->cpu, size, &b.inner, error)) return false;
    memset(b.inner->host, 0xff, b.inner->size);
    b.base.size = b.inner->size;
    b.base.host = device_of(backend)->unified ? b.inner->host : NULL;
    return new_buffer(backend, &b, out);
}

static bool import(zi_backend *backend, const void *data, size_t size, zi_buffer **out,
                   zi_error *error)
{
    device_buffer b = {.copy = copy_of(data, size)};
    if (!zi_buffer_import(device_of(backend)->cpu, b.copy, size, &b.inner, error)) {
        free(b.copy);
        return false;
    }
    b.base.size = size;
    return new_buffer(backend, &b, out);
}

static void release(zi_buffer *buffer)
{
    device_buffer *b = (device_buffer *)buffer;
    __atomic_fetch_sub(&device_of(buffer->backend)->counts.buffers, 1, __ATOMIC_RELAXED);
    zi_buffer_release(b->inner);
    free(b->copy);
    free(b);
}

/* ---- recording ---- */

static call *record(zi_exec *exec, zi_device_call kind)
{
    device_exec *e = exec_of(exec);
    e->calls = realloc(e->calls, (e->count + 1) * sizeof *e->calls);
    e->calls[e->count] = (call){.kind = kind};
    count(&device_of(exec->backend)->counts.calls[kind]);
    return &e->calls[e->count++];
}

static void record_linear(zi_exec *exec, zi_view x, const zi_weight *w, const zi_weight *bias,
                          zi_view y)
{
    call *c = record(exec, ZI_DEVICE_LINEAR);
    CHECK(x.columns == w->data.columns && y.columns == w->data.rows && x.rows == y.rows);
    c->x = inner(x, 0);
    c->weight = inner_weight(w);
    c->bias = inner_weight(bias);
    c->has_bias = bias != NULL;
    c->y = inner(y, WRITTEN);
}

static void record_embed(zi_exec *exec, const zi_weight *w, const int32_t *rows, size_t n,
                         zi_view y)
{
    call *c = record(exec, ZI_DEVICE_EMBED);
    CHECK(y.rows == n && y.columns == w->data.columns);
    c->weight = inner_weight(w);
    c->data = copy_of(rows, n * sizeof *rows);
    c->n = n;
    c->y = inner(y, WRITTEN);
}

static void record_attention(zi_exec *exec, const zi_attention_args *args)
{
    call *c = record(exec, ZI_DEVICE_ATTENTION);
    c->attention = *args;
    c->attention.q = inner(args->q, 0);
    c->attention.k = inner(args->k, args->fast ? WRITTEN : 0);
    c->attention.v = inner(args->v, 0);
    c->attention.out = inner(args->out, WRITTEN);
}

static void record_norm(zi_exec *exec, const zi_norm_args *args)
{
    call *c = record(exec, ZI_DEVICE_NORM);
    c->norm = *args;
    c->norm.x = inner(args->x, args->kind == ZI_ADD_RMS_NORM ? WRITTEN : 0);
    c->norm.y = inner(args->y, WRITTEN);
    c->norm.scale = inner(args->scale, 0);
    c->norm.gate = inner(args->gate, 0);
    c->weight = inner_weight(args->weight);
    c->has_weight = args->weight != NULL;
}

static void record_rope(zi_exec *exec, const zi_rope_args *args)
{
    call *c = record(exec, ZI_DEVICE_ROPE);
    c->rope = *args;
    c->rope.x = inner(args->x, WRITTEN);
    c->rope.cosines = inner(args->cosines, 0);
    c->rope.sines = inner(args->sines, 0);
}

static void record_elementwise(zi_exec *exec, zi_elementwise_kind kind, zi_view x, zi_view y,
                               float a, float b)
{
    call *c = record(exec, ZI_DEVICE_ELEMENTWISE);
    CHECK(!y.buffer || (x.rows == y.rows && x.columns == y.columns));
    c->elementwise = kind;
    c->x = inner(x, GAPS | WRITTEN);
    c->y = inner(y, GAPS);
    c->a = a;
    c->b = b;
}

static void record_permute(zi_exec *exec, const zi_permute_args *args)
{
    call *c = record(exec, ZI_DEVICE_PERMUTE);
    c->permute = *args;
    c->permute.from = inner_data(args->from);
    c->permute.to = inner_data(args->to);
}

static void record_conv3x3(zi_exec *exec, const zi_conv3x3_args *args)
{
    call *c = record(exec, ZI_DEVICE_CONV3X3);
    c->conv = *args;
    c->conv.x = inner_map(&args->x, 0);
    c->conv.y = inner_map(&args->y, WRITTEN);
    if (args->shortcut) c->conv.side = inner_map(&args->side, WRITTEN);
    c->conv.moments = inner_data(args->moments);
    c->conv.workspace = inner(args->workspace, WRITTEN);
    c->weight = inner_weight(args->weight);
    c->bias = inner_weight(args->bias);
    c->shortcut = inner_weight(args->shortcut);
    c->shortcut_bias = inner_weight(args->shortcut_bias);
    if (!args->norm) return;
    c->group_norm = *args->norm;
    c->norm_weight = inner_weight(args->norm->weight);
    c->norm_bias = inner_weight(args->norm->bias);
}

/* What counts is the shapes, which must be those of the later call. */
static size_t workspace(const zi_exec *exec, const zi_conv3x3_args *args)
{
    const zi_exec *cpu = ((const device_exec *)exec)->cpu;
    size_t times = args->doubled ? 2 : 1;
    CHECK(args->x.view.rows * times == args->y.view.rows && args->x.width * times == args->y.width);
    CHECK(args->x.channels * 9 == args->weight->data.columns &&
          args->y.channels == args->weight->data.rows);
    return cpu->ops->conv3x3_workspace(cpu, args);
}

static void record_moments(zi_exec *exec, const zi_feature_map *x, zi_view moments)
{
    call *c = record(exec, ZI_DEVICE_MOMENTS);
    c->map = inner_map(x, 0);
    c->moments = inner_data(moments);
}

static void record_group_norm(zi_exec *exec, const zi_group_norm *norm, zi_view moments,
                              const zi_feature_map *x, zi_view y)
{
    call *c = record(exec, ZI_DEVICE_GROUP_NORM);
    c->group_norm = *norm;
    c->norm_weight = inner_weight(norm->weight);
    c->norm_bias = inner_weight(norm->bias);
    c->moments = inner_data(moments);
    c->map = inner_map(x, 0);
    c->y = inner(y, WRITTEN);
}

static void record_check(zi_exec *exec, zi_device_call kind, zi_view x, size_t n, const char *name)
{
    call *c = record(exec, kind);
    c->x = x;
    c->n = n;
    snprintf(c->name, sizeof c->name, "%s", name);
}

static void record_check_finite(zi_exec *exec, zi_view x, const char *name)
{
    device_exec *e = exec_of(exec);
    record_check(exec, ZI_DEVICE_CHECK_FINITE, inner(x, GAPS), 0, name);
    if (exec->halves && ++e->checks == device_of(exec->backend)->overflow)
        snprintf(e->overflow, sizeof e->overflow, "%s", name);
}

static void record_check_moments(zi_exec *exec, zi_view moments, size_t channels, const char *name)
{
    record_check(exec, ZI_DEVICE_CHECK_MOMENTS, inner_data(moments), channels, name);
}

static void record_write(zi_exec *exec, zi_view to, const void *from)
{
    call *c = record(exec, ZI_DEVICE_WRITE);
    c->y = inner(to, GAPS | WRITTEN);
    c->data = copy_of(from, to.rows * to.columns * zi_dtype_size(to.type));
}

/* ---- replaying ---- */

static void replay_conv3x3(zi_exec *cpu, call *c)
{
    c->conv.weight = &c->weight;
    c->conv.bias = &c->bias;
    if (c->conv.shortcut) c->conv.shortcut = &c->shortcut;
    if (c->conv.shortcut_bias) c->conv.shortcut_bias = &c->shortcut_bias;
    if (c->conv.norm) c->conv.norm = &c->group_norm;
    cpu->ops->conv3x3(cpu, &c->conv);
}

static void replay_one(zi_exec *cpu, call *c)
{
    const zi_backend_ops *ops = cpu->ops;
    c->group_norm.weight = &c->norm_weight;
    c->group_norm.bias = &c->norm_bias;
    if (c->has_weight) c->norm.weight = &c->weight;
    switch (c->kind) {
    case ZI_DEVICE_LINEAR:
        ops->linear(cpu, c->x, &c->weight, c->has_bias ? &c->bias : NULL, c->y);
        break;
    case ZI_DEVICE_EMBED:
        ops->embed(cpu, &c->weight, c->data, c->n, c->y);
        break;
    case ZI_DEVICE_ATTENTION:
        ops->attention(cpu, &c->attention);
        break;
    case ZI_DEVICE_NORM:
        ops->norm(cpu, &c->norm);
        break;
    case ZI_DEVICE_ROPE:
        ops->rope(cpu, &c->rope);
        break;
    case ZI_DEVICE_ELEMENTWISE:
        ops->elementwise(cpu, c->elementwise, c->x, c->y, c->a, c->b);
        break;
    case ZI_DEVICE_PERMUTE:
        ops->permute(cpu, &c->permute);
        break;
    case ZI_DEVICE_CONV3X3:
        replay_conv3x3(cpu, c);
        break;
    case ZI_DEVICE_MOMENTS:
        ops->moments(cpu, &c->map, c->moments);
        break;
    case ZI_DEVICE_GROUP_NORM:
        ops->group_norm(cpu, &c->group_norm, c->moments, &c->map, c->y);
        break;
    case ZI_DEVICE_CHECK_FINITE:
        ops->check_finite(cpu, c->x, c->name);
        break;
    case ZI_DEVICE_CHECK_MOMENTS:
        ops->check_moments(cpu, c->x, c->n, c->name);
        break;
    case ZI_DEVICE_WRITE:
        ops->write(cpu, c->y, c->data);
        break;
    case ZI_DEVICE_CALLS:
        break;
    }
}

/* The first n of the calls happen. */
static void replay(device_exec *e, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        replay_one(e->cpu, &e->calls[i]);
        free(e->calls[i].data);
    }
    e->count -= n;
    e->submitted = e->submitted > n ? e->submitted - n : 0;
    memmove(e->calls, e->calls + n, e->count * sizeof *e->calls);
}

/* What was submitted before is pushed out. */
/* Whether a check is to have failed; then, *error is set. */
static bool overflowed(const device_exec *e, zi_error *error)
{
    return *e->overflow && !zi_error_not_finite(error, e->overflow);
}

static bool submit(zi_exec *exec, zi_error *error)
{
    device_exec *e = exec_of(exec);
    count(&device_of(exec->backend)->counts.submits);
    replay(e, e->submitted);
    e->submitted = e->count;
    return zi_submit(e->cpu, error) && !overflowed(e, error);
}

static bool wait(zi_exec *exec, zi_error *error)
{
    device_exec *e = exec_of(exec);
    count(&device_of(exec->backend)->counts.waits);
    replay(e, e->count);
    return zi_wait(e->cpu, error) && !overflowed(e, error);
}

static bool read_view(zi_exec *exec, zi_view from, void *to, zi_error *error)
{
    return wait(exec, error) && zi_read(exec_of(exec)->cpu, inner(from, GAPS), to, error);
}

/* ---- sessions ---- */

static bool begin(zi_backend *backend, bool fast, zi_exec **out, zi_error *error)
{
    zi_backend *cpu = device_of(backend)->cpu;
    device_exec *e = calloc(1, sizeof *e);
    e->base = (zi_exec){backend->ops, backend, fast, fast && device_of(backend)->overflow};
    if (!cpu->ops->begin(cpu, fast, &e->cpu, error)) {
        free(e);
        return false;
    }
    *out = &e->base;
    return true;
}

/* The CPU's scratch memory is in the same buffer. */
static void plan(zi_exec *exec, zi_arena *arena, zi_exec_limits limits)
{
    zi_exec *cpu = exec_of(exec)->cpu;
    zi_arena within = *arena;
    if (within.buffer) within.buffer = ((device_buffer *)within.buffer)->inner;
    cpu->ops->plan(cpu, &within, limits);
    within.buffer = arena->buffer;
    *arena = within;
}

static void end(zi_exec *exec)
{
    device_exec *e = exec_of(exec);
    for (size_t i = 0; i < e->count; i++) free(e->calls[i].data);
    e->cpu->ops->end(e->cpu);
    free(e->calls);
    free(e);
}

/* ---- the device ---- */

static void destroy(zi_backend *backend)
{
    device *d = device_of(backend);
    CHECK_MSG(d->counts.buffers == 0, "%zu buffers were not released", d->counts.buffers);
    d->cpu->ops->destroy(d->cpu);
    free(d);
}

static const zi_backend_ops device_ops = {
    .name = "test device",
    .alloc = alloc,
    .import = import,
    .release = release,
    .begin = begin,
    .plan = plan,
    .end = end,
    .write = record_write,
    .read = read_view,
    .submit = submit,
    .wait = wait,
    .linear = record_linear,
    .embed = record_embed,
    .attention = record_attention,
    .norm = record_norm,
    .rope = record_rope,
    .elementwise = record_elementwise,
    .permute = record_permute,
    .conv3x3 = record_conv3x3,
    .conv3x3_workspace = workspace,
    .moments = record_moments,
    .group_norm = record_group_norm,
    .check_finite = record_check_finite,
    .check_moments = record_check_moments,
    .destroy = destroy,
};

zi_backend *zi_test_device_create(zi_backend *cpu, bool unified)
{
    device *d = calloc(1, sizeof *d);
    *d = (device){.base = {&device_ops, cpu->variant}, .cpu = cpu, .unified = unified};
    return &d->base;
}

void zi_test_device_overflow(zi_backend *backend, size_t check)
{
    device_of(backend)->overflow = check;
}

const zi_device_counts *zi_test_device_counts(const zi_backend *backend)
{
    return &device_of(backend)->counts;
}
