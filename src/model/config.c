#include "model/config.h"
#include "backend/backend.h"
#include "io/json.h"
#include "io/layout.h"
#include "model/config_fields.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_CONFIG = 1 << 20, MAX_WIDTH = 65536, MAX_LAYERS = 512 };
enum { TEXT_ENCODER_THETA = 1000000 }; /* rope_theta of Qwen3-4B, where a config has none */

/* Fails with ZI_ERROR_UNSUPPORTED unless the string field has the value wanted, and with
 * ZI_ERROR_BAD_FORMAT if it is missing or no string. */
static bool check_class_field(const char *path, const cJSON *json, const char *field,
                              const char *wanted, zi_error *error)
{
    const char *name;
    if (!zi_json_string(path, json, field, &name, error)) return false;
    if (strcmp(name, wanted) == 0) return true;
    return zi_error_set_in(
        error, ZI_ERROR_UNSUPPORTED, path, field,
        "\"%s\" is %.60s, but only %s is supported; use the file of a Z-Image model", field, name,
        wanted);
}

/* Reads quantization.group_size of an MLX config; *out is 0 when it is absent. Fails unless it is
 * one that the mode (affine if it is absent) has; *out may then have changed. */
static bool read_mlx_group_size(const char *path, const cJSON *json, size_t *out, zi_error *error)
{
    static const struct {
        const char *name;
        int groups[3];
        const char *text;
    } modes[] = {{"affine", {32, 64, 128}, "32, 64 and 128 are"},
                 {"mxfp4", {32}, "32 is"},
                 {"mxfp8", {32}, "32 is"},
                 {"nvfp4", {16}, "16 is"}};
    enum { MODES = sizeof modes / sizeof *modes, GROUPS = sizeof modes->groups / sizeof(int) };
    const cJSON *quantization = zi_json_find(json, "quantization");
    const char *mode = modes[0].name;
    size_t m = 0;
    int group = 0;
    if (cJSON_IsObject(quantization) &&
        (!zi_json_string_or(path, quantization, "mode", mode, &mode, error) ||
         !zi_json_int_or(path, quantization, "group_size", 16, 128, 0, &group, error)))
        return false;
    while (m < MODES && strcmp(mode, modes[m].name) != 0) m++;
    if (m == MODES)
        return zi_error_set_in(
            error, ZI_ERROR_UNSUPPORTED, path, "mode",
            "\"mode\" of \"quantization\" is \"%.40s\", but only affine, mxfp4, mxfp8 and nvfp4 "
            "are supported; use another quantization of this model",
            mode);
    *out = (size_t)group;
    for (int i = 0; i < GROUPS; i++)
        if (!group || group == modes[m].groups[i]) return true;
    return zi_error_set_in(
        error, ZI_ERROR_UNSUPPORTED, path, "group_size",
        "\"group_size\" of \"quantization\" is %d, but only %s supported%s%s; use "
        "another quantization of this model",
        group, modes[m].text, m ? " in mode " : "", m ? modes[m].name : "");
}

/* Reads a text encoder's config.json into config->text, with qk_norm true, and its MLX group size
 * into config->group; biases and interleaved stay. Fails with ZI_ERROR_UNSUPPORTED if model_type is
 * there and not qwen3. */
static bool read_text_encoder(const char *path, const cJSON *json, zi_config *config,
                              zi_error *error)
{
    const char *type;
    if (!zi_json_string_or(path, json, "model_type", "qwen3", &type, error)) return false;
    if (strcmp(type, "qwen3") != 0)
        return zi_error_set_in(error, ZI_ERROR_UNSUPPORTED, path, "model_type",
                               "\"model_type\" is %.60s, but only qwen3 is supported as text "
                               "encoder; use the text encoder of Z-Image (Qwen3-4B)",
                               type);
    config->text.qk_norm = true;
    return zi_config_read_qwen(path, json, TEXT_ENCODER_THETA, &config->text, error) &&
           read_mlx_group_size(path, json, &config->group[ZI_COMPONENT_TEXT_ENCODER], error);
}

