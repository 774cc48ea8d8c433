/* Generation parameters in the forms of other programs, translated into an infotext. */
#ifndef ZI_IO_TRANSLATION_H
#define ZI_IO_TRANSLATION_H

#include "base/text.h"

#include <cjson/cJSON.h>

typedef enum {
    ZI_TRANSLATED_STEPS = 0,
    ZI_TRANSLATED_SAMPLER,
    ZI_TRANSLATED_SCHEDULE,
    ZI_TRANSLATED_CFG,
    ZI_TRANSLATED_SEED,
    ZI_TRANSLATED_SIZE,
    ZI_TRANSLATED_MODEL_HASH,
    ZI_TRANSLATED_MODEL,
    ZI_TRANSLATED_SHIFT,
    ZI_TRANSLATED_SETTINGS, /* number of those above, which are settings of an infotext */
    ZI_TRANSLATED_PROMPT = ZI_TRANSLATED_SETTINGS,
    ZI_TRANSLATED_NEGATIVE,
    ZI_TRANSLATED_WIDTH, /* used without a size */
    ZI_TRANSLATED_HEIGHT,
    ZI_TRANSLATED_FIELDS
} zi_translated_field;

typedef struct {
    char *fields[ZI_TRANSLATED_FIELDS]; /* NULL: unknown */
    zi_text others;                     /* ", KEY: VALUE" for further settings */
    bool failed;                        /* memory was short */
} zi_translation;

/* Begins an empty translation; zi_translation_free it. */
void zi_translation_init(zi_translation *translation);

/* Frees the fields; the struct is the caller's. */
void zi_translation_free(zi_translation *translation);

/* Sets a field, unless it is set already, to a JSON value as text: a number as written, an array or
 * object as JSON. NULL or null sets nothing. True: it was set. Short memory sets failed. */
bool zi_translation_set(zi_translation *translation, zi_translated_field field, const cJSON *value);

/* zi_translation_set for a text. */
bool zi_translation_set_text(zi_translation *translation, zi_translated_field field,
                             const char *text);

/* Appends a setting without a field of its own. Characters that a key cannot have become _; of a
 * value above 16 KB only the size is kept. NULL or null appends nothing. Short memory sets
 * failed. */
void zi_translation_add(zi_translation *translation, const char *key, const cJSON *value);

/* Sets a model's name to that of its file, without folder and extension. */
void zi_translation_set_model(zi_translation *translation, const char *file);

/* Returns the infotext in new memory; its last settings name the source, the text that was
 * translated, and the size of that. NULL: memory was short. */
char *zi_translation_infotext(zi_translation *translation, const char *source, const char *name,
                              size_t size);

/* Parses a JSON object, in which whole numbers of 16 and more digits become strings, since cJSON
 * would round them, and NaN and Infinity, which Python writes, null. cJSON_Delete() it. NULL: it is
 * none, too large (zi_json_fits_memory), or memory is short. */
cJSON *zi_translation_parse_json(const char *text);

/* Translates the prompt graph that ComfyUI stores: an object of nodes. Takes what is plain in the
 * nodes that the sampler is linked to. False: it is no such graph. */
bool zi_translate_comfyui(const cJSON *graph, zi_translation *out);

/* Translates an object of parameters by the names that programs use for them, and keeps all others
 * as settings. *source: the program, a constant, "JSON" if it is unknown. False: it has neither a
 * prompt nor two of the settings; out may be changed. */
bool zi_translate_json(const cJSON *object, zi_translation *out, const char **source);

#endif
