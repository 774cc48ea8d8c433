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

/* read_uint for 0..INT_MAX. After false, *out is unchanged in any case. */
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

/* Appends ", KEY: VALUE", with the value as a JSON string where it has a comma, a colon, a quote, a
 * tab, a line break, or a space at its start. NULL and "" append nothing. Out of memory: sets
 * out->failed. */
static void put_value(zi_text *out, const char *key, const char *value)
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

char *zi_infotext_format(const zi_infotext_fields *fields)
{
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
    zi_text_printf(&out, "Steps: %d, Sampler: Euler", fields->steps);
    put_value(&out, "Schedule type", fields->schedule);
    zi_text_puts(&out, ", CFG scale: ");
    put_double(&out, fields->cfg);
    zi_text_printf(&out, ", Seed: %" PRIu64 ", Size: %dx%d", fields->seed, fields->width,
                   fields->height);
    put_value(&out, "Model", fields->model);
    zi_text_puts(&out, ", Shift: ");
    put_double(&out, fields->shift);
    if (fields->max_tokens) zi_text_printf(&out, ", Max tokens: %d", fields->max_tokens);
    put_value(&out, "Original prompt", fields->original);
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

/* store_string for a value, which is decoded if it is a valid JSON string (and memory suffices),
 * else kept as it is. That never makes it longer. */
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

/* Stores any value in *storage, which must have room and is moved behind it, and in the field of
 * *out that the key names; unknown keys set no field. Fails with ZI_ERROR_BAD_FORMAT for a value
 * that should be a number or a size and is none; *out may be partly set then. */
static bool read_setting(span key, span from, zi_infotext_fields *out, char **storage,
                         zi_error *error)
{
    bool ok = true;
    const char *value = store_value(storage, from), *kind = "a whole number";
    if (key_is(key, "Steps"))
        ok = read_int(value, 0, &out->steps);
    else if (key_is(key, "Max tokens"))
        ok = read_int(value, 0, &out->max_tokens);
    else if (key_is(key, "Seed"))
        ok = read_uint(value, 0, UINT64_MAX, &out->seed);
    else if (key_is(key, "Model"))
        out->model = value;
    else if (key_is(key, "Original prompt"))
        out->original = value;
    else if (key_is(key, "Schedule type"))
        out->schedule = value;
    else if (key_is(key, "Size")) {
        kind = "a size like 1024x1024";
        ok = read_size(value, &out->width, &out->height);
    } else if (key_is(key, "CFG scale") || key_is(key, "Shift")) {
        kind = "a number";
        ok = read_double(value, *key.data == 'S' ? &out->shift : &out->cfg);
    }
    return ok || zi_error_set(error, ZI_ERROR_BAD_FORMAT, "infotext",
                              "%.*s is \"%.60s\" and should be %s; correct or remove it",
                              (int)key.size, key.data, value, kind);
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

bool zi_infotext_parse(const char *text, zi_infotext_fields *out, char **storage, zi_error *error)
{
    /* Everything kept is a part of text, and all but the prompts follow a key of two or more
     * bytes and a colon: their closing NULs need no room of their own. */
    size_t size = strlen(text) + 4;
    char *strings = malloc(size), *next = strings;
    if (!strings) return zi_error_no_memory(error, size);
    span prompt, negative, line, key, value;
    cut_settings(text, &prompt, &line);
    cut_negative(&prompt, &negative);
    zi_infotext_fields fields = {.model = "", .schedule = "", .original = ""};
    fields.prompt = store_string(&next, prompt);
    fields.negative = store_string(&next, negative);
    while (next_pair(&line, &key, &value)) {
        if (read_setting(key, value, &fields, &next, error)) continue;
        free(strings);
        return false;
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
