/* Conversions of the reference model: lossless ones give the same bytes back, quantized values
 * equal those of MLX and gguf-py. */
#include "golden.h"
#include "base/file.h"
#include "convert/component_config.h"
#include "convert/shards.h"
#include "io/json.h"
#include "io/layout.h"

#include <glob.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool is_pad_token(const char *name)
{
    return strstr(name, "_pad_token");
}

/* Names, types, shapes and bytes; pads: of pad tokens, too. */
static void same_tensors(const zi_checkpoint *got, const zi_checkpoint *wanted, bool pads)
{
    size_t extra = pads ? 0 : 2;
    CHECK_MSG(got->tensor_count == wanted->tensor_count + extra, "%zu tensors, not %zu",
              got->tensor_count, wanted->tensor_count + extra);
    for (size_t i = 0; i < got->tensor_count; i++) {
        const zi_tensor *a = &got->tensors[i], *b = zi_checkpoint_find(wanted, a->name);
        if (!pads && is_pad_token(a->name)) continue;
        CHECK_MSG(b && a->type == b->type && a->dims == b->dims &&
                      memcmp(a->shape, b->shape, sizeof a->shape) == 0 && a->bytes == b->bytes &&
                      memcmp(a->data, b->data, a->bytes) == 0,
                  "%s differs", a->name);
    }
}

static void same_part(const char *got, const char *wanted, zi_component part, bool pads)
{
    zi_checkpoint *a, *b;
    if (!zi_test_open_part(got, part, &a)) return;
    if (zi_test_open_part(wanted, part, &b)) {
        same_tensors(a, b, pads);
        zi_checkpoint_release(b);
    }
    zi_checkpoint_release(a);
}

/* There and back again: every tensor has the bytes that it had. */
static void lossless(void)
{
    static const struct {
        const char *there, *back;
        zi_layout_kind layout;
    } rows[] = {
        {"to-mlx", "from-mlx", ZI_LAYOUT_MLX},
        {"to-comfyui.safetensors", "from-comfyui", ZI_LAYOUT_COMFYUI},
        {"to-diffusers", "from-diffusers", ZI_LAYOUT_DIFFUSERS},
        {"to.gguf", "from-gguf", ZI_LAYOUT_GGUF},
    };
    const char *model = zi_test_data_path("golden/model");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *there = zi_test_path(rows[i].there), *back = zi_test_path(rows[i].back);
        if (!zi_test_convert(model, there, rows[i].layout, ZI_PRECISION_ORIGINAL) ||
            !zi_test_convert(there, back, ZI_LAYOUT_DIFFUSERS, ZI_PRECISION_ORIGINAL))
            continue;
        for (int part = 0; part < ZI_WEIGHT_COMPONENTS; part++)
            same_part(back, model, (zi_component)part, true);
    }
    /* between the layouts that are not diffusers */
    const char *mlx = zi_test_path("mlx-of-gguf"), *file = zi_test_path("file-of-mlx.safetensors");
    if (zi_test_convert(zi_test_path("to.gguf"), mlx, ZI_LAYOUT_MLX, ZI_PRECISION_ORIGINAL) &&
        zi_test_convert(mlx, file, ZI_LAYOUT_COMFYUI, ZI_PRECISION_ORIGINAL))
        for (int part = 0; part < ZI_WEIGHT_COMPONENTS; part++)
            same_part(file, zi_test_path("to-comfyui.safetensors"), (zi_component)part, true);
}

