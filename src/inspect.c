/* What is at a path, as JSON. */
#include "internal.h"
#include "base/file.h"
#include "io/image.h"
#include "io/json.h"
#include "io/recognise.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    const char *path;
    cJSON *root, *components, *problems, *missing, *remarks;
    zi_assembly assembly;
    zi_config config;
    int read;    /* parts whose config is in config */
    int serious; /* problems */
    bool damaged, unsupported;
} inspection;

static void add_text(cJSON *list, const char *text)
{
    cJSON_AddItemToArray(list, cJSON_CreateString(text));
}

/* Those that another model cannot help against come first; no model lends a transformer. */
static void add_problem(inspection *in, const zi_error *why)
{
    bool lent = why->code == ZI_ERROR_INCOMPLETE &&
                strcmp(why->subject, zi_part_field(ZI_TRANSFORMER)) != 0;
    if (lent) {
        add_text(in->problems, why->text);
        return;
    }
    cJSON_InsertItemInArray(in->problems, in->serious++, cJSON_CreateString(why->text));
    in->unsupported |= why->code == ZI_ERROR_UNSUPPORTED;
    in->damaged |= why->code != ZI_ERROR_UNSUPPORTED;
}

/* ---- numbers ---- */

/* How a weight's numbers are stored: "BF16", "F8_E4M3 scaled", "8-bit MLX groups of 64". */
static void name_format(const zi_entry *entry, char *out, size_t size)
{
    const char *type = zi_dtype_name(entry->tensor->type);
    if (entry->packing == ZI_GROUPED)
        snprintf(out, size, "%d-bit MLX groups of %zu", entry->bits, entry->group);
    else
        snprintf(out, size, "%s%s", type, entry->packing == ZI_SCALED ? " scaled" : "");
}

static double numbers_of(const zi_entry *entry)
{
    double n = 1;
    for (int i = 0; i < entry->dims; i++) n *= (double)entry->shape[i];
    return n;
}

static void add_to(cJSON *object, const char *key, double n)
{
    cJSON *number = cJSON_GetObjectItemCaseSensitive(object, key);
    if (number)
        cJSON_SetNumberValue(number, number->valuedouble + n);
    else
        cJSON_AddNumberToObject(object, key, n);
}

/* The format of most numbers; NULL: there are none. */
static const char *commonest(const cJSON *types)
{
    const cJSON *most = NULL, *type;
    cJSON_ArrayForEach(type, types) if (!most || type->valuedouble > most->valuedouble) most = type;
    return most ? most->string : NULL;
}

static void describe_numbers(cJSON *component, size_t files, size_t tensors, double bytes,
                             double parameters, cJSON *types)
{
    cJSON_AddNumberToObject(component, "files", (double)files);
    cJSON_AddNumberToObject(component, "tensors", (double)tensors);
    cJSON_AddNumberToObject(component, "parameters", parameters);
    cJSON_AddNumberToObject(component, "bytes", bytes);
    const char *precision = commonest(types);
    if (precision) cJSON_AddStringToObject(component, "precision", precision);
    cJSON_AddItemToObject(component, "types", types);
}

/* Of one part: parameters as the model has them, however they are packed. */
static void describe_source(const zi_weights *weights, zi_part part, cJSON *component)
{
    const zi_checkpoint *checkpoint = weights->checkpoint;
    const zi_source *source = &weights->source;
    cJSON *types = cJSON_CreateObject();
    double bytes = 0, parameters = 0;
    size_t tensors = 0;
    for (size_t i = 0; i < checkpoint->tensor_count; i++) {
        zi_key keys[ZI_MAX_FUSED];
        if (!zi_key_read(checkpoint->tensors[i].name, &source->form, keys)) continue;
        if (keys[0].part != part) continue;
        tensors++;
        bytes += (double)checkpoint->tensors[i].bytes;
    }
    for (size_t i = 0; i < source->count; i++) {
        char format[64];
        double n = numbers_of(&source->entries[i]);
        name_format(&source->entries[i], format, sizeof format);
        add_to(types, format, n);
        parameters += n;
    }
    describe_numbers(component, (size_t)checkpoint->file_count, tensors, bytes, parameters, types);
}

