#include "io/formats.h"
#include "io/json.h"
#include "io/keymap.h"
#include "base/text.h"

/* The supported formats by ComfyUI's names, and the type of their weights. */
static const struct {
    const char *name;
    zi_dtype type;
} formats[] = {
    {"float8_e4m3fn", ZI_F8_E4M3},
    {"float8_e5m2", ZI_F8_E5M2},
    {"int8_tensorwise", ZI_I8},
};
enum { FORMATS = sizeof formats / sizeof *formats };

/* Checks one layer's {"format": "...", ...} and sets *type to the type that its weight must have.
 * Fails, *type unchanged, with ZI_ERROR_BAD_FORMAT if the format is missing, with
 * ZI_ERROR_UNSUPPORTED if it is unknown or the layer is rotated ("convrot"). file, layer: for
 * errors. */
static bool check_layer_format(const char *file, const char *layer, const cJSON *json,
                               zi_dtype *type, zi_error *error)
{
    const cJSON *format = zi_json_find(json, "format");
    if (!cJSON_IsString(format))
        return zi_error_set_in(
            error, ZI_ERROR_BAD_FORMAT, file, layer,
            "the quantization of %s has no \"format\": the file is damaged; fetch it again", layer);
    if (cJSON_IsTrue(zi_json_find(json, "convrot")))
        return zi_error_set_in(error, ZI_ERROR_UNSUPPORTED, file, layer,
                               "%s is quantized in rotated form (convrot), which is not supported; "
                               "use the bf16 or fp8 file of this model",
                               layer);
    for (int i = 0; i < FORMATS; i++) {
        if (strcmp(formats[i].name, format->valuestring) != 0) continue;
        *type = formats[i].type;
        return true;
    }
    return zi_error_set_in(
        error, ZI_ERROR_UNSUPPORTED, file, layer,
        "%s is quantized as %.40s, which is not supported; use the bf16 or fp8 file of this model",
        layer, format->valuestring);
}

bool zi_formats_check_layer(const zi_checkpoint *checkpoint, const zi_tensor *marker, zi_dtype type,
                            zi_error *error)
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
    zi_dtype wanted = ZI_DTYPE_COUNT;
    bool ok = cJSON_IsObject(json)
                  ? check_layer_format(file, marker->name, json, &wanted, error)
                  : zi_error_set_in(error, ZI_ERROR_BAD_FORMAT, file, marker->name,
                                    "tensor %s is not JSON: the file is damaged; fetch it again",
                                    marker->name);
    cJSON_Delete(json);
    if (ok && wanted != type)
        return zi_error_set_in(
            error, ZI_ERROR_BAD_FORMAT, file, marker->name,
            "tensor %s declares %s weights, but they are %s; fetch the file again", marker->name,
            zi_dtype_name(wanted), zi_dtype_name(type));
    return ok;
}

/* Checks the metadata value _quantization_metadata: {"format_version": "1.0", "layers": {"NAME":
 * {"format": "..."}}}. Fails with ZI_ERROR_BAD_FORMAT if it is not such JSON, and as
 * check_layer_format for each layer. The version and the tensors' types are not checked. True if
 * there is none. */
static bool check_quantization_metadata(const zi_checkpoint *checkpoint, zi_error *error)
{
    static const char key[] = "_quantization_metadata";
    const char *text = zi_checkpoint_metadata(checkpoint, key);
    if (!text) return true;
    const char *file = checkpoint->files[0].path;
    size_t size = strlen(text);
    bool memory_short = false;
    const char *end;
    cJSON *json = zi_json_fits_memory(text, size)
                      ? zi_json_parse(text, size, false, &end, &memory_short)
                      : NULL;
    if (memory_short) return zi_error_no_memory(error, size);
    const cJSON *layers = zi_json_find(json, "layers"), *layer;
    bool ok =
        cJSON_IsObject(layers) ||
        zi_error_set_in(
            error, ZI_ERROR_BAD_FORMAT, file, key,
            "metadata %s is not JSON with \"layers\": the file is damaged; fetch it again", key);
    zi_dtype type;
    for (layer = layers ? layers->child : NULL; ok && layer; layer = layer->next)
        ok = check_layer_format(file, layer->string ? layer->string : "a layer", layer, &type,
                                error);
    cJSON_Delete(json);
    return ok;
}

bool zi_formats_check(const zi_checkpoint *checkpoint, zi_error *error)
{
    for (size_t i = 0; i < checkpoint->tensor_count; i++) {
        const zi_tensor *tensor = &checkpoint->tensors[i];
        const char *format = zi_key_unsupported_format(tensor->name);
        if (!format) continue;
        return zi_error_set_in(
            error, ZI_ERROR_UNSUPPORTED, zi_tensor_file(checkpoint, tensor), tensor->name,
            "tensor %s belongs to a %s file, which is not supported; use the bf16 or "
            "fp8 file of this model",
            tensor->name, format);
    }
    return check_quantization_metadata(checkpoint, error);
}

void zi_formats_layer_json(zi_dtype type, char text[ZI_FORMAT_TEXT])
{
    for (int i = 0; i < FORMATS; i++)
        if (formats[i].type == type)
            snprintf(text, ZI_FORMAT_TEXT, "{\"format\": \"%s\"}", formats[i].name);
}
