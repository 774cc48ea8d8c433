/* Config files in the words of another layout. What tensors' shapes say is taken from them; what
 * they do not say from a config that came along, or else from Z-Image-Turbo's own. */
#ifndef ZI_CONVERT_COMPONENT_CONFIG_H
#define ZI_CONVERT_COMPONENT_CONFIG_H

#include "convert/plan.h"

#include <cjson/cJSON.h>

typedef struct {
    const zi_source *source;
    const char *config; /* a file in the words of diffusers or MLX; NULL: none */
    zi_naming layout;   /* ZI_NAMES_DIFFUSERS or ZI_NAMES_MLX */
    zi_precision precision;
    const zi_write_plan *plan; /* of the tensors that are written with it */
} zi_component_config;

/* The text of a part's config file, which the caller frees. A config that contradicts the tensors
 * is refused. */
bool zi_component_config_text(const zi_component_config *of, char **text,
                              zi_error *error) ZI_CHECKED;

/* The same as diffusers (transformers) would say it; cJSON_Delete() it. */
bool zi_component_config_json(const zi_source *source, const char *config, cJSON **out,
                              zi_error *error) ZI_CHECKED;

/* How many numbers are in a group of MLX's, as an MLX config says; 0 when it does not. */
size_t zi_mlx_config_group_size(const char *config);

#endif
