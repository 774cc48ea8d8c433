#include "io/formats.h"
#include "io/json.h"
#include "io/keymap.h"
#include "base/matrix.h"
#include "base/text.h"

/* The supported formats by ComfyUI's names, the type of their weights, and how many values share a
 * scale (0: a row or the tensor does). */
static const struct {
    const char *name;
    zi_dtype type;
    int group;
} formats[ZI_QUANTIZATIONS] = {
    [ZI_QUANTIZATION_FP8_E4M3] = {"float8_e4m3fn", ZI_F8_E4M3, 0},
    [ZI_QUANTIZATION_FP8_E5M2] = {"float8_e5m2", ZI_F8_E5M2, 0},
    [ZI_QUANTIZATION_INT8] = {"int8_tensorwise", ZI_I8, 0},
    [ZI_QUANTIZATION_NVFP4] = {"nvfp4", ZI_U8, 16},
    [ZI_QUANTIZATION_MXFP8] = {"mxfp8", ZI_F8_E4M3, 32},
};

const char *zi_quantization_name(zi_quantization format)
{
    return formats[format].name;
}

zi_dtype zi_quantization_type(zi_quantization format)
{
    return formats[format].type;
}

/* Sets *out to the format of this name, not ZI_QUANTIZATION_NONE. Fails with ZI_ERROR_UNSUPPORTED,
 * *out unchanged, for an unknown name. file, layer: for errors. */
static bool find_format(const char *file, const char *layer, const char *name, zi_quantization *out,
                        zi_error *error)
{
    for (int i = 1; i < ZI_QUANTIZATIONS; i++) {
        if (strcmp(formats[i].name, name) != 0) continue;
        *out = (zi_quantization)i;
        return true;
    }
    return zi_error_set_in(error, ZI_ERROR_UNSUPPORTED, file, layer,
                           "the quantization named at %s is %.40s, which is not supported; use the "
                           "bf16, fp8, nvfp4, mxfp8 or int8 file of this model",
                           layer, name);
}

/* Sets *out to the size of a rotated layer's rotation, 0 if it is not rotated; the default is
 * ComfyUI's. Fails with ZI_ERROR_BAD_FORMAT, *out unchanged, for one that is no power of four from
 * 4 to ZI_MAX_ROTATION. */
static bool read_rotation(const char *file, const char *layer, const cJSON *json, size_t *out,
                          zi_error *error)
{
    static const char key[] = "convrot_groupsize";
    const cJSON *rotated = zi_json_find(json, "convrot"), *size = zi_json_find(json, key);
    size_t group = 256;
    if (!rotated || cJSON_IsFalse(rotated) || cJSON_IsNull(rotated)) {
        *out = 0;
        return true;
    }
    if (!cJSON_IsTrue(rotated))
        return zi_error_set_in(
            error, ZI_ERROR_BAD_FORMAT, file, layer,
            "\"convrot\" of %s is neither true nor false; use another quantization of this model",
            layer);
    if (size && zi_json_is_int(size, 4, ZI_MAX_ROTATION))
        group = (size_t)size->valueint;
    else if (size)
        group = 0;
    if (!group || group & (group - 1) || group % 3 != 1) { /* powers of two that are of four */
        char found[64];                                    /* size is there, as the default fits */
        zi_json_describe(size, found);
        return zi_error_set_in(
            error, ZI_ERROR_BAD_FORMAT, file, layer,
            "\"%s\" of %s is %s, but it must be a power of four from 4 to %d; use "
            "another quantization of this model",
            key, layer, found, (int)ZI_MAX_ROTATION);
    }
    *out = group;
    return true;
}

/* Fails with ZI_ERROR_UNSUPPORTED if a layer's "group_size" or "block_size" is not that of its
 * format. */
static bool check_group(const char *file, const char *layer, const cJSON *json,
                        zi_quantization kind, zi_error *error)
{
    static const char *const keys[] = {"group_size", "block_size"};
    for (int i = 0; i < 2; i++) {
        const cJSON *size = zi_json_find(json, keys[i]);
        if (!size || !formats[kind].group ||
            zi_json_is_int(size, formats[kind].group, formats[kind].group))
            continue;
        char found[64];
        zi_json_describe(size, found);
        return zi_error_set_in(error, ZI_ERROR_UNSUPPORTED, file, layer,
                               "\"%s\" of %s is %s, and for %s only %d is supported; use another "
                               "quantization of this model",
                               keys[i], layer, found, formats[kind].name, formats[kind].group);
    }
    return true;
}

/* Reads one layer's {"format": "...", ...}. Fails, *out unchanged, with ZI_ERROR_BAD_FORMAT if the
 * format is missing or a field does not fit it, with ZI_ERROR_UNSUPPORTED if it is unknown. file,
 * layer: for errors. */
