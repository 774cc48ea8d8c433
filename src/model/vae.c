#include "model/vae.h"

#include <stdio.h>
#include <stdlib.h>

#define EPS 1e-6f

enum { IMAGE = 3 }; /* channels of what is decoded */

/* ---- binding ---- */

static zi_resnet bind_resnet(zi_weights *w, const zi_vae_config *c, size_t in, size_t out,
                             const char *name)
{
    size_t groups = (size_t)c->groups;
    zi_resnet r = {
        .norm1 = zi_weights_group_norm(w, in, groups, EPS, "%s.norm1", name),
        .conv1 = zi_weights_conv(w, out, in, 3, "%s.conv1", name),
        .norm2 = zi_weights_group_norm(w, out, groups, EPS, "%s.norm2", name),
        .conv2 = zi_weights_conv(w, out, out, 3, "%s.conv2", name),
    };
    if (in != out) {
        zi_conv conv = zi_weights_conv(w, out, in, 1, "%s.conv_shortcut", name);
        r.shortcut = (zi_matrix){.data = conv.data, .type = conv.type, .rows = out, .columns = in};
        r.shortcut_bias = conv.bias;
    }
    return r;
}

static void bind_middle(zi_vae *vae, zi_weights *w, size_t wide)
{
    const char *a = "decoder.mid_block.attentions.0";
    vae->middle[0] = bind_resnet(w, &vae->config, wide, wide, "decoder.mid_block.resnets.0");
    vae->middle[1] = bind_resnet(w, &vae->config, wide, wide, "decoder.mid_block.resnets.1");
    vae->attention_norm =
        zi_weights_group_norm(w, wide, (size_t)vae->config.groups, EPS, "%s.group_norm", a);
    vae->q = zi_weights_matrix(w, wide, wide, "%s.to_q.weight", a);
    vae->k = zi_weights_matrix(w, wide, wide, "%s.to_k.weight", a);
    vae->v = zi_weights_matrix(w, wide, wide, "%s.to_v.weight", a);
    vae->o = zi_weights_matrix(w, wide, wide, "%s.to_out.0.weight", a);
    vae->q_bias = zi_weights_vector(w, wide, "%s.to_q.bias", a);
    vae->k_bias = zi_weights_vector(w, wide, "%s.to_k.bias", a);
    vae->v_bias = zi_weights_vector(w, wide, "%s.to_v.bias", a);
    vae->o_bias = zi_weights_vector(w, wide, "%s.to_out.0.bias", a);
}

/* Channels of up block i: the config's list from its end. */
static size_t block_width(const zi_vae_config *c, int i)
{
    return (size_t)c->channels[c->blocks - 1 - i];
}

static void bind_up_blocks(zi_vae *vae, zi_weights *w)
{
    const zi_vae_config *c = &vae->config;
    char name[64];
    size_t in = block_width(c, 0);
    int per_block = c->layers_per_block + 1;
    for (int i = 0; i < c->blocks; i++) {
        size_t out = block_width(c, i);
        for (int j = 0; j < per_block; j++) {
            snprintf(name, sizeof name, "decoder.up_blocks.%d.resnets.%d", i, j);
            vae->resnets[i * per_block + j] = bind_resnet(w, c, j ? out : in, out, name);
        }
        if (i + 1 < c->blocks)
            vae->upsample[i] =
                zi_weights_conv(w, out, out, 3, "decoder.up_blocks.%d.upsamplers.0.conv", i);
        in = out;
    }
}

bool zi_vae_bind(zi_weights *weights, const zi_vae_config *config, zi_vae *out, zi_error *error)
{
    zi_vae vae = {.config = *config, .weights = *weights};
    *weights = (zi_weights){0};
    zi_weights *w = &vae.weights;
    w->error = error;
    size_t resnets = (size_t)(config->blocks * (config->layers_per_block + 1));
    vae.resnets = calloc(resnets, sizeof *vae.resnets);
    if (!vae.resnets) {
        zi_vae_free(&vae);
        return zi_error_no_memory(error, resnets * sizeof *vae.resnets);
    }
    size_t wide = block_width(config, 0), thin = block_width(config, config->blocks - 1);
    vae.conv_in = zi_weights_conv(w, wide, (size_t)config->latent, 3, "decoder.conv_in");
    bind_middle(&vae, w, wide);
    bind_up_blocks(&vae, w);
    vae.norm_out =
        zi_weights_group_norm(w, thin, (size_t)config->groups, EPS, "decoder.conv_norm_out");
    vae.conv_out = zi_weights_conv(w, IMAGE, thin, 3, "decoder.conv_out");
    zi_weights_ignore(w, "encoder.");
    if (w->failed || !zi_weights_all_used(w, error)) {
        zi_vae_free(&vae);
        return false;
    }
    *out = vae;
    return true;
}

