#include "model/lm_config.h"
#include "base/file.h"
#include "base/machine.h"
#include "io/recognise.h"
#include "model/assembly.h"

#include <dirent.h>
#include <stdlib.h>

/* ---- loading ---- */

static bool bind_model(zi_checkpoint *checkpoint, const zi_lm_config *config, zi_lm *lm,
                       zi_error *error)
{
    zi_weights weights;
    if (!zi_weights_open_language(checkpoint, config->group, &weights, error)) return false;
    bool head = zi_weights_has(&weights, "lm_head.weight");
    bool tied = config->tied || (!head && !config->untied);
    if (!zi_qwen_bind_language(&weights, &config->qwen, tied, &lm->qwen, error)) return false;
    if (zi_tokenizer_size(lm->tokenizer) <= config->qwen.vocab) return true;
    return zi_error_set(error, ZI_ERROR_BAD_FORMAT, lm->path,
                        "its tokenizer has %d tokens, its model %d: they do not belong together",
                        zi_tokenizer_size(lm->tokenizer), config->qwen.vocab);
}

/* The tokens by which a text ends whatever the files say. */
static bool add_known_stops(zi_lm *lm, zi_error *error)
{
    static const char *const names[] = {"<|im_end|>", "<|endoftext|>", "<|eot_id|>",
                                        "<|end_of_text|>"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!zi_lm_add_stop(lm, zi_tokenizer_special(lm->tokenizer, names[i]), error)) return false;
    return true;
}

/* The checkpoint, taken over, is a GGUF file's. */
static bool load_gguf(zi_checkpoint *checkpoint, zi_lm *lm, zi_error *error)
{
    const zi_gguf *gguf = checkpoint->gguf;
    zi_lm_config config;
    const zi_tensor *embed = zi_checkpoint_find(checkpoint, "token_embd.weight");
    int vocab = embed && embed->dims == 2 && embed->shape[0] < 1 << 24 ? (int)embed->shape[0] : 1;
    bool ok = zi_lm_config_gguf(gguf, vocab, &config, error);
    if (ok && zi_checkpoint_find(checkpoint, "rope_freqs.weight"))
        ok = zi_error_set_in(error, ZI_ERROR_UNSUPPORTED, lm->path, "rope_freqs.weight",
                             "rope scaling of type llama3 (rope_freqs.weight) is not supported");
    if (ok && !zi_gguf_find(gguf, "tokenizer.ggml.model"))
        ok = zi_error_set_in(error, ZI_ERROR_BAD_FORMAT, lm->path, "tokenizer.ggml.model",
                             "has no tokenizer (tokenizer.ggml.model); use a complete GGUF file");
    if (!ok || !zi_tokenizer_load_gguf(gguf, &lm->tokenizer, error)) {
        zi_checkpoint_close(checkpoint);
        return false;
    }
    const zi_tokenizer_usage *usage = zi_tokenizer_get_usage(lm->tokenizer);
    if (usage->add_bos) lm->bos = usage->bos;
    if (usage->chat_template && !(lm->chat_template = strdup(usage->chat_template))) {
        zi_checkpoint_close(checkpoint);
        return zi_error_no_memory(error, strlen(usage->chat_template));
    }
    return bind_model(checkpoint, &config, lm, error) && zi_lm_add_stop(lm, usage->eos, error) &&
           add_known_stops(lm, error);
}

/* FOLDER with config.json, of transformers or MLX. */
static bool load_folder(const char *folder, const char *config_path, zi_lm *lm, zi_error *error)
{
    zi_checkpoint checkpoint;
    zi_lm_config config;
    return zi_lm_config_json(config_path, lm, &config, error) &&
           zi_tokenizer_load(folder, &lm->tokenizer, error) &&
           zi_lm_read_folder(folder, lm, error) &&
           zi_checkpoint_open_dir(folder, "model", &checkpoint, error) &&
           bind_model(&checkpoint, &config, lm, error) && add_known_stops(lm, error);
}

