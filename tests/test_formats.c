/* The reference model in every layout and value format generates what it generates from a diffusers
 * folder. */
#include "variants.h"
#include "model/transformer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Of the reference data; zi_test_data_path's buffers do not last. */
static struct {
    char model[256], transformer[256], encoder[256], vae[256];
    char single[256], split_ae[256], split_fp8[256], mlx_fp8[256];
} paths;

static void find_data(void)
{
    const struct {
        char *path;
        const char *name;
    } rows[] = {
        {paths.model, "model"},
        {paths.transformer, "model/transformer"},
        {paths.encoder, "model/text_encoder"},
        {paths.vae, "model/vae"},
        {paths.single, "comfyui/seed_single_file.safetensors"},
        {paths.split_ae, "comfyui/split_ae.safetensors"},
        {paths.split_fp8, "comfyui/split_diffusion_model_fp8_e4m3fn.safetensors"},
        {paths.mlx_fp8, "mlx/FP8"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char name[128];
        snprintf(name, sizeof name, "golden/%s", rows[i].name);
        snprintf(rows[i].path, sizeof paths.model, "%s", zi_test_data_path(name));
    }
}

static zi_engine *engine;

static double correlation(const float *a, const float *b, size_t n)
{
    double sa = 0, sb = 0, saa = 0, sbb = 0, sab = 0, N = (double)n;
    for (size_t i = 0; i < n; i++) {
        double x = a[i], y = b[i];
        sa += x;
        sb += y;
        saa += x * x;
        sbb += y * y;
        sab += x * y;
    }
    return (sab - sa * sb / N) / sqrt((saa - sa * sa / N) * (sbb - sb * sb / N));
}

enum { SIDE = 64, PIXELS = 3 * SIDE * SIDE };

/* Draws the golden run en9 before rounding to 8 bits; false and a failed check when it cannot. */
static bool draw(const zi_model_options *options, zi_compute compute, float image[PIXELS])
{
    zi_error error = {0};
    zi_model *model = NULL;
    zi_image *picture = NULL;
    zi_checkpoint trace;
    zi_request request = zi_request_default();
    request.prompt = "a red fox in the snow, golden hour, film grain";
    request.width = request.height = SIDE;
    request.seed = 42;
    request.compute = compute;
    request.trace_path = zi_test_path("trace.safetensors");
    bool ok = CHECK_OK(zi_model_load(engine, options, &model, &error), error) &&
              CHECK_OK(zi_generate(model, &request, &picture, &error), error) &&
              CHECK_OK(zi_checkpoint_open(request.trace_path, &trace, &error), error);
    if (ok) {
        memcpy(image, zi_golden_floats(&trace, "image"), PIXELS * sizeof *image);
        zi_checkpoint_close(&trace);
    }
    zi_image_free(picture);
    zi_model_free(model);
    return ok;
}

static const float *golden_image(void)
{
    static float image[PIXELS];
    zi_checkpoint golden = zi_golden_open("pipeline.safetensors");
    memcpy(image, zi_golden_floats(&golden, "en9.image"), sizeof image);
    zi_checkpoint_close(&golden);
    return image;
}

/* ---- golden files ---- */

/* Numbers that are stored alike give the same bits, whatever file and name they stand in. */
static void lossless(void)
{
    const char *model = paths.model;
    const zi_model_options rows[] = {
        {.path = paths.single, .reference = model},
        {.path = model, .vae = paths.split_ae},
        {.path = model, .vae = paths.single, .text_encoder = paths.single},
        {.path = paths.transformer, .text_encoder = paths.encoder, .vae = paths.vae},
    };
    static float wanted[PIXELS], image[PIXELS];
    if (!draw(&(zi_model_options){.path = model}, ZI_COMPUTE_AUTO, wanted)) return;
    CHECK(zi_max_abs_difference(wanted, golden_image(), PIXELS) < 1e-3);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (draw(&rows[i], ZI_COMPUTE_AUTO, image))
            CHECK_MSG(memcmp(image, wanted, sizeof image) == 0, "row %zu differs by %g", i,
                      zi_max_abs_difference(image, wanted, PIXELS));
}

/* An MLX folder of the reference data with the pad tokens that its converter lost. */
static const char *whole_mlx(const char *precision)
{
    static char path[128];
    char name[64], command[1200];
    zi_weights weights;
    zi_test_tensors tensors = {0};
    zi_error error = {0};
    snprintf(path, sizeof path, "%s", zi_test_path(precision));
    snprintf(name, sizeof name, "golden/mlx/%s", precision);
    snprintf(command, sizeof command, "cp -R '%s' '%s' && chmod -R u+w '%s'",
             zi_test_data_path(name), path, path);
    CHECK(system(command) == 0);
    snprintf(name, sizeof name, "mlx/%s/weights.safetensors", precision);
    zi_checkpoint stored = zi_golden_open(name);
    for (size_t i = 0; i < stored.tensor_count; i++) {
        const zi_tensor *t = &stored.tensors[i];
        zi_test_tensors_add(&tensors, t->name, t->type, t->dims, t->shape, t->data);
    }
    zi_golden_component("model", ZI_COMPONENT_TRANSFORMER, &weights);
    for (int i = 0; i < 2; i++) {
        const char *pad = i ? "x_pad_token" : "cap_pad_token";
        const zi_entry *entry = zi_source_find(&weights.source, pad);
        zi_test_tensors_add(&tensors, pad, entry->tensor->type, 2, entry->shape, entry->data);
    }
    char file[160];
    snprintf(file, sizeof file, "%s/weights.safetensors", path);
    CHECK_OK(zi_safetensors_write(file, tensors.list, tensors.count, &error), error);
    zi_weights_close(&weights);
    zi_test_tensors_free(&tensors);
    zi_checkpoint_close(&stored);
    return path;
}

/* Outputs of the transformer at a path against those of golden cases. */
static void transformer_outputs(const char *path, const char *golden_name, const char *format,
                                double rel_l2)
{
    static const char *const cases[] = {"s16x16_c32", "s12x20_c33"};
    zi_weights weights;
    zi_transformer transformer;
    zi_error error = {0};
    zi_layout layout;
    zi_checkpoint inputs = zi_golden_open("transformer.safetensors");
    zi_checkpoint outputs = zi_golden_open(golden_name);
    zi_config config = zi_golden_component("model", ZI_COMPONENT_TRANSFORMER, &weights);
    zi_weights_close(&weights);
    if (!CHECK_OK(zi_layout_read(path, &layout, &error) &&
                      zi_weights_open(&layout, ZI_COMPONENT_TRANSFORMER, 0, zi_golden_backend(),
                                      &weights, &error) &&
                      zi_transformer_bind(&weights, &config.transformer, &transformer, &error),
                  error))
        return;
    zi_fixture ops;
    zi_fixture_start(&ops, 2, NULL, false);
    for (int i = 0; i < 2; i++) {
        const zi_tensor *latents = zi_golden_tensor(&inputs, "%s.latents", cases[i]);
        const zi_tensor *caption = zi_golden_tensor(&inputs, "%s.cap_feats", cases[i]);
        float t = *zi_golden_floats(&inputs, "%s.t", cases[i]);
        char name[64];
        zi_sequence s;
        snprintf(name, sizeof name, format, cases[i]);
        zi_sequence_reserve(&transformer, latents->shape[2], latents->shape[3], caption->shape[0],
                            &ops.arena, &s);
        size_t channels = latents->shape[0], pixels = latents->count / channels;
        zi_view features =
            zi_fixture_view(&ops, caption->data, caption->shape[0], caption->shape[1]);
        zi_view in = zi_fixture_view(&ops, latents->data, channels, pixels);
        zi_view out = zi_fixture_view(&ops, NULL, channels, pixels);
        CHECK_OK(zi_transformer_caption(&ops.run, &transformer, features, &s, &error) &&
                     zi_transformer_step(&ops.run, &transformer, &s, in, t, out, &error),
                 error);
        zi_golden_compare(&outputs, name, zi_fixture_read(&ops, out), latents->count, rel_l2, 0);
    }
    zi_fixture_stop(&ops);
    zi_transformer_free(&transformer);
    zi_layout_free(&layout);
    zi_checkpoint_close(&inputs);
    zi_checkpoint_close(&outputs);
}

/* MLX folders against torch with the same weights, and against MLX's own image. */
static void mlx_folders(void)
{
    static const struct {
        const char *precision;
        double min_correlation;
    } rows[] = {{"FP16", 0.999}, {"FP8", 0.99}};
    static float image[PIXELS];
    zi_checkpoint golden = zi_golden_open("mlx/forward.safetensors");
    for (int i = 0; i < 2; i++) {
        const char *path = whole_mlx(rows[i].precision);
        char name[64];
        snprintf(name, sizeof name, "%%s.%s.torch_same_weights", rows[i].precision);
        transformer_outputs(path, "mlx/forward.safetensors", name, 3e-5);
        if (!draw(&(zi_model_options){.path = path}, ZI_COMPUTE_EXACT, image)) continue;
        const float *same = zi_golden_floats(&golden, "pipe.%s.image", rows[i].precision);
        CHECK_MSG(zi_max_abs_difference(image, same, PIXELS) < 1e-3, "%s: off by %g", path,
                  zi_max_abs_difference(image, same, PIXELS));
        if (!draw(&(zi_model_options){.path = path}, ZI_COMPUTE_AUTO, image)) continue;
        double like = correlation(image, golden_image(), PIXELS);
        CHECK_MSG(like > rows[i].min_correlation, "%s: correlation %.5f", path, like);
    }
    zi_checkpoint_close(&golden);
}

/* A folder without pad tokens is used, and there is a warning. */
static void mlx_without_pads(void)
{
    zi_error error = {0};
    zi_model *model = NULL;
    zi_model_options options = {.path = paths.mlx_fp8};
    if (!CHECK_OK(zi_model_load(engine, &options, &model, &error), error)) return;
    const char *warning = zi_model_warning(model);
    CHECK(warning && strstr(warning, "pad tokens") && strstr(warning, "mlx/FP8"));
    zi_model_free(model);
    options.path = paths.model;
    CHECK_OK(zi_model_load(engine, &options, &model, &error), error);
    CHECK(!zi_model_warning(model));
    zi_model_free(model);
}

/* ComfyUI's fp8 file against torch with the same weights. */
static void comfyui_fp8(void)
{
    const char *path = paths.split_fp8;
    static float image[PIXELS];
    transformer_outputs(path, "comfyui/split_fp8_expected.safetensors", "%s.fp8.out", 3e-5);
    zi_model_options options = {.path = path,
                                .vae = paths.split_ae,
                                .text_encoder = paths.encoder,
                                .reference = paths.model};
    if (!draw(&options, ZI_COMPUTE_AUTO, image)) return;
    double like = correlation(image, golden_image(), PIXELS);
    /* Casts without a factor lose the small numbers. */
    CHECK_MSG(like > 0.98, "correlation %.5f", like);
}

/* A ComfyUI file of fp8, int8 (rotated, too), MXFP8 and NVFP4, the latter declared in the metadata
 * and padded, against torch with the weights as ComfyUI's library dequantizes them. */
static void comfyui_mixed(void)
{
    char path[256];
    static float image[PIXELS];
    snprintf(path, sizeof path, "%s",
             zi_test_data_path("golden/lowbit/diffusion_model_mixed.safetensors"));
    transformer_outputs(path, "lowbit/diffusion_model_mixed_expected.safetensors", "%s.out", 3e-5);
    zi_model_options options = {.path = path, .reference = paths.model};
    if (!draw(&options, ZI_COMPUTE_AUTO, image)) return;
    double like = correlation(image, golden_image(), PIXELS);
    CHECK_MSG(like > 0.99, "correlation %.5f", like);
}

/* ---- files made here ---- */

static const char *write_variant(const char *name, const zi_test_tensors *tensors)
{
    const char *path = zi_test_path(name);
    zi_error error = {0};
    bool gguf = strstr(name, ".gguf") != NULL;
    CHECK_OK(gguf ? zi_gguf_write(path, NULL, 0, tensors->list, tensors->count, NULL, NULL, &error)
                  : zi_safetensors_write(path, tensors->list, tensors->count, &error),
             error);
    return path;
}

/* Exact arithmetic sees the numbers that are meant, with differences below `off` (0: to the bit);
 * fast arithmetic generates what the original, whose image is `original`, generates. fast: the
 * smallest correlation of fast arithmetic with exact one; min_correlation: with the original. */
static void compare_with(const float *original, const char *what, const zi_model_options *stored,
                         const zi_model_options *meant, double off, double fast,
                         double min_correlation)
{
    static float image[PIXELS], wanted[PIXELS];
    if (!draw(stored, ZI_COMPUTE_EXACT, image) || !draw(meant, ZI_COMPUTE_EXACT, wanted)) return;
    double found = zi_max_abs_difference(image, wanted, PIXELS);
    bool same = off > 0 ? found < off : memcmp(image, wanted, sizeof image) == 0;
    CHECK_MSG(same, "%s: exact arithmetic is off by %g", what, found);
    if (!draw(stored, ZI_COMPUTE_FAST, image)) return;
    double near = correlation(image, wanted, PIXELS);
    CHECK_MSG(near > fast, "%s: fast arithmetic has correlation %.5f", what, near);
    double like = correlation(image, original, PIXELS);
    if (CHECK_MSG(like > min_correlation, "%s: correlation %.5f", what, like))
        printf("%s: correlation %.5f\n", what, like);
}

/* compare_with for the small model. rotated: the format rotates inputs, too, so that exact
 * arithmetic rounds in another way. */
static void compare_variant(const char *what, const zi_model_options *stored,
                            const zi_model_options *meant, bool rotated, double min_correlation)
{
    compare_with(golden_image(), what, stored, meant, rotated ? 1e-3 : 0, 0.999, min_correlation);
}

/* A component stored in a format. min_correlation: the smallest one with the image of the original.
 */
typedef struct {
    const char *what, *file;
    zi_naming naming;
    zi_test_format format;
    double min_correlation;
} variant_row;

/* Compares images of a transformer or text encoder that is stored so with those of its meaning. */
static void check_variant(zi_component component, const variant_row *row)
{
    zi_test_tensors stored, meaning;
    zi_model_options options = {0}, meant;
    bool encoder = component == ZI_COMPONENT_TEXT_ENCODER;
    zi_variant_make(component, row->naming, row->format, &stored, &meaning);
    *(encoder ? &options.path : &options.reference) = paths.model;
    meant = options;
    *(encoder ? &options.text_encoder : &options.path) = write_variant(row->file, &stored);
    *(encoder ? &meant.text_encoder : &meant.path) = write_variant("meant.safetensors", &meaning);
    compare_variant(row->what, &options, &meant, row->format == ZI_AS_CONVROT,
                    row->min_correlation);
    zi_test_tensors_free(&stored);
    zi_test_tensors_free(&meaning);
}

static void transformers(void)
{
    static const variant_row rows[] = {
        {"f16, diffusers", "f16.safetensors", ZI_NAMES_DIFFUSERS, ZI_AS_F16, 0.999},
        {"f16, mflux", "f16-mflux.safetensors", ZI_NAMES_MFLUX, ZI_AS_F16, 0.999},
        {"e4m3", "e4m3.safetensors", ZI_NAMES_COMFYUI, ZI_AS_E4M3, 0.9},
        {"e5m2", "e5m2.safetensors", ZI_NAMES_DIFFUSERS, ZI_AS_E5M2, 0.9},
        {"scaled e4m3", "scaled.safetensors", ZI_NAMES_COMFYUI, ZI_AS_SCALED_E4M3, 0.99},
        {"scaled e4m3, diffusers", "scaled2.safetensors", ZI_NAMES_DIFFUSERS, ZI_AS_SCALED_E4M3,
         0.99},
        {"scaled e4m3 of old", "legacy.safetensors", ZI_NAMES_COMFYUI, ZI_AS_LEGACY_E4M3, 0.99},
        {"int8", "i8.safetensors", ZI_NAMES_COMFYUI, ZI_AS_I8, 0.99},
        {"4 bits of MLX", "q4.safetensors", ZI_NAMES_MLX, ZI_AS_Q4, 0.9},
        {"F16 of GGUF", "f16.gguf", ZI_NAMES_GGUF, ZI_AS_F16, 0.999},
        {"Q8_0 of GGUF", "q8_0.gguf", ZI_NAMES_GGUF, ZI_AS_Q8_0, 0.99},
        {"IQ4_NL of GGUF", "iq4_nl.gguf", ZI_NAMES_GGUF, ZI_AS_IQ4_NL, 0.9},
        {"2 bits of MLX", "q2.safetensors", ZI_NAMES_MLX, ZI_AS_Q2_32, 0.7},
        {"3 bits of MLX", "q3.safetensors", ZI_NAMES_MLX, ZI_AS_Q3, 0.9},
        {"5 bits of mflux", "q5.safetensors", ZI_NAMES_MFLUX, ZI_AS_Q5_128, 0.98},
        {"6 bits of MLX", "q6.safetensors", ZI_NAMES_MLX, ZI_AS_Q6, 0.99},
        {"mxfp4 of MLX", "mxfp4.safetensors", ZI_NAMES_MLX, ZI_AS_MLX_MXFP4, 0.94},
        {"mxfp8 of MLX", "mlx-mxfp8.safetensors", ZI_NAMES_MLX, ZI_AS_MLX_MXFP8, 0.99},
        {"nvfp4 of MLX", "mlx-nvfp4.safetensors", ZI_NAMES_MLX, ZI_AS_MLX_NVFP4, 0.9},
        {"NVFP4", "nvfp4.safetensors", ZI_NAMES_COMFYUI, ZI_AS_NVFP4, 0.95},
        {"NVFP4, split", "nvfp4-split.safetensors", ZI_NAMES_DIFFUSERS, ZI_AS_NVFP4, 0.95},
        {"MXFP8", "mxfp8.safetensors", ZI_NAMES_COMFYUI, ZI_AS_MXFP8, 0.99},
        {"int8, ConvRot", "convrot.safetensors", ZI_NAMES_COMFYUI, ZI_AS_CONVROT, 0.99},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        check_variant(ZI_COMPONENT_TRANSFORMER, &rows[i]);
}

/* The size of groups, where shapes leave it open, is the config's. */
static void mlx_with_groups_of_32(void)
{
    zi_test_tensors stored, meaning;
    char path[128], file[160];
    zi_error error = {0};
    snprintf(path, sizeof path, "%s", zi_test_path("groups"));
    CHECK(mkdir(path, 0700) == 0);
    zi_variant_make(ZI_COMPONENT_TRANSFORMER, ZI_NAMES_MLX, ZI_AS_Q8_32, &stored, &meaning);
    snprintf(file, sizeof file, "%s/weights.safetensors", path);
    CHECK_OK(zi_safetensors_write(file, stored.list, stored.count, &error), error);
    snprintf(file, sizeof file, "%s/config.json", path);
    static const char config[] =
        "{\"hidden_size\": 128, \"num_attention_heads\": 2, \"num_hidden_layers\": 2, "
        "\"n_refiner_layers\": 1, \"in_channels\": 16, \"text_embed_dim\": 96, "
        "\"intermediate_size\": 341, \"quantization\": {\"group_size\": 32, \"bits\": 8}}";
    zi_test_write_file(file, config, sizeof config - 1);
    zi_model_options options = {.path = path, .reference = paths.model};
    zi_model_options meant = options;
    meant.path = write_variant("meant.safetensors", &meaning);
    compare_variant("8 bits in groups of 32", &options, &meant, false, 0.99);
    zi_test_tensors_free(&stored);
    zi_test_tensors_free(&meaning);
}

/* Text encoders in the formats of few bits. */
static void low_bit_encoders(void)
{
    static const variant_row rows[] = {
        {"encoder, NVFP4", "te-nvfp4.safetensors", ZI_NAMES_COMFYUI, ZI_AS_NVFP4, 0.9},
        {"encoder, MXFP8", "te-mxfp8.safetensors", ZI_NAMES_COMFYUI, ZI_AS_MXFP8, 0.99},
        {"encoder, ConvRot", "te-convrot.safetensors", ZI_NAMES_COMFYUI, ZI_AS_CONVROT, 0.99},
        {"encoder, mxfp4 of MLX", "te-mxfp4.safetensors", ZI_NAMES_MLX, ZI_AS_MLX_MXFP4, 0.9},
        {"encoder, 6 bits of MLX", "te-q6.safetensors", ZI_NAMES_MLX, ZI_AS_Q6, 0.99},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        check_variant(ZI_COMPONENT_TEXT_ENCODER, &rows[i]);
}

/* Text encoders in GGUF bring their tokenizer; nothing but a VAE is missing then. */
static void encoders(void)
{
    static const struct {
        const char *file;
        zi_test_format format;
        double min_correlation;
    } rows[] = {{"encoder-f16.gguf", ZI_AS_F16, 0.99},
                {"encoder-q8_0.gguf", ZI_AS_Q8_0, 0.99},
                {"encoder-iq4_nl.gguf", ZI_AS_IQ4_NL, 0.9}};
    const char *model = paths.model;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        zi_test_tensors stored, meaning;
        zi_error error = {0};
        zi_variant_make(ZI_COMPONENT_TEXT_ENCODER, ZI_NAMES_GGUF, rows[i].format, &stored,
                        &meaning);
        const char *path = zi_test_path(rows[i].file);
        CHECK_OK(zi_variant_write_encoder_gguf(path, &stored, &error), error);
        zi_model_options options = {
            .path = paths.transformer, .text_encoder = path, .vae = paths.vae};
        zi_model_options meant = {.path = model,
                                  .text_encoder = write_variant("meant.safetensors", &meaning)};
        compare_variant(rows[i].file, &options, &meant, false, rows[i].min_correlation);
        int32_t *ids = NULL, *wanted = NULL;
        size_t count = 0, n = 0;
        options.path = path;
        options.text_encoder = NULL;
        CHECK_OK(zi_tokenize(&options, "a red fox", true, &ids, &count, &error), error);
        CHECK_OK(
            zi_tokenize(&(zi_model_options){.path = model}, "a red fox", true, &wanted, &n, &error),
            error);
        CHECK(ids && wanted && n == count && memcmp(ids, wanted, n * sizeof *ids) == 0);
        free(ids);
        free(wanted);
        zi_test_tensors_free(&stored);
        zi_test_tensors_free(&meaning);
    }
}

/* The demo model has rows of 256 and 512 values, for IQ4_XS; its other rows are IQ4_NL then, as
 * llama.cpp's quantizer stores them. */
static void demo_model_in_iq4(void)
{
    static const char demo[] = "../../../share/demo-model";
    static const struct {
        const char *what, *file;
        zi_component part;
        zi_test_format format;
        double min_correlation;
    } rows[] = {
        {"IQ4_NL", "demo-iq4_nl.gguf", ZI_COMPONENT_TRANSFORMER, ZI_AS_IQ4_NL, 0.85},
        {"IQ4_XS", "demo-iq4_xs.gguf", ZI_COMPONENT_TRANSFORMER, ZI_AS_IQ4_XS, 0.85},
        {"encoder, IQ4_XS", "demo-encoder.gguf", ZI_COMPONENT_TEXT_ENCODER, ZI_AS_IQ4_XS, 0.85},
    };
    static float original[PIXELS];
    zi_model_options plain = {.path = ZI_SHARE "/demo-model"};
    if (!draw(&plain, ZI_COMPUTE_EXACT, original)) return;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        zi_test_tensors stored, meaning;
        zi_variant_make_golden(demo, rows[i].part, ZI_NAMES_GGUF, rows[i].format, &stored,
                               &meaning);
        const char *meant_path = write_variant("meant.safetensors", &meaning);
        const char *path = write_variant(rows[i].file, &stored);
        bool text = rows[i].part == ZI_COMPONENT_TEXT_ENCODER;
        zi_model_options options = {.path = text ? plain.path : path,
                                    .text_encoder = text ? path : NULL,
                                    .reference = plain.path};
        zi_model_options meant = {.path = text ? plain.path : meant_path,
                                  .text_encoder = text ? meant_path : NULL,
                                  .reference = plain.path};
        compare_with(original, rows[i].what, &options, &meant, 0, 0.995, rows[i].min_correlation);
        zi_test_tensors_free(&stored);
        zi_test_tensors_free(&meaning);
    }
}

/* Without a choice of arithmetic, quantized weights get the fast one. */
static void default_arithmetic(void)
{
    static float image[PIXELS], fast[PIXELS], exact[PIXELS];
    zi_test_tensors stored;
    zi_variant_make(ZI_COMPONENT_TRANSFORMER, ZI_NAMES_MLX, ZI_AS_Q4, &stored, NULL);
    const zi_model_options options = {.path = write_variant("default.safetensors", &stored),
                                      .reference = paths.model};
    zi_test_tensors_free(&stored);
    if (!draw(&options, ZI_COMPUTE_AUTO, image) || !draw(&options, ZI_COMPUTE_FAST, fast) ||
        !draw(&options, ZI_COMPUTE_EXACT, exact))
        return;
    CHECK(memcmp(image, fast, sizeof image) == 0);
    CHECK(memcmp(image, exact, sizeof image) != 0);
}

int main(void)
{
    zi_error error = {0};
    if (!CHECK_OK(zi_engine_create(NULL, &engine, &error), error)) return zi_test_result();
    find_data();
    RUN(lossless);
    RUN(mlx_folders);
    RUN(mlx_without_pads);
    RUN(comfyui_fp8);
    RUN(comfyui_mixed);
    RUN(transformers);
    RUN(mlx_with_groups_of_32);
    RUN(low_bit_encoders);
    RUN(encoders);
    RUN(default_arithmetic);
    RUN(demo_model_in_iq4);
    zi_engine_free(engine);
    return zi_test_result();
}
