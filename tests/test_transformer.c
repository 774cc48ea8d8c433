/* The transformer against diffusers' ZImageTransformer2DModel: outputs of eight shapes, and every
 * intermediate of one. */
#include "golden.h"
#include "model/transformer.h"

#include <string.h>

#define REL_L2 3e-5
#define MAX_ABS 3e-4

static const char *const cases[] = {"s16x16_c32", "s8x8_c1",    "s12x20_c33", "s20x12_c31",
                                    "s6x10_c77",  "s24x16_c64", "s2x2_c5",    "s4x8_c9_small"};
enum { CASES = sizeof cases / sizeof *cases, TRACED = 2 };

static zi_transformer transformer;
static zi_checkpoint golden;

static void load(void)
{
    zi_weights weights;
    zi_error error = {0};
    zi_config config = zi_golden_component("model", ZI_COMPONENT_TRANSFORMER, &weights);
    CHECK_OK(zi_transformer_bind(&weights, &config.transformer, &transformer, &error), error);
}

/* A golden tensor, with a row for each of its first dimension. */
static zi_view golden_view(zi_fixture *fixture, const zi_tensor *tensor)
{
    size_t rows = tensor->shape[0];
    return zi_fixture_view(fixture, tensor->data, rows, tensor->count / rows);
}

/* One call with latents and caption by their golden names. */
static const float *run_named(zi_fixture *fixture, const char *latents_name,
                              const char *caption_name, const char *t_name, size_t *count)
{
    const zi_tensor *latents = zi_golden_tensor(&golden, "%s", latents_name);
    const zi_tensor *caption = zi_golden_tensor(&golden, "%s", caption_name);
    float t = *zi_golden_floats(&golden, "%s", t_name);
    zi_sequence sequence;
    zi_error error = {0};
    zi_view features = golden_view(fixture, caption), in = golden_view(fixture, latents);
    zi_view out = zi_fixture_view(fixture, NULL, in.rows, in.columns);
    zi_sequence_reserve(&transformer, latents->shape[2], latents->shape[3], caption->shape[0],
                        &fixture->arena, &sequence);
    CHECK_OK(zi_transformer_caption(&fixture->run, &transformer, features, &sequence, &error),
             error);
    CHECK_OK(zi_transformer_step(&fixture->run, &transformer, &sequence, in, t, out, &error),
             error);
    *count = latents->count;
    return zi_fixture_read(fixture, out);
}

static const float *run_case(zi_fixture *fixture, const char *name, size_t *count)
{
    char latents[64], caption[64], t[64];
    snprintf(latents, sizeof latents, "%s.latents", name);
    snprintf(caption, sizeof caption, "%s.cap_feats", name);
    snprintf(t, sizeof t, "%s.t", name);
    return run_named(fixture, latents, caption, t, count);
}

static void outputs(void)
{
    zi_fixture fixture;
    zi_fixture_start(&fixture, 1, NULL, false);
    for (int i = 0; i < CASES; i++) {
        char name[64];
        size_t count;
        const float *out = run_case(&fixture, cases[i], &count);
        snprintf(name, sizeof name, "%s.out", cases[i]);
        zi_golden_compare(&golden, name, out, count, REL_L2, MAX_ABS);
    }
    zi_fixture_stop(&fixture);
}

/* Two captions that diffusers ran in one batch, with masks, are two calls here. */
static void batch(void)
{
    zi_fixture fixture;
    zi_fixture_start(&fixture, 2, NULL, false);
    for (int i = 0; i < 2; i++) {
        char caption[32], name[32];
        size_t count;
        snprintf(caption, sizeof caption, "batch.cap_feats%d", i);
        snprintf(name, sizeof name, "batch.out%d", i);
        const float *out = run_named(&fixture, "batch.latents", caption, "batch.t", &count);
        zi_golden_compare(&golden, name, out, count, REL_L2, MAX_ABS);
    }
    zi_fixture_stop(&fixture);
}

static int taps_seen;

