#include "model/vae.h"
#include "base/file.h"

#include <stdio.h>
#include <stdlib.h>

#define EPS 1e-6f

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
        return zi_out_of_memory(error, resnets * sizeof *vae.resnets);
    }
    size_t wide = block_width(config, 0), thin = block_width(config, config->blocks - 1);
    vae.conv_in = zi_weights_conv(w, wide, (size_t)config->latent, 3, "decoder.conv_in");
    bind_middle(&vae, w, wide);
    bind_up_blocks(&vae, w);
    vae.norm_out =
        zi_weights_group_norm(w, thin, (size_t)config->groups, EPS, "decoder.conv_norm_out");
    vae.conv_out = zi_weights_conv(w, 3, thin, 3, "decoder.conv_out");
    if (w->failed) {
        zi_vae_free(&vae);
        return false;
    }
    *out = vae;
    return true;
}

bool zi_vae_load(const char *folder, const zi_vae_config *config, zi_vae *out, zi_error *error)
{
    char *dir = zi_path_join(folder, "vae");
    if (!dir) return zi_out_of_memory(error, sizeof "vae");
    zi_weights weights;
    bool ok = zi_weights_open(dir, "diffusion_pytorch_model", &weights, error) &&
              zi_vae_bind(&weights, config, out, error);
    free(dir);
    return ok;
}

void zi_vae_free(zi_vae *vae)
{
    zi_weights_close(&vae->weights);
    free(vae->resnets);
    *vae = (zi_vae){0};
}

/* ---- decoding ---- */

/* Pictures are [height, width, channels]; a, b and c take turns, padded carries a border. */
typedef struct {
    float *a, *b, *c, *padded, *panels;
    float *values; /* of the middle attention */
} workspace;

typedef struct {
    size_t plain, padded, panels, values; /* floats */
} sizes;

static void grow(size_t *most, size_t value)
{
    if (value > *most) *most = value;
}

/* The most that any layer needs. A conv's input is padded, its output and residuals are plain. */
static sizes measure(const zi_ops *ops, const zi_vae *vae, size_t H, size_t W)
{
    const zi_vae_config *c = &vae->config;
    size_t in = block_width(c, 0), latent = (size_t)c->latent;
    sizes s = {.values = H * W * in};
    grow(&s.plain, H * W * (in > latent ? in : latent));
    grow(&s.padded, (H + 2) * (W + 2) * (in > latent ? in : latent));
    grow(&s.panels, zi_conv3x3_workspace(ops, latent, in));
    grow(&s.panels, zi_conv3x3_workspace(ops, in, in));
    for (int i = 0; i < c->blocks; i++) {
        size_t out = block_width(c, i), wide = in > out ? in : out;
        bool last = i + 1 == c->blocks;
        grow(&s.plain, H * W * wide);
        grow(&s.padded, (H + 2) * (W + 2) * wide);
        grow(&s.panels, zi_conv3x3_workspace(ops, wide, wide));
        if (last) break;
        H *= 2;
        W *= 2;
        grow(&s.plain, H * W * out);
        grow(&s.padded, (H + 2) * (W + 2) * out);
        in = out;
    }
    grow(&s.panels, zi_conv3x3_workspace(ops, block_width(c, c->blocks - 1), 3));
    grow(&s.plain, H * W * 3);
    return s;
}

static workspace take(zi_arena *arena, sizes s)
{
    return (workspace){
        .a = zi_arena_floats(arena, s.plain),
        .b = zi_arena_floats(arena, s.plain),
        .c = zi_arena_floats(arena, s.plain),
        .padded = zi_arena_floats(arena, s.padded),
        .panels = zi_arena_floats(arena, s.panels),
        .values = zi_arena_floats(arena, s.values),
    };
}

void zi_vae_plan(const zi_ops *ops, const zi_vae *vae, size_t height, size_t width, zi_arena *arena)
{
    size_t mark = zi_arena_mark(arena);
    take(arena, measure(ops, vae, height, width));
    zi_arena_reset(arena, mark);
}

/* A decoding on its way: the picture is in ws.a. */
typedef struct {
    const zi_run *run;
    const zi_vae *vae;
    workspace ws;
    size_t H, W;
    int done, total; /* resnets */
} decoding;

static void swap(float **x, float **y)
{
    float *t = *x;
    *x = *y;
    *y = t;
}

static bool resnet_forward(decoding *d, const zi_resnet *r, const char *name, zi_error *error)
{
    zi_ops *ops = d->run->ops;
    workspace *ws = &d->ws;
    size_t pixels = d->H * d->W;
    zi_group_norm_silu_pad(ops, &r->norm1, ws->a, d->H, d->W, ws->padded);
    zi_conv3x3(ops, &r->conv1, ws->padded, d->H, d->W, ws->panels, ws->b);
    zi_group_norm_silu_pad(ops, &r->norm2, ws->b, d->H, d->W, ws->padded);
    zi_conv3x3(ops, &r->conv2, ws->padded, d->H, d->W, ws->panels, ws->b);
    if (r->shortcut.data) {
        zi_linear(ops, ws->a, pixels, &r->shortcut, r->shortcut_bias, ws->c);
        swap(&ws->a, &ws->c);
    }
    zi_add(ops, ws->a, ws->b, pixels * r->conv2.out);
    d->done++;
    return zi_run_layer_done(d->run, (double)d->done / d->total, ws->a, pixels, r->conv2.out, error,
                             "%s", name);
}

