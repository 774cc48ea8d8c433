#include "model/vae.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#define EPS 1e-6f

enum { IMAGE = 3 }; /* channels of the image */

/* ---- binding ---- */

/* Sizes of a module: input and output channels. */
enum { IN, OUT, SIZES };

#define RESNET(field) offsetof(zi_resnet, field)
static const zi_slot resnet_slots[] = {
    {"norm1.weight", ZI_SLOT_VECTOR, IN, 0, RESNET(norm1.weight)},
    {"norm1.bias", ZI_SLOT_VECTOR, IN, 0, RESNET(norm1.bias)},
    {"conv1.weight", ZI_SLOT_CONV3, OUT, IN, RESNET(conv1)},
    {"conv1.bias", ZI_SLOT_VECTOR, OUT, 0, RESNET(conv1_bias)},
    {"norm2.weight", ZI_SLOT_VECTOR, OUT, 0, RESNET(norm2.weight)},
    {"norm2.bias", ZI_SLOT_VECTOR, OUT, 0, RESNET(norm2.bias)},
    {"conv2.weight", ZI_SLOT_CONV3, OUT, OUT, RESNET(conv2)},
    {"conv2.bias", ZI_SLOT_VECTOR, OUT, 0, RESNET(conv2_bias)},
    {0}};
static const zi_slot shortcut_slots[] = {
    {"conv_shortcut.weight", ZI_SLOT_CONV1, OUT, IN, RESNET(shortcut)},
    {"conv_shortcut.bias", ZI_SLOT_VECTOR, OUT, 0, RESNET(shortcut_bias)},
    {0}};

#define VAE(field) offsetof(zi_vae, field)
static const zi_slot attention_slots[] = {
    {"group_norm.weight", ZI_SLOT_VECTOR, OUT, 0, VAE(attention_norm.weight)},
    {"group_norm.bias", ZI_SLOT_VECTOR, OUT, 0, VAE(attention_norm.bias)},
    {"to_q.weight", ZI_SLOT_MATRIX, OUT, IN, VAE(q)},
    {"to_q.bias", ZI_SLOT_VECTOR, OUT, 0, VAE(q_bias)},
    {"to_k.weight", ZI_SLOT_MATRIX, OUT, IN, VAE(k)},
    {"to_k.bias", ZI_SLOT_VECTOR, OUT, 0, VAE(k_bias)},
    {"to_v.weight", ZI_SLOT_MATRIX, OUT, IN, VAE(v)},
    {"to_v.bias", ZI_SLOT_VECTOR, OUT, 0, VAE(v_bias)},
    {"to_out.0.weight", ZI_SLOT_MATRIX, OUT, IN, VAE(o)},
    {"to_out.0.bias", ZI_SLOT_VECTOR, OUT, 0, VAE(o_bias)},
    {0}};
static const zi_slot first_slots[] = {
    {"decoder.conv_in.weight", ZI_SLOT_CONV3, OUT, IN, VAE(conv_in)},
    {"decoder.conv_in.bias", ZI_SLOT_VECTOR, OUT, 0, VAE(conv_in_bias)},
    {0}};
static const zi_slot last_slots[] = {
    {"decoder.conv_norm_out.weight", ZI_SLOT_VECTOR, IN, 0, VAE(norm_out.weight)},
    {"decoder.conv_norm_out.bias", ZI_SLOT_VECTOR, IN, 0, VAE(norm_out.bias)},
    {"decoder.conv_out.weight", ZI_SLOT_CONV3, OUT, IN, VAE(conv_out)},
    {"decoder.conv_out.bias", ZI_SLOT_VECTOR, OUT, 0, VAE(conv_out_bias)},
    {0}};

