/* Model code on a backend other than the CPU's: a mock device that records calls and runs them
 * later must give the same bits. Also the arena that plans memory. */
#include "device.h"
#include "golden.h"
#include "internal.h"
#include "model/qwen.h"
#include "model/transformer.h"
#include "model/vae.h"

#include <stdlib.h>
#include <string.h>

/* ---- the same bits ---- */

/* An engine on the CPU, or on a device. */
static zi_engine *make_engine(bool device, bool unified)
{
    zi_engine *engine = NULL;
    zi_error error = {0};
    if (!CHECK_OK(zi_engine_create(&(zi_engine_options){.threads = 2}, &engine, &error), error))
        exit(1);
    if (device) engine->backend = zi_test_device_create(engine->backend, unified);
    return engine;
}

static void mix_preview(void *user, int step, const zi_image *image)
{
    uint64_t *hash = user;
    (void)step;
    for (int i = 0; i < 3 * image->width * image->height; i++)
        *hash = (*hash ^ image->pixels[i]) * 0x100000001b3;
}

typedef struct {
    zi_image *image;
    uint64_t previews;
} drawing;

/* kind 0: as it is; 1: with guidance; 2: with previews; 3: exact. */
static drawing draw(zi_model *model, int kind)
{
    drawing d = {0};
    zi_error error = {0};
    zi_request request = zi_request_default();
    request.prompt = "a red circle on a blue background";
    request.width = 96;
    request.height = 64;
    request.steps = 3;
    request.seed = 5;
    request.guidance = kind == 1 ? 2 : 0;
    request.compute = kind == 3 ? ZI_COMPUTE_EXACT : ZI_COMPUTE_AUTO;
    if (kind == 2) request.preview = mix_preview;
    request.user = &d.previews;
    CHECK_OK(zi_generate(model, &request, &d.image, &error), error);
    return d;
}

static bool same(const drawing *a, const drawing *b)
{
    size_t size = a->image ? 3 * (size_t)a->image->width * (size_t)a->image->height : 0;
    return a->image && b->image && !memcmp(a->image->pixels, b->image->pixels, size) &&
           a->previews == b->previews;
}

static void compare(const char *path, bool unified)
{
    zi_error error = {0};
    zi_engine *engines[] = {make_engine(false, false), make_engine(true, unified)};
    zi_model *models[2] = {0};
    for (int i = 0; i < 2; i++)
        CHECK_OK(zi_model_load(engines[i], &(zi_model_options){.path = path}, &models[i], &error),
                 error);
    for (int kind = 0; models[0] && models[1] && kind < 4; kind++) {
        drawing a = draw(models[0], kind), b = draw(models[1], kind);
        CHECK_MSG(same(&a, &b), "%s, kind %d", path, kind);
        zi_image_free(a.image);
        zi_image_free(b.image);
    }
    const zi_device_counts *counts = zi_test_device_counts(engines[1]->backend);
    for (int call = 0; call < ZI_DEVICE_CALLS; call++)
        CHECK_MSG(counts->calls[call] > 0, "operation %d was never called", call);
    CHECK(counts->submits > 10 && counts->waits > 0 && counts->waits < counts->submits);
    for (int i = 0; i < 2; i++) {
        zi_model_free(models[i]);
        zi_engine_free(engines[i]);
    }
}

static void generates_on_a_device(void)
{
    compare(zi_test_data_path("golden/model"), false);
    compare(ZI_SHARE "/demo-model", false);
}

static void generates_in_unified_memory(void)
{
    compare(zi_test_data_path("golden/model"), true);
}

/* ---- what is not finite ---- */

static void keep_remark(void *user, const char *text)
{
    snprintf(user, 512, "%s", text);
}

/* An image whose values of f16 overflow is that of exact arithmetic, and the user is told. */
static void computes_again_in_f32(void)
{
    char remark[512] = "";
    zi_error error = {0};
    zi_engine *engine = make_engine(true, false);
    zi_model *model = NULL;
    zi_model_options options = {.path = zi_test_data_path("golden/model")};
    engine->options.remark = keep_remark;
    engine->options.user = remark;
    if (CHECK_OK(zi_model_load(engine, &options, &model, &error), error)) {
        drawing exact = draw(model, 3);
        for (size_t check = 1; check < 16; check += 5) {
            *remark = 0;
            zi_test_device_overflow(engine->backend, check);
            drawing d = draw(model, 0);
            CHECK_MSG(same(&d, &exact), "check %zu", check);
            CHECK_MSG(strstr(remark, "computed again in f32"), "check %zu: '%s'", check, remark);
            zi_image_free(d.image);
        }
        *remark = 0;
        drawing again = draw(model, 3); /* an exact session has no f16 that overflow */
        CHECK(same(&again, &exact) && !*remark);
        zi_image_free(again.image);
        zi_image_free(exact.image);
    }
    zi_model_free(model);
    zi_engine_free(engine);
}

