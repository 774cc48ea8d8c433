/* The table of config fields: every field that the libraries know is in it, those that change an
 * image are used or refused by name, unknown ones are named. */
#include "golden.h"
#include "model/config_fields.h"
#include "model/config_remarks.h"
#include "model/variant.h"

#include <string.h>

static const char *const kind_names[ZI_CONFIG_KINDS] = {[ZI_CONFIG_TRANSFORMER] = "transformer",
                                                        [ZI_CONFIG_QWEN] = "qwen",
                                                        [ZI_CONFIG_VAE] = "vae",
                                                        [ZI_CONFIG_SCHEDULER] = "scheduler",
                                                        [ZI_CONFIG_MODEL_INDEX] = "model_index",
                                                        [ZI_CONFIG_GENERATION] = "generation"};

/* Writes text to a file that the next call overwrites, and returns its path (see zi_test_path). */
static const char *write_config(const char *text)
{
    const char *path = zi_test_path("config-fields.json");
    zi_test_write_file(path, text, strlen(text));
    return path;
}

/* What is said about unknown fields of a config; "" if there are none. Valid until the next call.
 */
static const char *unknown_in(zi_config_kind kind, const char *json)
{
    static char said[8192];
    zi_text text;
    zi_text_init(&text, sizeof said - 1);
    zi_config_describe_unknown_fields(kind, write_config(json), &text);
    snprintf(said, sizeof said, "%s", text.data ? text.data : "");
    zi_text_free(&text);
    return said;
}

static void all_fields_of_the_libraries_are_known(void)
{
    cJSON *json = NULL;
    zi_error error = {0};
    if (!CHECK_OK(
            zi_json_read(zi_test_data_path("golden/config_fields.json"), 1 << 20, &json, &error),
            error))
        return;
    for (int kind = 0; kind < ZI_CONFIG_KINDS; kind++) {
        const cJSON *name, *names = cJSON_GetObjectItem(json, kind_names[kind]);
        CHECK(cJSON_GetArraySize(names) > 5);
        cJSON_ArrayForEach(name, names)
        {
            char text[200];
            snprintf(text, sizeof text, "{\"%s\": null}", name->valuestring);
            const char *said = unknown_in((zi_config_kind)kind, text);
            CHECK_MSG(!*said, "%s: %s", kind_names[kind], said);
        }
    }
    cJSON_Delete(json);
}

static void unknown_fields_are_named(void)
{
    const char *said = unknown_in(ZI_CONFIG_VAE, "{\"act_fn\": \"silu\", \"flavour\": 1}");
    CHECK_MSG(strstr(said, "config-fields.json: this field is unknown and ignored: flavour"), "%s",
              said);
    said = unknown_in(ZI_CONFIG_QWEN, "{\"a\": 1, \"rope_parameters\": {\"rope_type\": \"default\","
                                      "\"twist\": 2}}");
    CHECK_MSG(strstr(said, "a, rope_parameters.twist"), "%s", said);
    char many[600] = "{\"f0\": 0";
    for (int i = 1; i < 40; i++) {
        size_t length = strlen(many);
        snprintf(many + length, sizeof many - length, ", \"f%d\": 0", i);
    }
    strcat(many, "}");
    said = unknown_in(ZI_CONFIG_SCHEDULER, many);
    CHECK_MSG(strstr(said, "f11, ...") && !strstr(said, "f12"), "%s", said);
    CHECK(!*unknown_in(ZI_CONFIG_VAE, "not JSON") && !*unknown_in(ZI_CONFIG_VAE, "[1]"));
}