static void tap(void *user, const char *name, const float *data, size_t rows, size_t columns)
{
    (void)user;
    char reference[64];
    snprintf(reference, sizeof reference, "trace.%s", name);
    if (!zi_checkpoint_find(&golden, reference)) return;
    taps_seen++;
    const zi_tensor *tensor = zi_golden_tensor(&golden, "%s", reference);
    /* diffusers carries padding through the patches and the last layer; we stop at the image. */
    CHECK(tensor->shape[tensor->dims - 1] == columns && tensor->count >= rows * columns);
    if (tensor->count == rows * columns) {
        zi_golden_compare(&golden, reference, data, rows * columns, REL_L2, MAX_ABS);
        return;
    }
    double error = zi_rel_l2(data, tensor->data, rows * columns);
    CHECK_MSG(error <= REL_L2, "%s: relative L2 error %g", reference, error);
}

static void every_intermediate(void)
{
    zi_fixture fixture;
    zi_fixture_start(&fixture, 2, NULL, false);
    fixture.run.tap = tap;
    size_t count;
    run_case(&fixture, cases[TRACED], &count);
    /* t_emb, patches, x_in, cap_in, both refiners, layers.0 with its three parts, layers.1, final
     */
    CHECK_MSG(taps_seen == 12, "%d intermediates were compared", taps_seen);
    zi_fixture_stop(&fixture);
}

static void rope_tables(void)
{
    zi_fixture fixture;
    zi_fixture_start(&fixture, 1, NULL, false);
    const zi_tensor *caption = zi_golden_tensor(&golden, "s12x20_c33.cap_feats");
    zi_sequence s;
    zi_error error = {0};
    zi_view features = golden_view(&fixture, caption);
    zi_sequence_reserve(&transformer, 12, 20, 33, &fixture.arena, &s);
    CHECK_OK(zi_transformer_caption(&fixture.run, &transformer, features, &s, &error), error);
    size_t n = s.tokens * (size_t)transformer.config.head_dim / 2;
    zi_golden_compare(&golden, "trace.rope_cos", zi_fixture_read(&fixture, s.cosines), n, 0, 1e-6);
    zi_golden_compare(&golden, "trace.rope_sin", zi_fixture_read(&fixture, s.sines), n, 0, 1e-6);
    zi_fixture_stop(&fixture);
}

static void same_bits_with_more_threads(void)
{
    zi_fixture one, eight;
    zi_fixture_start(&one, 1, NULL, false);
    zi_fixture_start(&eight, 8, NULL, false);
    for (int i = 0; i < CASES; i++) {
        size_t count;
        const float *a = run_case(&one, cases[i], &count), *b = run_case(&eight, cases[i], &count);
        CHECK_MSG(memcmp(a, b, count * sizeof *a) == 0, "%s differs", cases[i]);
    }
    zi_fixture_stop(&one);
    zi_fixture_stop(&eight);
}

/* A layer whose output is not finite is named. */
static void names_the_layer_that_overflows(void)
{
    zi_fixture fixture;
    zi_fixture_start(&fixture, 1, NULL, false);
    float *norm = zi_view_host(transformer.layers[1].ffn_norm2->data);
    float kept = norm[3];
    norm[3] = 1e38f * 1e38f;
    const zi_tensor *latents = zi_golden_tensor(&golden, "s8x8_c1.latents");
    const zi_tensor *caption = zi_golden_tensor(&golden, "s8x8_c1.cap_feats");
    zi_sequence s;
    zi_error error = {0};
    zi_view features = golden_view(&fixture, caption), in = golden_view(&fixture, latents);
    zi_view out = zi_fixture_view(&fixture, NULL, in.rows, in.columns);
    zi_sequence_reserve(&transformer, 8, 8, 1, &fixture.arena, &s);
    CHECK_OK(zi_transformer_caption(&fixture.run, &transformer, features, &s, &error), error);
    CHECK(!zi_transformer_step(&fixture.run, &transformer, &s, in, 0.5f, out, &error));
    CHECK_MSG(error.code == ZI_ERROR_BAD_FORMAT && !strcmp(error.subject, "layers.1"), "%s",
              error.text);
    norm[3] = kept;
    zi_fixture_stop(&fixture);
}

int main(void)
{
    golden = zi_golden_open("transformer.safetensors");
    RUN(load);
    RUN(outputs);
    RUN(batch);
    RUN(every_intermediate);
    RUN(rope_tables);
    RUN(same_bits_with_more_threads);
    if (!zi_test_gpu()) RUN(names_the_layer_that_overflows); /* it writes to weights */
    zi_transformer_free(&transformer);
    zi_checkpoint_close(&golden);
    return zi_test_result();
}