/* Attention among all latent pixels, one head, with residual; the keys stand in ws.padded. */
static void middle_attention(decoding *d)
{
    const zi_vae *vae = d->vae;
    zi_ops *ops = d->run->ops;
    workspace *ws = &d->ws;
    size_t pixels = d->H * d->W, C = vae->q.rows;
    float *k = ws->padded, *v = ws->values;
    zi_group_norm_apply(ops, &vae->attention_norm, ws->a, pixels, ws->b);
    zi_linear(ops, ws->b, pixels, &vae->q, vae->q_bias, ws->c);
    zi_linear(ops, ws->b, pixels, &vae->k, vae->k_bias, k);
    zi_linear(ops, ws->b, pixels, &vae->v, vae->v_bias, v);
    zi_attention(ops, &(zi_attention_args){.q = ws->c,
                                           .k = k,
                                           .v = v,
                                           .out = ws->b,
                                           .T = pixels,
                                           .S = pixels,
                                           .heads = 1,
                                           .kv_heads = 1,
                                           .dim = C});
    zi_linear(ops, ws->b, pixels, &vae->o, vae->o_bias, ws->c);
    zi_add(ops, ws->a, ws->c, pixels * C);
    zi_run_tap(d->run, ws->a, pixels, C, "mid_attn");
}

static bool middle_forward(decoding *d, zi_error *error)
{
    if (!resnet_forward(d, &d->vae->middle[0], "vae mid_block.resnets.0", error)) return false;
    middle_attention(d);
    if (!resnet_forward(d, &d->vae->middle[1], "vae mid_block.resnets.1", error)) return false;
    zi_run_tap(d->run, d->ws.a, d->H * d->W, d->vae->q.rows, "mid_block");
    return true;
}

static bool up_blocks_forward(decoding *d, zi_error *error)
{
    const zi_vae_config *c = &d->vae->config;
    int per_block = c->layers_per_block + 1;
    for (int i = 0; i < c->blocks; i++) {
        for (int j = 0; j < per_block; j++) {
            char name[64];
            snprintf(name, sizeof name, "vae up_blocks.%d.resnets.%d", i, j);
            if (!resnet_forward(d, &d->vae->resnets[i * per_block + j], name, error)) return false;
        }
        if (i + 1 < c->blocks) {
            const zi_conv *conv = &d->vae->upsample[i];
            zi_upsample_pad(d->run->ops, d->ws.a, d->H, d->W, conv->in, d->ws.padded);
            d->H *= 2;
            d->W *= 2;
            zi_conv3x3(d->run->ops, conv, d->ws.padded, d->H, d->W, d->ws.panels, d->ws.a);
        }
        zi_run_tap(d->run, d->ws.a, d->H * d->W, block_width(c, i), "up_blocks.%d", i);
    }
    return true;
}

/* ws.b [H, W, latent] = latents [latent, H, W] / scaling + shift */
static void unscale(const decoding *d, const float *latents)
{
    const zi_vae_config *c = &d->vae->config;
    size_t pixels = d->H * d->W, channels = (size_t)c->latent;
    for (size_t p = 0; p < pixels; p++)
        for (size_t i = 0; i < channels; i++)
            d->ws.b[p * channels + i] = latents[i * pixels + p] / c->scaling + c->shift;
}

bool zi_vae_decode(const zi_run *run, const zi_vae *vae, const float *latents, size_t height,
                   size_t width, float *image, zi_error *error)
{
    const zi_vae_config *c = &vae->config;
    size_t mark = zi_arena_mark(run->arena);
    decoding d = {.run = run,
                  .vae = vae,
                  .ws = take(run->arena, measure(run->ops, vae, height, width)),
                  .H = height,
                  .W = width,
                  .total = c->blocks * (c->layers_per_block + 1) + 2};
    unscale(&d, latents);
    zi_pad(run->ops, d.ws.b, d.H, d.W, (size_t)c->latent, d.ws.padded);
    zi_conv3x3(run->ops, &vae->conv_in, d.ws.padded, d.H, d.W, d.ws.panels, d.ws.a);
    zi_run_tap(run, d.ws.a, d.H * d.W, vae->conv_in.out, "conv_in");
    bool ok = middle_forward(&d, error) && up_blocks_forward(&d, error);
    if (ok) {
        zi_group_norm_silu_pad(run->ops, &vae->norm_out, d.ws.a, d.H, d.W, d.ws.padded);
        zi_conv3x3(run->ops, &vae->conv_out, d.ws.padded, d.H, d.W, d.ws.panels, d.ws.b);
        for (size_t p = 0; p < d.H * d.W; p++)
            for (size_t i = 0; i < 3; i++) image[i * d.H * d.W + p] = d.ws.b[p * 3 + i];
    }
    zi_arena_reset(run->arena, mark);
    return ok;
}
