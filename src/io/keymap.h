/* Maps tensor names between layouts: from the names stored in any supported file to canonical
 * names, and from canonical names to those of a layout to write. Canonical names are those of
 * diffusers
 * ("layers.0.attention.to_q.weight", "model.layers.0.mlp.up_proj.weight",
 * "decoder.up_blocks.0.resnets.1.conv1.bias"). */
#ifndef ZI_IO_KEYMAP_H
#define ZI_IO_KEYMAP_H

#include "zimage_models.h"
#include "base/error.h"

#include <stddef.h>

enum { ZI_MAX_KEY = 256, ZI_MAX_FUSED = 3 };

/* The first three zi_component values have weights: transformer, text encoder and VAE. */
enum { ZI_WEIGHT_COMPONENTS = ZI_COMPONENT_VAE + 1 };

/* Naming schemes of tensors. ComfyUI: the names of Z-Image's reference code, and LDM's for the VAE,
 * without prefix. MLX: the names of the Z-Image port to MLX. GGUF: llama.cpp's for the text
 * encoder, ComfyUI's for the others. */
typedef enum {
    ZI_NAMES_DIFFUSERS,
    ZI_NAMES_COMFYUI,
    ZI_NAMES_MLX,
    ZI_NAMES_MFLUX,
    ZI_NAMES_GGUF,
    ZI_NAMINGS
} zi_naming;

/* The kind of a canonical tensor, which determines its shape in each layout. */
typedef enum {
    ZI_TENSOR_VECTOR,  /* [n] */
    ZI_TENSOR_ROW,     /* [1, n]; GGUF writers may drop the 1 */
    ZI_TENSOR_MATRIX,  /* [out, in] */
    ZI_TENSOR_CONV1X1, /* [out, in]; [out, in, 1, 1] in LDM's VAE */
    ZI_TENSOR_CONV     /* [out, in, h, w]; [out, h, w, in] in MLX */
} zi_tensor_kind;

/* The role of a stored tensor for the canonical tensor of its name. */
typedef enum {
    ZI_ROLE_WEIGHT,       /* the weight itself */
    ZI_ROLE_GROUP_SCALES, /* scales of MLX groups */
    ZI_ROLE_GROUP_BIASES, /* biases of MLX groups */
    ZI_ROLE_SCALE, /* scales of ComfyUI's formats: weight_scale, or scale_weight in old files */
    ZI_ROLE_TENSOR_SCALE, /* weight_scale_2 of NVFP4: a factor of all its scales */
    ZI_ROLE_FORMAT,       /* comfy_quant: JSON that names the quantization format */
    ZI_ROLE_UNUSED        /* not used in computation: tied lm_head, norm_final, input scales */
} zi_tensor_role;

typedef struct {
    zi_component component;
    zi_tensor_role role;
    zi_tensor_kind kind;
    zi_naming naming;  /* the first naming that has this stored name */
    bool prefixed;     /* the name has a component prefix, as in files of several components */
    int slice, slices; /* the tensor is slice (from 0) of `slices` equal parts of the stored rows;
                          0 of 1 unless it is fused with others */
    char name[ZI_MAX_KEY]; /* canonical; empty for ZI_ROLE_UNUSED */
} zi_key;

/* Depth of a VAE, needed to translate indices in its names: LDM numbers the decoder's blocks in
 * reverse, and MLX numbers up- and downsamplers after the resnets of their block. */
typedef struct {
    int blocks; /* up blocks */
    int layers; /* resnets per down block; an up block has one more */
} zi_vae_depth;

/* Raises the depth to what a stored name implies; names of other components change nothing. Begins
 * as {0}; call it for all names of a file. */
void zi_vae_depth_update(zi_vae_depth *depth, const char *name);

/* Parses a stored name of any layout, with or without wrappers (key_wrappers.h) and a component's
 * prefix, as the first component's that has it. Sets one key (also for an unused tensor), or three
 * for a fused one (q, k and v), and returns their number; 0: the name is none of Z-Image's, and
 * keys may be changed. depth (not NULL) must have seen all names of the file. */
int zi_key_parse(const char *stored, const zi_vae_depth *depth, zi_key keys[ZI_MAX_FUSED]);

/* Parses the name, without prefix, of a language model's output head (lm_head.* or GGUF's
 * output.*), which zi_key_parse reports as unused. The key's component is the text encoder, and its
 * canonical name lm_head.weight, also for companions. False: another tensor; *key is unchanged. */
bool zi_key_parse_lm_head(const char *stored, zi_key *key);

/* The name of a tensor in a layout, without prefix. slice and slices: as in zi_key. */
typedef struct {
    zi_component component;
    zi_tensor_kind kind;
    int slice, slices;
    char name[ZI_MAX_KEY];
} zi_stored_name;

/* Finds the name that a naming has for a canonical tensor, or for its companion of another role;
 * for a slice, that of the fused tensor. depth: of the VAE. False: the name is not canonical, the
 * role has no stored name, or it does not fit; *out may be changed, and no error is set. */
bool zi_key_format(zi_naming naming, const char *canonical, zi_tensor_role role,
                   const zi_vae_depth *depth, zi_stored_name *out);

enum { ZI_PAD_TOKENS = 2 };

/* Canonical names of the transformer's pad tokens, which some converters lose. */
extern const char *const zi_pad_tokens[ZI_PAD_TOKENS];

/* Whether the canonical name is that of a pad token. */
bool zi_is_pad_token(const char *canonical);

/* Returns the prefix, with its closing dot, of a component's names in ComfyUI files that hold
 * several components; a constant. Only for the components with weights (ZI_WEIGHT_COMPONENTS). */
const char *zi_key_prefix(zi_component component);

/* Returns "transformer", "text encoder" or "VAE", for messages; a constant. Only for the components
 * with weights (ZI_WEIGHT_COMPONENTS). */
const char *zi_component_title(zi_component component);

/* The unsupported quantization format that a tensor's name reveals by its suffix, a constant such
 * as "NVFP4"; NULL: none. */
const char *zi_key_unsupported_format(const char *stored);

#endif
