/* XMP: XML in image files. Only a few fields with text are read; no XML parser is needed. */
#include "io/image_metadata.h"
#include "base/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

typedef struct {
    const char *data;
    size_t size;
} span;

/* Whether text begins with word; advances text behind it then. */
static bool skip(span *text, const char *word)
{
    size_t length = strlen(word);
    if (text->size < length || memcmp(text->data, word, length) != 0) return false;
    *text = (span){text->data + length, text->size - length};
    return true;
}

/* Moves text to the first occurrence of word. False: there is none, and text is empty. */
static bool find(span *text, const char *word)
{
    const size_t length = strlen(word);
    const char *end = text->data + text->size;
    for (const char *at = text->data; (size_t)(end - at) >= length; at++) {
        at = memchr(at, *word, (size_t)(end - at) - length + 1);
        if (!at) break;
        if (memcmp(at, word, length) != 0) continue;
        *text = (span){at, (size_t)(end - at)};
        return true;
    }
    *text = (span){end, 0};
    return false;
}

/* Sets *out to what is between <NAME ...> and </NAME>, or, as an attribute, in NAME="...". False:
 * the packet has neither. */
static bool find_field(span packet, const char *name, span *out)
{
    char closing[64];
    snprintf(closing, sizeof closing, "</%s>", name);
    for (span at = packet; find(&at, name);) {
        bool element = at.data > packet.data && at.data[-1] == '<';
        skip(&at, name);
        span begin = at;
        if (!element && skip(&begin, "=") && begin.size && strchr("\"'", *begin.data)) {
            const char *end = memchr(begin.data + 1, *begin.data, begin.size - 1);
            if (!end) return false;
            *out = (span){begin.data + 1, (size_t)(end - begin.data) - 1};
            return true;
        }
        if (!element || !at.size || !strchr("> \t\r\n", *at.data) || !find(&begin, ">")) continue;
        begin = (span){begin.data + 1, begin.size - 1};
        span end = begin;
        if (!find(&end, closing)) return false;
        *out = (span){begin.data, (size_t)(end.data - begin.data)};
        return true;
    }
    return false;
}

/* Appends the character of a reference at the start of text ("&lt;", "&#10;", "&#xe9;") and
 * advances text behind it; an unknown one is appended as it is. */
static void put_reference(span *text, zi_text *out)
{
    static const struct {
        const char *name, *text;
    } known[] = {{"&amp;", "&"}, {"&lt;", "<"}, {"&gt;", ">"}, {"&quot;", "\""}, {"&apos;", "'"}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (skip(text, known[i].name)) {
            zi_text_puts(out, known[i].text);
            return;
        }
    span digits = *text;
    char number[16] = "", *end;
    if (skip(&digits, "&#")) {
        const char *close = memchr(digits.data, ';', digits.size < 12 ? digits.size : 12);
        size_t length = close ? (size_t)(close - digits.data) : 0;
        memcpy(number, digits.data, length);
        bool hex = *number == 'x' || *number == 'X';
        unsigned long code = length ? strtoul(number + hex, &end, hex ? 16 : 10) : 0;
        if (code && !*end && code < 0x110000 && (code < 0xd800 || code >= 0xe000)) {
            utf8proc_uint8_t bytes[4];
            zi_text_append(out, bytes, (size_t)utf8proc_encode_char((utf8proc_int32_t)code, bytes));
            *text = (span){close + 1, digits.size - length - 1};
            return;
        }
    }
    zi_text_append(out, text->data, 1);
    *text = (span){text->data + 1, text->size - 1};
}

/* Appends the field's text: of its first <rdf:li>, if it has one (the default language). */
static void add_field(zi_image_metadata *metadata, const char *name, span field)
{
    span item;
    zi_text text;
    zi_text_init(&text, ZI_IMAGE_TEXT_MAX + 1);
    if (find_field(field, "rdf:li", &item)) field = item;
    while (field.size) {
        if (*field.data == '&') {
            put_reference(&field, &text);
        } else {
            const char *next = memchr(field.data, '&', field.size);
            size_t size = next ? (size_t)(next - field.data) : field.size;
            zi_text_append(&text, field.data, size);
            field = (span){field.data + size, field.size - size};
        }
    }
    if (text.size > 0) zi_image_metadata_add(metadata, name, text.data, text.size);
    if (text.failed) metadata->failed = true;
    zi_text_free(&text);
}

void zi_image_metadata_add_xmp(zi_image_metadata *metadata, const char *packet, size_t size)
{
    static const struct {
        const char *field, *name;
    } known[] = {{"sdcpp:parameters", "parameters"},
                 {"exif:UserComment", "UserComment"},
                 {"dc:description", "description"}};
    span field;
    zi_image_metadata_add(metadata, "XMP", packet, size);
    if (size > ZI_IMAGE_TEXT_MAX) return;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (find_field((span){packet, size}, known[i].field, &field))
            add_field(metadata, known[i].name, field);
}
