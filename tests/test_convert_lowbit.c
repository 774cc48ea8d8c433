/* Conversions from files of few bits: nothing is lost where the layout can hold their formats; else
 * values are rounded to 16 bits. */
#include "variants.h"
#include "base/file.h"
#include "io/json.h"
#include "io/layout.h"
#include "io/values.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A component that a path holds, with its tensors. */
typedef struct {
    zi_checkpoint *checkpoint;
    zi_source source;
} opened;

static bool open_part(const char *path, zi_component part, opened *out)
{
    zi_error error = {0};
    *out = (opened){0};
    if (!zi_test_open_part(path, part, &out->checkpoint)) return false;
    const zi_checkpoint *one = out->checkpoint;
    return CHECK_OK(zi_source_create(&one, 1, part, 0, &out->source, &error), error);
}

static void close_part(opened *it)
{
    zi_source_free(&it->source);
    zi_checkpoint_release(it->checkpoint);
}

static const char *write_variant(const char *name, zi_component part, zi_naming naming,
                                 zi_test_format format)
{
    zi_test_tensors stored;
    zi_error error = {0};
    const char *path = zi_test_path(name);
    zi_variant_make(part, naming, format, &stored, NULL);
    CHECK_OK(zi_safetensors_write(path, stored.list, stored.count, &error), error);
    zi_test_tensors_free(&stored);
    return path;
}

/* A format, and a part of the names of the tensors that have it; NULL: of all others. */
typedef struct {
    zi_test_format format;
    const char *part;
} module_format;

/* The number of the format that a tensor of this name has; formats: [count], the first for all that
 * no other one names. */
static size_t format_of(const char *name, const module_format *formats, size_t count)
{
    for (size_t i = 1; i < count; i++)
        if (strstr(name, formats[i].part)) return i;
    return 0;
}

/* Writes the transformer with several formats in one file; formats: as in format_of. */
static const char *write_mixed(const char *name, zi_naming naming, const module_format *formats,
                               size_t count)
{
    zi_test_tensors mixed = {0};
    zi_error error = {0};
    const char *path = zi_test_path(name);
    for (size_t i = 0; i < count; i++) {
        zi_test_tensors stored;
        zi_variant_make(ZI_COMPONENT_TRANSFORMER, naming, formats[i].format, &stored, NULL);
        for (size_t j = 0; j < stored.count; j++) {
            const zi_tensor_out *it = &stored.list[j];
            if (format_of(it->name, formats, count) == i)
                zi_test_tensors_add(&mixed, it->name, it->type, it->dims, it->shape, it->data);
        }
        zi_test_tensors_free(&stored);
    }
    CHECK_OK(zi_safetensors_write(path, mixed.list, mixed.count, &error), error);
    zi_test_tensors_free(&mixed);
    return path;
}

/* The values of an entry, rows of the first side, in its canonical order; the caller frees them. */
static float *values_of(const zi_entry *entry, size_t *count)
{
    size_t columns = 1, rows = entry->dims > 1 ? entry->shape[0] : 1;
    for (int d = entry->dims > 1; d < entry->dims; d++) columns *= entry->shape[d];
    *count = rows * columns;
    float *values = malloc((*count + 1) * sizeof *values);
    zi_entry_read_values(entry, rows, columns, values);
    return values;
}

/* What becomes of one tensor. */
typedef enum { KEPT, ROUNDED } fate;

/* Checks one tensor: the same values in the same format, or plain 16 bits (or what it was, if it
 * was plain). */
static void check_entry(const char *what, const zi_entry *got, const zi_entry *source, fate wanted)
{
    size_t n, m;
    float *x = values_of(source, &n), *y = values_of(got, &m);
    bool same_format = got->packing == source->packing && got->codes == source->codes &&
                       got->bits == source->bits && got->group == source->group &&
                       got->rotation == source->rotation && got->swizzled == source->swizzled;
    if (CHECK_MSG(n == m, "%s: %s has %zu values, not %zu", what, got->name, m, n) &&
        wanted == KEPT)
        CHECK_MSG(same_format && memcmp(x, y, n * sizeof *x) == 0, "%s: %s is not kept", what,
                  got->name);
    else if (n == m)
        CHECK_MSG(got->packing == ZI_PLAIN && zi_dtype_computes(got->tensor->type) &&
                      zi_rel_l2(y, x, n) < 3e-3,
                  "%s: %s is off by %g", what, got->name, zi_rel_l2(y, x, n));
    free(x);
    free(y);
}

