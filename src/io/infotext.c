#include "io/infotext.h"
#include "base/text.h"

#include <cjson/cJSON.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char negative_label[] = "Negative prompt:";

/* ---- numbers with a decimal point, whatever the current locale ---- */

/* Sets point to the decimal separator of the current locale, with a closing NUL. */
static void decimal_point(char point[16])
{
    char half[16];
    int size = snprintf(half, sizeof half, "%.1f", 0.5);
    snprintf(point, 16, "%.*s", size - 2, half + 1);
}

/* Appends the shortest form of a finite number that reads back as the same, perhaps with an
 * exponent, with a decimal point in every locale. Short memory sets out->failed. */
static void put_double(zi_text *out, double value)
{
    char digits[64], point[16];
    for (int precision = 6; precision <= 17; precision++) {
        snprintf(digits, sizeof digits, "%.*g", precision, value);
        if (strtod(digits, NULL) == value) break;
    }
    decimal_point(point);
    char *at = strstr(digits, point);
    if (at)
        zi_text_printf(out, "%.*s.%s", (int)(at - digits), digits, at + strlen(point));
    else
        zi_text_puts(out, digits);
}

/* Reads a text that is a decimal number as a whole ("-1.5e3"; no white space, no hexadecimal), with
 * a decimal point in every locale. False: it is none, not finite, or longer than 40 bytes; *out may
 * be changed. */
static bool read_double(const char *text, double *out)
{
    char copy[64], point[16], *end;
    size_t size = strlen(text);
    if (!size || size > 40 || strspn(text, "+-.0123456789eE") != size) return false;
    decimal_point(point);
    size_t whole = strcspn(text, ".");
    bool fraction = text[whole] == '.';
    snprintf(copy, sizeof copy, "%.*s%s%s", (int)whole, text, fraction ? point : "",
             fraction ? text + whole + 1 : "");
    *out = strtod(copy, &end);
    return !*end && isfinite(*out);
}

/* Reads decimal digits that end at the character `stop` (0: the end of the text). False: they are
 * above max, and *out is unchanged; or there is no digit or something else behind them, and *out is
 * changed. Sets no error. */
static bool read_uint(const char *text, char stop, uint64_t max, uint64_t *out)
{
    uint64_t value = 0;
    const char *at = text;
    for (; *at >= '0' && *at <= '9'; at++) {
        unsigned digit = (unsigned)(*at - '0');
        if (value > (max - digit) / 10) return false;
        value = value * 10 + digit;
    }
    *out = value;
    return at > text && *at == stop;
}

/* Reads decimal digits, a number up to INT_MAX, that end at the character `stop` (0: the end of the
 * text). False: anything else; *out is unchanged, and no error is set. */
static bool read_int(const char *text, char stop, int *out)
{
    uint64_t value;
    if (!read_uint(text, stop, INT_MAX, &value)) return false;
    *out = (int)value;
    return true;
}

/* Reads a text such as "1024x768" as a whole; 0 passes. False: it is none; *width may be changed,
 * *height is not. */
static bool read_size(const char *text, int *width, int *height)
{
    return read_int(text, 'x', width) && read_int(strchr(text, 'x') + 1, 0, height);
}

/* ---- writing ---- */

void zi_infotext_put(zi_text *out, const char *key, const char *value)
{
    if (!value || !*value) return;
    zi_text_printf(out, ", %s: ", key);
    if (!strpbrk(value, ",:\"\n\r\t") && *value != ' ') {
        zi_text_puts(out, value);
        return;
    }
    cJSON *string = cJSON_CreateString(value);
    char *quoted = string ? cJSON_PrintUnformatted(string) : NULL;
    if (quoted)
        zi_text_puts(out, quoted);
    else
        out->failed = true;
    cJSON_free(quoted);
    cJSON_Delete(string);
}

