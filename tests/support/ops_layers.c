/* Long sequences of operations, as the models have them, against the portable kernels. */
#include "calls.h"
#include "ops.h"
#include "stored.h"

#include <math.h>
#include <string.h>

/* A matrix of weights for the time of the case. */
static const zi_weight *matrix(zi_rig *rig, const char *kind, size_t rows, size_t columns)
{
    return &zi_stored_make(rig, zi_stored_kind_find(kind), rows, columns, 0)->weight;
}

/* A vector around 1. */
static const zi_weight *vector(zi_rig *rig, size_t n)
{
    float *values = zi_rig_values(rig, n);
    for (size_t i = 0; i < n; i++) values[i] = 1 + values[i] * 0.2f;
    return zi_rig_vector(rig, values, n);
}

/* Runs a sequence, which returns its results [*n] or NULL, on the rig and on the reference with the
 * same random numbers, and compares them by the relative L2 error. */
static void compare(zi_rig *rig, zi_rig *reference, float *(*sequence)(zi_rig *, bool, size_t *),
                    bool fast, double bound)
{
    size_t n, m;
    reference->random = rig->random;
    float *got = sequence(rig, fast, &n), *wanted = sequence(reference, false, &m);
    if (!CHECK(got && wanted && n == m)) return;
    double error = zi_rel_l2(got, wanted, n);
    CHECK_MSG(error <= bound * rig->row->tolerance, "%s: off by %g of the results' size", rig->what,
              error);
    rig->worst = fmax(rig->worst, error / (bound * rig->row->tolerance));
}

/* Both sequences in exact sessions and, unless bound is 0, in fast ones. */
static void compare_both(zi_rig *rig, float *(*sequence)(zi_rig *, bool, size_t *), double bound)
{
    zi_rig reference;
    zi_error error = {0};
    if (!CHECK_OK(zi_rig_open(&reference, &zi_test_reference, 1, &error), error)) return;
    compare(rig, &reference, sequence, false, 2e-6);
    if (bound > 0) compare(rig, &reference, sequence, true, bound);
    zi_rig_close(&reference);
}

/* ---- a transformer ---- */

enum { T = 21, HEADS = 3, DIM = 64, D = HEADS * DIM, FFN = 320, LAYERS = 3 };

typedef struct {
    const zi_weight *modulation, *q, *k, *v, *o, *w1, *w2, *w3;
    const zi_weight *norm1, *norm2, *ffn_norm1, *ffn_norm2, *q_norm, *k_norm;
} block;

typedef struct {
    zi_view x, h, q, k, v, gate, up, timestep, modulation, cosines, sines, y;
} tensors;

static block make_block(zi_rig *rig, int layer)
{
    static const char *const kinds[][3] = {{"Q8_0", "Q4_0", "Q5_1"},
                                           {"8 bits in 64, F16", "4 bits in 64, BF16", "MLX mxfp8"},
                                           {"F8_E4M3, a factor", "BF16", "I8, factors of rows"}};
    const char *const *kind = kinds[layer % 3];
    return (block){.modulation = matrix(rig, "F32", 4 * D, D),
                   .q = matrix(rig, kind[0], D, D),
                   .k = matrix(rig, kind[1], D, D),
                   .v = matrix(rig, kind[2], D, D),
                   .o = matrix(rig, kind[0], D, D),
                   .w1 = matrix(rig, kind[1], FFN, D),
                   .w2 = matrix(rig, kind[2], D, FFN),
                   .w3 = matrix(rig, kind[0], FFN, D),
                   .norm1 = vector(rig, D),
                   .norm2 = vector(rig, D),
                   .ffn_norm1 = vector(rig, D),
                   .ffn_norm2 = vector(rig, D),
                   .q_norm = vector(rig, DIM),
                   .k_norm = vector(rig, DIM)};
}