/* Converts a file of the component and checks all tensors. but: names with this part are rounded
 * though others are kept; NULL: none. */
static void check_conversion(const char *what, const char *from, const char *to, zi_component part,
                             zi_layout_kind layout, fate wanted, const char *but)
{
    opened a, b;
    if (!zi_test_convert(from, to, layout, ZI_PRECISION_ORIGINAL)) return;
    if (open_part(from, part, &a) && open_part(to, part, &b)) {
        CHECK_MSG(a.source.count == b.source.count, "%s: %zu tensors of %zu", what, b.source.count,
                  a.source.count);
        for (size_t i = 0; i < a.source.count; i++) {
            const zi_entry *it = &a.source.entries[i];
            const zi_entry *got = zi_source_find(&b.source, it->name);
            bool rounded = it->packing != ZI_PLAIN &&
                           (wanted == ROUNDED ||
                            (but && strstr(it->name, but) && !strstr(it->name, "to_out")));
            if (CHECK_MSG(got, "%s: %s is missing", what, it->name))
                check_entry(what, got, it, rounded ? ROUNDED : KEPT);
        }
        close_part(&b);
    }
    close_part(&a);
}

/* What layouts can hold is kept to the bit, and what they cannot becomes 16 bits. Queries, keys and
 * values become one tensor: for NVFP4 only if they have one factor, as those do that were one. */