/* As the seed repository's converter writes them, and the pad tokens that it loses. */
static void as_the_seed(void)
{
    static const struct {
        const char *name;
        zi_precision precision;
    } rows[] = {{"FP16", ZI_PRECISION_FP16}, {"FP8", ZI_PRECISION_FP8}};
    for (int i = 0; i < 2; i++) {
        char wanted[64];
        const char *got = zi_test_path(rows[i].name);
        snprintf(wanted, sizeof wanted, "golden/mlx/%s", rows[i].name);
        if (!zi_test_convert(zi_test_data_path("golden/model"), got, ZI_LAYOUT_MLX,
                             rows[i].precision))
            continue;
        for (int part = 0; part < ZI_WEIGHT_COMPONENTS; part++)
            same_part(got, zi_test_data_path(wanted), (zi_component)part,
                      part != ZI_COMPONENT_TRANSFORMER);
    }
    /* quantized again to the same it stays as it is */
    if (zi_test_convert(zi_test_path("FP8"), zi_test_path("FP8-again"), ZI_LAYOUT_SAME,
                        ZI_PRECISION_Q8))
        same_part(zi_test_path("FP8-again"), zi_test_path("FP8"), ZI_COMPONENT_TRANSFORMER, true);
}

/* The numbers of an entry, which the caller frees. */
static float *numbers_of(const zi_entry *entry, size_t *count)
{
    float *out = malloc(entry->bytes * 4 + 4);
    *count =
        entry->bytes / zi_dtype_size(entry->tensor->type) * zi_dtype_block(entry->tensor->type);
    zi_widen(entry->tensor->type, entry->data, out, *count);
    return out;
}

typedef void (*entry_check)(const zi_entry *got, const zi_entry *source);

/* Runs a check on each transformer tensor of both. */
static void each_entry(const char *got, const char *wanted, entry_check check)
{
    zi_checkpoint *files[2];
    zi_source sources[2] = {0};
    zi_error error = {0};
    if (!zi_test_open_part(got, ZI_COMPONENT_TRANSFORMER, &files[0]) ||
        !zi_test_open_part(wanted, ZI_COMPONENT_TRANSFORMER, &files[1]))
        return;
    const zi_checkpoint *a = files[0], *b = files[1];
    if (CHECK_OK(zi_source_create(&a, 1, ZI_COMPONENT_TRANSFORMER, 0, &sources[0], &error),
                 error) &&
        CHECK_OK(zi_source_create(&b, 1, ZI_COMPONENT_TRANSFORMER, 0, &sources[1], &error),
                 error)) {
        CHECK(sources[0].count == sources[1].count);
        for (size_t i = 0; i < sources[0].count; i++) {
            const zi_entry *it = zi_source_find(&sources[1], sources[0].entries[i].name);
            if (CHECK(it)) check(&sources[0].entries[i], it);
        }
    }
    for (int i = 0; i < 2; i++) {
        zi_source_free(&sources[i]);
        zi_checkpoint_release(files[i]);
    }
}

static bool ruled(const zi_entry *entry, size_t group)
{
    size_t width = entry->shape[entry->dims - 1];
    return entry->kind == ZI_TENSOR_MATRIX && width >= 64 && width % group == 0;
}

/* GGUF: blocks by the rule, all that is no matrix in F32. */
static void check_blocks(const zi_entry *got, const zi_entry *source)
{
    zi_dtype type = got->tensor->type;
    if (got->kind == ZI_TENSOR_VECTOR || got->kind == ZI_TENSOR_ROW) {
        CHECK_MSG(type == ZI_F32, "%s is %s", got->name, zi_dtype_name(type));
        return;
    }
    bool blocks = zi_dtype_block(type) > 1;
    CHECK_MSG(blocks == ruled(source, 32), "%s is %s", got->name, zi_dtype_name(type));
    size_t count;
    float *x = numbers_of(source, &count);
    uint8_t *wanted = malloc(got->bytes);
    zi_narrow(type, x, wanted, count);
    CHECK_MSG(memcmp(wanted, got->data, got->bytes) == 0, "%s differs", got->name);
    free(x);
    free(wanted);
}