static void verifies_on_a_device(void)
{
    zi_error error = {0};
    zi_verification *v = NULL;
    zi_engine *engine = make_engine(true, false);
    CHECK_OK(zi_verify(engine, &(zi_model_options){.path = ZI_SHARE "/demo-model"}, NULL, NULL,
                       NULL, &v, &error),
             error);
    for (size_t i = 0; v && i < v->check_count; i++)
        CHECK_MSG(v->checks[i].passed, "%s: %s", v->checks[i].name, v->checks[i].text);
    zi_verification_free(v);
    zi_engine_free(engine);
}

/* The text encoder as a language model. */
static char *continue_text(zi_engine *engine)
{
    zi_error error = {0};
    zi_llm *llm = NULL;
    zi_enhance_result out = {0};
    zi_enhance_request request = zi_enhance_default();
    zi_model_options options = {.path = zi_test_data_path("golden/model")};
    request.prompt = "a red";
    request.raw = true;
    request.max_tokens = 12;
    request.temperature = 0;
    request.penalty = 1;
    if (CHECK_OK(zi_llm_load(engine, &options, &llm, &error), error))
        CHECK_OK(zi_enhance(llm, &request, &out, &error), error);
    char *text = out.text ? strdup(out.text) : NULL;
    zi_enhance_result_free(&out);
    zi_llm_free(llm);
    zi_engine_free(engine);
    return text;
}

static void writes_on_a_device(void)
{
    char *a = continue_text(make_engine(false, false)),
         *b = continue_text(make_engine(true, false));
    char *c = continue_text(make_engine(true, true));
    CHECK_MSG(a && b && c && !strcmp(a, b) && !strcmp(a, c), "'%s', '%s', '%s'", a, b, c);
    free(a);
    free(b);
    free(c);
}

/* ---- what is not finite ---- */

/* Spoils a value of a loaded weight, which is f32 in memory of its own. */
static float *spoil(zi_view view)
{
    float *value = zi_view_host(view);
    *value = 1e38f * 1e38f;
    return value;
}