static void formats(void)
{
    static const struct {
        const char *name;
        zi_naming naming;
        zi_test_format format;
        fate mlx, comfyui;
        const char *but; /* not kept for ComfyUI */
    } rows[] = {
        {"q2", ZI_NAMES_MLX, ZI_AS_Q2_32, KEPT, ROUNDED, NULL},
        {"q3", ZI_NAMES_MLX, ZI_AS_Q3, KEPT, ROUNDED, NULL},
        {"q5", ZI_NAMES_MFLUX, ZI_AS_Q5_128, KEPT, ROUNDED, NULL},
        {"q6", ZI_NAMES_MLX, ZI_AS_Q6, KEPT, ROUNDED, NULL},
        {"mxfp4", ZI_NAMES_MLX, ZI_AS_MLX_MXFP4, KEPT, ROUNDED, NULL},
        {"mlx-mxfp8", ZI_NAMES_MLX, ZI_AS_MLX_MXFP8, KEPT, ROUNDED, NULL},
        {"mlx-nvfp4", ZI_NAMES_MLX, ZI_AS_MLX_NVFP4, KEPT, ROUNDED, NULL},
        {"nvfp4", ZI_NAMES_COMFYUI, ZI_AS_NVFP4, ROUNDED, KEPT, NULL},
        {"nvfp4-split", ZI_NAMES_DIFFUSERS, ZI_AS_NVFP4, ROUNDED, KEPT, ".attention.to_"},
        {"mxfp8", ZI_NAMES_COMFYUI, ZI_AS_MXFP8, ROUNDED, KEPT, NULL},
        {"mxfp8-split", ZI_NAMES_DIFFUSERS, ZI_AS_MXFP8, ROUNDED, KEPT, NULL},
        {"convrot", ZI_NAMES_COMFYUI, ZI_AS_CONVROT, ROUNDED, KEPT, NULL},
        {"convrot-split", ZI_NAMES_DIFFUSERS, ZI_AS_CONVROT, ROUNDED, KEPT, NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char from[64], mlx[64], comfyui[64], diffusers[64], gguf[64];
        const zi_component part = ZI_COMPONENT_TRANSFORMER;
        snprintf(from, sizeof from, "%s.safetensors", rows[i].name);
        snprintf(mlx, sizeof mlx, "%s-mlx", rows[i].name);
        snprintf(comfyui, sizeof comfyui, "%s-comfyui.safetensors", rows[i].name);
        snprintf(diffusers, sizeof diffusers, "%s-diffusers", rows[i].name);
        snprintf(gguf, sizeof gguf, "%s.gguf", rows[i].name);
        const char *path = write_variant(from, part, rows[i].naming, rows[i].format);
        check_conversion(mlx, path, zi_test_path(mlx), part, ZI_LAYOUT_MLX, rows[i].mlx, NULL);
        check_conversion(comfyui, path, zi_test_path(comfyui), part, ZI_LAYOUT_COMFYUI,
                         rows[i].comfyui, rows[i].but);
        check_conversion(diffusers, path, zi_test_path(diffusers), part, ZI_LAYOUT_DIFFUSERS,
                         ROUNDED, NULL);
        check_conversion(gguf, path, zi_test_path(gguf), part, ZI_LAYOUT_GGUF, ROUNDED, NULL);
    }
}

/* Checks that a file of ComfyUI's says of this module that it has this format. */
static void check_marker(const zi_checkpoint *checkpoint, const char *module, const char *format)
{
    char name[ZI_MAX_KEY], wanted[64];
    snprintf(name, sizeof name, "model.diffusion_model.%s.comfy_quant", module);
    int length = snprintf(wanted, sizeof wanted, "{\"format\": \"%s\"}", format);
    const zi_tensor *marker = zi_checkpoint_find(checkpoint, name);
    CHECK_MSG(marker && marker->bytes == (size_t)length &&
                  !memcmp(marker->data, wanted, (size_t)length),
              "%s is missing or does not say %s", name, wanted);
}

/* A file of many formats keeps them, with the markers that the metadata stood for. */
static void mixed(void)
{
    char path[256];
    opened it;
    snprintf(path, sizeof path, "%s",
             zi_test_data_path("golden/lowbit/diffusion_model_mixed.safetensors"));
    const char *copy = zi_test_path("mixed.safetensors");
    check_conversion("mixed", path, copy, ZI_COMPONENT_TRANSFORMER, ZI_LAYOUT_COMFYUI, KEPT, NULL);
    if (!open_part(copy, ZI_COMPONENT_TRANSFORMER, &it)) return;
    check_marker(it.checkpoint, "layers.0.attention.qkv", "nvfp4");
    const zi_tensor *padded =
        zi_checkpoint_find(it.checkpoint, "model.diffusion_model.layers.0.feed_forward.w1.weight");
    CHECK(padded && padded->shape[0] == 352 && padded->shape[1] == 64);
    close_part(&it);
}

/* So does one with split names, whose queries, keys and values become one tensor. */
static void mixed_split(void)
{
    static const module_format formats[] = {{ZI_AS_F16, NULL},
                                            {ZI_AS_MXFP8, "layers.0.attention.to_"},
                                            {ZI_AS_NVFP4, "layers.0.feed_forward.w1"},
                                            {ZI_AS_SCALED_E4M3, "layers.0.feed_forward.w3"}};
    opened it;
    const char *path = write_mixed("mixed-split.safetensors", ZI_NAMES_DIFFUSERS, formats,
                                   sizeof formats / sizeof *formats);
    const char *joined = zi_test_path("mixed-joined.safetensors");
    check_conversion("mixed, split", path, joined, ZI_COMPONENT_TRANSFORMER, ZI_LAYOUT_COMFYUI,
                     KEPT, NULL);
    if (!open_part(joined, ZI_COMPONENT_TRANSFORMER, &it)) return;
    check_marker(it.checkpoint, "layers.0.attention.qkv", "mxfp8");
    check_marker(it.checkpoint, "layers.0.feed_forward.w1", "nvfp4");
    close_part(&it);
}

/* Checks an object of MLX's config; mode NULL: affine, which has none. */
static void check_groups(const char *what, const cJSON *said, int group, int bits, const char *mode)
{
    const char *found = cJSON_GetStringValue(zi_json_find(said, "mode"));
    CHECK_MSG(zi_json_is_int(zi_json_find(said, "group_size"), group, group) &&
                  zi_json_is_int(zi_json_find(said, "bits"), bits, bits) &&
                  (mode ? found && strcmp(found, mode) == 0 : !found),
              "%s: %s", what, found ? found : "no mode");
}

/* Whether two objects of MLX's config have the same groups, bits and mode. */
static bool same_groups(const cJSON *a, const cJSON *b)
{
    static const char *const fields[] = {"group_size", "bits", "mode"};
    bool same = true;
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        const cJSON *x = zi_json_find(a, fields[i]), *y = zi_json_find(b, fields[i]);
        same = same && (x && y ? cJSON_Compare(x, y, true) : !x && !y);
    }
    return same;
}

/* The config of the transformer in an MLX folder, also of one that has it alone; the caller deletes
 * it. */
static cJSON *read_mlx_config(const char *folder)
{
    char path[1100];
    cJSON *json = NULL;
    zi_error error = {0};
    snprintf(path, sizeof path, "%s/config.json", folder);
    if (!zi_is_file(path)) snprintf(path, sizeof path, "%s/transformer_config.json", folder);
    CHECK_OK(zi_json_read(path, 1 << 20, &json, &error), error);
    return json;
}

