/* Language models against transformers: logits and greedy continuations of the tiny Qwen2, from a
 * folder and from GGUF files. */
#include "golden.h"
#include "variants.h"
#include "lm_generate.h"
#include "model/lm_config.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PROMPTS = 3, ADDED = 24 };
#define MAX_ABS 2e-3

static zi_checkpoint golden;

static const struct {
    const char *name, *path;
    bool every_step; /* has golden logits; otherwise of the first and the last */
} models[] = {{"hf", "golden/enhancer/hf", true},
              {"gguf_f16", "golden/enhancer/gguf/f16.gguf", false},
              {"gguf_q8_0", "golden/enhancer/gguf/q8_0.gguf", false},
              {"gguf_q4_k_m", "golden/enhancer/gguf/q4_k_m.gguf", false}};
enum { MODELS = sizeof models / sizeof *models };

static zi_lm load(const char *path)
{
    zi_lm lm = {0};
    zi_error error = {0};
    if (!CHECK_OK(zi_lm_load(&(zi_model_options){.path = zi_test_data_path(path)},
                             zi_golden_backend(), &lm, &error),
                  error))
        exit(1);
    return lm;
}

/* A golden prompt's ids, I64 or I32. */
static int32_t *prompt_ids(int prompt, size_t *count)
{
    const zi_tensor *t = zi_golden_tensor(&golden, "p%d.input_ids", prompt);
    int32_t *ids = malloc(t->count * sizeof *ids);
    for (size_t i = 0; i < t->count; i++) {
        int64_t wide = 0;
        if (t->type == ZI_I64)
            memcpy(&wide, (const char *)t->data + 8 * i, 8);
        else
            memcpy(&ids[i], (const char *)t->data + 4 * i, 4);
        if (t->type == ZI_I64) ids[i] = (int32_t)wide;
    }
    *count = t->count;
    return ids;
}

static int64_t greedy(int model, int prompt, size_t i)
{
    const zi_tensor *t = zi_golden_tensor(&golden, "%s.p%d.greedy", models[model].name, prompt);
    int64_t wide = 0;
    int32_t id = 0;
    if (t->type == ZI_I64) {
        memcpy(&wide, (const char *)t->data + 8 * i, 8);
        return wide;
    }
    memcpy(&id, (const char *)t->data + 4 * i, 4);
    return id;
}

static void check_logits(int model, int prompt, int step, const float *logits, size_t vocab)
{
    const zi_tensor *t = zi_golden_tensor(&golden, "%s.p%d.logits", models[model].name, prompt);
    size_t row = models[model].every_step ? (size_t)step : step > 0;
    if (!models[model].every_step && step > 0 && step < ADDED - 1) return;
    CHECK(t->count / t->shape[0] == vocab);
    double difference = zi_max_abs_difference(logits, (const float *)t->data + row * vocab, vocab);
    CHECK_MSG(difference <= MAX_ABS, "%s p%d step %d: logits differ by %g", models[model].name,
              prompt, step, difference);
}

static void check_prompt(int model, int prompt, const zi_lm *lm)
{
    zi_fixture engine;
    zi_fixture_start(&engine, 2, NULL, false);
    size_t count, vocab = (size_t)lm->qwen.config.vocab;
    int32_t *ids = prompt_ids(prompt, &count);
    zi_qwen_cache cache;
    zi_qwen_cache_reserve(&lm->qwen, count + ADDED, count, &engine.arena, &cache);
    zi_view logits = zi_fixture_view(&engine, NULL, 1, vocab);
    zi_error error = {0};
    CHECK_OK(zi_qwen_forward(&engine.run, &lm->qwen, &cache, ids, count, logits, &error), error);
    for (int step = 0; step < ADDED; step++) {
        check_logits(model, prompt, step, zi_fixture_read(&engine, logits), vocab);
        int32_t next = (int32_t)greedy(model, prompt, (size_t)step);
        CHECK_OK(zi_qwen_forward(&engine.run, &lm->qwen, &cache, &next, 1, logits, &error), error);
    }
    free(ids);
    zi_fixture_stop(&engine);
}

