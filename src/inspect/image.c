/* Images and their generation parameters as JSON. */
#include "base/error.h"

#include <cjson/cJSON.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* The fields of an infotext (not NULL) as a new JSON object, owned by the caller; missing texts are
 * "", the seed is text. JSON null when it cannot be parsed; NULL, JSON null or an object that lacks
 * members when memory is short. */
static cJSON *describe_infotext(const char *text)
{
    zi_infotext_fields f;
    char *storage = NULL, seed[24];
    if (!zi_infotext_parse(text, &f, &storage, NULL)) return cJSON_CreateNull();
    cJSON *fields = cJSON_CreateObject();
    snprintf(seed, sizeof seed, "%" PRIu64, f.seed);
    const char *const texts[][2] = {
        {"prompt", f.prompt}, {"original", f.original}, {"negative", f.negative},
        {"model", f.model},   {"schedule", f.schedule}, {"sampler", f.sampler},
        {"seed", seed}};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        cJSON_AddStringToObject(fields, texts[i][0], texts[i][1] ? texts[i][1] : "");
    cJSON_AddNumberToObject(fields, "steps", f.steps);
    cJSON_AddNumberToObject(fields, "width", f.width);
    cJSON_AddNumberToObject(fields, "height", f.height);
    cJSON_AddNumberToObject(fields, "guidance", f.cfg > 1 ? f.cfg - 1 : 0);
    cJSON_AddNumberToObject(fields, "cfg_normalization", f.cfg_normalization);
    cJSON_AddNumberToObject(fields, "cfg_truncation", f.cfg_truncation > 0 ? f.cfg_truncation : 1);
    cJSON_AddNumberToObject(fields, "shift", f.shift);
    free(storage);
    return fields;
}

char *zi_image_json(const zi_image *image, const char *infotext)
{
    cJSON *root = cJSON_CreateObject();
    cJSON_AddNumberToObject(root, "width", image->width);
    cJSON_AddNumberToObject(root, "height", image->height);
    cJSON_AddItemToObject(root, "recipe",
                          infotext ? cJSON_CreateString(infotext) : cJSON_CreateNull());
    cJSON_AddItemToObject(root, "fields",
                          infotext ? describe_infotext(infotext) : cJSON_CreateNull());
    char *json = cJSON_Print(root);
    cJSON_Delete(root);
    return json;
}
