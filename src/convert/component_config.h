/* Writes the config.json of a component for the layout that it is converted to. Fields come from
 * the tensors' shapes where shapes determine them, else from the source's own config, else from
 * Z-Image-Turbo's. */
#ifndef ZI_CONVERT_COMPONENT_CONFIG_H
#define ZI_CONVERT_COMPONENT_CONFIG_H

#include "convert/plan.h"

#include <cjson/cJSON.h>

typedef struct {
    const zi_source *source;
    const char *config; /* path of a config file of diffusers or MLX; NULL: none */
    zi_naming layout;   /* ZI_NAMES_DIFFUSERS or ZI_NAMES_MLX */
    zi_precision precision;
    const zi_write_plan *plan; /* of the tensors that are written with it */
} zi_component_config;

/* Sets *text to the config file's text, which the caller frees with free(). A given config is
 * returned byte for byte, but a transformer's is written anew for MLX, and for diffusers if it has
 * no _diffusers_version; without one, the text is generated. Fails as zi_component_config_json;
 * *text is then unchanged. */
bool zi_component_config_text(const zi_component_config *of, char **text,
                              zi_error *error) ZI_CHECKED;

/* Sets *out to the config with the field names of diffusers (transformers for a text encoder), for
 * cJSON_Delete(). config: path of a config file of diffusers or MLX, whose fields are kept; NULL:
 * Z-Image-Turbo's. False, with *out unchanged: config cannot be read, config and tensors contradict
 * one another, or a tensor is missing. */
bool zi_component_config_json(const zi_source *source, const char *config, cJSON **out,
                              zi_error *error) ZI_CHECKED;

/* quantization.group_size of an MLX config file: 32, 64 or 128. Returns 0 when config is NULL,
 * cannot be read, or has no such field or another number there. */
size_t zi_mlx_config_group_size(const char *config);

#endif