bool zi_config_read_qwen(const char *path, const cJSON *json, double theta, zi_qwen_config *out,
                         zi_error *error)
{
    double eps;
    if (!zi_json_int(path, json, "num_hidden_layers", 2, MAX_LAYERS, &out->layers, error) ||
        !zi_json_int(path, json, "hidden_size", 1, MAX_WIDTH, &out->hidden, error) ||
        !zi_json_int(path, json, "num_attention_heads", 1, 1024, &out->heads, error) ||
        !zi_json_int(path, json, "num_key_value_heads", 1, 1024, &out->kv_heads, error) ||
        !zi_json_int_or(path, json, "head_dim", 2, ZI_MAX_HEAD, out->hidden / out->heads,
                        &out->head_dim, error) ||
        !zi_json_int(path, json, "intermediate_size", 1, 1 << 20, &out->ffn, error) ||
        !zi_json_int(path, json, "vocab_size", 1, 1 << 24, &out->vocab, error) ||
        !zi_json_double(path, json, "rms_norm_eps", 0, 1, &eps, error) ||
        !zi_json_int_or(path, json, "max_position_embeddings", 1, 1 << 30, 1 << 30, &out->context,
                        error) ||
        !zi_config_check_fields(ZI_CONFIG_QWEN, path, json, error) ||
        !zi_config_read_rope_theta(path, json, theta, &out->rope_theta, error))
        return false;
    out->eps = (float)eps;
    return true;
}

bool zi_config_check_qwen(const char *path, const zi_qwen_config *config, zi_error *error)
{
    if (config->heads % config->kv_heads != 0)
        return zi_error_set(
            error, ZI_ERROR_BAD_FORMAT, path,
            "the number of attention heads (num_attention_heads), %d, is not a multiple of that of "
            "key/value heads (num_key_value_heads), %d; fetch the file again, or use another model",
            config->heads, config->kv_heads);
    if (config->head_dim < 2 || config->head_dim > ZI_MAX_HEAD || config->head_dim % 2 != 0)
        return zi_error_set(
            error, ZI_ERROR_BAD_FORMAT, path,
            "the width of a head (head_dim, or else hidden_size divided by num_attention_heads) is "
            "%d, but it must be even, from 2 to %d; fetch the file again, or use another model",
            config->head_dim, ZI_MAX_HEAD);
    return true;
}

/* Validates config->text as zi_config_check_qwen does and changes nothing; inferred is unused. The
 * check_* functions share a signature for the table in zi_config_check. */
static bool check_text_encoder(const char *path, bool inferred, zi_config *config, zi_error *error)
{
    (void)inferred;
    return zi_config_check_qwen(path, &config->text, error);
}

/* Reads a required list of exactly `count` integers in min..max into out [count], of which some may
 * be set after a failure. All else is ZI_ERROR_BAD_FORMAT. */
static bool read_ints(const char *path, const cJSON *json, const char *field, int count, int min,
                      int max, int *out, zi_error *error)
{
    const cJSON *list, *item;
    if (!zi_json_array(path, json, field, &list, error)) return false;
    int n = 0;
    cJSON_ArrayForEach(item, list)
    {
        if (n == count || !zi_json_is_int(item, min, max)) break;
        out[n++] = item->valueint;
    }
    if (n == count && !item) return true;
    return zi_error_set_in(error, ZI_ERROR_BAD_FORMAT, path, field,
                           "field \"%s\" must be a list (length: %d) of whole numbers from %d to "
                           "%d; fetch the file again, or use another Z-Image model",
                           field, count, min, max);
}

/* Sets c->axes to a head's width divided among the rope axes as Z-Image-Turbo does: 1/4 time, 3/8
 * y, 3/8 x. They add up to head only if it is a multiple of 8. */
static void set_default_axes(zi_transformer_config *c, int head)
{
    c->axes[0] = head / 4;
    c->axes[1] = c->axes[2] = head / 8 * 3;
}

/* Reports an invalid field, with a printf-like message: as ZI_ERROR_INCOMPLETE when the config was
 * inferred, since a reference model's config may fix it, else as ZI_ERROR_BAD_FORMAT. Returns
 * false. */
