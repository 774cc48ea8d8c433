/* A second backend is a table of operations: one that records the calls of a step and has the CPU
 * backend replay them gives the same bits, and model code does not know of it. And the arena, in
 * which all that models compute with lies. */
#include "golden.h"
#include "model/qwen.h"
#include "model/transformer.h"
#include "model/vae.h"

#include <stdlib.h>
#include <string.h>

/* ---- the recorder ---- */

/* A call, with copies of all that it was given by address. */
typedef enum {
    LINEAR,
    EMBED,
    ATTENTION,
    NORM,
    ROPE,
    ELEMENTWISE,
    PERMUTE,
    CONV3X3,
    MOMENTS,
    GROUP_NORM,
    CHECK_FINITE,
    WRITE,
    CALLS
} call_kind;

typedef struct {
    call_kind kind;
    zi_view x, y, moments;
    const zi_weight *weight, *bias;
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
    void *data; /* ids, or what is written */
    char name[64];
} call;

typedef struct {
    zi_backend base;
    zi_backend *cpu;
} recorder;

typedef struct {
    zi_exec base;
    zi_exec *cpu;
    call *calls;
    size_t count;
    size_t seen[CALLS], submits;
} recording;

static recorder *recorder_of(zi_backend *backend)
{
    return (recorder *)backend;
}

static recording *recording_of(zi_exec *exec)
{
    return (recording *)exec;
}

static call *record(zi_exec *exec, call_kind kind)
{
    recording *r = recording_of(exec);
    r->calls = realloc(r->calls, (r->count + 1) * sizeof *r->calls);
    r->calls[r->count] = (call){.kind = kind};
    r->seen[kind]++;
    return &r->calls[r->count++];
}

static void *copy(const void *data, size_t size)
{
    return memcpy(malloc(size), data, size);
}

static void record_linear(zi_exec *exec, zi_view x, const zi_weight *w, const zi_weight *bias,
                          zi_view y)
{
    call *c = record(exec, LINEAR);
    c->x = x;
    c->weight = w;
    c->bias = bias;
    c->y = y;
}

static void record_embed(zi_exec *exec, const zi_weight *w, const int32_t *rows, size_t n,
                         zi_view y)
{
    call *c = record(exec, EMBED);
    c->weight = w;
    c->data = copy(rows, n * sizeof *rows);
    c->n = n;
    c->y = y;
}

static void record_attention(zi_exec *exec, const zi_attention_args *args)
{
    record(exec, ATTENTION)->attention = *args;
}

static void record_norm(zi_exec *exec, const zi_norm_args *args)
{
    record(exec, NORM)->norm = *args;
}

static void record_rope(zi_exec *exec, const zi_rope_args *args)
{
    record(exec, ROPE)->rope = *args;
}

static void record_elementwise(zi_exec *exec, zi_elementwise_kind kind, zi_view x, zi_view y,
                               float a, float b)
{
    call *c = record(exec, ELEMENTWISE);
    c->elementwise = kind;
    c->x = x;
    c->y = y;
    c->a = a;
    c->b = b;
}

static void record_permute(zi_exec *exec, const zi_permute_args *args)
{
    record(exec, PERMUTE)->permute = *args;
}

static void record_conv3x3(zi_exec *exec, const zi_conv3x3_args *args)
{
    call *c = record(exec, CONV3X3);
    c->conv = *args;
    if (args->norm) c->group_norm = *args->norm;
}

static size_t workspace(const zi_exec *exec, const zi_conv3x3_args *args)
{
    const zi_exec *cpu = ((const recording *)exec)->cpu;
    return cpu->ops->conv3x3_workspace(cpu, args);
}

static void record_moments(zi_exec *exec, const zi_feature_map *x, zi_view moments)
{
    call *c = record(exec, MOMENTS);
    c->map = *x;
    c->moments = moments;
}

static void record_group_norm(zi_exec *exec, const zi_group_norm *norm, zi_view moments,
                              const zi_feature_map *x, zi_view y)
{
    call *c = record(exec, GROUP_NORM);
    c->group_norm = *norm;
    c->moments = moments;
    c->map = *x;
    c->y = y;
}

static void record_check_finite(zi_exec *exec, zi_view x, const char *name)
{
    call *c = record(exec, CHECK_FINITE);
    c->x = x;
    snprintf(c->name, sizeof c->name, "%s", name);
}