static void logits_are_right(void)
{
    for (int m = 0; m < MODELS; m++) {
        zi_lm lm = load(models[m].path);
        for (int p = 0; p < PROMPTS; p++) check_prompt(m, p, &lm);
        zi_lm_free(&lm);
    }
}

static bool run(const zi_lm *lm, const zi_lm_request *request, int threads, zi_lm_result *out,
                zi_error *error)
{
    zi_engine *engine = NULL;
    CHECK_OK(zi_engine_create(&(zi_engine_options){.threads = threads}, &engine, error), *error);
    bool ok = zi_lm_generate(engine, lm, request, out, error);
    zi_engine_free(engine);
    return ok;
}

static const zi_sampling plain = {.top_p = 1, .penalty = 1};

static void greedy_continuations(void)
{
    for (int m = 0; m < MODELS; m++) {
        zi_lm lm = load(models[m].path);
        for (int p = 0; p < PROMPTS; p++) {
            zi_error error = {0};
            zi_lm_result result = {0};
            size_t count;
            int32_t *ids = prompt_ids(p, &count);
            zi_lm_request request = {
                .ids = ids, .count = count, .max_tokens = ADDED, .sampling = plain};
            lm.stop_count = 0; /* the golden ones go on */
            CHECK_OK(run(&lm, &request, 3, &result, &error), error);
            bool same = result.count == ADDED;
            for (size_t i = 0; same && i < ADDED; i++) same = result.ids[i] == greedy(m, p, i);
            CHECK_MSG(same, "%s p%d: other tokens", models[m].name, p);
            free(result.ids);
            free(ids);
        }
        zi_lm_free(&lm);
    }
}

/* A prompt that is read in one batch, in several, or token by token gives nearly the same, and the
 * same with any number of threads. */
static void batches(void)
{
    zi_lm lm = load(models[0].path);
    zi_fixture engine, other;
    zi_fixture_start(&engine, 1, NULL, false);
    zi_fixture_start(&other, 3, NULL, false);
    enum { LONG = 1100 };
    int32_t ids[LONG];
    for (int i = 0; i < LONG; i++) ids[i] = i * 7 % 290;
    size_t vocab = (size_t)lm.qwen.config.vocab;
    zi_qwen_cache cache, cache2, cache3;
    zi_qwen_cache_reserve(&lm.qwen, LONG, LONG, &engine.arena, &cache);
    zi_qwen_cache_reserve(&lm.qwen, LONG, LONG, &other.arena, &cache2);
    zi_qwen_cache_reserve(&lm.qwen, LONG, LONG, &engine.arena, &cache3);
    zi_view logits = zi_fixture_view(&engine, NULL, 1, vocab);
    zi_view others = zi_fixture_view(&other, NULL, 1, vocab);
    zi_error error = {0};
    CHECK_OK(zi_qwen_forward(&engine.run, &lm.qwen, &cache, ids, LONG, logits, &error), error);
    const float *a = zi_fixture_read(&engine, logits);
    CHECK_OK(zi_qwen_forward(&other.run, &lm.qwen, &cache2, ids, LONG, others, &error), error);
    const float *b = zi_fixture_read(&other, others);
    for (size_t i = 0; i < LONG; i++)
        CHECK_OK(zi_qwen_forward(&engine.run, &lm.qwen, &cache3, ids + i, 1, logits, &error),
                 error);
    const float *c = zi_fixture_read(&engine, logits);
    CHECK(memcmp(a, b, vocab * sizeof *a) == 0);
    CHECK_MSG(zi_max_abs_difference(a, c, vocab) < 1e-4, "%g", zi_max_abs_difference(a, c, vocab));
    zi_fixture_stop(&engine);
    zi_fixture_stop(&other);
    zi_lm_free(&lm);
}