/* The text encoder of an image model, which is Qwen3 with a tied head. */
static bool load_encoder(const zi_model_options *options, zi_lm *lm, zi_error *error)
{
    zi_assembly assembly;
    zi_config config = {0};
    zi_weights weights;
    if (!zi_assembly_read(options, &assembly, error)) return false;
    bool ok = zi_assembly_open(&assembly, ZI_TEXT_ENCODER, &config, &weights, error) &&
              zi_qwen_bind_language(&weights, &config.text, true, &lm->qwen, error) &&
              zi_assembly_tokenizer(options, &lm->tokenizer, error) && add_known_stops(lm, error);
    zi_assembly_free(&assembly);
    return ok;
}

/* The GGUF file in a folder, in new memory; *count: how many there are. */
static char *find_gguf(const char *folder, int *count)
{
    char *found = NULL;
    DIR *dir = opendir(folder);
    const struct dirent *entry;
    *count = 0;
    while (dir && (entry = readdir(dir))) {
        size_t size = strlen(entry->d_name);
        if (size < 5 || strcmp(entry->d_name + size - 5, ".gguf") != 0) continue;
        if ((*count)++ == 0) found = zi_path_join(folder, entry->d_name);
    }
    if (dir) closedir(dir);
    return found;
}

/* A GGUF file of a language model, or an image model in a file. */
static bool load_file(const zi_model_options *options, zi_lm *lm, zi_error *error)
{
    zi_checkpoint checkpoint;
    if (!zi_checkpoint_open(options->path, &checkpoint, error)) return false;
    if (zi_checkpoint_find(&checkpoint, "token_embd.weight") && checkpoint.gguf)
        return load_gguf(&checkpoint, lm, error);
    bool foreign = zi_recognise_foreign(&checkpoint) != NULL;
    zi_checkpoint_close(&checkpoint);
    if (!foreign) return load_encoder(options, lm, error);
    return zi_error_set(error, ZI_ERROR_UNSUPPORTED, options->path,
                        "of files, only a GGUF serves as a language model; others come as folders, "
                        "with config.json and tokenizer");
}

/* Whether a config is that of a model by itself, not the transformer's of an image model. */
static bool is_config(const char *path)
{
    cJSON *json = NULL;
    bool is = zi_is_file(path) && zi_json_read(path, 1 << 20, &json, NULL) &&
              zi_json_find(json, "model_type");
    cJSON_Delete(json);
    return is;
}

static bool load(const zi_model_options *options, zi_lm *lm, zi_error *error)
{
    const char *path = options->path;
    if (zi_is_file(path)) return load_file(options, lm, error);
    if (!zi_is_dir(path))
        return zi_error_set(error, ZI_ERROR_NOT_FOUND, path, "no such file or folder");
    int ggufs;
    char *config = zi_path_join(path, "config.json"), *gguf = find_gguf(path, &ggufs);
    bool ok = config || zi_error_no_memory(error, strlen(path));
    if (ok && is_config(config))
        ok = load_folder(path, config, lm, error);
    else if (ok && gguf && ggufs == 1)
        ok = load_file(&(zi_model_options){.path = gguf}, lm, error);
    else if (ok && ggufs > 1)
        ok = zi_error_set(error, ZI_ERROR_UNSUPPORTED, path,
                          "holds %d GGUF files; name the one to use", ggufs);
    else if (ok)
        ok = load_encoder(options, lm, error);
    free(config);
    free(gguf);
    return ok;
}