/* Of a file that is not understood: what its tensors say. */
static void describe_checkpoint(const zi_checkpoint *checkpoint, cJSON *out)
{
    cJSON *types = cJSON_CreateObject();
    double bytes = 0, elements = 0;
    for (size_t i = 0; i < checkpoint->tensor_count; i++) {
        const zi_tensor *tensor = &checkpoint->tensors[i];
        add_to(types, zi_dtype_name(tensor->type), (double)tensor->count);
        bytes += (double)tensor->bytes;
        elements += (double)tensor->count;
    }
    describe_numbers(out, (size_t)checkpoint->file_count, checkpoint->tensor_count, bytes, elements,
                     types);
}

/* ---- parts ---- */

/* Binds weights to see whether every tensor is there and fits. */
static void check_part(inspection *in, zi_part part, zi_weights *weights)
{
    const zi_config *c = &in->config;
    zi_transformer transformer = {0};
    zi_qwen text = {0};
    zi_vae vae = {0};
    zi_error why;
    bool ok = part == ZI_TRANSFORMER
                  ? zi_transformer_bind(weights, &c->transformer, &transformer, &why)
              : part == ZI_TEXT_ENCODER ? zi_qwen_bind(weights, &c->text, &text, &why)
                                        : zi_vae_bind(weights, &c->vae, &vae, &why);
    if (!ok) add_problem(in, &why);
    if (transformer.weights.zeros)
        add_text(in->remarks, "the pad tokens are missing; zeros stand in for them");
    zi_transformer_free(&transformer);
    zi_qwen_free(&text);
    zi_vae_free(&vae);
}

static void describe_part(inspection *in, zi_part part)
{
    const char *name = zi_part_field(part);
    cJSON *component = cJSON_AddObjectToObject(in->components, name);
    const zi_layout *layout = zi_assembly_layout(&in->assembly, part);
    zi_error why;
    zi_weights weights;
    cJSON_AddBoolToObject(component, "present", layout != NULL);
    if (!layout) add_text(in->missing, name);
    if (zi_assembly_open(&in->assembly, part, NULL, &in->config, &weights, &why)) {
        in->read |= 1 << part;
        describe_source(&weights, part, component);
        check_part(in, part, &weights);
        return;
    }
    /* A file need not have all parts, a folder should. */
    if (layout || in->assembly.layouts[ZI_PLACE_MODEL].parts[part].usual_place)
        add_problem(in, &why);
    if (!layout || !zi_weights_open(layout, part, 0, NULL, &weights, &why)) return;
    describe_source(&weights, part, component);
    zi_weights_close(&weights);
}

static void describe_extras(inspection *in)
{
    const zi_layout *layout = &in->assembly.layouts[ZI_PLACE_MODEL];
    zi_tokenizer *tokenizer = NULL;
    zi_error why;
    bool works = zi_assembly_tokenizer(&(zi_model_options){.path = in->path}, &in->assembly,
                                       &tokenizer, &why);
    zi_tokenizer_free(tokenizer);
    cJSON *component = cJSON_AddObjectToObject(in->components, "tokenizer");
    cJSON_AddBoolToObject(component, "present", works || layout->tokenizer);
    if (!works && layout->tokenizer) add_problem(in, &why);
    if (!works && !layout->tokenizer) add_text(in->missing, "tokenizer");
    component = cJSON_AddObjectToObject(in->components, "scheduler");
    cJSON_AddBoolToObject(component, "present", layout->scheduler != NULL);
    if (!zi_assembly_scheduler(&in->assembly, &in->config, &why)) add_problem(in, &why);
}