static bool read_layer(const char *file, const char *layer, const cJSON *json, zi_layer_format *out,
                       zi_error *error)
{
    const cJSON *format = zi_json_find(json, "format");
    zi_layer_format found;
    if (!cJSON_IsString(format))
        return zi_error_set_in(error, ZI_ERROR_BAD_FORMAT, file, layer,
                               "the file does not say how %s is quantized (no \"format\"); use "
                               "another quantization of this model",
                               layer);
    if (!find_format(file, layer, format->valuestring, &found.kind, error) ||
        !read_rotation(file, layer, json, &found.rotation, error) ||
        !check_group(file, layer, json, found.kind, error))
        return false;
    if (found.rotation && found.kind != ZI_QUANTIZATION_INT8)
        return zi_error_set_in(
            error, ZI_ERROR_UNSUPPORTED, file, layer,
            "%s is quantized as %s in rotated form (\"convrot\"), which is supported for "
            "int8_tensorwise only; use another quantization of this model",
            layer, formats[found.kind].name);
    *out = found;
    return true;
}

bool zi_formats_read_marker(const zi_checkpoint *checkpoint, const zi_tensor *marker,
                            zi_layer_format *out, zi_error *error)
{
    enum { MAX_MARKER = 1 << 16 };
    const char *file = zi_tensor_file(checkpoint, marker);
    bool text = marker->type == ZI_U8 && marker->bytes <= MAX_MARKER &&
                zi_utf8_valid(marker->data, marker->bytes);
    bool memory_short = false;
    const char *end;
    cJSON *json =
        text ? zi_json_parse(marker->data, marker->bytes, false, &end, &memory_short) : NULL;
    if (memory_short) return zi_error_no_memory(error, marker->bytes);
    bool ok =
        cJSON_IsObject(json)
            ? read_layer(file, marker->name, json, out, error)
            : zi_error_set_in(error, ZI_ERROR_BAD_FORMAT, file, marker->name,
                              "tensor %s, which says how a layer is quantized, is not JSON text; "
                              "fetch the file again, or use another quantization of this model",
                              marker->name);
    cJSON_Delete(json);
    return ok;
}

static const char metadata_key[] = "_quantization_metadata";

/* Reads one metadata value: {"format_version": "1.0", "layers": {"NAME": {"format": "..."}}}, and
 * calls fn for each layer. The version is not checked. */
static bool read_metadata(const char *file, const char *text, zi_layer_format_fn fn, void *context,
                          zi_error *error)
{
    size_t size = strlen(text);
    bool memory_short = false;
    const char *end;
    cJSON *json = zi_json_fits_memory(text, size)
                      ? zi_json_parse(text, size, false, &end, &memory_short)
                      : NULL;
    if (memory_short) return zi_error_no_memory(error, size);
    const cJSON *layers = zi_json_find(json, "layers"), *layer;
    bool ok = cJSON_IsObject(layers) ||
              zi_error_set_in(
                  error, ZI_ERROR_BAD_FORMAT, file, metadata_key,
                  "metadata %s, which says how layers are quantized, is not JSON with \"layers\"; "
                  "fetch the file again, or use another quantization of this model",
                  metadata_key);
    for (layer = layers ? layers->child : NULL; ok && layer; layer = layer->next) {
        const char *name = layer->string ? layer->string : "a layer";
        zi_layer_format format;
        ok =
            read_layer(file, name, layer, &format, error) && fn(context, file, name, format, error);
    }
    cJSON_Delete(json);
    return ok;
}

bool zi_formats_read_metadata(const zi_checkpoint *checkpoint, zi_layer_format_fn fn, void *context,
                              zi_error *error)
{
    for (size_t i = 0; i < checkpoint->metadata_count; i++) {
        const zi_metadata *metadata = &checkpoint->metadata[i];
        if (strcmp(metadata->key, metadata_key) == 0 &&
            !read_metadata(checkpoint->files[0].path, metadata->value, fn, context, error))
            return false;
    }
    return true;
}

bool zi_formats_check(const zi_checkpoint *checkpoint, zi_error *error)
{
    for (size_t i = 0; i < checkpoint->tensor_count; i++) {
        const zi_tensor *tensor = &checkpoint->tensors[i];
        const char *format = zi_key_unsupported_format(tensor->name);
        if (!format) continue;
        return zi_error_set_in(error, ZI_ERROR_UNSUPPORTED, zi_tensor_file(checkpoint, tensor),
                               tensor->name,
                               "tensor %s shows that the file is quantized with %s, which is not "
                               "supported; use the bf16 "
                               "or fp8 file of this model",
                               tensor->name, format);
    }
    return true;
}

void zi_formats_layer_json(zi_layer_format format, char text[ZI_FORMAT_TEXT])
{
    const char *name = formats[format.kind].name;
    if (format.rotation)
        snprintf(text, ZI_FORMAT_TEXT,
                 "{\"format\": \"%s\", \"convrot\": true, \"convrot_groupsize\": %zu}", name,
                 format.rotation);
    else
        snprintf(text, ZI_FORMAT_TEXT, "{\"format\": \"%s\"}", name);
}
