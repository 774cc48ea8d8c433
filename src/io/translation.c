#include "io/translation.h"
#include "io/infotext.h"
#include "io/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { VALUE_MAX = 16 << 10, OTHERS_MAX = 512 << 10 }; /* bytes */

void zi_translation_init(zi_translation *translation)
{
    *translation = (zi_translation){0};
    zi_text_init(&translation->others, OTHERS_MAX);
}

void zi_translation_free(zi_translation *translation)
{
    for (int i = 0; i < ZI_TRANSLATED_FIELDS; i++) free(translation->fields[i]);
    zi_text_free(&translation->others);
}

/* A JSON value that is not null as text in new memory, for free(). NULL: memory is short. */
static char *value_text(const cJSON *value)
{
    if (cJSON_IsString(value)) return strdup(value->valuestring);
    char *json = cJSON_PrintUnformatted(value), *text = json ? strdup(json) : NULL;
    cJSON_free(json);
    return text;
}

bool zi_translation_set_text(zi_translation *t, zi_translated_field field, const char *text)
{
    if (!text || t->fields[field]) return false;
    t->fields[field] = strdup(text);
    t->failed |= !t->fields[field];
    return true;
}

bool zi_translation_set(zi_translation *t, zi_translated_field field, const cJSON *value)
{
    if (!value || cJSON_IsNull(value) || t->fields[field]) return false;
    t->fields[field] = value_text(value);
    t->failed |= !t->fields[field];
    return true;
}

void zi_translation_set_model(zi_translation *t, const char *file)
{
    static const char *const extensions[] = {".safetensors", ".gguf", ".sft", ".ckpt",
                                             ".pt",          ".pth",  ".bin"};
    const char *name = file + strlen(file);
    while (name > file && name[-1] != '/' && name[-1] != '\\') name--;
    char *stem = strdup(name);
    size_t size = strlen(name);
    for (size_t i = 0; stem && i < sizeof extensions / sizeof *extensions; i++) {
        size_t length = strlen(extensions[i]);
        if (size > length && !strcmp(stem + size - length, extensions[i])) {
            stem[size - length] = 0;
            break;
        }
    }
    zi_translation_set_text(t, ZI_TRANSLATED_MODEL, stem);
    t->failed |= !stem;
    free(stem);
}

/* Whether an infotext's key can have c: a letter or digit of ASCII, any other UTF-8, space, - or /;
 * a key begins with one of the first two, or with _. */
static bool is_key_character(char c, bool first)
{
    bool word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                c == '_' || (unsigned char)c >= 0x80;
    return word || (!first && (c == ' ' || c == '-' || c == '/'));
}

void zi_translation_add(zi_translation *t, const char *key, const cJSON *value)
{
    if (!value || cJSON_IsNull(value)) return;
    char name[128], *text = value_text(value), size[64];
    size_t length = 0;
    for (; key[length] && length < sizeof name - 2; length++)
        name[length] = (char)(is_key_character(key[length], !length) ? key[length] : '_');
    while (length && ((unsigned char)key[length] & 0xc0) == 0x80) length--; /* a whole character */
    while (length < 2) name[length++] = '_';
    name[length] = 0;
    t->failed |= !text;
    if (!text || t->others.size + strlen(key) + 64 > OTHERS_MAX / 2) {
        free(text);
        return;
    }
    snprintf(size, sizeof size, "(%zu bytes)", strlen(text));
    zi_infotext_put(&t->others, name, strlen(text) > VALUE_MAX ? size : text);
    free(text);
}

char *zi_translation_infotext(zi_translation *t, const char *source, const char *name, size_t size)
{
    static const char *const keys[ZI_TRANSLATED_SETTINGS] = {
        "Steps", "Sampler",    "Schedule type", "CFG scale", "Seed",
        "Size",  "Model hash", "Model",         "Shift"};
    const char *const *fields = (const char *const *)t->fields;
    char number[32];
    zi_text out, line, both;
    zi_text_init(&out, SIZE_MAX / 2);
    zi_text_init(&line, SIZE_MAX / 2);
    zi_text_init(&both, SIZE_MAX / 2);
    if (fields[ZI_TRANSLATED_WIDTH] && fields[ZI_TRANSLATED_HEIGHT]) {
        zi_text_printf(&both, "%sx%s", fields[ZI_TRANSLATED_WIDTH], fields[ZI_TRANSLATED_HEIGHT]);
        zi_translation_set_text(t, ZI_TRANSLATED_SIZE, both.data);
        t->failed |= both.failed;
        zi_text_free(&both);
    }
    for (int i = 0; i < ZI_TRANSLATED_SETTINGS; i++) zi_infotext_put(&line, keys[i], fields[i]);
    zi_text_append(&line, t->others.data, t->others.size);
    snprintf(number, sizeof number, "%zu", size);
    zi_infotext_put(&line, "Source", source);
    zi_infotext_put(&line, "Source text", name);
    zi_infotext_put(&line, "Source bytes", number);
    if (fields[ZI_TRANSLATED_PROMPT]) zi_text_puts(&out, fields[ZI_TRANSLATED_PROMPT]);
    zi_text_puts(&out, "\n");
    if (fields[ZI_TRANSLATED_NEGATIVE] && *fields[ZI_TRANSLATED_NEGATIVE])
        zi_text_printf(&out, "Negative prompt: %s\n", fields[ZI_TRANSLATED_NEGATIVE]);
    if (line.data) zi_text_puts(&out, line.data + 2); /* behind the first ", " */
    bool failed = t->failed || line.failed;
    zi_text_free(&line);
    char *infotext = zi_text_take(&out);
    if (!failed) return infotext;
    free(infotext);
    return NULL;
}

/* ---- JSON ---- */

/* Appends the token that is no string at the start of text: a number, a word or a punctuation mark.
 * Returns its length. */
static size_t put_token(const char *text, zi_text *out)
{
    static const char *const words[] = {"NaN", "Infinity", "-Infinity"};
    for (int i = 0; i < 3; i++)
        if (!strncmp(text, words[i], strlen(words[i]))) {
            zi_text_puts(out, "null");
            return strlen(words[i]);
        }
    size_t digits = strspn(text, "0123456789"), number = strspn(text, "+-.0123456789eE");
    bool exact = digits == number && digits >= 16;
    size_t size = number ? number : 1;
    if (exact) zi_text_puts(out, "\"");
    zi_text_append(out, text, size);
    if (exact) zi_text_puts(out, "\"");
    return size;
}

cJSON *zi_translation_parse_json(const char *text)
{
    const char *at = text + strspn(text, " \t\r\n"), *end = NULL;
    if (*at != '{') return NULL;
    zi_text copy;
    zi_text_init(&copy, 2 * strlen(at) + 16);
    while (*at) {
        size_t size = 1;
        if (*at == '"') {
            while (at[size] && at[size] != '"') size += at[size] == '\\' && at[size + 1] ? 2 : 1;
            size += at[size] == '"';
            zi_text_append(&copy, at, size);
        } else {
            size = put_token(at, &copy);
        }
        at += size;
    }
    cJSON *json = NULL;
    if (!copy.failed && zi_json_fits_memory(copy.data, copy.size))
        json = cJSON_ParseWithOpts(copy.data, &end, false);
    if (json && (!cJSON_IsObject(json) || end[strspn(end, " \t\r\n")])) {
        cJSON_Delete(json);
        json = NULL;
    }
    zi_text_free(&copy);
    return json;
}
