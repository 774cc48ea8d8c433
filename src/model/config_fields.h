/* Every field of the config files of diffusers, transformers and MLX models, and what it means
 * here. */
#ifndef ZI_MODEL_CONFIG_FIELDS_H
#define ZI_MODEL_CONFIG_FIELDS_H

#include "base/text.h"
#include "io/json.h"

/* The files that have a table of fields. */
typedef enum {
    ZI_CONFIG_TRANSFORMER, /* ZImageTransformer2DModel, or the transformer of an MLX folder */
    ZI_CONFIG_QWEN,        /* transformers' Qwen3, Qwen2 and Llama */
    ZI_CONFIG_VAE,         /* AutoencoderKL */
    ZI_CONFIG_SCHEDULER,   /* FlowMatchEuler-, FlowMatchHeunDiscreteScheduler, FlowMatchLCM- */
    ZI_CONFIG_MODEL_INDEX, /* model_index.json */
    ZI_CONFIG_GENERATION,  /* generation_config.json */
    ZI_CONFIG_KINDS
} zi_config_kind;

/* Fails with ZI_ERROR_UNSUPPORTED, the field as subject, if a field that must have certain values,
 * since the image depends on it, has another one; null counts as absent. Fields in rope_parameters
 * and rope_scaling are checked, too. Unknown fields pass. path: for the error only. */
bool zi_config_check_fields(zi_config_kind kind, const char *path, const cJSON *json,
                            zi_error *error) ZI_CHECKED;

/* Appends a sentence to *out that names the fields of the config file at path that no table has,
 * which are ignored; nothing if there are none, or the file cannot be read. Short memory is left to
 * out->failed. */
void zi_config_describe_unknown_fields(zi_config_kind kind, const char *path, zi_text *out);

/* Reads the rope of a Qwen or Llama config into *theta: rope_theta in rope_scaling or else in
 * rope_parameters, as transformers 5 writes it, else at the top, else `fallback`. Fails with
 * ZI_ERROR_BAD_FORMAT for a wrong type or a theta that is not in 1..1e12. */
bool zi_config_read_rope_theta(const char *path, const cJSON *json, double fallback, double *theta,
                               zi_error *error) ZI_CHECKED;

#endif