/* Offsets are relative to an element of zi_vae.upsample. */
static const zi_slot upsample_slots[] = {
    {"upsamplers.0.conv.weight", ZI_SLOT_CONV3, OUT, IN, VAE(upsample[0].conv) - VAE(upsample)},
    {"upsamplers.0.conv.bias", ZI_SLOT_VECTOR, OUT, 0, VAE(upsample[0].bias) - VAE(upsample)},
    {0}};

/* Makes *r a resnet of `in` to `out` channels and binds its weights, with a shortcut if they
 * differ. A failure sets w->failed. */
static void bind_resnet(zi_weights *w, const zi_vae_config *c, size_t in, size_t out,
                        const char *prefix, zi_resnet *r)
{
    const size_t sizes[SIZES] = {in, out}, groups = (size_t)c->groups;
    *r = (zi_resnet){.in = in, .out = out, .norm1 = {.groups = groups, .eps = EPS}};
    r->norm2 = r->norm1;
    zi_weights_bind(w, prefix, resnet_slots, sizes, r);
    if (in != out) zi_weights_bind(w, prefix, shortcut_slots, sizes, r);
}

/* Binds the two resnets and the attention of the middle block, which has this number of channels. A
 * failure sets w->failed. */
static void bind_middle(zi_vae *vae, zi_weights *w, size_t channels)
{
    const size_t sizes[SIZES] = {channels, channels};
    bind_resnet(w, &vae->config, channels, channels, "decoder.mid_block.resnets.0.",
                &vae->middle[0]);
    bind_resnet(w, &vae->config, channels, channels, "decoder.mid_block.resnets.1.",
                &vae->middle[1]);
    vae->attention_norm = (zi_group_norm){.groups = (size_t)vae->config.groups, .eps = EPS};
    zi_weights_bind(w, "decoder.mid_block.attentions.0.", attention_slots, sizes, vae);
}

/* Output channels of up block i, from 0: the config's list in reverse. */
static size_t block_width(const zi_vae_config *c, int i)
{
    return (size_t)c->channels[c->blocks - 1 - i];
}

/* Binds the resnets of all up blocks to vae->resnets, which is allocated, and the upsamplers behind
 * all blocks but the last. A failure sets w->failed. */