ZI_PRINTF(5, 6)
static bool fail_misfit(const char *where, bool inferred, const char *field, zi_error *error,
                        const char *format, ...)
{
    char what[200];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    return inferred ? zi_error_set_in(
                          error, ZI_ERROR_INCOMPLETE, where, "config",
                          "there is no config.json, and the usual values do not fit: %s; take the "
                          "config from a reference model (a complete Z-Image model)",
                          what)
                    : zi_error_set_in(error, ZI_ERROR_BAD_FORMAT, where, field,
                                      "%s; fetch the file again", what);
}

/* Sets head_dim, modulation and, when axes[0] is 0, axes of config->transformer; some may be set
 * after a failure. ZI_ERROR_BAD_FORMAT: heads do not divide dim; as fail_misfit: the axes are not
 * even, or do not add up to head_dim; ZI_ERROR_UNSUPPORTED: head_dim is above ZI_MAX_HEAD. */
static bool check_transformer(const char *path, bool inferred, zi_config *config, zi_error *error)
{
    zi_transformer_config *c = &config->transformer;
    if (c->dim % c->heads != 0)
        return zi_error_set(error, ZI_ERROR_BAD_FORMAT, path,
                            "the width (dim or hidden_size), %d, is not a multiple of the number "
                            "of heads (n_heads or num_attention_heads), %d; fetch the file again",
                            c->dim, c->heads);
    c->head_dim = c->dim / c->heads;
    c->modulation = c->dim < 256 ? c->dim : 256;
    if (!c->axes[0]) set_default_axes(c, c->head_dim);
    if (c->axes[0] % 2 || c->axes[1] % 2 || c->axes[2] % 2 ||
        c->axes[0] + c->axes[1] + c->axes[2] != c->head_dim)
        return fail_misfit(path, inferred, "axes_dims", error,
                           "\"axes_dims\" is %d, %d and %d, but these must be even and add up to "
                           "the width of a head, %d",
                           c->axes[0], c->axes[1], c->axes[2], c->head_dim);
    if (c->head_dim > ZI_MAX_HEAD)
        return zi_error_set(error, ZI_ERROR_UNSUPPORTED, path,
                            "the attention heads are %d wide (the width divided by the number of "
                            "heads), but at most %d is supported; use a Z-Image model",
                            c->head_dim, ZI_MAX_HEAD);
    return true;
}

/* Fields that diffusers and MLX name differently. */
enum { DIM, LAYERS, HEADS, CAPTION, NAMES };
static const char *const field_names[2][NAMES] = {
    {"dim", "n_layers", "n_heads", "cap_feat_dim"},
    {"hidden_size", "num_hidden_layers", "num_attention_heads", "text_embed_dim"},
};

/* Reads patch from a diffusers config and sets ffn to dim * 8 / 3, rounded down; c->dim and
 * c->heads are set. Fails with ZI_ERROR_BAD_FORMAT unless n_kv_heads equals heads, all_patch_size
 * is [2] and all_f_patch_size is [1]. */
static bool read_diffusers_fields(const char *path, const cJSON *json, zi_transformer_config *c,
                                  zi_error *error)
{
    int kv_heads, frames;
    if (!zi_json_int_or(path, json, "n_kv_heads", 1, 1024, c->heads, &kv_heads, error) ||
        !read_ints(path, json, "all_patch_size", 1, 2, 2, &c->patch, error) ||
        !read_ints(path, json, "all_f_patch_size", 1, 1, 1, &frames, error))
        return false;
    c->ffn = (int)(c->dim / 3.0 * 8.0);
    return kv_heads == c->heads ||
           zi_error_set_in(error, ZI_ERROR_BAD_FORMAT, path, "n_kv_heads",
                           "\"n_kv_heads\" is %d, but it must be the same as \"n_heads\", %d; "
                           "fetch the file again, or use another Z-Image model",
                           kv_heads, c->heads);
}

/* Reads patch and ffn, which MLX configs name differently, with the defaults 2 and dim * 8 / 3,
 * rounded down; c->dim is set. */