static void contexts(void)
{
    zi_lm lm = load(models[1].path);
    zi_error error = {0};
    zi_lm_result result = {0};
    int32_t ids[20] = {0};
    lm.qwen.config.context = 30;
    zi_lm_request request = {.ids = ids, .count = 20, .max_tokens = 11, .sampling = plain};
    CHECK(!run(&lm, &request, 1, &result, &error));
    CHECK_ERROR(error, ZI_ERROR_INVALID_ARGUMENT, "prompt");
    CHECK(strstr(error.text, "the 30 tokens that this language model can hold"));
    request.max_tokens = 10;
    CHECK_OK(run(&lm, &request, 1, &result, &error), error);
    free(result.ids);
    request.count = 0;
    CHECK(!run(&lm, &request, 1, &result, &error));
    zi_lm_free(&lm);
}

/* A stop token ends a text and is not part of it; seeds repeat, and differ. */
static void ends_and_seeds(void)
{
    zi_lm lm = load(models[0].path);
    zi_error error = {0};
    zi_lm_result a = {0}, b = {0};
    size_t count;
    int32_t *ids = prompt_ids(0, &count), stop = (int32_t)greedy(0, 0, 3);
    zi_lm_request request = {.ids = ids, .count = count, .max_tokens = ADDED, .sampling = plain};
    CHECK_OK(zi_lm_add_stop(&lm, stop, &error), error);
    CHECK_OK(run(&lm, &request, 1, &a, &error), error);
    CHECK(a.ended && a.count == 3);
    free(a.ids);
    lm.stop_count = 0;
    request.sampling = (zi_sampling){.temperature = 1, .top_p = 0.95, .penalty = 1.1, .seed = 5};
    CHECK_OK(run(&lm, &request, 1, &a, &error), error);
    CHECK_OK(run(&lm, &request, 2, &b, &error), error);
    CHECK(a.count == ADDED && b.count == ADDED && memcmp(a.ids, b.ids, ADDED * 4) == 0);
    free(b.ids);
    request.sampling.seed = 6;
    CHECK_OK(run(&lm, &request, 2, &b, &error), error);
    CHECK(memcmp(a.ids, b.ids, ADDED * 4) != 0);
    free(a.ids);
    free(b.ids);
    free(ids);
    zi_lm_free(&lm);
}

/* ---- the files of a folder ---- */

/* The golden model as a folder whose tokenizer_config.json is this text. */
static const char *folder_with_config(const char *tokenizer_config)
{
    static const char *const linked[] = {"config.json", "model.safetensors", "tokenizer.json"};
    static char target[600];
    mkdir(zi_test_path("lm"), 0777);
    for (size_t i = 0; i < sizeof linked / sizeof *linked; i++) {
        char name[100];
        snprintf(name, sizeof name, "golden/enhancer/hf/%s", linked[i]);
        snprintf(target, sizeof target, "%s", zi_test_data_path(name));
        snprintf(name, sizeof name, "lm/%s", linked[i]);
        unlink(zi_test_path(name));
        CHECK(symlink(target, zi_test_path(name)) == 0);
    }
    zi_test_write_file(zi_test_path("lm/tokenizer_config.json"), tokenizer_config,
                       strlen(tokenizer_config));
    return zi_test_path("lm");
}