static void record_write(zi_exec *exec, zi_view to, const void *from)
{
    call *c = record(exec, WRITE);
    c->y = to;
    c->data = copy(from, to.rows * to.columns * zi_dtype_size(to.type));
}

static void replay_one(zi_exec *cpu, call *c)
{
    const zi_backend_ops *ops = cpu->ops;
    switch (c->kind) {
    case LINEAR:
        ops->linear(cpu, c->x, c->weight, c->bias, c->y);
        break;
    case EMBED:
        ops->embed(cpu, c->weight, c->data, c->n, c->y);
        break;
    case ATTENTION:
        ops->attention(cpu, &c->attention);
        break;
    case NORM:
        ops->norm(cpu, &c->norm);
        break;
    case ROPE:
        ops->rope(cpu, &c->rope);
        break;
    case ELEMENTWISE:
        ops->elementwise(cpu, c->elementwise, c->x, c->y, c->a, c->b);
        break;
    case PERMUTE:
        ops->permute(cpu, &c->permute);
        break;
    case CONV3X3:
        if (c->conv.norm) c->conv.norm = &c->group_norm;
        ops->conv3x3(cpu, &c->conv);
        break;
    case MOMENTS:
        ops->moments(cpu, &c->map, c->moments);
        break;
    case GROUP_NORM:
        ops->group_norm(cpu, &c->group_norm, c->moments, &c->map, c->y);
        break;
    case CHECK_FINITE:
        ops->check_finite(cpu, c->x, c->name);
        break;
    case WRITE:
        ops->write(cpu, c->y, c->data);
        break;
    case CALLS:
        break;
    }
    free(c->data);
}

static void replay(recording *r)
{
    for (size_t i = 0; i < r->count; i++) replay_one(r->cpu, &r->calls[i]);
    r->count = 0;
}

/* Nothing happens before somebody wants to see a result. */
static bool submit(zi_exec *exec, zi_error *error)
{
    (void)error;
    recording_of(exec)->submits++;
    return true;
}

static bool read_view(zi_exec *exec, zi_view from, void *to, zi_error *error)
{
    recording *r = recording_of(exec);
    replay(r);
    return zi_read(r->cpu, from, to, error);
}

static bool alloc(zi_backend *backend, size_t size, zi_buffer **out, zi_error *error)
{
    return zi_buffer_alloc(recorder_of(backend)->cpu, size, out, error);
}

static bool import(zi_backend *backend, const void *data, size_t size, zi_buffer **out,
                   zi_error *error)
{
    return zi_buffer_import(recorder_of(backend)->cpu, data, size, out, error);
}

static bool begin(zi_backend *backend, bool fast, zi_exec **out, zi_error *error)
{
    zi_backend *cpu = recorder_of(backend)->cpu;
    recording *r = calloc(1, sizeof *r);
    r->base = (zi_exec){backend->ops, backend, fast};
    *out = &r->base;
    return cpu->ops->begin(cpu, fast, &r->cpu, error);
}

static void plan(zi_exec *exec, zi_arena *arena, zi_exec_limits limits)
{
    zi_exec *cpu = recording_of(exec)->cpu;
    cpu->ops->plan(cpu, arena, limits);
}

static void end(zi_exec *exec)
{
    recording *r = recording_of(exec);
    replay(r);
    r->cpu->ops->end(r->cpu);
    free(r->calls);
    free(r);
}

static const zi_backend_ops recorder_ops = {
    .name = "recorder",
    .alloc = alloc,
    .import = import,
    .begin = begin,
    .plan = plan,
    .end = end,
    .write = record_write,
    .read = read_view,
    .submit = submit,
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
};

/* ---- the same bits ---- */

enum { SIDE = 16, PIXELS = SIDE * SIDE, CAPTION = 40, IDS = 20 };

/* An engine whose session records. */
static void start_recording(zi_test_engine *engine, recorder *r)
{
    zi_error error = {0};
    zi_test_engine_start(engine, 3, NULL, false);
    *r = (recorder){{&recorder_ops, "recorder"}, engine->backend};
    engine->exec->ops->end(engine->exec);
    CHECK_OK(r->base.ops->begin(&r->base, false, &engine->exec, &error), error);
    engine->arena = zi_arena_in(engine->buffer);
    engine->exec->ops->plan(engine->exec, &engine->arena, (zi_exec_limits){256, 2048});
    engine->run.exec = engine->exec;
}