/* A1111's names of samplers and schedules, and the choices of the parameters that they are. */
static const struct {
    const char *label, *choice;
} known_names[] = {
    {"Euler", "euler"},
    {"Heun", "heun"},
    {"LCM", "lcm"},
    {"Karras", "karras"},
    {"Exponential", "exponential"},
    {"Beta", "beta"},
};
enum { KNOWN_NAMES = sizeof known_names / sizeof *known_names };

/* A1111's name for a choice; the text itself if it has none. */
static const char *label_of_choice(const char *choice)
{
    for (size_t i = 0; choice && i < KNOWN_NAMES; i++)
        if (!strcmp(choice, known_names[i].choice)) return known_names[i].label;
    return choice;
}

/* The choice that A1111 gives this name; the text itself if there is none. */
static const char *choice_of_label(const char *label)
{
    for (size_t i = 0; i < KNOWN_NAMES; i++)
        if (!strcmp(label, known_names[i].label)) return known_names[i].choice;
    return label;
}

/* Appends ", KEY: VALUE" with a number, but nothing for 0. */
static void put_number(zi_text *out, const char *key, double value)
{
    if (value == 0) return;
    zi_text_printf(out, ", %s: ", key);
    put_double(out, value);
}

char *zi_infotext_format(const zi_infotext_fields *fields)
{
    const char *sampler = fields->sampler && *fields->sampler ? fields->sampler : "euler";
    zi_text out;
    zi_text_init(&out, SIZE_MAX / 2);
    if (fields->prompt) zi_text_puts(&out, fields->prompt);
    zi_text_puts(&out, "\n");
    if (fields->negative && *fields->negative) {
        zi_text_puts(&out, negative_label);
        zi_text_puts(&out, " ");
        zi_text_puts(&out, fields->negative);
        zi_text_puts(&out, "\n");
    }
    zi_text_printf(&out, "Steps: %d", fields->steps);
    zi_infotext_put(&out, "Sampler", label_of_choice(sampler));
    zi_infotext_put(&out, "Schedule type", label_of_choice(fields->schedule));
    zi_text_puts(&out, ", CFG scale: ");
    put_double(&out, fields->cfg);
    zi_text_printf(&out, ", Seed: %" PRIu64 ", Size: %dx%d", fields->seed, fields->width,
                   fields->height);
    zi_infotext_put(&out, "Model hash", fields->model_hash);
    zi_infotext_put(&out, "Model", fields->model);
    zi_text_puts(&out, ", Shift: ");
    put_double(&out, fields->shift);
    if (fields->max_tokens) zi_text_printf(&out, ", Max tokens: %d", fields->max_tokens);
    put_number(&out, "CFG normalization", fields->cfg_normalization);
    put_number(&out, "CFG truncation", fields->cfg_truncation);
    zi_infotext_put(&out, "Original prompt", fields->original);
    zi_text_puts(&out, ", Version: zimage " ZI_VERSION);
    return zi_text_take(&out);
}

/* ---- reading ---- */

typedef struct {
    const char *data;
    size_t size;
} span;

/* Whether a regular expression's \w matches c: ASCII letters, digits, _ and all bytes of other
 * UTF-8. */
static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           (unsigned char)c >= 0x80;
}

/* Whether c can occur in a key: a word's character, space, - or /. */
static bool is_key(char c)
{
    return is_word(c) || c == ' ' || c == '-' || c == '/';
}

/* Returns the value at the start of rest: a JSON string with its quotes, if a comma or the end
 * follows it, or else anything up to a comma or the end. */
static span value_at(span rest)
{
    const char *at = rest.data, *end = at + rest.size;
    if (at < end && *at == '"') {
        const char *close = at + 1;
        while (close < end && *close != '"') close += *close == '\\' && end - close > 1 ? 2 : 1;
        if (close < end && (close + 1 == end || close[1] == ','))
            return (span){at, (size_t)(close + 1 - at)};
    }
    while (at < end && *at != ',') at++;
    return (span){rest.data, (size_t)(at - rest.data)};
}