/* The beginning token is a name or an object, and must be one of the tokenizer's added tokens. */
static void beginning_tokens(void)
{
    static const struct {
        const char *config;
        int32_t bos; /* -2: refused */
    } rows[] = {
        {"{\"bos_token\": \"<|endoftext|>\"}", -1},
        {"{\"add_bos_token\": true}", -1},
        {"{\"add_bos_token\": true, \"bos_token\": null}", -1},
        {"{\"add_bos_token\": true, \"bos_token\": \"<|endoftext|>\"}", 296},
        {"{\"add_bos_token\": true, \"bos_token\": {\"content\": \"<|im_start|>\"}}", 297},
        {"{\"add_bos_token\": true, \"bos_token\": \"<s>\"}", -2},
        {"{\"add_bos_token\": true, \"bos_token\": {\"content\": \"<s>\"}}", -2},
        {"{\"add_bos_token\": true, \"bos_token\": {}}", -2},
        {"{\"add_bos_token\": true, \"bos_token\": 7}", -2},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        zi_lm lm = {0};
        zi_error error = {0};
        zi_model_options options = {.path = folder_with_config(rows[i].config)};
        if (rows[i].bos == -2) {
            CHECK_MSG(!zi_lm_load(&options, zi_golden_backend(), &lm, &error), "%s passes",
                      rows[i].config);
            CHECK_ERROR(error, ZI_ERROR_BAD_FORMAT, "bos_token");
        } else if (CHECK_OK(zi_lm_load(&options, zi_golden_backend(), &lm, &error), error)) {
            CHECK_MSG(lm.bos == rows[i].bos, "%s: %d", rows[i].config, (int)lm.bos);
        }
        zi_lm_free(&lm);
    }
}

/* Heads are limited also where their width is that of the model divided by their number. */
static void widths_of_heads(void)
{
    static const struct {
        int hidden;
        const char *head_dim;
        const char *says; /* NULL: it is accepted */
    } rows[] = {{1024, "", NULL},
                {1026, "", "is 1026"},
                {65536, "", "is 65536"},
                {64, ", \"head_dim\": 1024", NULL},
                {64, ", \"head_dim\": 1026", "head_dim"},
                {1025, "", "is 1025"}};
    char path[600], text[400];
    snprintf(path, sizeof path, "%s", zi_test_path("config.json"));
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        zi_lm lm = {0};
        zi_lm_config config;
        zi_config encoder = {0};
        zi_error error = {0}, other = {0};
        snprintf(text, sizeof text,
                 "{\"model_type\": \"qwen3\", \"num_hidden_layers\": 2, \"hidden_size\": %d, "
                 "\"num_attention_heads\": 1, \"num_key_value_heads\": 1, "
                 "\"intermediate_size\": 8, \"vocab_size\": 8, \"rms_norm_eps\": 1e-6%s}",
                 rows[i].hidden, rows[i].head_dim);
        zi_test_write_file(path, text, strlen(text));
        bool ok = zi_lm_read_json_config(path, &lm, &config, &error);
        CHECK_MSG(ok == !rows[i].says, "row %zu: %s", i, error.text);
        CHECK(zi_config_read(ZI_COMPONENT_TEXT_ENCODER, path, &encoder, &other) == ok);
        if (!rows[i].says) continue;
        CHECK(error.code == ZI_ERROR_BAD_FORMAT && other.code == ZI_ERROR_BAD_FORMAT);
        CHECK_MSG(strstr(error.text, rows[i].says), "%s", error.text);
    }
    CHECK(unlink(path) == 0);
}

