/* Loads models, and answers queries about them. */
#include "internal.h"
#include "base/file.h"
#include "base/text.h"
#include "model/config_remarks.h"

#include <stdlib.h>
#include <string.h>

/* Sets *max to value, 0 or more, if that is larger. */
static void raise_to(size_t *max, int value)
{
    if ((size_t)value > *max) *max = (size_t)value;
}

zi_exec_limits zi_model_limits(const zi_qwen *encoder, const zi_transformer *transformer,
                               const zi_vae *decoder)
{
    const zi_qwen_config *text = &encoder->config;
    const zi_transformer_config *t = &transformer->config;
    const zi_vae_config *d = &decoder->config;
    int vae = d->channels[d->blocks - 1];    /* one head as wide as its channels */
    zi_exec_limits limits = {.depth = 1024}; /* of the time embedding */
    const size_t layers[] = {zi_qwen_layer_bytes(encoder), zi_transformer_layer_bytes(transformer),
                             zi_vae_layer_bytes(decoder)};
    for (size_t i = 0; i < sizeof layers / sizeof *layers; i++)
        if (layers[i] > limits.layer) limits.layer = layers[i];
    raise_to(&limits.head_dim, text->head_dim);
    raise_to(&limits.head_dim, t->head_dim);
    raise_to(&limits.head_dim, vae);
    raise_to(&limits.depth, text->hidden);
    raise_to(&limits.depth, text->ffn);
    raise_to(&limits.depth, text->heads * text->head_dim);
    raise_to(&limits.depth, t->dim);
    raise_to(&limits.depth, t->ffn);
    raise_to(&limits.depth, t->caption_dim);
    raise_to(&limits.depth, vae);
    return limits;
}

/* A zi_remark_fn: appends the text to the zi_text `user`, behind "; " if that has one already. */
static void append_warning(void *user, const char *remark)
{
    zi_text *text = user;
    zi_text_printf(text, "%s%s", text->size ? "; " : "", remark);
}

/* Sets model->warning, in new memory, if pad tokens were missing and taken from the reference or
 * replaced by zeros, if the tokenizer is that of options->tokenizer (from_options), or if
 * zi_config_each_warning has something to say; it names options->path. Else it stays NULL. False,
 * with *error set: out of memory. */
static bool set_warning(const zi_model_options *options, const zi_assembly *assembly,
                        bool from_options, zi_model *model, zi_error *error)
{
    const zi_weights *weights = &model->transformer.weights;
    zi_text text;
    zi_text_init(&text, 1 << 16);
    if (weights->zeros)
        zi_text_printf(&text,
                       "%s: the pad tokens are missing, as in folders that an early converter "
                       "wrote, and are replaced by zeros: images will differ from those of the "
                       "original",
                       options->path);
    else if (weights->pads_from_reference)
        zi_text_printf(&text, "%s: the pad tokens are missing, and are taken from %s",
                       options->path, options->reference);
    if (from_options && text.size)
        zi_text_printf(&text, "; the tokenizer is that of %s", options->tokenizer);
    else if (from_options)
        zi_text_printf(&text, "%s: the tokenizer is that of %s", options->path, options->tokenizer);
    bool ok = zi_config_each_warning(assembly, &model->config, append_warning, &text, error);
    bool any = text.size || text.failed;
    if (ok && any) model->warning = zi_text_take(&text);
    zi_text_free(&text);
    return ok && (!any || model->warning || zi_error_no_memory(error, strlen(options->path)));
}

/* Sets model->tokenizer, which the model then owns: its own or its reference's; if there is none,
 * that of options->tokenizer, and *from_options is true. Fails with ZI_ERROR_INCOMPLETE if there is
 * none at all, and with ZI_ERROR_BAD_FORMAT if that one has more tokens than the text encoder
 * (model->config is set). */
static bool load_tokenizer(const zi_model_options *options, const zi_assembly *assembly,
                           bool *from_options, zi_model *model, zi_error *error)
{
    zi_model_options own = *options;
    zi_error why;
    own.tokenizer = NULL;
    *from_options = false;
    if (zi_assembly_tokenizer(&own, assembly, &model->tokenizer, &why)) return true;
    *from_options = options->tokenizer && why.code == ZI_ERROR_INCOMPLETE;
    if (!*from_options) {
        if (error) *error = why;
        return false;
    }
    if (!zi_assembly_tokenizer(options, assembly, &model->tokenizer, error)) return false;
    int tokens = zi_tokenizer_vocab_size(model->tokenizer), vocab = model->config.text.vocab;
    return tokens <= vocab ||
           zi_error_set_in(error, ZI_ERROR_BAD_FORMAT, options->path, "tokenizer",
                           "has no tokenizer, and the one in %s does not fit its text encoder: it "
                           "has %d tokens, but the text encoder knows %d; name a reference model "
                           "(a complete Z-Image model) that has this text encoder",
                           options->tokenizer, tokens, vocab);
}