static bool read_mlx_fields(const char *path, const cJSON *json, zi_transformer_config *c,
                            zi_error *error)
{
    return zi_json_int_or(path, json, "patch_size", 2, 2, 2, &c->patch, error) &&
           zi_json_int_or(path, json, "intermediate_size", 1, 1 << 20, (int)(c->dim / 3.0 * 8.0),
                          &c->ffn, error);
}

/* Reads norm_eps, rope_theta and t_scale, whose defaults are Z-Image-Turbo's, axes_dims and
 * axes_lens. The last two are required in diffusers configs; in MLX's, axes_lens has a default, and
 * c->axes stays unchanged without axes_dims. */
static bool read_optional_fields(const char *path, const cJSON *json, bool mlx,
                                 zi_transformer_config *c, zi_error *error)
{
    const zi_transformer_config defaults = zi_config_z_image_turbo().transformer;
    double eps;
    bool axes = !mlx || zi_json_find(json, "axes_dims");
    bool lens = !mlx || zi_json_find(json, "axes_lens");
    memcpy(c->lens, defaults.lens, sizeof c->lens);
    if ((axes && !read_ints(path, json, "axes_dims", 3, 2, 1024, c->axes, error)) ||
        (lens && !read_ints(path, json, "axes_lens", 3, 1, 1 << 20, c->lens, error)) ||
        !zi_json_double_or(path, json, "norm_eps", 0, 1, 1e-5, &eps, error) ||
        !zi_json_double_or(path, json, "rope_theta", 1, 1e12, defaults.rope_theta, &c->rope_theta,
                           error) ||
        !zi_json_double_or(path, json, "t_scale", 1e-6, 1e9, defaults.t_scale, &c->t_scale, error))
        return false;
    c->eps = (float)eps;
    return true;
}

/* Reads a transformer's config.json into config->transformer, and its MLX group size into
 * config->group; some may be set after a failure. It is MLX's if it has hidden_size and no
 * _class_name, else diffusers'. Fails, too, as zi_config_check_fields and, with
 * ZI_ERROR_UNSUPPORTED, for Z-Image-Omni (siglip_feat_dim). Leaves head_dim and modulation to
 * check_transformer. */
static bool read_transformer(const char *path, const cJSON *json, zi_config *config,
                             zi_error *error)
{
    zi_transformer_config *c = &config->transformer;
    bool mlx = !zi_json_find(json, "_class_name") && zi_json_find(json, "hidden_size");
    const char *const *names = field_names[mlx];
    if (!mlx && !check_class_field(path, json, "_class_name", "ZImageTransformer2DModel", error))
        return false;
    if (!zi_json_int(path, json, names[DIM], 2, MAX_WIDTH, &c->dim, error) ||
        !zi_json_int(path, json, names[LAYERS], 1, MAX_LAYERS, &c->layers, error) ||
        !zi_json_int(path, json, "n_refiner_layers", 0, MAX_LAYERS, &c->refiners, error) ||
        !zi_json_int(path, json, names[HEADS], 1, 1024, &c->heads, error) ||
        !zi_json_int(path, json, names[CAPTION], 1, MAX_WIDTH, &c->caption_dim, error) ||
        !zi_json_int(path, json, "in_channels", 1, 64, &c->channels, error) ||
        !(mlx ? read_mlx_fields : read_diffusers_fields)(path, json, c, error) ||
        !read_optional_fields(path, json, mlx, c, error) ||
        !read_mlx_group_size(path, json, &config->group[ZI_COMPONENT_TRANSFORMER], error) ||
        !zi_config_check_fields(ZI_CONFIG_TRANSFORMER, path, json, error))
        return false;
    return !zi_json_find(json, "siglip_feat_dim") ||
           zi_error_set_in(error, ZI_ERROR_UNSUPPORTED, path, "siglip_feat_dim",
                           "is of Z-Image-Omni (it has \"siglip_feat_dim\"), which is not "
                           "supported; use Z-Image or Z-Image-Turbo");
}

/* Fails, as fail_misfit does, unless the number of groups divides the channels of each block.
 * Changes nothing. */
