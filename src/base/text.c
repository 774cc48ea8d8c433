#include "base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void zi_text_init(zi_text *text, size_t ceiling)
{
    *text = (zi_text){.ceiling = ceiling};
}

/* Makes room for `extra` more bytes and the closing NUL. False, with text->failed set: memory is
 * short, the ceiling is passed, or an earlier append failed. */
static bool reserve_room(zi_text *text, size_t extra)
{
    if (text->failed) return false;
    if (extra > text->ceiling || text->size > text->ceiling - extra) {
        text->failed = text->too_long = true;
        return false;
    }
    size_t need = text->size + extra + 1;
    if (need <= text->capacity) return true;
    size_t capacity = text->capacity < 64 ? 64 : text->capacity;
    while (capacity < need) capacity += capacity / 2;
    char *data = realloc(text->data, capacity);
    if (!data) {
        text->failed = true;
        return false;
    }
    text->data = data;
    text->capacity = capacity;
    return true;
}

void zi_text_append(zi_text *text, const void *data, size_t size)
{
    if (!reserve_room(text, size)) return;
    if (size) memcpy(text->data + text->size, data, size);
    text->size += size;
    text->data[text->size] = 0;
}

void zi_text_puts(zi_text *text, const char *string)
{
    zi_text_append(text, string, strlen(string));
}

void zi_text_printf(zi_text *text, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int size = vsnprintf(NULL, 0, format, args);
    if (size < 0) text->failed = true;
    if (size >= 0 && reserve_room(text, (size_t)size)) {
        vsnprintf(text->data + text->size, (size_t)size + 1, format, again);
        text->size += (size_t)size;
    }
    va_end(again);
    va_end(args);
}

void zi_text_free(zi_text *text)
{
    free(text->data);
    *text = (zi_text){.ceiling = text->ceiling};
}

char *zi_text_take(zi_text *text)
{
    zi_text_append(text, "", 0); /* an empty text is "", not NULL */
    char *data = text->data;
    if (text->failed) {
        free(data);
        data = NULL;
    }
    *text = (zi_text){.ceiling = text->ceiling};
    return data;
}

size_t zi_utf8_sequence(const char *data, size_t size)
{
    const unsigned char *s = (const unsigned char *)data;
    unsigned lead = s[0];
    if (lead < 0x80) return 1;
    size_t length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
    if (lead < 0xc2 || lead > 0xf4 || size < length) return 0;
    for (size_t i = 1; i < length; i++)
        if ((s[i] & 0xc0) != 0x80) return 0;
    if ((lead == 0xe0 && s[1] < 0xa0) || (lead == 0xed && s[1] > 0x9f) ||
        (lead == 0xf0 && s[1] < 0x90) || (lead == 0xf4 && s[1] > 0x8f))
        return 0;
    return length;
}

bool zi_utf8_valid(const char *data, size_t size)
{
    for (size_t i = 0; i < size;) {
        size_t length = zi_utf8_sequence(data + i, size - i);
        if (!length) return false;
        i += length;
    }
    return true;
}

const char *zi_format_bytes(uint64_t bytes, char out[32])
{
    static const char *const units[] = {"bytes", "kB", "MB", "GB", "TB", "PB"};
    double value = (double)bytes;
    int unit = 0;
    for (; value >= 999.5 && unit < 5; unit++) value /= 1000;
    snprintf(out, 32, unit && value < 100 ? "%.1f %s" : "%.0f %s", value, units[unit]);
    return out;
}