static tensors make_tensors(zi_rig *rig)
{
    float *cosines = zi_rig_alloc(rig, T * DIM / 2, sizeof *cosines);
    float *sines = zi_rig_alloc(rig, T * DIM / 2, sizeof *sines);
    for (size_t i = 0; i < T * DIM / 2; i++) {
        double angle = (double)(i / (DIM / 2)) * pow(100, -2.0 * (double)(i % (DIM / 2)) / DIM);
        cosines[i] = (float)cos(angle);
        sines[i] = (float)sin(angle);
    }
    return (tensors){.x = zi_rig_inout(rig, zi_rig_values(rig, T * D), T, D, 0),
                     .h = zi_rig_out(rig, T, D, 0),
                     .q = zi_rig_out(rig, T, D, 0),
                     .k = zi_rig_out(rig, T, D, 0),
                     .v = zi_rig_out(rig, T, D, 0),
                     .gate = zi_rig_out(rig, T, FFN, 0),
                     .up = zi_rig_out(rig, T, FFN, 0),
                     .timestep = zi_rig_in(rig, zi_rig_values(rig, D), 1, D, 0),
                     .modulation = zi_rig_out(rig, 1, 4 * D, 0),
                     .cosines = zi_rig_in(rig, cosines, T, DIM / 2, 0),
                     .sines = zi_rig_in(rig, sines, T, DIM / 2, 0),
                     .y = zi_rig_out(rig, T, D, 0)};
}

/* Norms and turns the heads of q or k in place. */
static void prepare_heads(zi_exec *exec, const tensors *t, zi_view x, const zi_weight *norm)
{
    zi_view heads = zi_view_reshape(x, T * HEADS, DIM);
    zi_call_norm(exec, &(zi_norm_args){.x = heads, .y = heads, .weight = norm, .eps = 1e-6f});
    zi_call_rope(exec, &(zi_rope_args){x, HEADS, DIM, t->cosines, t->sines, true});
}

static void attend(zi_exec *exec, const block *b, const tensors *t)
{
    zi_view scale = zi_view_columns(t->modulation, 0, D);
    zi_view gate = zi_view_columns(t->modulation, D, D);
    zi_rms_norm(exec, t->x, b->norm1, 1e-6f, scale, t->h);
    zi_linear(exec, t->h, b->q, NULL, t->q);
    zi_linear(exec, t->h, b->k, NULL, t->k);
    zi_linear(exec, t->h, b->v, NULL, t->v);
    prepare_heads(exec, t, t->q, b->q_norm);
    prepare_heads(exec, t, t->k, b->k_norm);
    zi_call_attention(exec, &(zi_attention_args){.q = t->q,
                                                 .k = t->k,
                                                 .v = t->v,
                                                 .out = t->h,
                                                 .heads = HEADS,
                                                 .kv_heads = HEADS,
                                                 .dim = DIM,
                                                 .fast = true});
    zi_linear(exec, t->h, b->o, NULL, t->q);
    zi_rms_norm_add(exec, t->q, b->norm2, 1e-6f, gate, t->x);
}

static void feed_forward(zi_exec *exec, const block *b, const tensors *t)
{
    zi_view scale = zi_view_columns(t->modulation, 2 * D, D);
    zi_view gate = zi_view_columns(t->modulation, 3 * D, D);
    zi_rms_norm(exec, t->x, b->ffn_norm1, 1e-6f, scale, t->h);
    zi_linear(exec, t->h, b->w1, NULL, t->gate);
    zi_linear(exec, t->h, b->w3, NULL, t->up);
    zi_silu_mul(exec, t->gate, t->up);
    zi_linear(exec, t->gate, b->w2, NULL, t->h);
    zi_rms_norm_add(exec, t->h, b->ffn_norm2, 1e-6f, gate, t->x);
}