void zi_vae_free(zi_vae *vae)
{
    zi_weights_close(&vae->weights);
    free(vae->resnets);
    *vae = (zi_vae){0};
}

/* ---- the space ----
 *
 * All pictures live in one space that is not much larger than the largest of them. Each up block
 * has its place at the end of the space: in a row of it lies a row of the picture x, and behind
 * that one of the hidden picture h between the two convolutions of a resnet. A shortcut is computed
 * along with h, and both take the place of x row by row. An enlarged picture begins further ahead
 * than the small one, and overwrites it as it is read. What is left in front is working memory. */

static void grow(size_t *most, size_t value)
{
    if (value > *most) *most = value;
}

/* A place of pictures; rows lie `stride` floats apart. */
typedef struct {
    size_t height, width, stride;
} place;

/* That of up block i, where block i - 1 has `before`. Its first picture has as many channels as
 * the one before, and is no smaller. */
static place place_of(const zi_vae_config *c, int i, const place *before)
{
    size_t in = block_width(c, i ? i - 1 : 0), out = block_width(c, i);
    place p = {before->height * 2, before->width * 2, (before->stride + 1) / 2};
    if (i == 0) p = (place){before->height, before->width, 0};
    grow(&p.stride, p.width * in);
    grow(&p.stride, p.width * out * 2);
    grow(&p.stride, p.width * IMAGE);
    return p;
}

static size_t place_size(const place *p)
{
    return p->height * p->stride;
}

/* Lets `most` have room for a convolution that writes to p. */
static void grow_for(size_t *most, const zi_ops *ops, const place *p, size_t in, size_t out,
                     bool shortcut)
{
    zi_arena arena = zi_arena_measure();
    zi_conv conv = {.in = in, .out = out};
    zi_matrix matrix = {0};
    zi_conv3x3_args args = {.conv = &conv, .y = {.height = p->height, .width = p->width}};
    if (shortcut) args.shortcut = &matrix;
    zi_conv3x3_plan(ops, &args, &arena);
    grow(most, place_size(p) + arena.peak / sizeof(float));
}

/* Floats of the space. */
static size_t measure(const zi_ops *ops, const zi_vae *vae, size_t H, size_t W)
{
    const zi_vae_config *c = &vae->config;
    size_t most = 0, in = block_width(c, 0), latent = (size_t)c->latent;
    place p = place_of(c, 0, &(place){H, W, 0});
    grow_for(&most, ops, &p, latent, in, false);
    most += H * W * latent;
    grow_for(&most, ops, &p, in, in, false);
    grow(&most, place_size(&p) + 4 * H * W * in); /* the middle attention */
    for (int i = 0; i < c->blocks; i++) {
        size_t out = block_width(c, i);
        if (i) p = place_of(c, i, &p);
        if (i) grow_for(&most, ops, &p, in, in, false);
        grow_for(&most, ops, &p, in, out, in != out);
        grow_for(&most, ops, &p, out, out, false);
        in = out;
    }
    grow_for(&most, ops, &p, in, IMAGE, false);
    return most;
}

/* A decoding on its way. */
typedef struct {
    const zi_run *run;
    const zi_vae *vae;
    float *space;
    size_t size;
    place at;            /* where the picture stands */
    zi_moments *moments; /* of what was written last, x or h */
    int done, total;     /* resnets */
} decoding;

static void take(decoding *d, zi_arena *arena, size_t size)
{
    d->size = size;
    d->space = zi_arena_floats(arena, size);
    d->moments = zi_arena_alloc(arena, 1, sizeof *d->moments);
}