static void gguf_blocks(void)
{
    const char *model = zi_test_data_path("golden/model");
    if (zi_test_convert(model, zi_test_path("q8.gguf"), ZI_LAYOUT_GGUF, ZI_PRECISION_Q8))
        each_entry(zi_test_path("q8.gguf"), model, check_blocks);
    if (zi_test_convert(zi_test_path("q8.gguf"), zi_test_path("q8-again.gguf"), ZI_LAYOUT_SAME,
                        ZI_PRECISION_Q8))
        same_part(zi_test_path("q8-again.gguf"), zi_test_path("q8.gguf"), ZI_COMPONENT_TRANSFORMER,
                  true);
    if (zi_test_convert(model, zi_test_path("q4.gguf"), ZI_LAYOUT_GGUF, ZI_PRECISION_Q4))
        each_entry(zi_test_path("q4.gguf"), model, check_blocks);
}

/* ComfyUI: by the rule, with a factor that makes the largest magnitude 448. */
static void check_scaled(const zi_entry *got, const zi_entry *source)
{
    bool scaled = got->packing == ZI_SCALED;
    CHECK_MSG(scaled == ruled(source, 64), "%s is %s", got->name, zi_dtype_name(got->tensor->type));
    if (!scaled) {
        CHECK_MSG(got->bytes == source->bytes && !memcmp(got->data, source->data, got->bytes),
                  "%s differs", got->name);
        return;
    }
    size_t count, n;
    float factor, *x = numbers_of(source, &count), *y = numbers_of(got, &n), max_value = 0;
    CHECK(n == count && got->scales.count == 1 && got->tensor->type == ZI_F8_E4M3);
    zi_widen(ZI_F32, got->scales.data, &factor, 1);
    for (size_t i = 0; i < n; i++) {
        max_value = fmaxf(max_value, fabsf(y[i]));
        float wanted = x[i] / factor;
        uint8_t code;
        zi_narrow(ZI_F8_E4M3, &wanted, &code, 1);
        zi_widen(ZI_F8_E4M3, &code, &wanted, 1);
        if (!CHECK_MSG(y[i] == wanted, "%s[%zu] is %g, not %g", got->name, i, y[i], wanted)) break;
    }
    /* in a fused tensor, one of the three has the largest */
    CHECK_MSG(max_value == 448 || strstr(got->name, "attention.to_"), "%s: %g", got->name,
              max_value);
    free(x);
    free(y);
}

static void check_cast(const zi_entry *got, const zi_entry *source)
{
    bool cast = got->tensor->type == ZI_F8_E4M3;
    CHECK_MSG(got->packing == ZI_PLAIN && cast == ruled(source, 64), "%s", got->name);
    if (!cast) return;
    size_t count;
    float *x = numbers_of(source, &count);
    uint8_t *codes = malloc(count);
    zi_narrow(ZI_F8_E4M3, x, codes, count);
    CHECK_MSG(memcmp(codes, got->data, count) == 0, "%s differs", got->name);
    free(x);
    free(codes);
}

static void fp8(void)
{
    const char *model = zi_test_data_path("golden/model"), *file = zi_test_path("fp8.safetensors");
    if (zi_test_convert(model, file, ZI_LAYOUT_COMFYUI, ZI_PRECISION_FP8)) {
        each_entry(file, model, check_scaled);
        if (zi_test_convert(file, zi_test_path("fp8-again.safetensors"), ZI_LAYOUT_SAME,
                            ZI_PRECISION_FP8))
            same_part(zi_test_path("fp8-again.safetensors"), file, ZI_COMPONENT_TRANSFORMER, true);
    }
    if (zi_test_convert(model, zi_test_path("fp8"), ZI_LAYOUT_SAME, ZI_PRECISION_FP8))
        each_entry(zi_test_path("fp8"), model, check_cast);
}

