/* Loading a model, and what can be asked of it without drawing. */
#include "internal.h"
#include "base/file.h"
#include "io/recognise.h"

#include <stdlib.h>

static void grow(size_t *most, int value)
{
    if ((size_t)value > *most) *most = (size_t)value;
}

zi_ops_limits zi_model_limits(const zi_config *config)
{
    const zi_qwen_config *text = &config->text;
    const zi_transformer_config *t = &config->transformer;
    int vae = config->vae.channels[config->vae.blocks - 1]; /* one head as wide as its channels */
    zi_ops_limits limits = {.depth = 1024};                 /* of the time embedding */
    grow(&limits.head_dim, text->head_dim);
    grow(&limits.head_dim, t->head_dim);
    grow(&limits.head_dim, vae);
    grow(&limits.depth, text->hidden);
    grow(&limits.depth, text->ffn);
    grow(&limits.depth, text->heads * text->head_dim);
    grow(&limits.depth, t->dim);
    grow(&limits.depth, t->ffn);
    grow(&limits.depth, t->caption_dim);
    grow(&limits.depth, vae);
    return limits;
}

/* Says what a path is that is no folder. */
static bool refuse_file(const char *path, zi_error *error)
{
    if (!zi_is_file(path)) return zi_fail(error, "%s: no such model folder", path);
    zi_checkpoint checkpoint;
    zi_error why;
    if (!zi_checkpoint_open(path, &checkpoint, &why))
        return zi_fail(error, "%s: not a model folder; name a diffusers folder of Z-Image-Turbo",
                       path);
    const char *name = zi_recognise(&checkpoint);
    zi_checkpoint_close(&checkpoint);
    return zi_fail(error, "%s: a single file (%s); name a diffusers folder of Z-Image-Turbo", path,
                   name ? name : "of an unknown model");
}

static bool load(const zi_model_options *options, zi_model *model, zi_error *error)
{
    const char *folder = options->path;
    if (!zi_is_dir(folder)) return refuse_file(folder, error);
    model->name = zi_path_base(folder);
    if (options->scratch) model->scratch = strdup(options->scratch);
    if (!model->name || (options->scratch && !model->scratch))
        return zi_out_of_memory(error, strlen(folder));
    char *tokenizer = zi_path_join(folder, "tokenizer");
    bool ok = tokenizer && zi_kernels_select(options->cpu, &model->kernels, error) &&
              zi_config_read(folder, &model->config, error) &&
              zi_tokenizer_load(tokenizer, &model->tokenizer, error) &&
              zi_qwen_load(folder, &model->config.text, &model->text, error) &&
              zi_transformer_load(folder, &model->config.transformer, &model->transformer, error) &&
              zi_vae_load(folder, &model->config.vae, &model->vae, error) &&
              zi_pool_create((size_t)options->threads, &model->pool, error);
    if (!tokenizer) zi_out_of_memory(error, strlen(folder));
    free(tokenizer);
    return ok;
}

bool zi_model_load(const zi_model_options *options, zi_model **out, zi_error *error)
{
    if (!options->path || !options->path[0]) return zi_misuse(error, "no model was named");
    if (options->threads < 0 || options->threads > 1024)
        return zi_misuse(error, "threads must be 0 to 1024, not %d", options->threads);
    zi_model *model = calloc(1, sizeof *model);
    if (!model) return zi_out_of_memory(error, sizeof *model);
    if (!load(options, model, error)) {
        zi_model_free(model);
        return false;
    }
    *out = model;
    return true;
}

void zi_model_free(zi_model *model)
{
    if (!model) return;
    zi_pool_free(model->pool);
    zi_vae_free(&model->vae);
    zi_transformer_free(&model->transformer);
    zi_qwen_free(&model->text);
    zi_tokenizer_free(model->tokenizer);
    free(model->scratch);
    free(model->name);
    free(model);
}

int zi_model_native_size(const zi_model *model)
{
    return model->config.vae.native_size;
}

const char *zi_model_name(const zi_model *model)
{
    return model->name;
}