/* The same in GGUF, whose key_length is optional, too. */
static void widths_of_heads_in_gguf(void)
{
    static const char name[] = "qwen2";
    const char *const names[] = {name};
    const uint32_t widths[] = {1024, 1026, 65536}, one = 1;
    const float eps = 1e-6f, weight = 0;
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++) {
        const zi_gguf_out values[] = {
            {"general.architecture", ZI_GGUF_STRING, false, 1, names},
            {"qwen2.block_count", ZI_GGUF_U32, false, 1, &one},
            {"qwen2.embedding_length", ZI_GGUF_U32, false, 1, &widths[i]},
            {"qwen2.feed_forward_length", ZI_GGUF_U32, false, 1, &one},
            {"qwen2.attention.head_count", ZI_GGUF_U32, false, 1, &one},
            {"qwen2.context_length", ZI_GGUF_U32, false, 1, &one},
            {"qwen2.attention.layer_norm_rms_epsilon", ZI_GGUF_F32, false, 1, &eps},
        };
        const zi_tensor_out tensor = {
            .name = "a", .type = ZI_F32, .dims = 1, .shape = {1}, .data = &weight};
        char path[600];
        zi_checkpoint checkpoint;
        zi_lm_config config;
        zi_error error = {0};
        snprintf(path, sizeof path, "%s", zi_test_path("width.gguf"));
        unlink(path);
        if (!CHECK_OK(zi_gguf_write(path, values, sizeof values / sizeof *values, &tensor, 1, NULL,
                                    NULL, &error),
                      error) ||
            !CHECK_OK(zi_checkpoint_open(path, &checkpoint, &error), error))
            return;
        bool ok = zi_lm_read_gguf_config(checkpoint.gguf, 8, &config, &error);
        CHECK_MSG(ok == (i == 0), "row %zu: %s", i, error.text);
        if (i) CHECK_ERROR(error, ZI_ERROR_BAD_FORMAT, path);
        zi_checkpoint_close(&checkpoint);
    }
}

/* An id must fit the tables of tokens. */
static void end_token_ids(void)
{
    static const char *const good[] = {"0", "1048575", "[]", "[1, 1048575]"};
    static const char *const bad[] = {"1048576", "-1", "[1, 1048576]", "\"7\"", "[[1]]"};
    char path[600], text[100];
    snprintf(path, sizeof path, "%s", zi_test_path("lm/generation_config.json"));
    folder_with_config("{}");
    for (size_t i = 0; i < sizeof good / sizeof *good + sizeof bad / sizeof *bad; i++) {
        bool fine = i < sizeof good / sizeof *good;
        zi_lm lm = {0};
        zi_error error = {0};
        snprintf(text, sizeof text, "{\"eos_token_id\": %s}",
                 fine ? good[i] : bad[i - sizeof good / sizeof *good]);
        zi_test_write_file(path, text, strlen(text));
        zi_model_options options = {.path = zi_test_path("lm")};
        bool loaded = zi_lm_load(&options, zi_golden_backend(), &lm, &error);
        CHECK_MSG(loaded == fine, "%s: %s", text, error.text);
        if (!fine) CHECK_ERROR(error, ZI_ERROR_BAD_FORMAT, "eos_token_id");
        zi_lm_free(&lm);
    }
    CHECK(unlink(path) == 0);
}

/* A folder with one GGUF file is that file, and what it lacks comes from the other options. */
static void folder_of_one_gguf(void)
{
    zi_error error = {0};
    zi_lm lm = {0};
    CHECK(mkdir(zi_test_path("one"), 0777) == 0);
    zi_convert_options convert = {.source = zi_test_data_path("golden/model"),
                                  .destination = zi_test_path("one/transformer.gguf"),
                                  .layout = ZI_LAYOUT_GGUF};
    CHECK_OK(zi_convert(&convert, &error), error);
    zi_model_options options = {.path = zi_test_path("one")};
    CHECK(!zi_lm_load(&options, zi_golden_backend(), &lm, &error));
    CHECK_ERROR(error, ZI_ERROR_INCOMPLETE, "text_encoder");
    options.reference = zi_test_data_path("golden/model");
    CHECK_OK(zi_lm_load(&options, zi_golden_backend(), &lm, &error), error);
    zi_lm_free(&lm);
}