static float *run_transformer(zi_rig *rig, bool fast, size_t *n)
{
    zi_rig_case(rig, fast, "%s transformer", fast ? "fast" : "exact");
    block blocks[LAYERS];
    for (int i = 0; i < LAYERS; i++) blocks[i] = make_block(rig, i);
    tensors t = make_tensors(rig);
    zi_exec *exec = rig->exec;
    zi_error error = {0};
    zi_rig_start(rig);
    for (int i = 0; i < LAYERS; i++) {
        zi_linear(exec, t.timestep, blocks[i].modulation, NULL, t.modulation);
        zi_divide_add(exec, t.modulation, 20, 0);
        zi_tanh(exec, zi_view_columns(t.modulation, D, D));
        zi_tanh(exec, zi_view_columns(t.modulation, 3 * D, D));
        attend(exec, &blocks[i], &t);
        feed_forward(exec, &blocks[i], &t);
        zi_call_check_finite(exec, t.x, "x");
        CHECK_OK(zi_submit(exec, &error), error);
    }
    zi_layer_norm(exec, t.x, 1e-6f, zi_view_columns(t.modulation, 0, D), t.y);
    *n = T * D;
    return zi_rig_finish(rig) ? zi_rig_result(rig, t.y) : NULL;
}

void zi_ops_transformer_layers(zi_rig *rig)
{
    compare_both(rig, run_transformer, 0.05);
}

/* ---- a decoder ---- */

enum { LATENT = 4, WIDE = 24, NARROW = 12, IMAGE = 3, GROUPS = 4, HEIGHT = 7, WIDTH = 9 };

/* As in src/model/vae.c: feature maps lie in rows of a slot at the end of the scratch memory, x and
 * behind it h; what is in front of it is workspace. */
typedef struct {
    zi_rig *rig;
    zi_view scratch, moments;
    size_t height, width, stride; /* of the slot */
    size_t floats;                /* of all scratch memory; while it is planned */
    zi_conv3x3_args convs[12];    /* in the order of their use; those without workspace */
    size_t count;
} decoder;

static zi_feature_map map_at(const decoder *d, size_t first, size_t channels)
{
    size_t begin = d->scratch.columns - d->height * d->stride;
    zi_view rows = zi_view_reshape(zi_view_columns(d->scratch, begin, d->height * d->stride),
                                   d->height, d->stride);
    return (zi_feature_map){zi_view_columns(rows, first * d->width * channels, d->width * channels),
                            d->width, channels};
}

static const zi_weight *conv_weight(zi_rig *rig, size_t out, size_t in, size_t kernel)
{
    zi_weight *copy = zi_rig_alloc(rig, 1, sizeof *copy);
    *copy = *matrix(rig, kernel == 3 ? "BF16" : "F16", out, in * kernel * kernel);
    copy->kernel = kernel;
    return copy;
}

static const zi_group_norm *make_norm(zi_rig *rig, size_t channels)
{
    zi_group_norm *norm = zi_rig_alloc(rig, 1, sizeof *norm);
    *norm = (zi_group_norm){vector(rig, channels), vector(rig, channels), GROUPS, 1e-6f};
    return norm;
}

/* Adds a convolution, with weights the first time, and raises the scratch memory that is needed. */
static void add_conv(decoder *d, zi_feature_map x, zi_feature_map y, bool normed, bool doubled,
                     const zi_feature_map *side, bool add)
{
    zi_rig *rig = d->rig;
    zi_conv3x3_args args = {.weight = conv_weight(rig, y.channels, x.channels, 3),
                            .bias = vector(rig, y.channels),
                            .x = x,
                            .doubled = doubled,
                            .norm = normed ? make_norm(rig, x.channels) : NULL,
                            .y = y,
                            .add = add};
    if (side) {
        args.shortcut = conv_weight(rig, y.channels, x.channels, 1);
        args.shortcut_bias = vector(rig, y.channels);
        args.side = *side;
    }
    size_t floats = d->height * d->stride + zi_conv3x3_workspace(rig->exec, &args) / 4 + 1;
    if (floats > d->floats) d->floats = floats;
    d->convs[d->count++] = args;
}