/* Opens and binds text encoder, transformer and VAE, sets model->config with the scheduler's, and
 * checks that the components fit together. False: *error is set. The model owns what was bound,
 * also then; the assembly is not needed afterwards. */
static bool load_components(const zi_assembly *assembly, zi_model *model, zi_error *error)
{
    zi_config *config = &model->config;
    zi_backend *backend = model->engine->backend;
    zi_weights weights;
    return zi_assembly_open(assembly, ZI_COMPONENT_TEXT_ENCODER, backend, config, &weights,
                            error) &&
           zi_qwen_bind(&weights, &config->text, &model->text, error) &&
           zi_assembly_open(assembly, ZI_COMPONENT_TRANSFORMER, backend, config, &weights, error) &&
           zi_transformer_bind(&weights, &config->transformer, &model->transformer, error) &&
           zi_assembly_open(assembly, ZI_COMPONENT_VAE, backend, config, &weights, error) &&
           zi_vae_bind(&weights, &config->vae, &model->vae, error) &&
           zi_assembly_scheduler(assembly, config, error) &&
           zi_config_check_components(assembly->paths[ZI_ASSEMBLY_MODEL], config, error);
}

/* Returns the model's name, in new memory: the last component of the path, with its extension, or
 * NAME of a snapshot in the Hugging Face cache, models--OWNER--NAME/snapshots/COMMIT. Slashes at
 * the end are ignored. NULL: out of memory. */
static char *model_name_of_path(const char *path)
{
    char *folder = zi_path_dirname(path), *above = zi_path_dirname(folder ? folder : path);
    char *middle = folder ? zi_path_basename(folder) : NULL,
         *repo = above ? zi_path_basename(above) : NULL;
    char *dashes = repo && !strncmp(repo, "models--", 8) ? strstr(repo + 8, "--") : NULL;
    bool cached = dashes && middle && !strcmp(middle, "snapshots");
    char *name = cached ? strdup(dashes + 2) : zi_path_basename(path);
    free(repo);
    free(middle);
    free(above);
    free(folder);
    return name;
}

/* Sets name, components, config, tokenizer and warning of a zeroed model. After a failure the
 * caller frees the model with what it has. */
static bool load_parts(const zi_model_options *options, zi_model *model, zi_error *error)
{
    zi_assembly assembly;
    model->name = model_name_of_path(options->path);
    if (!model->name) return zi_error_no_memory(error, strlen(options->path));
    if (!zi_assembly_read(options, &assembly, error)) return false;
    bool from_options;
    bool ok = load_components(&assembly, model, error) &&
              load_tokenizer(options, &assembly, &from_options, model, error) &&
              set_warning(options, &assembly, from_options, model, error);
    zi_assembly_free(&assembly);
    return ok;
}

bool zi_model_load(zi_engine *engine, const zi_model_options *options, zi_model **out,
                   zi_error *error)
{
    if (!ZI_CHECK_RESERVED(options, error)) return false;
    if (!options->path || !options->path[0])
        return zi_error_set_in(error, ZI_ERROR_INVALID_ARGUMENT, NULL, "model",
                               "no model was named; name a model folder or file");
    zi_model *model = calloc(1, sizeof *model);
    if (!model) return zi_error_no_memory(error, sizeof *model);
    model->engine = engine;
    pthread_mutex_init(&model->mutex, NULL);
    if (!load_parts(options, model, error)) {
        zi_model_free(model);
        return false;
    }
    *out = model;
    return true;
}

void zi_model_free(zi_model *model)
{
    if (!model) return;
    pthread_mutex_destroy(&model->mutex);
    zi_preview_free(&model->preview);
    zi_vae_free(&model->vae);
    zi_transformer_free(&model->transformer);
    zi_qwen_free(&model->text);
    zi_tokenizer_free(model->tokenizer);
    free(model->warning);
    free(model->name);
    free(model);
}

int zi_model_native_size(const zi_model *model)
{
    return model->config.vae.native_size;
}

zi_variant zi_model_variant(const zi_model *model)
{
    return model->config.variant;
}

const char *zi_model_name(const zi_model *model)
{
    return model->name;
}

const char *zi_model_warning(const zi_model *model)
{
    return model->warning;
}