void zi_vae_plan(const zi_ops *ops, const zi_vae *vae, size_t height, size_t width, zi_arena *arena)
{
    size_t mark = zi_arena_mark(arena);
    decoding d;
    take(&d, arena, measure(ops, vae, height, width));
    zi_arena_reset(arena, mark);
}

static zi_picture picture(const decoding *d, size_t channels)
{
    const place *p = &d->at;
    return (zi_picture){d->space + d->size - place_size(p), p->height, p->width, channels,
                        p->stride};
}

/* The hidden picture beside one of `channels`. */
static zi_picture hidden(const decoding *d, size_t channels)
{
    zi_picture h = picture(d, channels);
    h.data += h.width * channels;
    return h;
}

/* A convolution, with working memory in front of the pictures but behind the first `used` floats.
 */
static void convolve(const decoding *d, const zi_conv3x3_args *args, size_t used)
{
    zi_arena arena = {.base = (unsigned char *)(d->space + used), .size = SIZE_MAX};
    zi_conv3x3(d->run->ops, args, &arena);
}

/* ---- taps ---- */

/* Shows the picture to a tap, which wants rows without gaps (where only h stands, of no use now).
 */
static void show(const decoding *d, size_t channels, const char *name)
{
    if (!d->run->tap) return;
    zi_picture x = picture(d, channels);
    size_t row = x.width * channels;
    for (size_t i = 1; i < x.height; i++)
        memmove(x.data + i * row, x.data + i * x.stride, row * sizeof *x.data);
    zi_run_tap(d->run, x.data, x.height * x.width, channels, "%s", name);
    for (size_t i = x.height; i-- > 1;)
        memmove(x.data + i * x.stride, x.data + i * row, row * sizeof *x.data);
}

/* Moments are finite where all values are. */
static bool resnet_done(decoding *d, size_t channels, const char *name, zi_error *error)
{
    zi_run run = *d->run;
    float finite = 0;
    for (size_t c = 0; c < channels; c++)
        finite += (float)(d->moments->mean[c] + d->moments->spread[c]);
    show(d, channels, name);
    run.tap = NULL; /* it has seen the picture itself */
    d->done++;
    return zi_run_layer_done(&run, (double)d->done / d->total, &finite, 1, 1, error, "%s", name);
}

/* ---- stages ---- */

static bool resnet_forward(decoding *d, const zi_resnet *r, const char *name, zi_error *error)
{
    size_t out = r->conv1.out;
    bool shortcut = r->shortcut.data != NULL;
    zi_picture x = picture(d, r->conv1.in), sum = picture(d, out), h = hidden(d, out);
    convolve(d,
             &(zi_conv3x3_args){.conv = &r->conv1,
                                .x = x,
                                .norm = &r->norm1,
                                .y = h,
                                .shortcut = shortcut ? &r->shortcut : NULL,
                                .shortcut_bias = r->shortcut_bias,
                                .side = sum,
                                .moments = d->moments},
             0);
    convolve(d,
             &(zi_conv3x3_args){.conv = &r->conv2,
                                .x = h,
                                .norm = &r->norm2,
                                .y = sum,
                                .add = true,
                                .moments = d->moments},
             0);
    return resnet_done(d, out, name, error);
}

/* Attention among all latent pixels, one head, with residual. */
static void middle_attention(decoding *d)
{
    const zi_vae *vae = d->vae;
    zi_ops *ops = d->run->ops;
    size_t C = vae->q.rows, pixels = d->at.height * d->at.width;
    zi_picture x = picture(d, C);
    float *a = d->space, *q = a + pixels * C, *k = q + pixels * C, *v = k + pixels * C;
    zi_group_norm_apply(ops, &vae->attention_norm, d->moments, &x, a);
    zi_linear(ops, a, pixels, &vae->q, vae->q_bias, q);
    zi_linear(ops, a, pixels, &vae->k, vae->k_bias, k);
    zi_linear(ops, a, pixels, &vae->v, vae->v_bias, v);
    zi_attention(ops, &(zi_attention_args){.q = q,
                                           .k = k,
                                           .v = v,
                                           .out = a,
                                           .T = pixels,
                                           .S = pixels,
                                           .heads = 1,
                                           .kv_heads = 1,
                                           .dim = C});
    zi_linear(ops, a, pixels, &vae->o, vae->o_bias, q);
    for (size_t row = 0; row < x.height; row++)
        zi_add(ops, x.data + row * x.stride, q + row * x.width * C, x.width * C);
    zi_moments_measure(ops, &x, d->moments);
    show(d, C, "mid_attn");
}

