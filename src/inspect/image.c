/* Images and their generation parameters as JSON. */
#include "base/file.h"
#include "io/image.h"

#include <cjson/cJSON.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SETTINGS_MAX = 1000 }; /* of an infotext; further ones are only in its text */

/* The fields of a parsed infotext as a new JSON object, owned by the caller; missing texts are "",
 * the seed is text; it and guidance are null when absent. Short memory: members lack. */
static cJSON *fields_json(const zi_infotext_fields *f)
{
    cJSON *fields = cJSON_CreateObject();
    char seed[24];
    snprintf(seed, sizeof seed, "%" PRIu64, f->seed);
    const char *const texts[][2] = {{"prompt", f->prompt},         {"original", f->original},
                                    {"negative", f->negative},     {"model", f->model},
                                    {"model_hash", f->model_hash}, {"schedule", f->schedule},
                                    {"sampler", f->sampler}};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        cJSON_AddStringToObject(fields, texts[i][0], texts[i][1]);
    cJSON_AddItemToObject(fields, "seed",
                          f->has_seed ? cJSON_CreateString(seed) : cJSON_CreateNull());
    cJSON_AddNumberToObject(fields, "steps", f->steps);
    cJSON_AddNumberToObject(fields, "width", f->width);
    cJSON_AddNumberToObject(fields, "height", f->height);
    cJSON_AddItemToObject(fields, "guidance",
                          f->has_cfg ? cJSON_CreateNumber(f->cfg > 1 ? f->cfg - 1 : 0)
                                     : cJSON_CreateNull());
    cJSON_AddNumberToObject(fields, "cfg_normalization", f->cfg_normalization);
    cJSON_AddNumberToObject(fields, "cfg_truncation",
                            f->cfg_truncation > 0 ? f->cfg_truncation : 1);
    cJSON_AddNumberToObject(fields, "max_tokens", f->max_tokens ? f->max_tokens : ZI_PROMPT_TOKENS);
    cJSON_AddNumberToObject(fields, "shift", f->shift);
    return fields;
}

/* The lines of a text, without those that are empty, as a new JSON list, owned by the caller. When
 * memory is short, it is NULL or lacks lines. */
static cJSON *lines_json(const char *lines)
{
    cJSON *list = cJSON_CreateArray();
    char *copy = strdup(lines), *rest = NULL;
    for (char *line = copy ? strtok_r(copy, "\n", &rest) : NULL; line;
         line = strtok_r(NULL, "\n", &rest))
        cJSON_AddItemToArray(list, cJSON_CreateString(line));
    free(copy);
    return list;
}

typedef struct {
    cJSON *json;
    int count;
} settings;

/* A callback of zi_infotext_each; user: a `settings *`. Adds the pair to its JSON object, in place
 * of an earlier one of the key; ignores all after the first SETTINGS_MAX. */
static void add_setting(void *user, const char *key, const char *value)
{
    settings *s = user;
    if (s->count++ >= SETTINGS_MAX) return;
    cJSON_DeleteItemFromObjectCaseSensitive(s->json, key);
    cJSON_AddStringToObject(s->json, key, value);
}

/* Adds "recipe" (the infotext), "fields", "settings" and "unread" to root; all are null without an
 * infotext. False: memory is short. */
static bool add_infotext(cJSON *root, const char *infotext)
{
    zi_infotext_fields fields;
    char *storage = NULL;
    settings all = {0};
    if (!infotext) {
        static const char *const names[] = {"recipe", "fields", "settings", "unread"};
        for (int i = 0; i < 4; i++) cJSON_AddNullToObject(root, names[i]);
        return true;
    }
    if (!zi_infotext_parse(infotext, &fields, &storage, NULL)) return false;
    cJSON_AddStringToObject(root, "recipe", infotext);
    cJSON_AddItemToObject(root, "fields", fields_json(&fields));
    all.json = cJSON_AddObjectToObject(root, "settings");
    bool ok = all.json && zi_infotext_each(infotext, add_setting, &all);
    cJSON_AddItemToObject(root, "unread", lines_json(fields.unread));
    free(storage);
    return ok;
}

/* A new JSON object with the image's size; NULL: memory is short. */
static cJSON *size_json(const zi_image *image)
{
    cJSON *root = cJSON_CreateObject();
    cJSON_AddNumberToObject(root, "width", image->width);
    cJSON_AddNumberToObject(root, "height", image->height);
    return root;
}

char *zi_image_json(const zi_image *image, const char *infotext)
{
    cJSON *root = size_json(image);
    char *json = add_infotext(root, infotext) ? cJSON_Print(root) : NULL;
    cJSON_Delete(root);
    return json;
}

/* The texts by name as a new JSON object, owned by the caller; null for one that is too long or
 * cannot be decoded. Of texts of one name the last counts. */
static cJSON *texts_json(const zi_image_metadata *metadata)
{
    cJSON *texts = cJSON_CreateObject();
    for (size_t i = 0; i < metadata->count; i++) {
        const zi_image_text *t = &metadata->texts[i];
        cJSON_DeleteItemFromObjectCaseSensitive(texts, t->name);
        cJSON_AddItemToObject(texts, t->name,
                              t->text ? cJSON_CreateString(t->text) : cJSON_CreateNull());
    }
    return texts;
}

/* zi_image_inspect_data with the name for errors; NULL: "the image". */
static bool inspect_named(const void *data, size_t size, const char *name, size_t max_pixels,
                          char **json, zi_error *error)
{
    zi_image *image = NULL;
    zi_image_metadata metadata = {0};
    char *infotext = NULL, *text = NULL;
    const char *source = NULL;
    bool ok = zi_image_read(data, size, name, max_pixels, &image, &metadata, error) &&
              zi_image_metadata_infotext(&metadata, &infotext, &source, error);
    if (ok) {
        cJSON *root = size_json(image);
        cJSON_AddItemToObject(root, "source",
                              source ? cJSON_CreateString(source) : cJSON_CreateNull());
        if (add_infotext(root, infotext)) {
            cJSON_AddItemToObject(root, "texts", texts_json(&metadata));
            text = cJSON_Print(root);
        }
        cJSON_Delete(root);
        ok = text || zi_error_no_memory(error, size);
    }
    if (ok) *json = text;
    free(infotext);
    zi_image_metadata_free(&metadata);
    zi_image_free(image);
    return ok;
}

bool zi_image_inspect_data(const void *data, size_t size, size_t max_pixels, char **json,
                           zi_error *error)
{
    return inspect_named(data, size, NULL, max_pixels, json, error);
}

bool zi_image_inspect(const char *path, char **json, zi_error *error)
{
    char *data;
    size_t size;
    if (!zi_file_read(path, ZI_IMAGE_BYTES_MAX, &data, &size, error)) return false;
    bool ok = inspect_named(data, size, path, 0, json, error);
    free(data);
    return ok;
}