static void describe_shapes(inspection *in)
{
    const zi_config *c = &in->config;
    zi_error why;
    if (in->read & 1 << ZI_VAE)
        cJSON_AddNumberToObject(in->root, "native_size", c->vae.native_size);
    if (in->read & 1 << ZI_TRANSFORMER) {
        cJSON_AddNumberToObject(in->root, "transformer_layers", c->transformer.layers);
        cJSON_AddNumberToObject(in->root, "transformer_width", c->transformer.dim);
    }
    if (in->read & 1 << ZI_TEXT_ENCODER) {
        cJSON_AddNumberToObject(in->root, "text_encoder_layers", c->text.layers);
        cJSON_AddNumberToObject(in->root, "text_encoder_width", c->text.hidden);
    }
    if (in->read == (1 << ZI_PARTS) - 1 && !zi_config_fit(in->path, c, &why)) add_problem(in, &why);
}

/* ---- all of it ---- */

/* The precision of the first part that is there: the transformer's, if any. */
static void describe_precision(inspection *in)
{
    const cJSON *component;
    cJSON_ArrayForEach(component, in->components)
    {
        const cJSON *precision = zi_json_find(component, "precision");
        if (!precision) continue;
        cJSON_AddStringToObject(in->root, "precision", precision->valuestring);
        return;
    }
}

static void finish(inspection *in)
{
    bool usable = !in->problems->child && !in->missing->child;
    cJSON_AddItemToObject(in->root, "components", in->components);
    cJSON_AddBoolToObject(in->root, "usable", usable);
    cJSON_AddStringToObject(in->root, "health",
                            in->damaged       ? "damaged"
                            : in->unsupported ? "unsupported"
                            : usable          ? "good"
                                              : "incomplete");
    cJSON_AddItemToObject(in->root, "missing", in->missing);
    cJSON_AddItemToObject(in->root, "problems", in->problems);
    cJSON_AddItemToObject(in->root, "remarks", in->remarks);
}

/* What a file of one part or all is. */
static void describe_architecture(inspection *in)
{
    const zi_layout *layout = &in->assembly.layouts[ZI_PLACE_MODEL];
    const char *name = layout->folder ? NULL : zi_recognise(layout->checkpoint);
    cJSON_AddStringToObject(in->root, "architecture", name ? name : "Z-Image");
}

static void inspect_model(inspection *in)
{
    const zi_layout *layout = &in->assembly.layouts[ZI_PLACE_MODEL];
    char text[32];
    snprintf(text, sizeof text, "%s%s", zi_naming_name(layout->naming),
             layout->folder ? "" : " file");
    cJSON_AddStringToObject(in->root, "layout", text);
    describe_architecture(in);
    for (int part = 0; part < ZI_PARTS; part++) describe_part(in, (zi_part)part);
    describe_extras(in);
    describe_precision(in);
    describe_shapes(in);
}

/* A diffusers folder of another pipeline, or a damaged one: false when there is nothing to say. */
static bool inspect_pipeline(inspection *in, zi_error *error)
{
    enum { MAX_INDEX = 1 << 20 };
    char *index = zi_path_join(in->path, "model_index.json");
    cJSON *json = NULL;
    bool ok = index && zi_is_file(index) && zi_json_read(index, MAX_INDEX, &json, error);
    const cJSON *name = zi_json_find(json, "_class_name");
    if (ok) {
        cJSON_AddStringToObject(in->root, "layout", "diffusers");
        cJSON_AddStringToObject(in->root, "architecture",
                                cJSON_IsString(name) ? name->valuestring : "unknown");
    }
    cJSON_Delete(json);
    free(index);
    return ok;
}