/* Finds the next "key: value" of the line, skipping other text, and moves *line behind it. False:
 * there is none. The pairs are those that A1111's regular expression finds:
 *
 * \s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$) */
static bool next_pair(span *line, span *key, span *value)
{
    const char *at = line->data, *end = at + line->size;
    while (at < end) {
        const char *start = at++;
        if (!is_word(*start)) continue;
        while (at < end && is_key(*at)) at++;
        if (at == end || *at != ':' || at - start < 2) continue;
        *key = (span){start, (size_t)(at - start)};
        at++;
        while (at < end && (*at == ' ' || *at == '\t')) at++;
        *value = value_at((span){at, (size_t)(end - at)});
        at = value->data + value->size;
        *line = (span){at, (size_t)(end - at)};
        return true;
    }
    return false;
}

/* Copies a span to *storage, which must have room, as a NUL-terminated string, returns that and
 * moves *storage behind it. */
static const char *store_string(char **storage, span from)
{
    char *start = *storage;
    memcpy(start, from.data, from.size);
    start[from.size] = 0;
    *storage = start + from.size + 1;
    return start;
}

/* Copies a value to *storage, which must have room, as a NUL-terminated string, returns that and
 * moves *storage behind it. A valid JSON string is decoded (if memory suffices), which never makes
 * it longer; all else is kept as it is. */
static const char *store_value(char **storage, span from)
{
    cJSON *string =
        from.size && *from.data == '"' ? cJSON_ParseWithLength(from.data, from.size) : NULL;
    if (cJSON_IsString(string)) from = (span){string->valuestring, strlen(string->valuestring)};
    const char *kept = store_string(storage, from);
    cJSON_Delete(string);
    return kept;
}

/* Whether the key is exactly this name (case matters). */
static bool key_is(span key, const char *name)
{
    return key.size == strlen(name) && memcmp(key.data, name, key.size) == 0;
}

/* The field of *out for a key whose value is a number, not necessarily a whole one; NULL: none. */
static double *number_field(span key, zi_infotext_fields *out)
{
    return key_is(key, "CFG scale")           ? &out->cfg
           : key_is(key, "Shift")             ? &out->shift
           : key_is(key, "CFG normalization") ? &out->cfg_normalization
           : key_is(key, "CFG truncation")    ? &out->cfg_truncation
                                              : NULL;
}

/* The field of *out for a key whose value is text, stored as it is; NULL: none. */
static const char **text_field(span key, zi_infotext_fields *out)
{
    return key_is(key, "Model")             ? &out->model
           : key_is(key, "Model hash")      ? &out->model_hash
           : key_is(key, "Original prompt") ? &out->original
                                            : NULL;
}

/* Sets the field of *out that the key names; unknown keys set none. False: the value, a string that
 * outlives *out, is not of the field's kind, and *out is unchanged. */
static bool read_setting(span key, const char *value, zi_infotext_fields *out)
{
    int width, height;
    if (key_is(key, "Steps")) return read_int(value, 0, &out->steps);
    if (key_is(key, "Max tokens")) return read_int(value, 0, &out->max_tokens);
    if (key_is(key, "Seed")) {
        uint64_t seed;
        if (!read_uint(value, 0, UINT64_MAX, &seed)) return false;
        out->seed = seed;
        out->has_seed = true;
    } else if (key_is(key, "Size")) {
        if (!read_size(value, &width, &height)) return false;
        out->width = width;
        out->height = height;
    } else if (number_field(key, out)) {
        double number;
        if (!read_double(value, &number)) return false;
        *number_field(key, out) = number;
        if (key_is(key, "CFG scale")) out->has_cfg = true;
    } else if (key_is(key, "Schedule type")) {
        out->schedule = choice_of_label(value);
    } else if (key_is(key, "Sampler")) {
        out->sampler = choice_of_label(value);
    } else if (text_field(key, out)) {
        *text_field(key, out) = value;
    }
    return true;
}