/* A resnet: two convolutions, in place. */
static void add_resnet(decoder *d, size_t in, size_t out)
{
    zi_feature_map x = map_at(d, 0, in), sum = map_at(d, 0, out), h = map_at(d, 1, out);
    add_conv(d, x, h, true, false, in != out ? &sum : NULL, false);
    add_conv(d, h, sum, true, false, NULL, true);
}

/* Changes to the next slot, twice as high and wide, for feature maps x and h of these channels. */
static void enlarge(decoder *d, size_t before, size_t channels)
{
    d->height *= 2;
    d->width *= 2;
    d->stride = (d->stride + 1) / 2;
    if (d->stride < d->width * before) d->stride = d->width * before;
    if (d->stride < d->width * channels * 2) d->stride = d->width * channels * 2;
}

/* All convolutions, in memory that d->scratch describes. */
static void add_all(decoder *d, zi_feature_map latents)
{
    d->height = HEIGHT;
    d->width = WIDTH;
    d->stride = WIDTH * WIDE * 2;
    d->count = 0;
    add_conv(d, latents, map_at(d, 0, WIDE), false, false, NULL, false);
    add_resnet(d, WIDE, WIDE);
    zi_feature_map small = map_at(d, 0, WIDE);
    enlarge(d, WIDE, NARROW);
    add_conv(d, small, map_at(d, 0, WIDE), false, true, NULL, false);
    add_resnet(d, WIDE, NARROW);
    add_resnet(d, NARROW, NARROW);
    add_conv(d, map_at(d, 0, NARROW), map_at(d, 0, IMAGE), true, false, NULL, false);
}

/* Runs all convolutions; what is not finite would be found by their moments. */
static void run_convs(decoder *d)
{
    zi_error error = {0};
    for (size_t i = 0; i < d->count; i++) {
        d->convs[i].moments = d->moments;
        d->convs[i].workspace = d->scratch;
        d->convs[i].workspace.type = ZI_U8;
        d->convs[i].workspace.columns = d->scratch.columns * sizeof(float);
        zi_call_conv3x3(d->rig->exec, &d->convs[i]);
        zi_call_check_moments(d->rig->exec, d->moments, d->convs[i].y.channels, "conv");
        if (i % 2) CHECK_OK(zi_submit(d->rig->exec, &error), error);
    }
}

static float *run_decoder(zi_rig *rig, bool fast, size_t *n)
{
    zi_rig_case(rig, fast, "decoder");
    decoder d = {.rig = rig};
    uint64_t random = rig->random;
    d.scratch = (zi_view){.rows = 1, .columns = 1 << 20, .stride = 1 << 20, .type = ZI_F32};
    add_all(&d, (zi_feature_map){{.rows = HEIGHT}, WIDTH, LATENT}); /* only plans */
    rig->random = random;
    zi_view latents =
        zi_rig_in(rig, zi_rig_values(rig, HEIGHT * WIDTH * LATENT), HEIGHT, WIDTH * LATENT, 0);
    d.scratch = zi_rig_workspace(rig, d.floats * sizeof(float));
    d.scratch = (zi_view){d.scratch.buffer, d.scratch.offset, ZI_F32, 1, d.floats, d.floats};
    d.moments = zi_rig_moments(rig);
    add_all(&d, (zi_feature_map){latents, WIDTH, LATENT});
    zi_view y = map_at(&d, 0, IMAGE).view, image = zi_rig_out(rig, IMAGE, d.height * d.width, 0);
    zi_rig_start(rig);
    run_convs(&d);
    zi_call_permute(rig->exec, &(zi_permute_args){.from = y,
                                                  .to = image,
                                                  .dims = 3,
                                                  .extents = {IMAGE, d.height, d.width},
                                                  .from_strides = {1, y.stride, IMAGE},
                                                  .to_strides = {d.height * d.width, d.width, 1}});
    *n = IMAGE * d.height * d.width;
    return zi_rig_finish(rig) ? zi_rig_result(rig, image) : NULL;
}

void zi_ops_decoder_layers(zi_rig *rig)
{
    compare_both(rig, run_decoder, 0);
}