/* Caption, step, image and embeddings, one after the other in `out`. */
static float *run_model(zi_test_engine *engine, const zi_transformer *transformer,
                        const zi_vae *vae, const zi_qwen *text)
{
    zi_error error = {0};
    zi_sequence s;
    size_t hidden = (size_t)text->config.hidden, image = 3 * 64 * PIXELS;
    size_t total = 16 * PIXELS + image + IDS * hidden;
    int32_t ids[IDS];
    float *out = zi_test_alloc(engine, total, sizeof *out);
    zi_view latents = zi_test_view(engine, zi_test_values(engine, 16 * PIXELS), 16, PIXELS);
    zi_view features =
        zi_test_view(engine, zi_test_values(engine, CAPTION * hidden), CAPTION, hidden);
    zi_view velocity = zi_test_view(engine, NULL, 16, PIXELS);
    zi_view pixels = zi_test_view(engine, NULL, 3, 64 * PIXELS);
    zi_view embeds = zi_test_view(engine, NULL, IDS, hidden);
    for (int i = 0; i < IDS; i++) ids[i] = 7 * i;
    zi_sequence_plan(transformer, SIDE, SIDE, CAPTION, &engine->arena, &s);
    CHECK_OK(
        zi_qwen_encode(&engine->run, text, ids, IDS, embeds, &error) &&
            zi_transformer_caption(&engine->run, transformer, features, &s, &error) &&
            zi_transformer_step(&engine->run, transformer, &s, latents, 0.5f, velocity, &error) &&
            zi_vae_decode(&engine->run, vae, latents, SIDE, SIDE, pixels, &error) &&
            zi_read(engine->exec, velocity, out, &error) &&
            zi_read(engine->exec, pixels, out + 16 * PIXELS, &error) &&
            zi_read(engine->exec, embeds, out + 16 * PIXELS + image, &error),
        error);
    return out;
}

static size_t total_of(const zi_qwen *text)
{
    return 16 * PIXELS + 3 * 64 * PIXELS + IDS * (size_t)text->config.hidden;
}

static zi_transformer transformer;
static zi_vae vae;
static zi_qwen text_encoder;

static void load(void)
{
    zi_weights weights;
    zi_error error = {0};
    zi_config config = zi_golden_part("model", ZI_TRANSFORMER, &weights);
    CHECK_OK(zi_transformer_bind(&weights, &config.transformer, &transformer, &error), error);
    config = zi_golden_part("model", ZI_VAE, &weights);
    CHECK_OK(zi_vae_bind(&weights, &config.vae, &vae, &error), error);
    config = zi_golden_part("model", ZI_TEXT_ENCODER, &weights);
    CHECK_OK(zi_qwen_bind(&weights, &config.text, &text_encoder, &error), error);
}

static void recorded_calls_give_the_same_bits(void)
{
    zi_test_engine cpu, other;
    recorder r;
    zi_test_engine_start(&cpu, 3, NULL, false);
    start_recording(&other, &r);
    const float *a = run_model(&cpu, &transformer, &vae, &text_encoder);
    const float *b = run_model(&other, &transformer, &vae, &text_encoder);
    CHECK(memcmp(a, b, total_of(&text_encoder) * sizeof *a) == 0);
    recording *seen = recording_of(other.exec);
    for (int kind = 0; kind < CALLS; kind++)
        CHECK_MSG(seen->seen[kind] > 0, "operation %d was never called", kind);
    CHECK(seen->submits > 10 && seen->count == 0);
    zi_test_engine_stop(&cpu);
    zi_test_engine_stop(&other);
}