/* What layouts cannot hold becomes plain and stays close. */
static void check_close(const zi_entry *got, const zi_entry *source)
{
    size_t count, n;
    float *x = numbers_of(source, &count), *y = numbers_of(got, &n);
    CHECK_MSG(got->packing == ZI_PLAIN && zi_dtype_computes(got->tensor->type) && n == count &&
                  zi_rel_l2(y, x, n) < 0.2,
              "%s is %s, off by %g", got->name, zi_dtype_name(got->tensor->type),
              zi_rel_l2(y, x, n));
    free(x);
    free(y);
}

static void quantized_sources(void)
{
    static const char *const sources[] = {"FP8", "q8.gguf", "q4.gguf", "fp8.safetensors", "q4"};
    const char *model = zi_test_data_path("golden/model");
    if (!zi_test_convert(model, zi_test_path("q4"), ZI_LAYOUT_MLX, ZI_PRECISION_Q4)) return;
    for (size_t i = 0; i < sizeof sources / sizeof *sources; i++) {
        char name[64];
        snprintf(name, sizeof name, "plain-%zu", i);
        zi_precision precision = i % 2 ? ZI_PRECISION_BF16 : ZI_PRECISION_ORIGINAL;
        if (zi_test_convert(zi_test_path(sources[i]), zi_test_path(name), ZI_LAYOUT_DIFFUSERS,
                            precision))
            each_entry(zi_test_path(name), model, check_close);
    }
}

/* With its tokenizer, and back. */
static void text_encoder_as_gguf(void)
{
    const char *file = zi_test_path("text.gguf"), *back = zi_test_path("text");
    const char *part = zi_test_data_path("golden/model/text_encoder");
    zi_checkpoint checkpoint;
    zi_error error = {0};
    const zi_gguf_value *tokens, *merges;
    int64_t end, layers;
    if (!zi_test_convert(part, file, ZI_LAYOUT_GGUF, ZI_PRECISION_ORIGINAL)) return;
    CHECK_OK(zi_checkpoint_open(file, &checkpoint, &error), error);
    CHECK(zi_gguf_strings(checkpoint.gguf, "tokenizer.ggml.tokens", &tokens, &error) &&
          tokens->count == 1300);
    CHECK(zi_gguf_strings(checkpoint.gguf, "tokenizer.ggml.merges", &merges, &error) &&
          merges->count == 1000);
    size_t at = 0;
    CHECK(zi_gguf_text_equals(zi_gguf_next_string(merges, &at), "t h"));
    CHECK(zi_gguf_integer(checkpoint.gguf, "tokenizer.ggml.eos_token_id", 0, 1299, &end, &error) &&
          end == 1258);
    CHECK(zi_gguf_integer(checkpoint.gguf, "qwen3.block_count", 0, 99, &layers, &error) &&
          layers == 4);
    zi_checkpoint_close(&checkpoint);
    if (zi_test_convert(file, back, ZI_LAYOUT_DIFFUSERS, ZI_PRECISION_ORIGINAL))
        same_part(back, part, ZI_COMPONENT_TEXT_ENCODER, true);
}

/* Small shards, read back through their index. */
static void shards(void)
{
    zi_checkpoint *checkpoint, got;
    zi_source source = {0};
    zi_write_plan plan = {0};
    zi_output_folder out = {0};
    zi_write_context work = {0};
    zi_error error = {0};
    if (!zi_test_open_part(zi_test_data_path("golden/model"), ZI_COMPONENT_TRANSFORMER,
                           &checkpoint))
        return;
    const zi_checkpoint *it = checkpoint;
    CHECK_OK(zi_source_create(&it, 1, ZI_COMPONENT_TRANSFORMER, 0, &source, &error), error);
    CHECK_OK(zi_write_plan_add_component(&plan, &source, ZI_NAMES_DIFFUSERS, ZI_PRECISION_ORIGINAL,
                                         false, &error),
             error);
    CHECK_OK(zi_write_plan_sort(&plan, &error), error);
    CHECK_OK(zi_pool_create(2, &work.pool, &error), error);
    if (CHECK_OK(zi_output_folder_open(&out, zi_test_path("shards"), &error), error)) {
        zi_shard_files to = {&out, "", "model", "pt", 300000};
        CHECK_OK(zi_write_shards(&to, &plan, &work, &error), error);
        CHECK_OK(zi_output_folder_commit(&out, &error), error);
        if (CHECK_OK(zi_checkpoint_open_dir(zi_test_path("shards"), "model", &got, &error),
                     error)) {
            CHECK_MSG(got.file_count > 5, "%d shards", got.file_count);
            same_tensors(&got, checkpoint, true);
            zi_checkpoint_close(&got);
        }
    }
    zi_pool_free(work.pool);
    zi_write_plan_free(&plan);
    zi_source_free(&source);
    zi_checkpoint_release(checkpoint);
}