static bool inspect_foreign_file(inspection *in, zi_error *error)
{
    zi_checkpoint checkpoint;
    if (!zi_checkpoint_open(in->path, &checkpoint, error)) return false;
    const char *name = zi_recognise(&checkpoint);
    cJSON_AddStringToObject(in->root, "layout", checkpoint.gguf ? "GGUF file" : "safetensors file");
    cJSON_AddStringToObject(in->root, "architecture", name ? name : "unknown");
    describe_checkpoint(&checkpoint, in->root);
    zi_checkpoint_close(&checkpoint);
    return true;
}

/* ---- pictures ---- */

/* Null where the text cannot be read. */
static cJSON *describe_recipe(const char *text)
{
    zi_recipe_fields f;
    char *storage = NULL, seed[24];
    if (!zi_recipe_parse(text, &f, &storage, NULL)) return cJSON_CreateNull();
    cJSON *fields = cJSON_CreateObject();
    snprintf(seed, sizeof seed, "%" PRIu64, f.seed);
    const char *const texts[][2] = {{"prompt", f.prompt},     {"original", f.original},
                                    {"negative", f.negative}, {"model", f.model},
                                    {"schedule", f.schedule}, {"seed", seed}};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        cJSON_AddStringToObject(fields, texts[i][0], texts[i][1] ? texts[i][1] : "");
    cJSON_AddNumberToObject(fields, "steps", f.steps);
    cJSON_AddNumberToObject(fields, "width", f.width);
    cJSON_AddNumberToObject(fields, "height", f.height);
    cJSON_AddNumberToObject(fields, "guidance", f.cfg > 1 ? f.cfg - 1 : 0);
    cJSON_AddNumberToObject(fields, "shift", f.shift);
    free(storage);
    return fields;
}

char *zi_image_describe(const zi_image *image, const char *recipe)
{
    cJSON *root = cJSON_CreateObject();
    cJSON_AddNumberToObject(root, "width", image->width);
    cJSON_AddNumberToObject(root, "height", image->height);
    cJSON_AddItemToObject(root, "recipe", recipe ? cJSON_CreateString(recipe) : cJSON_CreateNull());
    cJSON_AddItemToObject(root, "fields", recipe ? describe_recipe(recipe) : cJSON_CreateNull());
    char *json = cJSON_Print(root);
    cJSON_Delete(root);
    return json;
}

static bool inspect_picture(const char *path, char **json, zi_error *error)
{
    zi_image *image = NULL;
    char *recipe = NULL;
    if (!zi_image_load(path, &image, &recipe, error)) return false;
    *json = zi_image_describe(image, recipe);
    zi_image_free(image);
    free(recipe);
    return *json || zi_error_no_memory(error, 1 << 16);
}

/* ---- anything ---- */

static bool inspect(inspection *in, zi_error *error)
{
    zi_error why;
    bool ok = true;
    if (zi_assembly_read(&(zi_model_options){.path = in->path}, &in->assembly, &why)) {
        inspect_model(in);
    } else {
        *error = why; /* unless more can be said */
        ok = zi_is_dir(in->path)    ? inspect_pipeline(in, error)
             : zi_is_file(in->path) ? inspect_foreign_file(in, error)
                                    : false;
        add_problem(in, &why);
    }
    zi_assembly_free(&in->assembly);
    return ok;
}

bool zi_inspect(const char *path, char **json, zi_error *error)
{
    zi_error why = {0};
    if (zi_is_picture(path)) return inspect_picture(path, json, error);
    inspection in = {.path = path,
                     .root = cJSON_CreateObject(),
                     .components = cJSON_CreateObject(),
                     .problems = cJSON_CreateArray(),
                     .missing = cJSON_CreateArray(),
                     .remarks = cJSON_CreateArray()};
    cJSON_AddStringToObject(in.root, "path", path);
    bool ok = inspect(&in, &why);
    finish(&in);
    char *text = ok ? cJSON_Print(in.root) : NULL;
    cJSON_Delete(in.root);
    if (!ok && error) *error = why;
    if (!ok) return false;
    if (!text) return zi_error_no_memory(error, 1 << 16);
    *json = text;
    return true;
}
