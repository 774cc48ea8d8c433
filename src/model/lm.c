#include "model/lm_config.h"
#include "base/file.h"
#include "base/machine.h"
#include "io/gguf_split.h"
#include "io/recognise.h"
#include "model/assembly.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>

/* ---- loading ---- */

/* Opens and binds the network's weights as lm->qwen: the embedding is the head if the config says
 * so, or if the files have no head and the config does not say that it is separate. config_path:
 * the file of the config, for error texts, or NULL. Takes the checkpoint's reference, also on
 * failure. Fails with ZI_ERROR_BAD_FORMAT if the loaded tokenizer has more tokens than the network,
 * which then stays bound for zi_lm_free. */
static bool bind_model(zi_checkpoint *checkpoint, const zi_lm_config *config,
                       const char *config_path, zi_lm *lm, zi_error *error)
{
    zi_weights weights;
    if (!zi_weights_open_language(checkpoint, config->group, lm->backend, &weights, error))
        return false;
    weights.config = config_path;
    bool head = zi_weights_has(&weights, "lm_head.weight");
    bool tied = config->tied || (!head && !config->untied);
    if (!zi_qwen_bind_language(&weights, &config->qwen, tied, &lm->qwen, error)) return false;
    if (zi_tokenizer_vocab_size(lm->tokenizer) <= config->qwen.vocab) return true;
    return zi_error_set(error, ZI_ERROR_BAD_FORMAT, lm->path,
                        "its tokenizer has %d tokens, its weights only %d: they are of different "
                        "models; fetch the model again",
                        zi_tokenizer_vocab_size(lm->tokenizer), config->qwen.vocab);
}

/* Adds to lm's stop tokens the usual end-of-sequence tokens that its tokenizer has, in case the
 * files do not name them. False: memory is short; some may have been added. */
static bool add_known_stops(zi_lm *lm, zi_error *error)
{
    static const char *const names[] = {"<|im_end|>", "<|endoftext|>", "<|eot_id|>",
                                        "<|end_of_text|>"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!zi_lm_add_stop(lm, zi_tokenizer_added_token(lm->tokenizer, names[i]), error))
            return false;
    return true;
}

/* Reads the network's config into *config, and tokenizer, bos, stop tokens and chat template into
 * lm, from GGUF metadata. Fails without a tokenizer and for scaled rope; *config is then undefined,
 * and lm keeps what was read. */
static bool read_gguf_metadata(const zi_checkpoint *checkpoint, zi_lm_config *config, zi_lm *lm,
                               zi_error *error)
{
    const zi_gguf *gguf = checkpoint->gguf;
    const zi_tensor *embed = zi_checkpoint_find(checkpoint, "token_embd.weight");
    int vocab = embed && embed->dims == 2 && embed->shape[0] < 1 << 24 ? (int)embed->shape[0] : 1;
    if (!zi_lm_read_gguf_config(gguf, vocab, config, error)) return false;
    if (zi_checkpoint_find(checkpoint, "rope_freqs.weight"))
        return zi_error_set_in(error, ZI_ERROR_UNSUPPORTED, lm->path, "rope_freqs.weight",
                               "needs rope scaling of type llama3 (rope_freqs.weight), which is "
                               "not supported; use another language model");
    if (!zi_gguf_find(gguf, "tokenizer.ggml.model"))
        return zi_error_set_in(error, ZI_ERROR_BAD_FORMAT, lm->path, "tokenizer.ggml.model",
                               "this GGUF file has no tokenizer (tokenizer.ggml.model is missing); "
                               "use a complete GGUF file of the language model");
    if (!zi_tokenizer_load_gguf(gguf, &lm->tokenizer, error)) return false;
    const zi_tokenizer_usage *usage = zi_tokenizer_get_usage(lm->tokenizer);
    if (usage->add_bos) lm->bos = usage->bos;
    if (usage->chat_template && !(lm->chat_template = strdup(usage->chat_template)))
        return zi_error_no_memory(error, strlen(usage->chat_template));
    return zi_lm_add_stop(lm, usage->eos, error) && add_known_stops(lm, error);
}