/* Shapes alone tell what the reference model's configs say, but for what they do not. */
static void configs_from_shapes(void)
{
    static const char *const files[ZI_WEIGHT_COMPONENTS] = {"golden/model/transformer/config.json",
                                                            "golden/model/text_encoder/config.json",
                                                            "golden/model/vae/config.json"};
    static const char *const needless[] = {"_diffusers_version",  "bos_token_id", "eos_token_id",
                                           "torch_dtype",         "latents_mean", "latents_std",
                                           "transformers_version"};
    for (int part = 0; part < ZI_WEIGHT_COMPONENTS; part++) {
        zi_checkpoint *checkpoint;
        zi_source source = {0};
        zi_error error = {0};
        cJSON *got = NULL, *wanted = NULL;
        if (!zi_test_open_part(zi_test_data_path("golden/model"), (zi_component)part, &checkpoint))
            continue;
        const zi_checkpoint *it = checkpoint;
        if (CHECK_OK(zi_source_create(&it, 1, (zi_component)part, 0, &source, &error), error) &&
            CHECK_OK(zi_component_config_json(&source, NULL, &got, &error), error) &&
            CHECK_OK(
                zi_component_config_json(&source, zi_test_data_path(files[part]), &wanted, &error),
                error)) {
            char *text = cJSON_Print(got);
            cJSON_Delete(got);
            got = cJSON_Parse(text); /* raw numbers are numbers now */
            free(text);
            for (size_t i = 0; i < sizeof needless / sizeof *needless; i++)
                cJSON_DeleteItemFromObject(wanted, needless[i]);
            text = cJSON_Print(got);
            CHECK_MSG(cJSON_Compare(got, wanted, true), "%s: %s", files[part], text);
            free(text);
        }
        cJSON_Delete(got);
        cJSON_Delete(wanted);
        zi_source_free(&source);
        zi_checkpoint_release(checkpoint);
    }
}

/* Reads the transformer of the reference model. The caller frees source, then releases the
 * checkpoint. False: a check failed, and there is nothing to free. */
static bool open_transformer(zi_checkpoint **checkpoint, zi_source *source)
{
    zi_error error = {0};
    if (!zi_test_open_part(zi_test_data_path("golden/model"), ZI_COMPONENT_TRANSFORMER, checkpoint))
        return false;
    const zi_checkpoint *one = *checkpoint;
    if (CHECK_OK(zi_source_create(&one, 1, ZI_COMPONENT_TRANSFORMER, 0, source, &error), error))
        return true;
    zi_checkpoint_release(*checkpoint);
    return false;
}