/* A layer that is not finite is reported late, and by its name all the same. */
static void errors_come_late(void)
{
    zi_test_engine engine;
    recorder r;
    zi_error error = {0};
    float value;
    start_recording(&engine, &r);
    float *norm = zi_view_host(transformer.layers[0].ffn_norm2->data), kept = norm[1];
    norm[1] = 1e38f * 1e38f;
    zi_sequence s;
    size_t hidden = (size_t)text_encoder.config.hidden;
    zi_view latents = zi_test_view(&engine, zi_test_values(&engine, 16 * PIXELS), 16, PIXELS);
    zi_view features =
        zi_test_view(&engine, zi_test_values(&engine, CAPTION * hidden), CAPTION, hidden);
    zi_view out = zi_test_view(&engine, NULL, 16, PIXELS);
    zi_sequence_plan(&transformer, SIDE, SIDE, CAPTION, &engine.arena, &s);
    CHECK_OK(zi_transformer_caption(&engine.run, &transformer, features, &s, &error) &&
                 zi_transformer_step(&engine.run, &transformer, &s, latents, 0.5f, out, &error),
             error);
    zi_view first = zi_view_rows(zi_view_columns(out, 0, 1), 0, 1);
    CHECK(!zi_read(engine.exec, first, &value, &error));
    CHECK_MSG(!strcmp(error.subject, "layers.0"), "%s", error.text);
    norm[1] = kept;
    zi_test_engine_stop(&engine);
}

/* ---- weights know their names ---- */

static void weights_have_names(void)
{
    CHECK(!strcmp(transformer.layers[1].w2->name, "layers.1.feed_forward.w2.weight"));
    CHECK(!strcmp(transformer.x_pad->name, "x_pad_token"));
    CHECK(!strcmp(vae.resnets[0].conv1_bias->name, "decoder.up_blocks.0.resnets.0.conv1.bias"));
    CHECK(!strcmp(text_encoder.layers[0].q_norm->name, "model.layers.0.self_attn.q_norm.weight"));
    const zi_weights *w = &transformer.weights;
    CHECK(w->count == w->source.count);
    for (size_t i = 0; i < w->count; i++)
        CHECK_MSG(zi_source_find(&w->source, w->list[i]->name), "%s", w->list[i]->name);
}

/* ---- arena ---- */

static void arena(void)
{
    zi_error error = {0};
    zi_buffer *buffer = NULL;
    zi_arena measured = zi_arena_measure();
    zi_view none = zi_arena_floats(&measured, 1, 3);
    CHECK(!none.buffer && none.rows == 1 && none.columns == 3 && none.stride == 3);
    size_t mark = zi_arena_mark(&measured);
    zi_arena_floats(&measured, 10, 100);
    zi_arena_reset(&measured, mark);
    zi_arena_take(&measured, ZI_F64, 1, 5);
    CHECK(measured.peak == 64 + 4032 && !measured.overflow);
    CHECK_OK(zi_buffer_alloc(zi_golden_backend(), measured.peak, &buffer, &error), error);
    zi_arena real = zi_arena_in(buffer);
    zi_view a = zi_arena_floats(&real, 1, 3), b = zi_arena_floats(&real, 10, 100);
    CHECK(a.buffer == buffer && b.buffer == buffer && a.offset == 0 && b.offset == 64);
    CHECK((uintptr_t)zi_view_host(a) % 64 == 0);
    CHECK(!zi_arena_floats(&real, 1, 1).buffer && real.overflow); /* it is full */
    zi_arena within = zi_arena_within(
        (zi_view){.buffer = buffer, .offset = 128, .type = ZI_U8, .rows = 1, .columns = 128});
    CHECK(zi_arena_floats(&within, 2, 16).offset == 128 && !within.overflow);
    CHECK(!zi_arena_floats(&within, 1, 1).buffer && within.overflow);
    zi_arena_floats(&measured, SIZE_MAX / 2, 4);
    CHECK(measured.overflow);
    zi_buffer_release(buffer);
}

static void views(void)
{
    zi_view v = {.type = ZI_F32, .rows = 4, .columns = 6, .stride = 6};
    zi_view part = zi_view_columns(zi_view_rows(v, 1, 2), 2, 3);
    CHECK(part.offset == (6 + 2) * sizeof(float) && part.rows == 2 && part.columns == 3);
    CHECK(zi_view_contiguous(v) && !zi_view_contiguous(part));
    CHECK(zi_view_contiguous(zi_view_rows(part, 0, 1)));
    zi_view other = zi_view_reshape(v, 8, 3);
    CHECK(other.rows == 8 && other.stride == 3 && !zi_view_host(other));
}

int main(void)
{
    RUN(load);
    RUN(recorded_calls_give_the_same_bits);
    RUN(errors_come_late);
    RUN(weights_have_names);
    RUN(arena);
    RUN(views);
    zi_transformer_free(&transformer);
    zi_vae_free(&vae);
    zi_qwen_free(&text_encoder);
    return zi_test_result();
}