/* Configs that must be refused: kind, text, subject, and a part of the message. */
static void values_that_are_not_supported_are_refused(void)
{
    static const struct {
        zi_config_kind kind;
        const char *json, *subject, *says;
    } rows[] = {
        {ZI_CONFIG_TRANSFORMER, "{\"qk_norm\": false}", "qk_norm", "false, but only true"},
        {ZI_CONFIG_QWEN, "{\"hidden_act\": \"gelu\"}", "hidden_act", "\"gelu\", but only \"silu\""},
        {ZI_CONFIG_QWEN, "{\"attention_bias\": true}", "attention_bias", "only false"},
        {ZI_CONFIG_QWEN, "{\"mlp_bias\": true}", "mlp_bias", "only false"},
        {ZI_CONFIG_QWEN, "{\"use_sliding_window\": true}", "use_sliding_window", "only false"},
        {ZI_CONFIG_QWEN, "{\"use_sliding_window\": 1}", "use_sliding_window",
         "is 1, but only false"},
        {ZI_CONFIG_QWEN, "{\"layer_types\": [\"full_attention\", \"sliding_attention\"]}",
         "layer_types", "\"sliding_attention\", but only \"full_attention\""},
        {ZI_CONFIG_QWEN, "{\"partial_rotary_factor\": 0.5}", "partial_rotary_factor", "only 1"},
        {ZI_CONFIG_QWEN, "{\"pruned_heads\": {\"1\": [2]}}", "pruned_heads", "an empty object"},
        {ZI_CONFIG_QWEN, "{\"rope_scaling\": {\"type\": \"linear\", \"factor\": 2}}",
         "rope_scaling", "\"rope_scaling.type\" is \"linear\", but only \"default\""},
        {ZI_CONFIG_QWEN, "{\"rope_parameters\": {\"rope_type\": \"yarn\"}}", "rope_parameters",
         "\"rope_parameters.rope_type\" is \"yarn\""},
        {ZI_CONFIG_QWEN, "{\"rope_parameters\": {\"full_attention\": {}}}", "rope_parameters",
         ", which is not supported"},
        {ZI_CONFIG_QWEN, "{\"rope_parameters\": {\"partial_rotary_factor\": 0.25}}",
         "rope_parameters", "0.25, but only 1"},
        {ZI_CONFIG_QWEN, "{\"rope_parameters\": \"yarn\"}", "rope_parameters",
         "must be an object ({...}) or null"},
        {ZI_CONFIG_VAE, "{\"in_channels\": 4}", "in_channels", "4, but only 3"},
        {ZI_CONFIG_VAE, "{\"act_fn\": \"gelu\"}", "act_fn", "\"silu\" or \"swish\""},
        {ZI_CONFIG_VAE, "{\"up_block_types\": [\"AttnUpDecoderBlock2D\"]}", "up_block_types",
         "\"AttnUpDecoderBlock2D\", but only \"UpDecoderBlock2D\""},
        {ZI_CONFIG_SCHEDULER, "{\"num_train_timesteps\": 500}", "num_train_timesteps", "only 1000"},
        {ZI_CONFIG_SCHEDULER, "{\"invert_sigmas\": true}", "invert_sigmas", "only false"},
        {ZI_CONFIG_SCHEDULER, "{\"scale_factors\": [0.5, 1]}", "scale_factors", "an empty list"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        zi_error error = {0};
        cJSON *json = cJSON_Parse(rows[i].json);
        CHECK_MSG(!zi_config_check_fields(rows[i].kind, "x/config.json", json, &error),
                  "%s went well", rows[i].json);
        CHECK_MSG(!strcmp(error.subject, rows[i].subject), "subject %s", error.subject);
        CHECK_MSG(strstr(error.text, rows[i].says) && strstr(error.text, "x/config.json"), "%s",
                  error.text);
        cJSON_Delete(json);
    }
}

static void values_that_are_supported_pass(void)
{
    static const struct {
        zi_config_kind kind;
        const char *json;
    } rows[] = {
        {ZI_CONFIG_QWEN, "{\"hidden_act\": null, \"rope_scaling\": null, \"layer_types\": null}"},
        {ZI_CONFIG_QWEN, "{\"rope_scaling\": {\"rope_type\": \"default\", \"factor\": 3}}"},
        {ZI_CONFIG_QWEN, "{\"layer_types\": [\"full_attention\", \"full_attention\"]}"},
        {ZI_CONFIG_QWEN, "{\"use_sliding_window\": false, \"sliding_window\": 4096}"},
        {ZI_CONFIG_SCHEDULER, "{\"num_train_timesteps\": 1000.0, \"invert_sigmas\": false}"},
        {ZI_CONFIG_VAE, "{\"act_fn\": \"swish\", \"latents_mean\": null}"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        zi_error error = {0};
        cJSON *json = cJSON_Parse(rows[i].json);
        CHECK_OK(zi_config_check_fields(rows[i].kind, "x", json, &error), error);
        cJSON_Delete(json);
    }
}

static void rope_theta(void)
{
    static const struct {
        const char *json;
        double theta; /* 0: refused */
    } rows[] = {
        {"{}", 7},
        {"{\"rope_theta\": 10}", 10},
        {"{\"rope_parameters\": {\"rope_theta\": 20}}", 20},
        {"{\"rope_parameters\": {\"rope_theta\": 20}, \"rope_theta\": 10}", 20},
        {"{\"rope_parameters\": {\"rope_type\": \"default\"}, \"rope_theta\": 10}", 10},
        {"{\"rope_scaling\": {\"rope_theta\": 30}, \"rope_theta\": 10}", 30},
        {"{\"rope_parameters\": null, \"rope_theta\": 10}", 10},
        {"{\"rope_parameters\": {\"rope_theta\": \"20\"}}", 0},
        {"{\"rope_parameters\": {\"rope_theta\": 0.5}}", 0},
        {"{\"rope_theta\": true}", 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        zi_error error = {0};
        double theta = 0;
        cJSON *json = cJSON_Parse(rows[i].json);
        bool ok = zi_config_read_rope_theta("x", json, 7, &theta, &error);
        CHECK_MSG(ok == (rows[i].theta > 0) && theta == rows[i].theta, "%s: %g", rows[i].json,
                  theta);
        if (!ok) CHECK_ERROR(error, ZI_ERROR_BAD_FORMAT, "rope_theta");
        cJSON_Delete(json);
    }
}

/* ---- schedulers ---- */

static void scheduler_configs(void)
{
    static const struct {
        const char *fields;
        zi_sampler sampler;
        zi_schedule schedule;
        double shift, terminal;
    } rows[] = {
        {"\"FlowMatchEulerDiscreteScheduler\"", ZI_SAMPLER_EULER, ZI_SCHEDULE_DIFFUSERS, 1, 0},
        {"\"FlowMatchHeunDiscreteScheduler\", \"shift\": 3", ZI_SAMPLER_HEUN, ZI_SCHEDULE_DIFFUSERS,
         3, 0},
        {"\"FlowMatchLCMScheduler\", \"use_beta_sigmas\": true", ZI_SAMPLER_LCM, ZI_SCHEDULE_BETA,
         1, 0},
        {"\"FlowMatchEulerDiscreteScheduler\", \"stochastic_sampling\": true", ZI_SAMPLER_LCM,
         ZI_SCHEDULE_DIFFUSERS, 1, 0},
        {"\"FlowMatchEulerDiscreteScheduler\", \"use_karras_sigmas\": true, \"shift_terminal\": "
         "0.1",
         ZI_SAMPLER_EULER, ZI_SCHEDULE_KARRAS, 1, 0.1},
        {"\"FlowMatchEulerDiscreteScheduler\", \"use_exponential_sigmas\": true,"
         " \"use_karras_sigmas\": null, \"shift_terminal\": null",
         ZI_SAMPLER_EULER, ZI_SCHEDULE_EXPONENTIAL, 1, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        zi_scheduler_config c = {0};
        zi_error error = {0};
        char text[300];
        snprintf(text, sizeof text, "{\"_class_name\": %s}", rows[i].fields);
        CHECK_OK(zi_config_read_scheduler(write_config(text), &c, &error), error);
        CHECK_MSG(c.sampler == rows[i].sampler && c.schedule == rows[i].schedule &&
                      c.shift == rows[i].shift && c.terminal == rows[i].terminal,
                  "row %zu", i);
    }
}

static void schedulers_that_are_refused(void)
{
#define EULER "{\"_class_name\": \"FlowMatchEulerDiscreteScheduler\", "
    static const struct {
        const char *json;
        zi_error_code code;
        const char *subject;
    } rows[] = {
        {"{\"shift\": 3}", ZI_ERROR_BAD_FORMAT, "_class_name"},
        {"{\"_class_name\": \"DDIMScheduler\"}", ZI_ERROR_UNSUPPORTED, "_class_name"},
        {EULER "\"use_karras_sigmas\": true, \"use_beta_sigmas\": true}", ZI_ERROR_BAD_FORMAT,
         "use_beta_sigmas"},
        {EULER "\"use_karras_sigmas\": \"yes\"}", ZI_ERROR_BAD_FORMAT, "use_karras_sigmas"},
        {EULER "\"shift_terminal\": 1}", ZI_ERROR_BAD_FORMAT, "shift_terminal"},
        {EULER "\"shift_terminal\": -0.1}", ZI_ERROR_BAD_FORMAT, "shift_terminal"},
        {EULER "\"shift\": \"3\"}", ZI_ERROR_BAD_FORMAT, "shift"},
        {EULER "\"invert_sigmas\": true}", ZI_ERROR_UNSUPPORTED, "invert_sigmas"},
        {EULER "\"time_shift_type\": \"cubic\"}", ZI_ERROR_UNSUPPORTED, "time_shift_type"},
        {EULER "\"base_image_seq_len\": 4096}", ZI_ERROR_BAD_FORMAT, "max_image_seq_len"},
        {EULER "\"shift\": 3, \"shift\": 6}", ZI_ERROR_BAD_FORMAT, "shift"},
        {"{\"_class_name\": \"FlowMatchHeunDiscreteScheduler\", \"stochastic_sampling\": true}",
         ZI_ERROR_UNSUPPORTED, "stochastic_sampling"},
        {"[]", ZI_ERROR_BAD_FORMAT, NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        zi_scheduler_config c = {0};
        zi_error error = {0};
        const char *path = write_config(rows[i].json);
        CHECK_MSG(!zi_config_read_scheduler(path, &c, &error), "row %zu went well", i);
        CHECK_ERROR(error, rows[i].code, rows[i].subject ? rows[i].subject : path);
    }
}

/* ---- variants ---- */

static void variants_by_name(void)
{
    static const struct {
        const char *path;
        zi_variant variant;
    } rows[] = {
        {"z_image_turbo_bf16.safetensors", ZI_VARIANT_TURBO},
        {"/m/Z-Image-Turbo", ZI_VARIANT_TURBO},
        {"z_image_bf16.safetensors", ZI_VARIANT_BASE},
        {"/models/z-image-Q4_K_M.gguf", ZI_VARIANT_BASE},
        {"Z-Image", ZI_VARIANT_BASE},
        {"z-image-base-fp8_scaled.safetensors", ZI_VARIANT_BASE},
        {"Z-Image-mlx-8bit", ZI_VARIANT_BASE},
        {"z-image-de-turbo.safetensors", ZI_VARIANT_UNKNOWN},
        {"z_image_anime_v3.safetensors", ZI_VARIANT_UNKNOWN},
        {"my-base.safetensors", ZI_VARIANT_UNKNOWN},
        {"/models/Z-Image/anime.safetensors", ZI_VARIANT_UNKNOWN},
        {"diffusion_pytorch_model.safetensors", ZI_VARIANT_UNKNOWN},
        {"/c/models--Tongyi-MAI--Z-Image/snapshots/0123abc", ZI_VARIANT_BASE},
        {"/c/models--Tongyi-MAI--Z-Image-Turbo/snapshots/0123abc", ZI_VARIANT_TURBO},
        {"/c/models--Tongyi-MAI--Z-Image/snapshots/0123/z_image_turbo.gguf", ZI_VARIANT_TURBO},
        {"/c/models--x/snapshots", ZI_VARIANT_UNKNOWN},
        {"", ZI_VARIANT_UNKNOWN},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        zi_variant variant = zi_variant_recognise(rows[i].path, NULL);
        CHECK_MSG(variant == rows[i].variant, "%s: %s", rows[i].path, zi_variant_name(variant));
    }
    CHECK(zi_variant_of_shift(5.5) == ZI_VARIANT_BASE && zi_variant_of_shift(6) == ZI_VARIANT_BASE);
    CHECK(zi_variant_of_shift(5.4) == ZI_VARIANT_TURBO);
    CHECK(zi_variant_of_shift(1) == ZI_VARIANT_TURBO);
}

/* Writes a GGUF file with these metadata and no tensors, and recognises it under the name `path`.
 */
static zi_variant variant_of_metadata(const char *path, const char *key, const char *value)
{
    zi_error error = {0};
    zi_checkpoint checkpoint;
    const char *file = zi_test_path("variant.gguf");
    const zi_gguf_out values[] = {{key, ZI_GGUF_STRING, false, 1, &value}};
    const float zero = 0;
    const zi_tensor_out tensor = {
        .name = "a", .type = ZI_F32, .dims = 1, .shape = {1}, .data = &zero};
    remove(file);
    if (!CHECK_OK(zi_gguf_write(file, values, 1, &tensor, 1, NULL, NULL, &error), error) ||
        !CHECK_OK(zi_checkpoint_open(file, &checkpoint, &error), error))
        return ZI_VARIANT_UNKNOWN;
    zi_variant variant = zi_variant_recognise(path, checkpoint.gguf);
    zi_checkpoint_close(&checkpoint);
    return variant;
}

static void variants_by_metadata(void)
{
    static const char url[] = "general.base_model.0.repo_url", name[] = "general.base_model.0.name";
    CHECK(variant_of_metadata("x.gguf", url, "https://huggingface.co/Tongyi-MAI/Z-Image") ==
          ZI_VARIANT_BASE);
    CHECK(variant_of_metadata("z_image.gguf", url,
                              "https://huggingface.co/Tongyi-MAI/Z-Image-Turbo") ==
          ZI_VARIANT_TURBO);
    CHECK(variant_of_metadata("x.gguf", name, "Z Image Turbo") == ZI_VARIANT_TURBO);
    CHECK(variant_of_metadata("x.gguf", name, "Z Image") == ZI_VARIANT_BASE);
    CHECK(variant_of_metadata("x.gguf", "general.name", "Z-Image-Turbo") == ZI_VARIANT_TURBO);
    CHECK(variant_of_metadata("z_image.gguf", "general.name", "model") == ZI_VARIANT_BASE);
    CHECK(variant_of_metadata("x.gguf", "general.name", "") == ZI_VARIANT_UNKNOWN);
}

static void variants_differ(void)
{
    int steps;
    double guidance;
    zi_variant_defaults(ZI_VARIANT_TURBO, &steps, &guidance);
    CHECK(steps == 9 && guidance == 0 && zi_variant_scheduler(ZI_VARIANT_TURBO).shift == 3);
    zi_variant_defaults(ZI_VARIANT_BASE, &steps, &guidance);
    CHECK(steps == 28 && guidance == 4 && zi_variant_scheduler(ZI_VARIANT_BASE).shift == 6);
    zi_variant_defaults(ZI_VARIANT_UNKNOWN, &steps, &guidance);
    CHECK(steps == 9 && guidance == 0 && zi_variant_scheduler(ZI_VARIANT_UNKNOWN).shift == 3);
}

int main(void)
{
    RUN(all_fields_of_the_libraries_are_known);
    RUN(unknown_fields_are_named);
    RUN(values_that_are_not_supported_are_refused);
    RUN(values_that_are_supported_pass);
    RUN(rope_theta);
    RUN(scheduler_configs);
    RUN(schedulers_that_are_refused);
    RUN(variants_by_name);
    RUN(variants_by_metadata);
    RUN(variants_differ);
    return zi_test_result();
}