/* Loads a GGUF language model (Qwen, Llama) into lm, whose path and backend are set. After a
 * failure lm keeps what was read, for zi_lm_free. Takes the checkpoint's reference, also on
 * failure. */
static bool load_gguf(zi_checkpoint *checkpoint, zi_lm *lm, zi_error *error)
{
    zi_lm_config config;
    if (read_gguf_metadata(checkpoint, &config, lm, error))
        return bind_model(checkpoint, &config, NULL, lm, error);
    zi_checkpoint_release(checkpoint);
    return false;
}

/* Loads a folder of transformers or MLX, with its config.json at config_path, into lm: config,
 * tokenizer, stop tokens, chat template, and weights named model.safetensors or their shards. After
 * a failure lm keeps what was read, for zi_lm_free. */
static bool load_folder(const char *folder, const char *config_path, zi_lm *lm, zi_error *error)
{
    zi_checkpoint opened, *checkpoint;
    zi_lm_config config;
    return zi_lm_read_json_config(config_path, lm, &config, error) &&
           zi_tokenizer_load(folder, &lm->tokenizer, error) &&
           zi_lm_read_folder(folder, lm, error) &&
           zi_checkpoint_open_dir(folder, "model", &opened, error) &&
           zi_checkpoint_share(&opened, &checkpoint, error) &&
           bind_model(checkpoint, &config, config_path, lm, error) && add_known_stops(lm, error);
}

/* Loads the text encoder of an image model, its tokenizer and stop tokens into lm: Qwen3, whose
 * head is tied to the embedding. shared: the open checkpoint, borrowed, when the model is a single
 * file, else NULL. After a failure lm keeps what was read, for zi_lm_free. */
static bool load_text_encoder(const zi_model_options *options, zi_checkpoint *shared, zi_lm *lm,
                              zi_error *error)
{
    zi_assembly assembly;
    zi_config config = {0};
    zi_weights weights;
    if (!zi_assembly_read_open(options, shared, &assembly, error)) return false;
    bool ok = zi_assembly_open(&assembly, ZI_COMPONENT_TEXT_ENCODER, lm->backend, &config, &weights,
                               error) &&
              zi_qwen_bind_language(&weights, &config.text, true, &lm->qwen, error) &&
              zi_assembly_tokenizer(options, &assembly, &lm->tokenizer, error) &&
              add_known_stops(lm, error);
    lm->encoder = true;
    zi_assembly_free(&assembly);
    return ok;
}

/* Sets *path to one of the files *.gguf in the folder, in new memory, or to NULL, and *count to how
 * many there are, those of a model in several as one: 0 if the folder cannot be read. False: memory
 * is short, and *path is NULL. */
static bool find_gguf_file(const char *folder, char **path, int *count, zi_error *error)
{
    DIR *dir = opendir(folder);
    bool ok = dir || errno != ENOMEM;
    const struct dirent *entry;
    *count = 0;
    *path = NULL;
    while (ok && dir && (entry = readdir(dir))) {
        const char *extension = zi_weights_extension(entry->d_name);
        int number = 1, shards = 1;
        if (!extension || strcasecmp(extension, ".gguf") != 0) continue;
        if (zi_gguf_shard_parse(entry->d_name, &number, &shards) && number > 1) continue;
        if ((*count)++ == 0) ok = (*path = zi_path_join(folder, entry->d_name)) != NULL;
    }
    if (dir) closedir(dir);
    return ok || zi_error_no_memory(error, strlen(folder));
}

/* Loads the single file options->path into lm: a GGUF language model (one with token_embd.weight),
 * or else an image model's text encoder. Fails with ZI_ERROR_UNSUPPORTED for a safetensors file of
 * another model. After a failure lm keeps what was read, for zi_lm_free. */
static bool load_file(const zi_model_options *options, zi_lm *lm, zi_error *error)
{
    zi_checkpoint opened, *checkpoint;
    if (!zi_checkpoint_open(options->path, &opened, error) ||
        !zi_checkpoint_share(&opened, &checkpoint, error))
        return false;
    if (zi_checkpoint_find(checkpoint, "token_embd.weight") && checkpoint->gguf)
        return load_gguf(checkpoint, lm, error);
    bool ok = zi_recognise_unsupported(checkpoint)
                  ? zi_error_set(error, ZI_ERROR_UNSUPPORTED, options->path,
                                 "a language model in a single file must be GGUF; for other "
                                 "formats, name the folder with config.json, tokenizer and weights")
                  : load_text_encoder(options, checkpoint, lm, error);
    zi_checkpoint_release(checkpoint);
    return ok;
}