bool zi_lm_load(const zi_model_options *options, zi_lm *out, zi_error *error)
{
    zi_lm lm = {.bos = -1, .path = strdup(options->path)};
    if (!lm.path) return zi_error_no_memory(error, strlen(options->path));
    if (!load(options, &lm, error)) {
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

/* ---- generation ---- */

typedef struct {
    zi_ops *ops;
    const zi_lm *lm;
    const zi_lm_request *request;
    zi_arena arena;
    zi_qwen_cache cache;
    float *logits;       /* [vocab] */
    zi_candidate *space; /* [vocab] */
    int32_t *ids;        /* [count + most]: the prompt, and what follows */
    size_t count;
    bool ended;
} writer;

/* The last token is not read any more. */
static void plan(writer *w)
{
    const zi_qwen_config *c = &w->lm->qwen.config;
    size_t depth = (size_t)(c->ffn > c->hidden ? c->ffn : c->hidden);
    size_t q = (size_t)c->heads * (size_t)c->head_dim, total = w->request->count + w->request->most;
    zi_ops_plan(w->ops, &w->arena, (zi_ops_limits){(size_t)c->head_dim, q > depth ? q : depth});
    w->logits = zi_arena_floats(&w->arena, (size_t)c->vocab);
    w->space = zi_arena_alloc(&w->arena, (size_t)c->vocab, sizeof *w->space);
    w->ids = zi_arena_alloc(&w->arena, total, sizeof *w->ids);
    zi_qwen_cache_plan(&w->lm->qwen, total - 1, w->request->count, &w->arena, &w->cache);
}

static bool take_memory(writer *w, zi_error *error)
{
    w->arena = zi_arena_measure();
    plan(w);
    size_t size = w->arena.peak;
    if (w->arena.overflow) return zi_error_no_memory(error, SIZE_MAX);
    if (!zi_arena_create(&w->arena, size, error)) return false;
    plan(w);
    return true;
}

static bool stops(const zi_lm *lm, int32_t id)
{
    for (size_t i = 0; i < lm->stop_count; i++)
        if (lm->stops[i] == id) return true;
    return false;
}

/* Picks tokens after what was read until the model ends, or there are enough. */
static bool write_tokens(writer *w, const zi_run *run, zi_error *error)
{
    const zi_lm_request *r = w->request;
    zi_random random;
    zi_random_seed(&random, r->sampling.seed);
    while (w->count < r->count + r->most) {
        int32_t id = zi_pick(&r->sampling, &random, w->logits, (size_t)w->lm->qwen.config.vocab,
                             w->ids, w->count, w->space);
        w->ended = stops(w->lm, id);
        if (w->ended) return true;
        w->ids[w->count++] = id;
        if (r->token && !r->token(r->user, id)) return zi_error_cancelled(error);
        if (w->count == r->count + r->most) return true;
        if (!zi_qwen_read(run, &w->lm->qwen, &w->cache, &id, 1, w->logits, error)) return false;
    }
    return true;
}

static bool check(const zi_lm *lm, const zi_lm_request *r, zi_error *error)
{
    size_t context = (size_t)lm->qwen.config.context; /* 0: nobody says */
    if (!zi_sampling_check(&r->sampling, error)) return false;
    if (!r->count)
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "prompt",
                            "there is nothing in it to continue");
    if (!context || r->count + r->most <= context) return true;
    return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "prompt",
                        "its %zu tokens and %zu to come are more than the context of this language "
                        "model, %zu; shorten it or ask for fewer",
                        r->count, r->most, context);
}

static bool generate(writer *w, zi_lm_result *out, zi_error *error)
{
    const zi_lm_request *r = w->request;
    zi_run run = {.ops = w->ops, .arena = &w->arena, .layer_done = r->layer_done, .user = r->user};
    double begun = zi_seconds();
    memcpy(w->ids, r->ids, r->count * sizeof *w->ids);
    w->count = r->count;
    if (r->most && !zi_qwen_read(&run, &w->lm->qwen, &w->cache, r->ids, r->count, w->logits, error))
        return false;
    double read = zi_seconds();
    if (!write_tokens(w, &run, error)) return false;
    zi_lm_result result = {.count = w->count - r->count,
                           .ended = w->ended,
                           .read_seconds = read - begun,
                           .write_seconds = zi_seconds() - read};
    result.ids = malloc((result.count + 1) * sizeof *result.ids);
    if (!result.ids) return zi_error_no_memory(error, result.count);
    memcpy(result.ids, w->ids + r->count, result.count * sizeof *result.ids);
    *out = result;
    return true;
}

bool zi_lm_generate(zi_ops *ops, const zi_lm *lm, const zi_lm_request *request, zi_lm_result *out,
                    zi_error *error)
{
    writer w = {.ops = ops, .lm = lm, .request = request};
    bool ok = check(lm, request, error) && take_memory(&w, error) && generate(&w, out, error);
    zi_arena_free(&w.arena);
    return ok;
}
