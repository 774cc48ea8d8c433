/* Which of an image's texts has the generation parameters, and in which form. */
#include "io/infotext.h"
#include "io/image_metadata.h"
#include "io/translation.h"

#include <stdlib.h>
#include <string.h>

/* Texts that may be JSON objects of parameters, the best first. */
static const char *const json_names[] = {"invokeai_metadata", "sd-metadata",     "parameters",
                                         "UserComment",       "comment",         "Comment",
                                         "metadata",          "ImageDescription"};
enum { JSON_NAMES = sizeof json_names / sizeof *json_names };

/* Whether a text is to be read as an infotext: not empty, and no JSON object (a prompt may begin
 * with a brace, too). NULL: false. */
static bool is_plain(const char *text)
{
    const char *begin = text ? text + strspn(text, " \t\r\n") : "";
    cJSON *json = *begin == '{' ? zi_translation_parse_json(begin) : NULL;
    cJSON_Delete(json);
    return *begin && !json;
}

/* Translates the text of this name, if it is a JSON object with parameters, or of a ComfyUI graph.
 * *infotext stays NULL if it is not. False: memory is short. */
static bool translate(const zi_image_metadata *metadata, const char *name, bool graph,
                      char **infotext, const char **source)
{
    const char *text = zi_image_metadata_find(metadata, name), *program = "ComfyUI graph";
    cJSON *json = text ? zi_translation_parse_json(text) : NULL;
    zi_translation translation;
    if (!json) return true;
    zi_translation_init(&translation);
    bool known = zi_translate_comfyui(json, &translation) ||
                 (!graph && zi_translate_json(json, &translation, &program));
    if (known) {
        *infotext = zi_translation_infotext(&translation, program, name, strlen(text));
        *source = program;
    }
    bool ok = !known || *infotext;
    zi_translation_free(&translation);
    cJSON_Delete(json);
    return ok;
}

/* The name for the source of a plain infotext, by other texts of the file. */
static const char *plain_source(const zi_image_metadata *metadata)
{
    if (zi_image_metadata_find(metadata, "prompt") || zi_image_metadata_find(metadata, "workflow"))
        return "infotext and ComfyUI graph";
    return zi_image_metadata_find(metadata, "fooocus_scheme") ? "Fooocus" : "infotext";
}

/* What the file holds that has no parameters which can be read; NULL: nothing known. */
static const char *unreadable_source(const zi_image_metadata *metadata)
{
    static const struct {
        const char *name, *source;
    } known[] = {{"workflow", "ComfyUI workflow"},
                 {"prompt", "ComfyUI graph"},
                 {"invokeai_graph", "InvokeAI graph"},
                 {"invokeai_workflow", "InvokeAI workflow"},
                 {"UserComment", NULL}};
    for (size_t i = 0; known[i].source; i++)
        for (size_t k = 0; k < metadata->count; k++)
            if (!strcmp(metadata->texts[k].name, known[i].name)) return known[i].source;
    return NULL;
}

/* Sets *source and a copy of the text of this name, if it is plain. False: memory is short. */
static bool take_plain(const zi_image_metadata *metadata, const char *name, char **infotext,
                       const char **source)
{
    const char *text = zi_image_metadata_find(metadata, name);
    if (!is_plain(text)) return true;
    *infotext = strdup(text);
    *source = plain_source(metadata);
    return *infotext;
}

/* Copies the text at the place of an infotext that is empty or in an unknown form. False: memory is
 * short. */
static bool take_unknown(const zi_image_metadata *metadata, char **infotext)
{
    const char *text = zi_image_metadata_find(metadata, "parameters");
    if (!text) text = zi_image_metadata_find(metadata, "UserComment");
    if (text) *infotext = strdup(text);
    return !text || *infotext;
}

/* A callback of zi_infotext_each; user: a bool, which becomes true at the key Steps. */
static void note_steps(void *user, const char *key, const char *value)
{
    (void)value;
    if (!strcmp(key, "Steps")) *(bool *)user = true;
}

/* take_plain for the first text of any name that has settings with steps. */
static bool take_any_infotext(const zi_image_metadata *metadata, char **infotext,
                              const char **source)
{
    for (size_t i = 0; i < metadata->count; i++) {
        bool found = false;
        const char *text = metadata->texts[i].text;
        if (!is_plain(text) || !strcmp(metadata->texts[i].name, "XMP")) continue;
        if (!zi_infotext_each(text, note_steps, &found)) return false;
        if (!found) continue;
        *infotext = strdup(text);
        *source = plain_source(metadata);
        return *infotext;
    }
    return true;
}

bool zi_image_metadata_infotext(const zi_image_metadata *metadata, char **infotext,
                                const char **source, zi_error *error)
{
    const char *found_source = NULL;
    char *found = NULL;
    bool ok = take_plain(metadata, "parameters", &found, &found_source);
    for (int i = 0; ok && !found && i < JSON_NAMES; i++)
        ok = translate(metadata, json_names[i], false, &found, &found_source);
    ok = ok && (found || take_any_infotext(metadata, &found, &found_source));
    ok = ok && (found || translate(metadata, "prompt", true, &found, &found_source));
    ok = ok && (found || take_plain(metadata, "UserComment", &found, &found_source));
    ok = ok && (found || take_unknown(metadata, &found));
    if (!ok) return zi_error_no_memory(error, ZI_IMAGE_TEXT_MAX);
    if (!found_source) found_source = unreadable_source(metadata);
    *infotext = found;
    if (source) *source = found_source;
    return true;
}