/* Loads the file at path `gguf`, the only GGUF file of the folder options->path, into lm, as
 * load_file does. The other options stay: an image model's file may need its text encoder or
 * tokenizer from them. */
static bool load_only_file(const zi_model_options *options, const char *gguf, zi_lm *lm,
                           zi_error *error)
{
    zi_model_options of_file = *options;
    of_file.path = gguf;
    return load_file(&of_file, lm, error);
}

/* Whether the file is JSON of at most 1 MiB with model_type, as a language model's or text
 * encoder's config.json has, and an image model's has not. False if it is missing or cannot be
 * read, or memory is short. */
static bool is_lm_config(const char *path)
{
    cJSON *json = NULL;
    bool is = zi_is_file(path) && zi_json_read(path, 1 << 20, &json, NULL) &&
              zi_json_find(json, "model_type");
    cJSON_Delete(json);
    return is;
}

/* Loads the text encoder of an image model's folder options->path, as load_text_encoder does. Fails
 * with ZI_ERROR_NOT_FOUND if the folder has no model. */
static bool load_image_model(const zi_model_options *options, zi_lm *lm, zi_error *error)
{
    zi_error why = {0};
    if (load_text_encoder(options, NULL, lm, &why)) return true;
    if (why.code == ZI_ERROR_NOT_FOUND && !strcmp(why.subject, options->path))
        return zi_error_set(error, ZI_ERROR_NOT_FOUND, options->path,
                            "holds no language model: neither a config.json with model_type nor a "
                            "GGUF file is in it; name a folder with config.json, tokenizer and "
                            "weights, or a GGUF file");
    if (error) *error = why;
    return false;
}

/* Loads the file or folder options->path into lm, whose backend and path are set. Of a folder, the
 * first that applies: a language model's config.json; a single GGUF file, with the other
 * options (several files are ZI_ERROR_UNSUPPORTED); an image model. On failure the caller
 * frees lm. */
static bool load_path(const zi_model_options *options, zi_lm *lm, zi_error *error)
{
    const char *path = options->path;
    if (zi_is_file(path)) return load_file(options, lm, error);
    if (!zi_is_dir(path))
        return zi_error_set(error, ZI_ERROR_NOT_FOUND, path,
                            "no such file or folder; check the path");
    int gguf_count;
    char *config = zi_path_join(path, "config.json"), *gguf = NULL;
    bool ok = config || zi_error_no_memory(error, strlen(path));
    ok = ok && find_gguf_file(path, &gguf, &gguf_count, error);
    if (ok && is_lm_config(config))
        ok = load_folder(path, config, lm, error);
    else if (ok && gguf_count == 1)
        ok = load_only_file(options, gguf, lm, error);
    else if (ok && gguf_count > 1)
        ok = zi_error_set(error, ZI_ERROR_UNSUPPORTED, path,
                          "holds %d GGUF files; name the one to use", gguf_count);
    else if (ok)
        ok = load_image_model(options, lm, error);
    free(config);
    free(gguf);
    return ok;
}

bool zi_lm_load(const zi_model_options *options, zi_backend *backend, zi_lm *out, zi_error *error)
{
    zi_lm lm = {.backend = backend, .bos = -1, .path = strdup(options->path)};
    if (!lm.path) return zi_error_no_memory(error, strlen(options->path));
    if (!load_path(options, &lm, error)) {
        zi_lm_free(&lm);
        return false;
    }
    *out = lm;
    return true;
}

void zi_lm_free(zi_lm *lm)
{
    zi_qwen_free(&lm->qwen);
    zi_tokenizer_free(lm->tokenizer);
    free(lm->stops);
    free(lm->chat_template);
    free(lm->path);
    *lm = (zi_lm){0};
}