/* Whatever is damaged is named, from the first layer to the last. */
static void damage_is_named(void)
{
    zi_error error = {0};
    zi_model *model = NULL;
    zi_engine *engine = make_engine(false, false);
    zi_model_options options = {.path = zi_test_data_path("golden/model")};
    if (!CHECK_OK(zi_model_load(engine, &options, &model, &error), error)) return;
    const struct {
        zi_view view;
        const char *name;
    } rows[] = {
        {model->text.layers[0].input_norm->data, "text encoder layers.0"},
        {model->transformer.layers[1].ffn_norm2->data, "layers.1"},
        {model->transformer.final_linear_bias->data, "final_layer"},
        {model->vae.conv_out_bias->data, "vae conv_out"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        zi_image *image = NULL;
        zi_request request = zi_request_default();
        float kept = *(float *)zi_view_host(rows[i].view), *value = spoil(rows[i].view);
        request.prompt = i ? "a" : "b"; /* the embeddings of a are kept */
        request.width = request.height = 64;
        request.steps = 1;
        if (i == 1) {
            *value = kept; /* the first time it is sound */
            CHECK_OK(zi_generate(model, &request, &image, &error), error);
            zi_image_free(image);
            image = NULL;
            spoil(rows[i].view);
        }
        CHECK(!zi_generate(model, &request, &image, &error) && !image);
        CHECK_ERROR(error, ZI_ERROR_BAD_FORMAT, rows[i].name);
        *value = kept;
    }
    zi_model_free(model);
    zi_engine_free(engine);
}

/* ---- parts ---- */

static zi_transformer transformer;
static zi_vae vae;
static zi_qwen text_encoder;

static void load(void)
{
    zi_weights weights;
    zi_error error = {0};
    zi_config config = zi_golden_component("model", ZI_COMPONENT_TRANSFORMER, &weights);
    CHECK_OK(zi_transformer_bind(&weights, &config.transformer, &transformer, &error), error);
    config = zi_golden_component("model", ZI_COMPONENT_VAE, &weights);
    CHECK_OK(zi_vae_bind(&weights, &config.vae, &vae, &error), error);
    config = zi_golden_component("model", ZI_COMPONENT_TEXT_ENCODER, &weights);
    CHECK_OK(zi_qwen_bind(&weights, &config.text, &text_encoder, &error), error);
}

/* ---- weights know their names ---- */

static void weights_have_names(void)
{
    CHECK(!strcmp(transformer.layers[1].w2->name, "layers.1.feed_forward.w2.weight"));
    CHECK(!strcmp(transformer.x_pad->name, "x_pad_token"));
    CHECK(!strcmp(vae.resnets[0].conv1_bias->name, "decoder.up_blocks.0.resnets.0.conv1.bias"));
    CHECK(!strcmp(text_encoder.layers[0].q_norm->name, "model.layers.0.self_attn.q_norm.weight"));
    const zi_weights *w = &transformer.weights;
    CHECK(w->count == w->source.count);
    for (size_t i = 0; i < w->count; i++)
        CHECK_MSG(zi_source_find(&w->source, w->list[i]->name), "%s", w->list[i]->name);
}

/* ---- arena ---- */

static void arena(void)
{
    zi_error error = {0};
    zi_buffer *buffer = NULL;
    zi_arena measured = zi_arena_measure();
    zi_view none = zi_arena_floats(&measured, 1, 3);
    CHECK(!none.buffer && none.rows == 1 && none.columns == 3 && none.stride == 3);
    size_t mark = zi_arena_mark(&measured);
    zi_arena_floats(&measured, 10, 100);
    zi_arena_reset(&measured, mark);
    zi_arena_take(&measured, ZI_F64, 1, 5);
    CHECK(measured.peak == 64 + 4032 && !measured.overflow);
    CHECK_OK(zi_buffer_alloc(zi_golden_backend(), measured.peak, &buffer, &error), error);
    zi_arena real = zi_arena_in(buffer);
    zi_view a = zi_arena_floats(&real, 1, 3), b = zi_arena_floats(&real, 10, 100);
    CHECK(a.buffer == buffer && b.buffer == buffer && a.offset == 0 && b.offset == 64);
    CHECK((uintptr_t)zi_view_host(a) % 64 == 0);
    CHECK(!zi_arena_floats(&real, 1, 1).buffer && real.overflow); /* it is full */
    zi_arena within = zi_arena_within(
        (zi_view){.buffer = buffer, .offset = 128, .type = ZI_U8, .rows = 1, .columns = 128});
    CHECK(zi_arena_floats(&within, 2, 16).offset == 128 && !within.overflow);
    CHECK(!zi_arena_floats(&within, 1, 1).buffer && within.overflow);
    zi_arena_floats(&measured, SIZE_MAX / 2, 4);
    CHECK(measured.overflow);
    zi_buffer_release(buffer);
}

static void views(void)
{
    zi_view v = {.type = ZI_F32, .rows = 4, .columns = 6, .stride = 6};
    zi_view part = zi_view_columns(zi_view_rows(v, 1, 2), 2, 3);
    CHECK(part.offset == (6 + 2) * sizeof(float) && part.rows == 2 && part.columns == 3);
    CHECK(zi_view_contiguous(v) && !zi_view_contiguous(part));
    CHECK(zi_view_contiguous(zi_view_rows(part, 0, 1)));
    zi_view other = zi_view_reshape(v, 8, 3);
    CHECK(other.rows == 8 && other.stride == 3 && !zi_view_host(other));
}

int main(void)
{
    RUN(generates_on_a_device);
    RUN(generates_in_unified_memory);
    RUN(computes_again_in_f32);
    RUN(verifies_on_a_device);
    RUN(writes_on_a_device);
    RUN(damage_is_named);
    RUN(load);
    RUN(weights_have_names);
    RUN(arena);
    RUN(views);
    zi_transformer_free(&transformer);
    zi_vae_free(&vae);
    zi_qwen_free(&text_encoder);
    return zi_test_result();
}
