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
    zi_layout layout;
    zi_checkpoint *checkpoint;
    zi_source source;
} opened;

static bool open_part(const char *path, zi_component part, opened *out)
{
    zi_error error = {0};
    *out = (opened){0};
    if (!CHECK_OK(zi_layout_read(path, &out->layout, &error), error) ||
        !CHECK_OK(zi_layout_open_component(&out->layout, part, &out->checkpoint, &error), error))
        return false;
    const zi_checkpoint *one = out->checkpoint;
    return CHECK_OK(zi_source_create(&one, 1, part, 0, &out->source, &error), error);
}

static void close_part(opened *it)
{
    zi_source_free(&it->source);
    zi_checkpoint_release(it->checkpoint);
    zi_layout_free(&it->layout);
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

/* A file of many formats keeps them, with the markers that the metadata stood for; back from split
 * names, too. */
static void mixed(void)
{
    char path[256];
    opened it;
    snprintf(path, sizeof path, "%s",
             zi_test_data_path("golden/lowbit/diffusion_model_mixed.safetensors"));
    const char *copy = zi_test_path("mixed.safetensors");
    check_conversion("mixed", path, copy, ZI_COMPONENT_TRANSFORMER, ZI_LAYOUT_COMFYUI, KEPT, NULL);
    if (!open_part(copy, ZI_COMPONENT_TRANSFORMER, &it)) return;
    const zi_tensor *marker = zi_checkpoint_find(
        it.checkpoint, "model.diffusion_model.layers.0.attention.qkv.comfy_quant");
    static const char says[] = "{\"format\": \"nvfp4\"}";
    CHECK(marker && marker->bytes == sizeof says - 1 && !memcmp(marker->data, says, marker->bytes));
    const zi_tensor *padded =
        zi_checkpoint_find(it.checkpoint, "model.diffusion_model.layers.0.feed_forward.w1.weight");
    CHECK(padded && padded->shape[0] == 352 && padded->shape[1] == 64);
    close_part(&it);
}

/* MLX's config names the mode, and what differs from the first. */
static void mlx_configs(void)
{
    static const struct {
        const char *name, *mode;
        int group, bits;
    } rows[] = {{"q3-mlx", NULL, 64, 3},
                {"q5-mlx", NULL, 128, 5},
                {"mxfp4-mlx", "mxfp4", 32, 4},
                {"mlx-mxfp8-mlx", "mxfp8", 32, 8},
                {"mlx-nvfp4-mlx", "nvfp4", 16, 4}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char path[1100];
        cJSON *json = NULL;
        zi_error error = {0};
        snprintf(path, sizeof path, "%s/config.json", zi_test_path(rows[i].name));
        if (!zi_is_file(path))
            snprintf(path, sizeof path, "%s/transformer_config.json", zi_test_path(rows[i].name));
        if (!CHECK_OK(zi_json_read(path, 1 << 20, &json, &error), error)) continue;
        const cJSON *said = zi_json_find(json, "quantization");
        const char *mode = cJSON_GetStringValue(zi_json_find(said, "mode"));
        CHECK_MSG(zi_json_is_int(zi_json_find(said, "group_size"), rows[i].group, rows[i].group) &&
                      zi_json_is_int(zi_json_find(said, "bits"), rows[i].bits, rows[i].bits) &&
                      (rows[i].mode ? mode && strcmp(mode, rows[i].mode) == 0 : !mode),
                  "%s: %s", rows[i].name, mode ? mode : "no mode");
        cJSON_Delete(json);
    }
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
    RUN(mlx_configs);
    RUN(others);
    RUN(not_finite);
    return zi_test_result();
}
