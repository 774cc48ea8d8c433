#include "convert/check.h"
#include "convert/component_config.h"
#include "model/config.h"
#include "model/qwen.h"
#include "model/tokenizer.h"
#include "model/transformer.h"
#include "model/vae.h"

/* Sets the component's fields of *config: from its config file, else from the tensors. A config
 * that the tensors do not determine passes if a file is written: who loads it must give the config,
 * as for the source. A folder gets a config, which fits for a VAE (check_new_config) only. */
static bool read_config(const zi_conversion *c, zi_component component, bool folder,
                        const zi_weights *weights, zi_config *config, zi_error *error)
{
    const char *path = c->components[component].config;
    zi_error why = {0};
    if (path) return zi_config_read(component, path, config, error);
    if (zi_config_infer(&weights->source, weights->checkpoint->gguf, config, &why)) return true;
    if (why.code == ZI_ERROR_INCOMPLETE && (!folder || component == ZI_COMPONENT_VAE)) return true;
    if (error) *error = why;
    return false;
}

/* Whether the config that a folder will have fits the tensors. */
static bool check_new_config(const zi_conversion_component *it, zi_error *error)
{
    cJSON *json;
    if (!zi_component_config_json(&it->source, it->config, &json, error)) return false;
    cJSON_Delete(json);
    return true;
}

/* Binds the weights, which it takes, by the config, and frees them. */
static bool bind(zi_component component, zi_weights *weights, const zi_config *config,
                 zi_error *error)
{
    zi_transformer transformer = {0};
    zi_qwen text = {0};
    zi_vae vae = {0};
    bool ok = component == ZI_COMPONENT_TRANSFORMER
                  ? zi_transformer_bind(weights, &config->transformer, &transformer, error)
              : component == ZI_COMPONENT_TEXT_ENCODER
                  ? zi_qwen_bind(weights, &config->text, &text, error)
                  : zi_vae_bind(weights, &config->vae, &vae, error);
    zi_transformer_free(&transformer);
    zi_qwen_free(&text);
    zi_vae_free(&vae);
    return ok;
}

/* Checks the tensors of a planned component, and its config if a folder is written. Sets its fields
 * of *config. */
static bool check_component(const zi_conversion *c, zi_component component, bool folder,
                            zi_config *config, zi_error *error)
{
    const zi_layout *layout = &c->layouts[c->chosen[component]];
    size_t group = zi_mlx_config_group_size(layout->components[component].config);
    zi_weights weights;
    if (folder && !check_new_config(&c->components[component], error)) return false;
    if (!zi_weights_open(layout, component, group, NULL, &weights, error)) return false;
    weights.config = c->components[component].config;
    bool ok = true;
    if (component == ZI_COMPONENT_TRANSFORMER && c->reference_checkpoint)
        ok = zi_weights_add_reference(&weights, &c->layouts[ZI_INPUT_REFERENCE], error);
    ok = ok && read_config(c, component, folder, &weights, config, error);
    if (ok) return bind(component, &weights, config, error);
    zi_weights_close(&weights);
    return false;
}

/* Checks what a whole model's folder has beside its components: that there is a tokenizer, and that
 * it and the scheduler's config, if there is one, can be read. *tokens: the tokenizer's number of
 * them. */
static bool check_files(const zi_conversion *c, int *tokens, zi_error *error)
{
    zi_tokenizer *tokenizer = NULL;
    zi_scheduler_config scheduler;
    if (!c->tokenizer)
        return zi_error_set_in(error, ZI_ERROR_INCOMPLETE, c->options->source, "tokenizer",
                               "has no tokenizer, which the new model needs; name a reference "
                               "model (a complete Z-Image model) to take it from");
    if (!zi_tokenizer_load(c->tokenizer, &tokenizer, error)) return false;
    *tokens = zi_tokenizer_vocab_size(tokenizer);
    zi_tokenizer_free(tokenizer);
    return !c->scheduler || zi_config_read_scheduler(c->scheduler, &scheduler, error);
}

bool zi_conversion_check(const zi_conversion *conversion, zi_error *error)
{
    const zi_conversion *c = conversion;
    bool folder = c->target == ZI_NAMES_DIFFUSERS || c->target == ZI_NAMES_MLX;
    zi_config config = {0};
    int tokens = 0;
    if (c->whole && folder && !check_files(c, &tokens, error)) return false;
    for (int component = 0; component < ZI_WEIGHT_COMPONENTS; component++)
        if (c->components[component].checkpoint &&
            !check_component(c, (zi_component)component, folder, &config, error))
            return false;
    if (c->tokenizer_from_options && tokens > config.text.vocab)
        return zi_error_set_in(error, ZI_ERROR_BAD_FORMAT, c->options->source, "tokenizer",
                               "has no tokenizer, and the one in %s does not fit its text encoder: "
                               "it has %d tokens, but the text encoder knows %d; name a reference "
                               "model (a complete Z-Image model) that has this text encoder",
                               c->tokenizer, tokens, config.text.vocab);
    return !c->whole || zi_config_check_components(c->options->source, &config, error);
}