static void bind_up_blocks(zi_vae *vae, zi_weights *w)
{
    const zi_vae_config *c = &vae->config;
    char prefix[64];
    size_t in = block_width(c, 0);
    int per_block = c->layers_per_block + 1;
    for (int i = 0; i < c->blocks; i++) {
        size_t out = block_width(c, i);
        const size_t sizes[SIZES] = {out, out};
        for (int j = 0; j < per_block; j++) {
            snprintf(prefix, sizeof prefix, "decoder.up_blocks.%d.resnets.%d.", i, j);
            bind_resnet(w, c, j ? out : in, out, prefix, &vae->resnets[i * per_block + j]);
        }
        snprintf(prefix, sizeof prefix, "decoder.up_blocks.%d.", i);
        if (i + 1 < c->blocks) zi_weights_bind(w, prefix, upsample_slots, sizes, &vae->upsample[i]);
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
    size_t first = block_width(config, 0), last = block_width(config, config->blocks - 1);
    vae.norm_out = (zi_group_norm){.groups = (size_t)config->groups, .eps = EPS};
    zi_weights_bind(w, "", first_slots, (size_t[SIZES]){(size_t)config->latent, first}, &vae);
    bind_middle(&vae, w, first);
    bind_up_blocks(&vae, w);
    zi_weights_bind(w, "", last_slots, (size_t[SIZES]){last, IMAGE}, &vae);
    zi_weights_ignore(w, "encoder.");
    if (w->failed || !zi_weights_end_binding(w, error)) {
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

/* Bytes of a resnet's weights. */
static size_t resnet_bytes(const zi_resnet *r)
{
    return zi_weights_bytes(resnet_slots, r) + zi_weights_bytes(shortcut_slots, r);
}

size_t zi_vae_layer_bytes(const zi_vae *vae)
{
    const zi_vae_config *c = &vae->config;
    size_t most = resnet_bytes(&vae->middle[0]), upsample = 0;
    for (int i = 0; i < c->blocks * (c->layers_per_block + 1); i++) {
        size_t bytes = resnet_bytes(&vae->resnets[i]);
        if (bytes > most) most = bytes;
    }
    for (int i = 0; i + 1 < c->blocks; i++) {
        size_t bytes = zi_weights_bytes(upsample_slots, &vae->upsample[i]);
        if (bytes > upsample) upsample = bytes;
    }
    return most + upsample + zi_weights_bytes(attention_slots, vae) +
           zi_weights_bytes(first_slots, vae) + zi_weights_bytes(last_slots, vae);
}

/* ---- scratch memory ----
 *
 * All feature maps share one scratch buffer, not much larger than the largest of them. Each up
 * block has a slot at the end of the buffer. A row of the slot holds one row of the feature map x,
 * followed by one row of the hidden feature map h between the two convolutions of a resnet. A
 * shortcut is computed together with h, and both overwrite x row by row. An upsampled feature map
 * begins before the smaller one and overwrites it as it is read. The memory in front of the slot is
 * workspace of the convolutions. */

/* Raises *max to value if that is larger. */
static void raise_max(size_t *max, size_t value)
{
    if (value > *max) *max = value;
}

/* A slot for feature maps of height x width pixels; rows are `stride` floats apart. */
typedef struct {
    size_t height, width, stride;
} map_slot;

/* The slot of up block i: twice as high and wide as `before`, the slot of block i - 1; for block 0
 * of the latents' size, which is passed as `before`. A row of pixels, of stride floats, has room
 * for the block's input, or its feature maps x and h side by side, or the image. */
static map_slot block_slot(const zi_vae_config *c, int i, const map_slot *before)
{
    size_t in = block_width(c, i ? i - 1 : 0), out = block_width(c, i);
    map_slot p = {before->height * 2, before->width * 2, (before->stride + 1) / 2};
    if (i == 0) p = (map_slot){before->height, before->width, 0};
    raise_max(&p.stride, p.width * in);
    raise_max(&p.stride, p.width * out * 2);
    raise_max(&p.stride, p.width * IMAGE);
    return p;
}

/* Floats of a slot: its rows, each with its stride. */
static size_t slot_size(const map_slot *p)
{
    return p->height * p->stride;
}

/* Raises *max to the floats that p, the slot of the result, takes together with the workspace of a
 * convolution of `in` to `out` channels into it. shortcut: it has a shortcut. doubled: it upsamples
 * by 2 and has no norm; others have one. */
static void raise_for_conv(size_t *max, const zi_exec *exec, const map_slot *p, size_t in,
                           size_t out, bool shortcut, bool doubled)
{
    static const zi_group_norm norm;
    size_t times = doubled ? 2 : 1;
    zi_weight weight = {.data = {.rows = out, .columns = 9 * in}};
    zi_weight side = {.data = {.rows = out, .columns = in}};
    zi_conv3x3_args args = {.weight = &weight,
                            .x = {{.rows = p->height / times}, p->width / times, in},
                            .doubled = doubled,
                            .norm = doubled ? NULL : &norm,
                            .y = {{.rows = p->height}, p->width, out},
                            .shortcut = shortcut ? &side : NULL};
    raise_max(max, slot_size(p) + zi_conv3x3_workspace(exec, &args) / sizeof(float));
}

/* Floats of scratch memory, moments not included, that decoding H x W latent pixels needs. */
static size_t scratch_floats(const zi_exec *exec, const zi_vae *vae, size_t H, size_t W)
{
    const zi_vae_config *c = &vae->config;
    size_t max = 0, in = block_width(c, 0), latent = (size_t)c->latent;
    map_slot p = block_slot(c, 0, &(map_slot){H, W, 0});
    raise_for_conv(&max, exec, &p, latent, in, false, false);
    max += H * W * latent;
    raise_for_conv(&max, exec, &p, in, in, false, false);
    raise_max(&max, slot_size(&p) + 4 * H * W * in); /* the middle attention */
    for (int i = 0; i < c->blocks; i++) {
        size_t out = block_width(c, i);
        if (i) p = block_slot(c, i, &p);
        if (i) raise_for_conv(&max, exec, &p, in, in, false, true);
        raise_for_conv(&max, exec, &p, in, out, in != out, false);
        raise_for_conv(&max, exec, &p, out, out, false, false);
        in = out;
    }
    raise_for_conv(&max, exec, &p, in, IMAGE, false, false);
    return max;
}

/* State of one decoding. */
typedef struct {
    const zi_run *run;
    const zi_vae *vae;
    zi_view scratch; /* [1, floats] */
    map_slot slot;   /* of the current block */
    zi_view moments; /* of the feature map written last, x or h, for the next group norm */
    int done, total; /* resnets, for progress */
} decoder;

/* Takes d->scratch, of `size` floats, and d->moments from the arena; sets nothing else of *d. */
static void reserve_scratch(decoder *d, zi_arena *arena, size_t size)
{
    d->scratch = zi_arena_floats(arena, 1, size);
    d->moments = zi_arena_take(arena, ZI_U8, ZI_MAX_CHANNELS, ZI_MOMENTS);
}

void zi_vae_reserve(const zi_exec *exec, const zi_vae *vae, size_t height, size_t width,
                    zi_arena *arena)
{
    size_t mark = zi_arena_mark(arena);
    decoder d;
    reserve_scratch(&d, arena, scratch_floats(exec, vae, height, width));
    zi_arena_reset(arena, mark);
}

/* A contiguous view [rows, columns] of the scratch memory from float `first` on. */
static zi_view scratch_view(const decoder *d, size_t first, size_t rows, size_t columns)
{
    return zi_view_reshape(zi_view_columns(d->scratch, first, rows * columns), rows, columns);
}

/* The feature map x in the current slot, as one of this number of channels. Copies nothing. */
static zi_feature_map feature_map(const decoder *d, size_t channels)
{
    const map_slot *p = &d->slot;
    zi_view view = scratch_view(d, d->scratch.columns - slot_size(p), p->height, p->stride);
    return (zi_feature_map){zi_view_columns(view, 0, p->width * channels), p->width, channels};
}

/* The feature map h of this number of channels in the current slot: in every row it lies behind an
 * x of as many channels. Copies nothing. */
static zi_feature_map hidden_map(const decoder *d, size_t channels)
{
    zi_feature_map h = feature_map(d, 2 * channels);
    h.view = zi_view_columns(h.view, h.width * channels, h.width * channels);
    h.channels = channels;
    return h;
}

/* Runs a convolution with these arguments, to which it adds moments and workspace; d->moments are
 * those of the input and become those of the result. The workspace is the scratch memory from float
 * `used` on, of which the convolution uses only what lies in front of the slot. */
static void convolve(const decoder *d, zi_conv3x3_args args, size_t used)
{
    args.moments = d->moments;
    args.workspace = zi_view_columns(d->scratch, used, d->scratch.columns - used);
    args.workspace.type = ZI_U8;
    args.workspace.columns *= sizeof(float);
    zi_conv3x3(d->run->exec, &args);
}

/* ---- taps ---- */

/* Passes x, of this number of channels, to the tap, one row per pixel. */
static void tap_feature_map(const decoder *d, size_t channels, const char *name)
{
    zi_feature_map x = feature_map(d, channels);
    zi_run_tap_map(d->run, &x, name);
}

/* To be called after a resnet: passes x to the tap, has it checked for values that are not finite
 * (by its moments), submits the operations and reports progress. Fails as zi_run_progress does.
 * name: of the resnet, for tap and errors. */
static bool finish_resnet(decoder *d, size_t channels, const char *name, zi_error *error)
{
    tap_feature_map(d, channels, name);
    d->done++;
    zi_check_moments(d->run->exec, d->moments, channels, name);
    return zi_run_progress(d->run, (double)d->done / d->total, error);
}

/* ---- stages ---- */

/* Runs a resnet over x in the current slot, in place; x may change its number of channels. Uses and
 * updates d->moments. Then finish_resnet, whose result it returns. */
static bool resnet_forward(decoder *d, const zi_resnet *r, const char *name, zi_error *error)
{
    zi_feature_map x = feature_map(d, r->in), sum = feature_map(d, r->out),
                   h = hidden_map(d, r->out);
    convolve(d,
             (zi_conv3x3_args){.weight = r->conv1,
                               .bias = r->conv1_bias,
                               .x = x,
                               .norm = &r->norm1,
                               .y = h,
                               .shortcut = r->shortcut,
                               .shortcut_bias = r->shortcut_bias,
                               .side = sum},
             0);
    convolve(d,
             (zi_conv3x3_args){.weight = r->conv2,
                               .bias = r->conv2_bias,
                               .x = h,
                               .norm = &r->norm2,
                               .y = sum,
                               .add = true},
             0);
    return finish_resnet(d, r->out, name, error);
}

/* Single-head attention of group-normed x over all latent pixels, added to x in place; updates
 * d->moments. Uses the scratch memory in front of the slot. */
static void middle_attention(decoder *d)
{
    const zi_vae *vae = d->vae;
    zi_exec *exec = d->run->exec;
    size_t C = vae->q->data.rows, pixels = d->slot.height * d->slot.width;
    zi_feature_map x = feature_map(d, C);
    zi_view a = scratch_view(d, 0, pixels, C), q = scratch_view(d, pixels * C, pixels, C);
    zi_view k = scratch_view(d, 2 * pixels * C, pixels, C),
            v = scratch_view(d, 3 * pixels * C, pixels, C);
    zi_group_norm_apply(exec, &vae->attention_norm, d->moments, &x, a);
    zi_linear(exec, a, vae->q, vae->q_bias, q);
    zi_linear(exec, a, vae->k, vae->k_bias, k);
    zi_linear(exec, a, vae->v, vae->v_bias, v);
    zi_attention(exec, &(zi_attention_args){
                           .q = q, .k = k, .v = v, .out = a, .heads = 1, .kv_heads = 1, .dim = C});
    zi_linear(exec, a, vae->o, vae->o_bias, q);
    zi_add(exec, x.view, zi_view_reshape(q, d->slot.height, d->slot.width * C));
    zi_moments(exec, &x, d->moments);
    tap_feature_map(d, C, "mid_attn");
}

/* Runs the middle block (resnet, attention, resnet) over x in place. Fails as finish_resnet does.
 */
static bool middle_forward(decoder *d, zi_error *error)
{
    if (!resnet_forward(d, &d->vae->middle[0], "vae mid_block.resnets.0", error)) return false;
    middle_attention(d);
    if (!resnet_forward(d, &d->vae->middle[1], "vae mid_block.resnets.1", error)) return false;
    tap_feature_map(d, d->vae->q->data.rows, "mid_block");
    return true;
}

/* Upsamples x by 2, with convolution i - 1, into the slot of up block i (1 or more), which becomes
 * the current slot. */
static void upsample_block(decoder *d, int i)
{
    const zi_weight *conv = d->vae->upsample[i - 1].conv;
    size_t channels = conv->data.rows;
    zi_feature_map x = feature_map(d, channels);
    d->slot = block_slot(&d->vae->config, i, &d->slot);
    convolve(d,
             (zi_conv3x3_args){.weight = conv,
                               .bias = d->vae->upsample[i - 1].bias,
                               .x = x,
                               .doubled = true,
                               .y = feature_map(d, channels)},
             0);
}

/* Runs all up blocks: resnets in place and, but for the last block, the upsampling into the next
 * slot. Fails as finish_resnet does. */
static bool up_blocks_forward(decoder *d, zi_error *error)
{
    const zi_vae_config *c = &d->vae->config;
    int per_block = c->layers_per_block + 1;
    char name[64];
    for (int i = 0; i < c->blocks; i++) {
        for (int j = 0; j < per_block; j++) {
            snprintf(name, sizeof name, "vae up_blocks.%d.resnets.%d", i, j);
            if (!resnet_forward(d, &d->vae->resnets[i * per_block + j], name, error)) return false;
        }
        if (i + 1 < c->blocks) upsample_block(d, i + 1);
        snprintf(name, sizeof name, "up_blocks.%d", i);
        tap_feature_map(d, block_width(c, i), name);
    }
    return true;
}

/* Writes latents [latent, H * W] / scaling + shift, channels innermost, to the start of the scratch
 * memory and runs conv_in on them, into x in the current slot and its d->moments. latents stay
 * unchanged. */
static void run_conv_in(decoder *d, zi_view latents)
{
    const zi_vae_config *c = &d->vae->config;
    zi_exec *exec = d->run->exec;
    size_t H = d->slot.height, W = d->slot.width, n = (size_t)c->latent, first = block_width(c, 0);
    zi_view pixels = scratch_view(d, 0, H * W, n);
    zi_permute(exec, &(zi_permute_args){.from = latents,
                                        .to = pixels,
                                        .dims = 2,
                                        .extents = {H * W, n},
                                        .from_strides = {1, H * W},
                                        .to_strides = {n, 1}});
    zi_divide_add(exec, pixels, c->scaling, c->shift);
    convolve(d,
             (zi_conv3x3_args){.weight = d->vae->conv_in,
                               .bias = d->vae->conv_in_bias,
                               .x = {zi_view_reshape(pixels, H, W * n), W, n},
                               .y = feature_map(d, first)},
             H * W * n);
    tap_feature_map(d, first, "conv_in");
}

/* Runs group norm and conv_out over x, in place, copies the result to image [3, H * W], and has it
 * checked for values that are not finite. Submits nothing. */
static void run_conv_out(decoder *d, zi_view image)
{
    size_t H = d->slot.height, W = d->slot.width;
    size_t last = block_width(&d->vae->config, d->vae->config.blocks - 1);
    zi_feature_map y = feature_map(d, IMAGE);
    convolve(d,
             (zi_conv3x3_args){.weight = d->vae->conv_out,
                               .bias = d->vae->conv_out_bias,
                               .x = feature_map(d, last),
                               .norm = &d->vae->norm_out,
                               .y = y},
             0);
    zi_permute(d->run->exec, &(zi_permute_args){.from = y.view,
                                                .to = image,
                                                .dims = 3,
                                                .extents = {IMAGE, H, W},
                                                .from_strides = {1, y.view.stride, IMAGE},
                                                .to_strides = {H * W, W, 1}});
    zi_check_finite(d->run->exec, image, "vae conv_out");
}

bool zi_vae_decode(const zi_run *run, const zi_vae *vae, zi_view latents, size_t height,
                   size_t width, zi_view image, zi_error *error)
{
    const zi_vae_config *c = &vae->config;
    size_t mark = zi_arena_mark(run->arena);
    decoder d = {.run = run,
                 .vae = vae,
                 .slot = block_slot(c, 0, &(map_slot){height, width, 0}),
                 .total = c->blocks * (c->layers_per_block + 1) + 2};
    reserve_scratch(&d, run->arena, scratch_floats(run->exec, vae, height, width));
    run_conv_in(&d, latents);
    bool ok = middle_forward(&d, error) && up_blocks_forward(&d, error);
    if (ok) run_conv_out(&d, image);
    zi_arena_reset(run->arena, mark);
    return ok;
}