/* A field that the given config lacks is not there in MLX's either, and not that of another. */
static void mlx_config_without_optional_fields(void)
{
    static const char *const optional[] = {"rope_theta", "axes_lens"};
    const char *given = zi_test_path("lacking.json");
    zi_checkpoint *checkpoint;
    zi_source source = {0};
    zi_error error = {0};
    cJSON *json = NULL;
    char *text = NULL;
    if (!open_transformer(&checkpoint, &source)) return;
    CHECK_OK(zi_json_read(zi_test_data_path("golden/model/transformer/config.json"), 1 << 20, &json,
                          &error),
             error);
    for (int i = 0; i < 2; i++) cJSON_DeleteItemFromObject(json, optional[i]);
    text = cJSON_Print(json);
    cJSON_Delete(json);
    zi_test_write_file(given, text, strlen(text));
    free(text);
    text = NULL;
    const zi_write_plan plan = {0};
    zi_component_config of = {&source, given, ZI_NAMES_MLX, ZI_PRECISION_ORIGINAL, &plan};
    if (CHECK_OK(zi_component_config_text(&of, &text, &error), error)) {
        json = cJSON_Parse(text);
        const zi_entry *w1 = zi_source_find(&source, "layers.0.feed_forward.w1.weight");
        const cJSON *wide = zi_json_find(json, "intermediate_size");
        CHECK(w1 && wide && wide->valuedouble == (double)w1->shape[0]);
        for (int i = 0; i < 2; i++)
            CHECK_MSG(!zi_json_find(json, optional[i]), "%s in %s", optional[i], text);
        cJSON_Delete(json);
    }
    free(text);
    zi_source_free(&source);
    zi_checkpoint_release(checkpoint);
}

/* What does not fit is said of the number that does not. */
static void width_of_patches(void)
{
    zi_checkpoint *checkpoint;
    zi_source source = {0};
    zi_error error = {0};
    cJSON *json = NULL;
    if (!open_transformer(&checkpoint, &source)) return;
    for (size_t i = 0; i < source.count; i++)
        if (!strcmp(source.entries[i].name, "all_x_embedder.2-1.weight"))
            source.entries[i].shape[1] = 66;
    CHECK(!zi_component_config_json(&source, NULL, &json, &error));
    CHECK_ERROR(error, ZI_ERROR_BAD_FORMAT, source.file);
    CHECK_MSG(strstr(error.text, "the rows of its first layer (x_embedder) have 66 values"), "%s",
              error.text);
    zi_source_free(&source);
    zi_checkpoint_release(checkpoint);
}

/* A new folder cannot take the place of a link, not even of one to an empty folder. */
static void destination_is_a_link(void)
{
    static const char *const paths[] = {"link", "link/"};
    CHECK(mkdir(zi_test_path("empty"), 0777) == 0);
    CHECK(symlink("empty", zi_test_path("link")) == 0);
    for (int i = 0; i < 2; i++) {
        zi_error error = {0};
        char to[600];
        snprintf(to, sizeof to, "%s", zi_test_path(paths[i]));
        zi_convert_options options = {.source = zi_test_data_path("golden/model"),
                                      .destination = to,
                                      .layout = ZI_LAYOUT_MLX};
        CHECK(!zi_convert(&options, &error));
        CHECK_ERROR(error, ZI_ERROR_EXISTS, "destination");
    }
    CHECK(unlink(zi_test_path("link")) == 0 && rmdir(zi_test_path("empty")) == 0);
}

/* Writes the model's transformer as one file, with this value first in cap_embedder.0.weight, as
 * F32. */
static void write_changed(const char *path, float value)
{
    static float norm[96];
    zi_tensor_out outs[256];
    zi_checkpoint *checkpoint;
    zi_error error = {0};
    if (!zi_test_open_part(zi_test_data_path("golden/model"), ZI_COMPONENT_TRANSFORMER,
                           &checkpoint))
        return;
    CHECK(checkpoint->tensor_count <= 256);
    for (size_t i = 0; i < checkpoint->tensor_count; i++) {
        const zi_tensor *t = &checkpoint->tensors[i];
        outs[i] = (zi_tensor_out){t->name, t->type, t->dims, {0}, t->data};
        memcpy(outs[i].shape, t->shape, sizeof outs[i].shape);
        if (strcmp(t->name, "cap_embedder.0.weight") != 0) continue;
        zi_widen(t->type, t->data, norm, t->count);
        norm[0] = value;
        outs[i].type = ZI_F32;
        outs[i].data = norm;
    }
    CHECK_OK(zi_safetensors_write(path, outs, checkpoint->tensor_count, &error), error);
    zi_checkpoint_release(checkpoint);
}