/* Cuts text, whose white space at the end does not count, into its last line and the prompts before
 * it, without the newline between. When the last line holds no settings (next_pair finds fewer than
 * three), *line is empty, and *prompts the whole text with its white space. */
static void cut_settings(const char *text, span *prompts, span *line)
{
    size_t end = strlen(text);
    *prompts = (span){text, end};
    while (end && strchr(" \t\r\n", text[end - 1])) end--;
    size_t start = end;
    while (start && text[start - 1] != '\n') start--;
    *line = (span){text + start, end - start};
    int pairs = 0;
    span rest = *line, key, value;
    while (pairs < 3 && next_pair(&rest, &key, &value)) pairs++;
    if (pairs < 3)
        *line = (span){text + end, 0};
    else
        prompts->size = start ? start - 1 : 0;
}

/* Cuts the prompts at the first line that begins with the negative prompt's label: shortens *prompt
 * to what is before that line and its newline, and sets *negative to all behind the label and one
 * space. Without such a line *negative is empty. */
static void cut_negative(span *prompt, span *negative)
{
    const size_t label = sizeof negative_label - 1;
    const char *end = prompt->data + prompt->size;
    *negative = (span){end, 0};
    for (const char *line = prompt->data; line && (size_t)(end - line) >= label;) {
        if (memcmp(line, negative_label, label) == 0) {
            const char *rest = line + label;
            if (rest < end && *rest == ' ') rest++;
            *negative = (span){rest, (size_t)(end - rest)};
            prompt->size = line > prompt->data ? (size_t)(line - prompt->data) - 1 : 0;
            return;
        }
        line = memchr(line, '\n', (size_t)(end - line));
        if (line) line++;
    }
}

/* Writes "KEY: VALUE" as a line, after a line break unless it is the first, to *at, which must have
 * room and is moved behind it; line breaks in the value become spaces. No closing NUL. */
static void store_unread(char **at, bool first, span key, const char *value)
{
    char *to = *at;
    if (!first) *to++ = '\n';
    memcpy(to, key.data, key.size);
    to += key.size;
    *to++ = ':';
    *to++ = ' ';
    for (; *value; value++) *to++ = (char)(*value == '\n' || *value == '\r' ? ' ' : *value);
    *at = to;
}

bool zi_infotext_parse(const char *text, zi_infotext_fields *out, char **storage, zi_error *error)
{
    /* Everything kept is a part of text, and all but the prompts follow a key of two or more
     * bytes and a colon: their closing NULs need no room of their own. Unread pairs are stored a
     * second time, behind that, with at most two bytes more each. */
    size_t size = strlen(text) + 4;
    char *strings = calloc(size, 3), *next = strings;
    if (!strings) return zi_error_no_memory(error, 3 * size);
    char *unread = strings + size;
    span prompt, negative, line, key, value;
    cut_settings(text, &prompt, &line);
    cut_negative(&prompt, &negative);
    zi_infotext_fields fields = {.model = "",
                                 .schedule = "",
                                 .original = "",
                                 .sampler = "",
                                 .model_hash = "",
                                 .unread = unread};
    fields.prompt = store_string(&next, prompt);
    fields.negative = store_string(&next, negative);
    while (next_pair(&line, &key, &value)) {
        const char *stored = store_value(&next, value);
        if (!read_setting(key, stored, &fields))
            store_unread(&unread, unread == fields.unread, key, stored);
    }
    *out = fields;
    *storage = strings;
    return true;
}

bool zi_infotext_each(const char *text,
                      void (*each)(void *user, const char *key, const char *value), void *user)
{
    span prompts, line, key, value;
    char *strings = malloc(strlen(text) + 2), *next;
    cut_settings(text, &prompts, &line);
    while (strings && next_pair(&line, &key, &value)) {
        next = strings;
        const char *name = store_string(&next, key);
        each(user, name, store_value(&next, value));
    }
    bool ok = strings != NULL;
    free(strings);
    return ok;
}