/* Logits of a language model for a prompt, then for one token more, [2, vocabulary]. */
static float *logits_of(const char *path)
{
    static const int32_t ids[] = {5, 17, 250, 3, 99, 41, 7};
    zi_error error = {0};
    zi_lm lm = {0};
    zi_fixture engine;
    zi_qwen_cache cache;
    if (!CHECK_OK(zi_lm_load(&(zi_model_options){.path = path}, zi_golden_backend(), &lm, &error),
                  error))
        return NULL;
    zi_fixture_start(&engine, 2, NULL, false);
    size_t vocab = (size_t)lm.qwen.config.vocab;
    float *out = malloc(2 * vocab * sizeof *out);
    zi_qwen_cache_reserve(&lm.qwen, 8, 8, &engine.arena, &cache);
    zi_view logits = zi_fixture_view(&engine, NULL, 1, vocab);
    for (size_t i = 0; i < 2; i++) {
        CHECK_OK(
            zi_qwen_forward(&engine.run, &lm.qwen, &cache, ids + 6 * i, i ? 1 : 6, logits, &error),
            error);
        memcpy(out + i * vocab, zi_fixture_read(&engine, logits), vocab * sizeof *out);
    }
    zi_fixture_stop(&engine);
    zi_lm_free(&lm);
    return out;
}

/* Writes the tiny Qwen2 to a folder with these tensors as its weights. */
static const char *folder_with(const char *name, const zi_test_tensors *tensors)
{
    static char path[2][1100];
    char *folder = path[strcmp(name, "meant") == 0], command[2400], file[1200];
    zi_error error = {0};
    snprintf(folder, sizeof path[0], "%s", zi_test_path(name));
    snprintf(command, sizeof command, "rm -rf '%s' && cp -R '%s' '%s' && chmod -R u+w '%s'", folder,
             zi_test_data_path("golden/enhancer/hf"), folder, folder);
    CHECK(system(command) == 0);
    snprintf(file, sizeof file, "%s/model.safetensors", folder);
    CHECK_OK(zi_safetensors_write(file, tensors->list, tensors->count, &error), error);
    return folder;
}

/* Language models in the formats of few bits, whose head is their embedding, compute with the
 * values that are meant. */
static void low_bits(void)
{
    static const struct {
        const char *name;
        zi_test_format format;
    } rows[] = {{"2 bits", ZI_AS_Q2_32},    {"mxfp4", ZI_AS_MLX_MXFP4},
                {"mxfp8", ZI_AS_MLX_MXFP8}, {"nvfp4 of MLX", ZI_AS_MLX_NVFP4},
                {"NVFP4", ZI_AS_NVFP4},     {"MXFP8", ZI_AS_MXFP8}};
    zi_checkpoint checkpoint;
    zi_source source;
    zi_error error = {0};
    if (!CHECK_OK(zi_checkpoint_open(zi_test_data_path("golden/enhancer/hf/model.safetensors"),
                                     &checkpoint, &error),
                  error) ||
        !CHECK_OK(zi_source_create_language(&checkpoint, 0, &source, &error), error))
        return;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        zi_test_tensors stored, meaning;
        zi_variant_make_of(&source, ZI_NAMES_DIFFUSERS, rows[i].format, &stored, &meaning);
        float *got = logits_of(folder_with(rows[i].name, &stored));
        float *wanted = logits_of(folder_with("meant", &meaning));
        bool same = got && wanted && memcmp(got, wanted, 2 * 320 * sizeof *got) == 0;
        CHECK_MSG(same && stored.count > meaning.count, "%s: other logits", rows[i].name);
        free(got);
        free(wanted);
        zi_test_tensors_free(&stored);
        zi_test_tensors_free(&meaning);
    }
    zi_source_free(&source);
    zi_checkpoint_close(&checkpoint);
}

int main(void)
{
    golden = zi_golden_open("enhancer/expected.safetensors");
    RUN(logits_are_right);
    RUN(greedy_continuations);
    RUN(batches);
    RUN(contexts);
    RUN(ends_and_seeds);
    RUN(beginning_tokens);
    RUN(widths_of_heads);
    RUN(widths_of_heads_in_gguf);
    RUN(end_token_ids);
    RUN(folder_of_one_gguf);
    RUN(low_bits);
    zi_checkpoint_close(&golden);
    return zi_test_result();
}