/* A half does not hold 70000: that is said, and nothing comes. */
static void overflow(void)
{
    const char *from = zi_test_path("large.safetensors"),
               *to = zi_test_path("large-fp16.safetensors");
    zi_error error = {0};
    write_changed(from, 70000);
    zi_convert_options options = {.source = from,
                                  .destination = to,
                                  .layout = ZI_LAYOUT_COMFYUI,
                                  .precision = ZI_PRECISION_FP16};
    CHECK(!zi_convert(&options, &error) && access(to, F_OK) != 0);
    CHECK_ERROR(error, ZI_ERROR_UNSUPPORTED, "cap_embedder.0.weight");
    CHECK_MSG(strstr(error.text, "bf16"), "%s", error.text);
    options.precision = ZI_PRECISION_BF16;
    CHECK_OK(zi_convert(&options, &error), error);
}

static bool stop_halfway(void *user, const zi_progress *progress)
{
    *(double *)user = progress->fraction;
    return progress->fraction < 0.5;
}

static void cancelling(void)
{
    double seen = 0;
    zi_error error = {0};
    zi_convert_options options = {.source = zi_test_data_path("golden/model"),
                                  .destination = zi_test_path("cancelled"),
                                  .layout = ZI_LAYOUT_MLX,
                                  .progress = stop_halfway,
                                  .user = &seen};
    CHECK(!zi_convert(&options, &error) && error.code == ZI_ERROR_CANCELLED && seen >= 0.5);
    CHECK(access(options.destination, F_OK) != 0);
}

static bool write_there(void *user, const zi_progress *progress)
{
    (void)progress;
    zi_test_write_file(user, "other", 5);
    return true;
}

/* Two conversions to one file: the one that ends later does not take the earlier one's place. */
static void a_file_came_there(void)
{
    static const struct {
        const char *source, *name;
        zi_layout_kind layout;
    } cases[] = {{"golden/model", "late.safetensors", ZI_LAYOUT_COMFYUI},
                 {"golden/model/text_encoder", "late.gguf", ZI_LAYOUT_GGUF}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char path[512], *data = NULL;
        size_t size = 0;
        zi_error error = {0};
        snprintf(path, sizeof path, "%s", zi_test_path(cases[i].name));
        zi_convert_options options = {.source = zi_test_data_path(cases[i].source),
                                      .destination = path,
                                      .layout = cases[i].layout,
                                      .reference = zi_test_data_path("golden/model"),
                                      .progress = write_there,
                                      .user = path};
        CHECK(!zi_convert(&options, &error));
        CHECK_ERROR(error, ZI_ERROR_EXISTS, path);
        CHECK_OK(zi_file_read(path, 100, &data, &size, &error), error);
        CHECK(size == 5 && !memcmp(data, "other", 5));
        free(data);
    }
}

/* By any of the tests before. */
static void nothing_half_written(void)
{
    glob_t found = {0};
    CHECK(glob(zi_test_path("*.part-*"), 0, NULL, &found) == GLOB_NOMATCH);
    globfree(&found);
}

int main(void)
{
    RUN(lossless);
    RUN(as_the_seed);
    RUN(gguf_blocks);
    RUN(fp8);
    RUN(quantized_sources);
    RUN(text_encoder_as_gguf);
    RUN(shards);
    RUN(configs_from_shapes);
    RUN(mlx_config_without_optional_fields);
    RUN(width_of_patches);
    RUN(destination_is_a_link);
    RUN(overflow);
    RUN(cancelling);
    RUN(a_file_came_there);
    RUN(nothing_half_written);
    return zi_test_result();
}