static bool check_vae(const char *path, bool inferred, zi_config *config, zi_error *error)
{
    const zi_vae_config *c = &config->vae;
    for (int i = 0; i < c->blocks; i++)
        if (c->channels[i] % c->groups != 0)
            return fail_misfit(path, inferred, "norm_num_groups", error,
                               "a number of channels, %d (\"block_out_channels\"), is not a "
                               "multiple of the number of groups, %d (\"norm_num_groups\")",
                               c->channels[i], c->groups);
    return true;
}

/* Reads the config.json of an AutoencoderKL into config->vae, of which some may be set after a
 * failure; native_size is sample_size (1024 if absent) rounded down to a multiple of 16. Fails with
 * ZI_ERROR_UNSUPPORTED for another class, and unless it has 4 blocks, no quant convolutions and
 * attention in the middle. */
static bool read_vae(const char *path, const cJSON *json, zi_config *config, zi_error *error)
{
    zi_vae_config *c = &config->vae;
    double scaling, shift;
    bool quant, post_quant, attention;
    const cJSON *blocks;
    if (!check_class_field(path, json, "_class_name", "AutoencoderKL", error) ||
        !zi_json_array(path, json, "block_out_channels", &blocks, error))
        return false;
    c->blocks = cJSON_GetArraySize(blocks);
    if (c->blocks != 4)
        return zi_error_set_in(error, ZI_ERROR_UNSUPPORTED, path, "block_out_channels",
                               "\"block_out_channels\" has %d numbers, but only VAEs with 4 are "
                               "supported; use the VAE of Z-Image",
                               c->blocks);
    if (!read_ints(path, json, "block_out_channels", c->blocks, 1, 1024, c->channels, error) ||
        !zi_json_int(path, json, "layers_per_block", 1, 16, &c->layers_per_block, error) ||
        !zi_json_int(path, json, "norm_num_groups", 1, 1024, &c->groups, error) ||
        !zi_json_int(path, json, "latent_channels", 1, 64, &c->latent, error) ||
        !zi_json_int_or(path, json, "sample_size", 16, 8192, 1024, &c->native_size, error) ||
        !zi_json_double(path, json, "scaling_factor", 1e-6, 1e6, &scaling, error) ||
        !zi_json_double_or(path, json, "shift_factor", -1e6, 1e6, 0, &shift, error) ||
        !zi_json_bool_or(path, json, "use_quant_conv", true, &quant, error) ||
        !zi_json_bool_or(path, json, "use_post_quant_conv", true, &post_quant, error) ||
        !zi_json_bool_or(path, json, "mid_block_add_attention", true, &attention, error) ||
        !zi_config_check_fields(ZI_CONFIG_VAE, path, json, error))
        return false;
    c->scaling = (float)scaling;
    c->shift = (float)shift;
    if (quant || post_quant || !attention)
        return zi_error_set(error, ZI_ERROR_UNSUPPORTED, path,
                            "\"%s\" is %s, but it must be %s; use the VAE of Z-Image",
                            quant        ? "use_quant_conv"
                            : post_quant ? "use_post_quant_conv"
                                         : "mid_block_add_attention",
                            quant || post_quant ? "true or missing" : "false",
                            quant || post_quant ? "false" : "true");
    c->native_size = c->native_size / 16 * 16;
    return true;
}

/* Reads the fields of one component from JSON into *config. */
typedef bool (*config_reader)(const char *path, const cJSON *json, zi_config *config,
                              zi_error *error);

/* Parses the JSON file at path, of at most 1 MiB, and calls `read` with it, which sets fields of
 * *config. False: either failed, and `read` may have set some fields. */
static bool read_config_file(const char *path, config_reader read, zi_config *config,
                             zi_error *error)
{
    cJSON *json = NULL;
    bool ok = zi_json_read(path, MAX_CONFIG, &json, error) &&
              zi_json_check_unique_keys(path, json, "the file", error) &&
              read(path, json, config, error);
    cJSON_Delete(json);
    return ok;
}

/* Fails with ZI_ERROR_UNSUPPORTED unless a model_index.json names a pipeline of Z-Image
 * (zi_is_pipeline_class), and with ZI_ERROR_BAD_FORMAT if it names none. Has a config_reader's
 * signature, but reads nothing: config may be NULL. */
