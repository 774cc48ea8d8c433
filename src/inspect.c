/* What is at a path, as JSON. */
#include "io/checkpoint.h"
#include "io/json.h"
#include "io/recognise.h"
#include "model/assembly.h"

#include <stdlib.h>

/* The parts of a diffusers folder. */
static const struct {
    const char *name, *file;
    const char *weights; /* NULL: none */
} components[] = {
    {"transformer", "config.json", "diffusion_pytorch_model"},
    {"text_encoder", "config.json", "model"},
    {"vae", "config.json", "diffusion_pytorch_model"},
    {"tokenizer", "tokenizer.json", NULL},
    {"scheduler", "scheduler_config.json", NULL},
};

/* Adds files, tensors, parameters, bytes and the elements of each type; tells the commonest type.
 */
static zi_dtype describe_tensors(const zi_checkpoint *checkpoint, cJSON *out)
{
    size_t elements[ZI_DTYPE_COUNT] = {0}, total = 0, bytes = 0;
    for (size_t i = 0; i < checkpoint->tensor_count; i++) {
        elements[checkpoint->tensors[i].type] += checkpoint->tensors[i].count;
        total += checkpoint->tensors[i].count;
        bytes += checkpoint->tensors[i].bytes;
    }
    cJSON_AddNumberToObject(out, "files", checkpoint->file_count);
    cJSON_AddNumberToObject(out, "tensors", (double)checkpoint->tensor_count);
    cJSON_AddNumberToObject(out, "parameters", (double)total);
    cJSON_AddNumberToObject(out, "bytes", (double)bytes);
    cJSON *types = cJSON_AddObjectToObject(out, "types");
    int most = 0;
    for (int t = 0; t < ZI_DTYPE_COUNT; t++) {
        if (elements[t])
            cJSON_AddNumberToObject(types, zi_dtype_name((zi_dtype)t), (double)elements[t]);
        if (elements[t] > elements[most]) most = t;
    }
    return (zi_dtype)most;
}

/* What a folder lacks or has wrong is described, not an error. */
static void describe_weights(const char *dir, const char *name, cJSON *component, cJSON *root,
                             cJSON *problems)
{
    zi_checkpoint checkpoint;
    zi_error why;
    if (!zi_checkpoint_open_dir(dir, name, &checkpoint, &why)) {
        cJSON_AddItemToArray(problems, cJSON_CreateString(why.text));
        return;
    }
    zi_dtype type = describe_tensors(&checkpoint, component);
    if (!cJSON_HasObjectItem(root, "precision"))
        cJSON_AddStringToObject(root, "precision", zi_dtype_name(type));
    zi_checkpoint_close(&checkpoint);
}

static void describe_component(const char *folder, size_t i, cJSON *list, cJSON *root,
                               cJSON *problems)
{
    char *dir = zi_path_join(folder, components[i].name);
    char *file = dir ? zi_path_join(dir, components[i].file) : NULL;
    cJSON *component = cJSON_AddObjectToObject(list, components[i].name);
    /* A tokenizer may come as vocab.json and merges.txt; whether it works is its loader's affair.
     */
    bool there = file && (components[i].weights ? zi_is_file(file) : zi_is_dir(dir));
    cJSON_AddBoolToObject(component, "present", there);
    if (!there) {
        char text[512];
        snprintf(text, sizeof text, "%s/%s is missing", components[i].name, components[i].file);
        cJSON_AddItemToArray(problems, cJSON_CreateString(text));
    } else if (components[i].weights) {
        describe_weights(dir, components[i].weights, component, root, problems);
    }
    free(file);
    free(dir);
}

static bool read_configs(const char *folder, zi_config *config, zi_error *error)
{
    zi_assembly assembly;
    bool ok = true;
    if (!zi_assembly_read(&(zi_model_options){.path = folder}, &assembly, error)) return false;
    for (int part = 0; ok && part < ZI_PARTS; part++) {
        const char *path = zi_assembly_config(&assembly, (zi_part)part);
        ok = path && zi_config_read((zi_part)part, path, config, error);
    }
    zi_assembly_free(&assembly);
    return ok;
}

static void describe_config(const char *folder, cJSON *root, cJSON *problems)
{
    zi_config config = {0};
    zi_error why;
    if (!read_configs(folder, &config, &why)) {
        cJSON_AddItemToArray(problems, cJSON_CreateString(why.text));
        return;
    }
    cJSON_AddNumberToObject(root, "native_size", config.vae.native_size);
    cJSON_AddNumberToObject(root, "transformer_layers", config.transformer.layers);
    cJSON_AddNumberToObject(root, "transformer_width", config.transformer.dim);
    cJSON_AddNumberToObject(root, "text_encoder_layers", config.text.layers);
    cJSON_AddNumberToObject(root, "text_encoder_width", config.text.hidden);
}

static bool inspect_folder(const char *path, cJSON *root, zi_error *error)
{
    enum { MAX_INDEX = 1 << 20 };
    char *index = zi_path_join(path, "model_index.json");
    cJSON *json = NULL;
    if (!index) return zi_out_of_memory(error, strlen(path));
    bool found = zi_is_file(index);
    bool ok = found ? zi_json_read(index, MAX_INDEX, &json, error)
                    : zi_fail(error, "%s: no model_index.json: not a diffusers folder", path);
    free(index);
    if (!ok) return false;
    const cJSON *class_name = zi_json_find(json, "_class_name");
    const char *name = cJSON_IsString(class_name) ? class_name->valuestring : "unknown";
    bool ours = strcmp(name, "ZImagePipeline") == 0;
    cJSON_AddStringToObject(root, "layout", "diffusers");
    cJSON_AddStringToObject(root, "architecture", ours ? "Z-Image" : name);
    cJSON *problems = cJSON_CreateArray();
    cJSON *list = cJSON_CreateObject();
    for (size_t i = 0; ours && i < sizeof components / sizeof *components; i++)
        describe_component(path, i, list, root, problems);
    if (ours) describe_config(path, root, problems);
    cJSON_AddItemToObject(root, "components", list);
    cJSON_AddBoolToObject(root, "usable", ours && cJSON_GetArraySize(problems) == 0);
    cJSON_AddItemToObject(root, "problems", problems);
    cJSON_Delete(json);
    return true;
}

static bool inspect_file(const char *path, cJSON *root, zi_error *error)
{
    zi_checkpoint checkpoint;
    if (!zi_checkpoint_open(path, &checkpoint, error)) return false;
    const char *name = zi_recognise(&checkpoint);
    cJSON_AddStringToObject(root, "layout", checkpoint.gguf ? "GGUF file" : "safetensors file");
    cJSON_AddStringToObject(root, "architecture", name ? name : "unknown");
    cJSON_AddStringToObject(root, "precision", zi_dtype_name(describe_tensors(&checkpoint, root)));
    zi_checkpoint_close(&checkpoint);
    return true;
}

bool zi_inspect(const char *path, char **json, zi_error *error)
{
    cJSON *root = cJSON_CreateObject();
    if (!root || !cJSON_AddStringToObject(root, "path", path)) {
        cJSON_Delete(root);
        return zi_out_of_memory(error, strlen(path));
    }
    bool ok = zi_is_dir(path)    ? inspect_folder(path, root, error)
              : zi_is_file(path) ? inspect_file(path, root, error)
                                 : zi_fail(error, "%s: no such file or folder", path);
    char *text = ok ? cJSON_Print(root) : NULL;
    cJSON_Delete(root);
    if (!ok) return false;
    if (!text) return zi_out_of_memory(error, 1 << 16);
    *json = text;
    return true;
}