/* MLX's config names the mode. */
static void mlx_configs(void)
{
    static const struct {
        const char *name;
        zi_test_format format;
        const char *mode;
        int group, bits;
    } rows[] = {{"config-q3", ZI_AS_Q3, NULL, 64, 3},
                {"config-q5", ZI_AS_Q5_128, NULL, 128, 5},
                {"config-mxfp4", ZI_AS_MLX_MXFP4, "mxfp4", 32, 4},
                {"config-mxfp8", ZI_AS_MLX_MXFP8, "mxfp8", 32, 8},
                {"config-nvfp4", ZI_AS_MLX_NVFP4, "nvfp4", 16, 4}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *from = write_variant("config.safetensors", ZI_COMPONENT_TRANSFORMER,
                                         ZI_NAMES_MLX, rows[i].format);
        const char *to = zi_test_path(rows[i].name);
        if (!zi_test_convert(from, to, ZI_LAYOUT_MLX, ZI_PRECISION_ORIGINAL)) continue;
        cJSON *json = read_mlx_config(to);
        check_groups(rows[i].name, zi_json_find(json, "quantization"), rows[i].group, rows[i].bits,
                     rows[i].mode);
        cJSON_Delete(json);
    }
}

/* MLX's config also names the modules that differ from the first one, in bits, groups or mode, and
 * no others; all are kept, and the model can be read. */
static void mlx_config_of_modules(void)
{
    static const module_format formats[] = {{ZI_AS_Q4, NULL},
                                            {ZI_AS_Q8_32, "layers.0.feed_forward.w1"},
                                            {ZI_AS_MLX_MXFP4, "layers.0.feed_forward.w3"},
                                            {ZI_AS_Q6, "layers.1.attention.to_q"}};
    static const struct {
        const char *module, *mode;
        int group, bits;
    } rows[] = {{"layers.0.feed_forward.w1", NULL, 32, 8},
                {"layers.0.feed_forward.w3", "mxfp4", 32, 4},
                {"layers.1.attention.to_q", NULL, 64, 6},
                {"layers.1.feed_forward.w1", NULL, 64, 4},
                {"context_refiner.0.attention.to_q", NULL, 64, 4}};
    const char *from =
        write_mixed("modules.safetensors", ZI_NAMES_MLX, formats, sizeof formats / sizeof *formats);
    const char *to = zi_test_path("modules-mlx");
    zi_inspection *in;
    zi_error error = {0};
    int named = 0;
    check_conversion("modules", from, to, ZI_COMPONENT_TRANSFORMER, ZI_LAYOUT_MLX, KEPT, NULL);
    cJSON *json = read_mlx_config(to);
    const cJSON *all = zi_json_find(json, "quantization"), *it;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const cJSON *own = zi_json_find(all, rows[i].module);
        check_groups(rows[i].module, own ? own : all, rows[i].group, rows[i].bits, rows[i].mode);
        named += own != NULL;
    }
    CHECK_MSG(named >= 3, "only %d of five modules in four formats are named", named);
    cJSON_ArrayForEach(it, all)
        CHECK_MSG(!cJSON_IsObject(it) || !same_groups(it, all), "%s is like the first", it->string);
    cJSON_Delete(json);
    if (!CHECK_OK(zi_inspect(to, &in, &error), error)) return;
    CHECK_MSG(in->health == ZI_HEALTH_GOOD, "%s",
              in->problem_count ? in->problems[0].text : "incomplete");
    zi_inspection_free(in);
}

/* Text encoders, and quantizing again what is quantized. */
static void others(void)
{
    const zi_component part = ZI_COMPONENT_TEXT_ENCODER;
    const char *te = write_variant("te.safetensors", part, ZI_NAMES_COMFYUI, ZI_AS_CONVROT);
    check_conversion("text encoder", te, zi_test_path("te-kept.safetensors"), part,
                     ZI_LAYOUT_COMFYUI, KEPT, NULL);
    check_conversion("text encoder", te, zi_test_path("te-diffusers"), part, ZI_LAYOUT_DIFFUSERS,
                     ROUNDED, NULL);
    opened a, b;
    if (!zi_test_convert(zi_test_path("nvfp4.safetensors"), zi_test_path("nvfp4-q8"), ZI_LAYOUT_MLX,
                         ZI_PRECISION_Q8) ||
        !open_part(zi_test_path("nvfp4.safetensors"), ZI_COMPONENT_TRANSFORMER, &a) ||
        !open_part(zi_test_path("nvfp4-q8"), ZI_COMPONENT_TRANSFORMER, &b))
        return;
    static const char name[] = "layers.0.feed_forward.w1.weight";
    const zi_entry *x = zi_source_find(&a.source, name), *y = zi_source_find(&b.source, name);
    if (CHECK(x && y && y->bits == 8 && y->biases.tensor && y->shape[0] == 341)) {
        size_t n, m;
        float *from = values_of(x, &n), *to = values_of(y, &m);
        CHECK_MSG(n == m && zi_rel_l2(to, from, n) < 1e-2, "off by %g", zi_rel_l2(to, from, n));
        free(from);
        free(to);
    }
    close_part(&a);
    close_part(&b);
}