static bool check_index_class(const char *path, const cJSON *json, zi_config *config,
                              zi_error *error)
{
    const char *name;
    (void)config; /* it names the pipeline, no shapes */
    if (!zi_json_string(path, json, "_class_name", &name, error)) return false;
    if (zi_is_pipeline_class(name)) return true;
    if (strncmp(name, "ZImageControlNet", strlen("ZImageControlNet")) == 0)
        return zi_error_set_in(error, ZI_ERROR_UNSUPPORTED, path, "_class_name",
                               "\"_class_name\" is %.60s, but ControlNets are not supported; write "
                               "ZImagePipeline there to use the model without its ControlNet",
                               name);
    return zi_error_set_in(
        error, ZI_ERROR_UNSUPPORTED, path, "_class_name",
        "\"_class_name\" is %.60s, but only ZImagePipeline, ZImageImg2ImgPipeline and "
        "ZImageInpaintPipeline are supported; use a Z-Image model, or correct this name if it is "
        "one",
        name);
}

bool zi_config_check_pipeline(const char *path, zi_error *error)
{
    return read_config_file(path, check_index_class, NULL, error);
}

bool zi_config_read(zi_component component, const char *path, zi_config *config, zi_error *error)
{
    static const config_reader readers[ZI_WEIGHT_COMPONENTS] = {read_transformer, read_text_encoder,
                                                                read_vae};
    return read_config_file(path, readers[component], config, error) &&
           zi_config_check(component, path, false, config, error);
}

bool zi_config_check(zi_component component, const char *where, bool inferred, zi_config *config,
                     zi_error *error)
{
    static bool (*const checks[ZI_WEIGHT_COMPONENTS])(const char *, bool, zi_config *,
                                                      zi_error *) = {check_transformer,
                                                                     check_text_encoder, check_vae};
    return checks[component](where, inferred, config, error);
}

bool zi_config_check_components(const char *where, const zi_config *config, zi_error *error)
{
    if (config->transformer.caption_dim != config->text.hidden)
        return zi_error_set_in(
            error, ZI_ERROR_BAD_FORMAT, where, zi_component_name(ZI_COMPONENT_TEXT_ENCODER),
            "the transformer needs a text encoder of width %d (cap_feat_dim), but the text encoder "
            "used with it has width %d (hidden_size), so they are of different models; use the "
            "text encoder of this model (for Z-Image: Qwen3-4B)",
            config->transformer.caption_dim, config->text.hidden);
    if (config->transformer.channels != config->vae.latent)
        return zi_error_set_in(
            error, ZI_ERROR_BAD_FORMAT, where, zi_component_name(ZI_COMPONENT_VAE),
            "the transformer has %d latent channels (in_channels), but the VAE used with it has %d "
            "(latent_channels), so they are of different models; use the VAE of this model",
            config->transformer.channels, config->vae.latent);
    return true;
}

zi_config zi_config_z_image_turbo(void)
{
    return (zi_config){
        .text = {.layers = 36,
                 .hidden = 2560,
                 .heads = 32,
                 .kv_heads = 8,
                 .head_dim = 128,
                 .ffn = 9728,
                 .vocab = 151936,
                 .eps = 1e-6f,
                 .rope_theta = 1e6,
                 .qk_norm = true},
        .transformer = {.layers = 30,
                        .refiners = 2,
                        .dim = 3840,
                        .heads = 30,
                        .head_dim = 128,
                        .ffn = 10240,
                        .caption_dim = 2560,
                        .channels = 16,
                        .patch = 2,
                        .modulation = 256,
                        .axes = {32, 48, 48},
                        .lens = {1536, 512, 512},
                        .eps = 1e-5f,
                        .rope_theta = 256,
                        .t_scale = 1000},
        .vae = {.blocks = 4,
                .channels = {128, 256, 512, 512},
                .layers_per_block = 2,
                .groups = 32,
                .latent = 16,
                .native_size = 1024,
                .scaling = 0.3611f,
                .shift = 0.1159f},
        .scheduler = {.sampler = ZI_SAMPLER_EULER, .schedule = ZI_SCHEDULE_DIFFUSERS, .shift = 3},
    };
}