static bool middle_forward(decoding *d, zi_error *error)
{
    if (!resnet_forward(d, &d->vae->middle[0], "vae mid_block.resnets.0", error)) return false;
    middle_attention(d);
    if (!resnet_forward(d, &d->vae->middle[1], "vae mid_block.resnets.1", error)) return false;
    show(d, d->vae->q.rows, "mid_block");
    return true;
}

/* To the place of up block i, twice as large. */
static void enlarge(decoding *d, int i)
{
    const zi_conv *conv = &d->vae->upsample[i - 1];
    zi_picture x = picture(d, conv->in);
    d->at = place_of(&d->vae->config, i, &d->at);
    convolve(d,
             &(zi_conv3x3_args){.conv = conv,
                                .x = x,
                                .doubled = true,
                                .y = picture(d, conv->out),
                                .moments = d->moments},
             0);
}

static bool up_blocks_forward(decoding *d, zi_error *error)
{
    const zi_vae_config *c = &d->vae->config;
    int per_block = c->layers_per_block + 1;
    char name[64];
    for (int i = 0; i < c->blocks; i++) {
        for (int j = 0; j < per_block; j++) {
            snprintf(name, sizeof name, "vae up_blocks.%d.resnets.%d", i, j);
            if (!resnet_forward(d, &d->vae->resnets[i * per_block + j], name, error)) return false;
        }
        if (i + 1 < c->blocks) enlarge(d, i + 1);
        snprintf(name, sizeof name, "up_blocks.%d", i);
        show(d, block_width(c, i), name);
    }
    return true;
}

/* latents [latent, H, W] / scaling + shift, pixel by pixel at the beginning of the space, and
 * conv_in. */
static void begin(decoding *d, const float *latents)
{
    const zi_vae_config *c = &d->vae->config;
    size_t H = d->at.height, W = d->at.width, n = (size_t)c->latent;
    for (size_t p = 0; p < H * W; p++)
        for (size_t i = 0; i < n; i++)
            d->space[p * n + i] = latents[i * H * W + p] / c->scaling + c->shift;
    convolve(d,
             &(zi_conv3x3_args){.conv = &d->vae->conv_in,
                                .x = {d->space, H, W, n, W * n},
                                .y = picture(d, d->vae->conv_in.out),
                                .moments = d->moments},
             H * W * n);
    show(d, d->vae->conv_in.out, "conv_in");
}

/* conv_out, in the place of its input, and from there to image [3, H, W]. */
static void finish(decoding *d, float *image)
{
    size_t H = d->at.height, W = d->at.width;
    zi_picture y = picture(d, IMAGE);
    convolve(d,
             &(zi_conv3x3_args){.conv = &d->vae->conv_out,
                                .x = picture(d, d->vae->conv_out.in),
                                .norm = &d->vae->norm_out,
                                .y = y,
                                .moments = d->moments},
             0);
    for (size_t i = 0; i < IMAGE; i++)
        for (size_t p = 0; p < H * W; p++)
            image[i * H * W + p] = y.data[p / W * y.stride + p % W * IMAGE + i];
}

bool zi_vae_decode(const zi_run *run, const zi_vae *vae, const float *latents, size_t height,
                   size_t width, float *image, zi_error *error)
{
    const zi_vae_config *c = &vae->config;
    size_t mark = zi_arena_mark(run->arena);
    decoding d = {.run = run,
                  .vae = vae,
                  .at = place_of(c, 0, &(place){height, width, 0}),
                  .total = c->blocks * (c->layers_per_block + 1) + 2};
    take(&d, run->arena, measure(run->ops, vae, height, width));
    begin(&d, latents);
    bool ok = middle_forward(&d, error) && up_blocks_forward(&d, error);
    if (ok) finish(&d, image);
    zi_arena_reset(run->arena, mark);
    return ok;
}