/* Values that are not finite are not copied, whatever stands for them: a scale or a code. What lies
 * in the padding of swizzled scales is no value. */
static void not_finite(void)
{
    static const struct {
        zi_naming naming;
        zi_test_format format;
        zi_layout_kind layout;
        const char
            *end; /* of the name of the tensor that is changed: its first byte, or the last */
        bool last;
        uint8_t byte;
        bool fails;
    } rows[] = {
        {ZI_NAMES_MLX, ZI_AS_MLX_MXFP4, ZI_LAYOUT_MLX, ".scales", false, 0xff, true},
        {ZI_NAMES_MLX, ZI_AS_MLX_MXFP8, ZI_LAYOUT_MLX, ".weight", false, 0x7f, true},
        {ZI_NAMES_MLX, ZI_AS_MLX_NVFP4, ZI_LAYOUT_MLX, ".scales", false, 0x7f, true},
        {ZI_NAMES_COMFYUI, ZI_AS_NVFP4, ZI_LAYOUT_COMFYUI, ".weight_scale", false, 0x7f, true},
        {ZI_NAMES_COMFYUI, ZI_AS_NVFP4, ZI_LAYOUT_COMFYUI, ".weight_scale", true, 0x7f, false},
        {ZI_NAMES_COMFYUI, ZI_AS_MXFP8, ZI_LAYOUT_COMFYUI, ".weight_scale", false, 0xff, true},
        {ZI_NAMES_COMFYUI, ZI_AS_MXFP8, ZI_LAYOUT_COMFYUI, ".weight", false, 0x7f, true},
        {ZI_NAMES_COMFYUI, ZI_AS_NVFP4, ZI_LAYOUT_GGUF, ".weight_scale", false, 0x7f, true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char name[64];
        zi_test_tensors stored;
        zi_error error = {0};
        bool changed = false;
        zi_variant_make(ZI_COMPONENT_TRANSFORMER, rows[i].naming, rows[i].format, &stored, NULL);
        for (size_t j = 0; j < stored.count; j++) {
            const char *at = strstr(stored.list[j].name, "layers.0.feed_forward.w1");
            size_t bytes = zi_dtype_size(stored.list[j].type);
            if (!at || strcmp(at + strlen("layers.0.feed_forward.w1"), rows[i].end) != 0) continue;
            for (int d = 0; d < stored.list[j].dims; d++) bytes *= stored.list[j].shape[d];
            ((uint8_t *)(uintptr_t)stored.list[j].data)[rows[i].last ? bytes - 1 : 0] =
                rows[i].byte;
            changed = true;
        }
        snprintf(name, sizeof name, "not-finite-%zu.safetensors", i);
        CHECK_OK(zi_safetensors_write(zi_test_path(name), stored.list, stored.count, &error),
                 error);
        zi_test_tensors_free(&stored);
        char from[1100];
        snprintf(from, sizeof from, "%s", zi_test_path(name));
        snprintf(name, sizeof name, "not-finite-%zu-out%s", i,
                 rows[i].layout == ZI_LAYOUT_COMFYUI ? ".safetensors"
                 : rows[i].layout == ZI_LAYOUT_GGUF  ? ".gguf"
                                                     : "");
        const zi_convert_options options = {.source = from,
                                            .destination = zi_test_path(name),
                                            .layout = rows[i].layout,
                                            .reference = zi_test_data_path("golden/model")};
        bool ok = zi_convert(&options, &error);
        CHECK_MSG(changed && ok != rows[i].fails, "%zu: %s", i, error.text);
        CHECK_MSG(!rows[i].fails ||
                      (error.code == ZI_ERROR_BAD_FORMAT && strstr(error.text, "not finite")),
                  "%zu: %s", i, error.text);
    }
}

int main(void)
{
    RUN(formats);
    RUN(mixed);
    RUN(mixed_split);
    RUN(mlx_configs);
    RUN(mlx_config_of_modules);
    RUN(others);
    RUN(not_finite);
    return zi_test_result();
}
