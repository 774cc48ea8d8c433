/* The text encoder against transformers' Qwen3, every layer. */
#include "golden.h"
#include "model/qwen.h"

#include <string.h>

enum { PROMPTS = 5, TRACED = 3 };
#define REL_L2 2e-5
#define MAX_ABS 3e-4

static zi_qwen qwen;
static zi_checkpoint golden;

static void load(void)
{
    zi_weights weights;
    zi_error error = {0};
    zi_config config = zi_golden_part("model", ZI_COMPONENT_TEXT_ENCODER, &weights);
    CHECK_OK(zi_qwen_bind(&weights, &config.text, &qwen, &error), error);
}

/* Encodes the valid tokens of a golden prompt. */
static const float *encode(zi_test_engine *engine, int prompt, size_t *count)
{
    const zi_tensor *embeds = zi_golden_tensor(&golden, "p%d.prompt_embeds", prompt);
    const int32_t *ids = zi_golden_tensor(&golden, "p%d.input_ids", prompt)->data;
    size_t n = embeds->shape[0];
    zi_error error = {0};
    zi_view out = zi_test_view(engine, NULL, n, embeds->shape[1]);
    CHECK_OK(zi_qwen_encode(&engine->run, &qwen, ids, n, out, &error), error);
    *count = embeds->count;
    return zi_test_read(engine, out);
}

static void prompts(void)
{
    zi_test_engine engine;
    zi_test_engine_start(&engine, 1, NULL, false);
    for (int i = 0; i < PROMPTS; i++) {
        size_t count;
        const float *out = encode(&engine, i, &count);
        char name[32];
        snprintf(name, sizeof name, "p%d.prompt_embeds", i);
        zi_golden_compare(&golden, name, out, count, REL_L2, MAX_ABS);
    }
    zi_test_engine_stop(&engine);
}

static int taps_seen;

static void tap(void *user, const char *name, const float *data, size_t rows, size_t columns)
{
    (void)user;
    char reference[64];
    int layer;
    if (strcmp(name, "embed") == 0)
        snprintf(reference, sizeof reference, "trace.embed");
    else if (sscanf(name, "text encoder layers.%d", &layer) == 1)
        snprintf(reference, sizeof reference, "trace.after_layer%d", layer);
    else
        return;
    zi_golden_compare(&golden, reference, data, rows * columns, REL_L2, MAX_ABS);
    taps_seen++;
}

static void every_layer(void)
{
    zi_test_engine engine;
    zi_test_engine_start(&engine, 2, NULL, false);
    engine.run.tap = tap;
    size_t count;
    encode(&engine, TRACED, &count);
    CHECK(taps_seen == 4); /* the embedding and three of four layers */
    zi_test_engine_stop(&engine);
}

static void same_bits_with_more_threads(void)
{
    zi_test_engine one, three;
    zi_test_engine_start(&one, 1, NULL, false);
    zi_test_engine_start(&three, 3, NULL, false);
    size_t count;
    const float *a = encode(&one, TRACED, &count), *b = encode(&three, TRACED, &count);
    CHECK(memcmp(a, b, count * sizeof *a) == 0);
    zi_test_engine_stop(&one);
    zi_test_engine_stop(&three);
}

static void refuses_foreign_ids(void)
{
    zi_test_engine engine;
    zi_test_engine_start(&engine, 1, NULL, false);
    zi_view out = zi_test_view(&engine, NULL, 2, 96);
    zi_error error = {0};
    CHECK(!zi_qwen_encode(&engine.run, &qwen, (int32_t[]){5, 1300}, 2, out, &error));
    CHECK(strstr(error.text, "1300"));
    zi_test_engine_stop(&engine);
}

int main(void)
{
    golden = zi_golden_open("text_encoder.safetensors");
    RUN(load);
    RUN(prompts);
    RUN(every_layer);
    RUN(same_bits_with_more_threads);
    RUN(refuses_foreign_ids);
    zi_qwen_free(&qwen);
    zi_checkpoint_close(&golden);
    return zi_test_result();
}
