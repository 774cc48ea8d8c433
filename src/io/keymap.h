/* The names that tensors have in the files people use, both ways: one table for transformer, text
 * encoder and VAE. Canonical names are those of the diffusers folder
 * ("layers.0.attention.to_q.weight", "model.layers.0.mlp.up_proj.weight",
 * "decoder.up_blocks.0.resnets.1.conv1.bias"). */
#ifndef ZI_IO_KEYMAP_H
#define ZI_IO_KEYMAP_H

#include "base/error.h"

#include <stddef.h>

enum { ZI_MAX_KEY = 256, ZI_MAX_FUSED = 3 };

/* The first three zi_component values have weights: transformer, text encoder and VAE. */
enum { ZI_WEIGHT_COMPONENTS = ZI_COMPONENT_VAE + 1 };

/* Whose names. ComfyUI: the names of the model's own code, LDM's for the VAE, without prefix. MLX:
 * the seed repository's. GGUF: llama.cpp's for the text encoder, ComfyUI's for the rest. */
typedef enum {
    ZI_NAMES_DIFFUSERS,
    ZI_NAMES_COMFYUI,
    ZI_NAMES_MLX,
    ZI_NAMES_MFLUX,
    ZI_NAMES_GGUF,
    ZI_NAMINGS
} zi_naming;

/* What a canonical tensor is, which says how layouts shape it. */
typedef enum {
    ZI_TENSOR_VECTOR,  /* [n] */
    ZI_TENSOR_ROW,     /* [1, n]; GGUF writers may drop the 1 */
    ZI_TENSOR_MATRIX,  /* [out, in] */
    ZI_TENSOR_CONV1X1, /* [out, in]; [out, in, 1, 1] in LDM's VAE */
    ZI_TENSOR_CONV     /* [out, in, h, w]; [out, h, w, in] in MLX */
} zi_kind;

/* What a stored tensor is to the canonical one. */
typedef enum {
    ZI_ROLE_WEIGHT,
    ZI_ROLE_GROUP_SCALES, /* of MLX's groups */
    ZI_ROLE_GROUP_BIASES, /* of MLX's groups */
    ZI_ROLE_SCALE,        /* weight_scale of fp8 and int8, scale_weight of old */
    ZI_ROLE_FORMAT,       /* comfy_quant: JSON that names the format */
    ZI_ROLE_UNUSED /* nothing that computing needs: tied lm_head, norm_final, scales of inputs */
} zi_tensor_role;

typedef struct {
    zi_component component;
    zi_tensor_role role;
    zi_kind kind;
    zi_naming naming;  /* the first one that spells it so */
    bool prefixed;     /* as in a file of several parts */
    int slice, slices; /* which of how many equal parts of the stored rows: 0 of 1, unless fused */
    char name[ZI_MAX_KEY]; /* canonical; empty for what stands for no tensor */
} zi_key;

/* What the numbers in a VAE's names depend on: LDM counts the decoder's blocks from the other end,
 * and MLX counts up- and downsamplers on from the resnets before them. */
typedef struct {
    int blocks; /* up blocks */
    int layers; /* resnets in a down block; an up block has one more */
} zi_vae_depth;

/* Grows a form that began as {0} by a name of any layout. Show it all names of a VAE. */
void zi_vae_depth_update(zi_vae_depth *depth, const char *name);

/* What a stored name stands for: one key, or one for each part of a fused tensor. Returns how many;
 * 0 for a name that is not part of the model. */
int zi_key_parse(const char *stored, const zi_vae_depth *depth, zi_key keys[ZI_MAX_FUSED]);

/* The same for the output head of a language model, which is needless in an image model: canonical
 * names are lm_head.weight and those of its companions. */
bool zi_key_parse_lm_head(const char *stored, zi_key *key);

/* The name that a layout has for a canonical tensor or its companion, without prefix. slice and
 * slices: which rows of it, when the layout fuses it with others. */
typedef struct {
    zi_component component;
    zi_kind kind;
    int slice, slices;
    char name[ZI_MAX_KEY];
} zi_stored_name;

/* Returns false for a name that is not canonical and for a role that has no name of its own. */
bool zi_key_format(zi_naming naming, const char *canonical, zi_tensor_role role,
                   const zi_vae_depth *depth, zi_stored_name *out);

/* What ComfyUI writes before a part's names in a file of all parts. */
const char *zi_key_prefix(zi_component component);

/* "transformer", "text encoder", "VAE" */
const char *zi_component_title(zi_component component);

/* A format of quantized weights that is not supported, told by the end of a tensor's name; NULL for
 * other names. */
const char *zi_key_unsupported_format(const char *stored);

#endif
