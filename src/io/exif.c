/* EXIF. A1111 uses the field UserComment (tag 0x9286) for the infotext: 8 bytes that name a
 * character set and then the text. A1111 and piexif write "UNICODE\0" and big-endian UTF-16. Other
 * programs have their parameters in other text fields, or UserComment in the first directory. */
#include "io/image.h"
#include "io/image_metadata.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

enum {
    TAG_EXIF = 0x8769, /* in the first directory: where the EXIF directory is */
    TAG_USER_COMMENT = 0x9286,
    TYPE_ASCII = 2,
    TYPE_LONG = 4,
    TYPE_UNDEFINED = 7,
    HEADER = 8,
    DIRECTORY = 2 + 12 + 4, /* the size of a directory of one entry */
    CHARSET = 8
};
static const char unicode[CHARSET] = "UNICODE", ascii[CHARSET] = "ASCII", unnamed[CHARSET],
                  jis[CHARSET] = "JIS";

/* Appends the low 16 bits of value, big-endian. Short memory sets out->failed. */
static void put_be16(zi_text *out, uint32_t value)
{
    uint8_t bytes[2] = {(uint8_t)(value >> 8), (uint8_t)value};
    zi_text_append(out, bytes, 2);
}

/* Appends value in 4 bytes, big-endian. Short memory sets out->failed. */
static void put_be32(zi_text *out, uint32_t value)
{
    put_be16(out, value >> 16);
    put_be16(out, value & 0xffff);
}

/* Appends a big-endian TIFF directory of one entry, behind which none follows. value: the entry's
 * value of 4 bytes, or the offset of its data from the start of the block. Short memory sets
 * out->failed. */
static void put_directory_of_one(zi_text *out, unsigned tag, unsigned type, uint32_t count,
                                 uint32_t value)
{
    put_be16(out, 1); /* entries */
    put_be16(out, tag);
    put_be16(out, type);
    put_be32(out, count);
    put_be32(out, value);
    put_be32(out, 0); /* no further directory */
}

/* Appends valid UTF-8 as big-endian UTF-16 without NUL or byte order mark to out, unless that is
 * NULL; returns the number of 16-bit units. Short memory only sets out->failed. */
static size_t put_utf16(zi_text *out, const char *text)
{
    const utf8proc_uint8_t *at = (const utf8proc_uint8_t *)text;
    size_t units = 0;
    while (*at) {
        utf8proc_int32_t c;
        utf8proc_ssize_t n = utf8proc_iterate(at, -1, &c);
        if (n <= 0) break;
        at += n;
        units += c > 0xffff ? 2 : 1;
        if (out && c > 0xffff) {
            put_be16(out, 0xd800 + (((uint32_t)c - 0x10000) >> 10));
            put_be16(out, 0xdc00 + ((uint32_t)c & 0x3ff));
        } else if (out) {
            put_be16(out, (uint32_t)c);
        }
    }
    return units;
}

/* The block is big-endian, the text UTF-16; as ASCII where only that fits into max and the infotext
 * is ASCII. */
bool zi_exif_write(const char *name, const char *infotext, size_t max, zi_text *out,
                   zi_error *error)
{
    const size_t head = HEADER + 2 * DIRECTORY + CHARSET;
    size_t bytes = strlen(infotext), units = put_utf16(NULL, infotext);
    /* The narrow form where only that one fits; a byte per unit means that all are ASCII. */
    bool narrow = head + 2 * units > max && bytes == units;
    size_t size = head + (narrow ? bytes : 2 * units);
    if (size > max)
        return zi_error_set_in(error, ZI_ERROR_UNSUPPORTED, name, "infotext",
                               "the generation parameters take %zu bytes, but this format holds at "
                               "most %zu; save as .png",
                               size, max);
    zi_text_puts(out, "MM");
    put_be16(out, 42);
    put_be32(out, HEADER);
    put_directory_of_one(out, TAG_EXIF, TYPE_LONG, 1, HEADER + DIRECTORY);
    put_directory_of_one(out, TAG_USER_COMMENT, TYPE_UNDEFINED,
                         (uint32_t)(size - HEADER - 2 * DIRECTORY), HEADER + 2 * DIRECTORY);
    zi_text_append(out, narrow ? ascii : unicode, CHARSET);
    if (narrow)
        zi_text_append(out, infotext, bytes);
    else
        put_utf16(out, infotext);
    return !out->failed || zi_error_no_memory(error, size);
}

/* A TIFF block being read. */
typedef struct {
    const uint8_t *data;
    size_t size;
    bool big; /* byte order */
} tiff;

/* Reads a number of 1 to 4 bytes at offset `at` in the block's byte order; 0 if it does not lie
 * within the block (0 is no valid value anywhere). */
static uint32_t read_number(const tiff *t, size_t at, unsigned bytes)
{
    if (at > t->size || t->size - at < bytes) return 0;
    uint32_t value = 0;
    for (unsigned i = 0; i < bytes; i++)
        value = value << 8 | t->data[at + (t->big ? i : bytes - 1 - i)];
    return value;
}

/* Returns the offset in the block of the first entry with this tag in the directory at this offset;
 * 0: there is none within the block. */
static size_t find_directory_entry(const tiff *t, size_t directory, unsigned tag)
{
    uint32_t count = read_number(t, directory, 2);
    for (uint32_t i = 0; i < count; i++)
        if (read_number(t, directory + 2 + 12 * (size_t)i, 2) == tag)
            return directory + 2 + 12 * (size_t)i;
    return 0;
}

/* Whether UTF-16 of `size` bytes is big-endian. Writers do not agree whether the block's byte order
 * rules (piexif always writes big-endian). A byte order mark in a little-endian block, and then
 * ": ", as every infotext and JSON object has it, decide, else the zeros in ASCII characters: in a
 * big-endian block, as our own, it is little-endian only if all zeros are at odd offsets. */
static bool utf16_is_big(const uint8_t *data, size_t size, bool block_is_big)
{
    size_t zeros[2] = {0, 0};
    bool big = false, little = false;
    if (!block_is_big && size >= 2 && data[0] == 0xff && data[1] == 0xfe) return false;
    if (!block_is_big && size >= 2 && data[0] == 0xfe && data[1] == 0xff) return true;
    for (size_t i = 0; i + 4 <= size; i += 2) {
        big |= !memcmp(data + i, "\0:\0 ", 4);
        little |= !memcmp(data + i, ":\0 \0", 4);
    }
    if (big != little) return big;
    for (size_t i = 0; i < size; i++) zeros[i & 1] += !data[i];
    return block_is_big ? zeros[0] || !zeros[1] : zeros[0] > zeros[1];
}

/* Returns UTF-16 of `size` bytes (an odd last one is ignored), up to its end or a NUL, as UTF-8 in
 * new memory, halves of pairs as U+FFFD. drop_mark: a byte order mark at the start is left out;
 * else it is kept as a character. NULL: memory is short; no error is set. */
static char *utf16_to_utf8(const uint8_t *data, size_t size, bool big, bool drop_mark)
{
    const tiff units = {data, size - size % 2, big};
    zi_text text;
    zi_text_init(&text, size / 2 * 3);
    for (size_t at = 0; at < units.size; at += 2) {
        uint32_t c = read_number(&units, at, 2);
        if (!c) break;
        if (at == 0 && c == 0xfeff && drop_mark) continue;
        uint32_t low = c >= 0xd800 && c < 0xdc00 ? read_number(&units, at + 2, 2) : 0;
        if (low >= 0xdc00 && low < 0xe000) {
            c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
            at += 2;
        } else if (c >= 0xd800 && c < 0xe000) {
            c = 0xfffd;
        }
        utf8proc_uint8_t bytes[4];
        zi_text_append(&text, bytes, (size_t)utf8proc_encode_char((utf8proc_int32_t)c, bytes));
    }
    return zi_text_take(&text);
}

/* Adds a UserComment: text in the character sets UNICODE (halves of pairs become U+FFFD), ASCII (in
 * fact often UTF-8) and unnamed; text without the name of a character set; JIS cannot be read.
 * Short memory sets metadata->failed. */
static void add_user_comment(zi_image_metadata *metadata, const uint8_t *data, size_t size,
                             bool big_block)
{
    static const char name[] = "UserComment";
    const uint8_t *text = data + CHARSET;
    if (size >= CHARSET && !memcmp(data, unicode, CHARSET)) {
        bool big = utf16_is_big(text, size - CHARSET, big_block);
        char *utf8 = utf16_to_utf8(text, size - CHARSET, big, !(big_block && big));
        if (utf8)
            zi_image_metadata_add(metadata, name, utf8, strlen(utf8));
        else
            metadata->failed = true;
        free(utf8);
    } else if (size >= CHARSET && !memcmp(data, jis, CHARSET)) {
        zi_image_metadata_add(metadata, name, NULL, 0);
    } else if (size >= CHARSET &&
               (!memcmp(data, ascii, CHARSET) || !memcmp(data, unnamed, CHARSET))) {
        zi_image_metadata_add(metadata, name, (const char *)text, size - CHARSET);
    } else {
        zi_image_metadata_add(metadata, name, (const char *)data, size);
    }
}

/* Adds a field of text. ComfyUI writes "prompt:{...}" and "workflow:{...}" to fields like Make: the
 * word before the brace is the name then. Short memory sets metadata->failed. */
static void add_text_field(zi_image_metadata *metadata, const char *name, const uint8_t *data,
                           size_t size)
{
    static const char *const words[] = {"prompt", "workflow"};
    const char *text = (const char *)data;
    for (int i = 0; i < 2; i++) {
        size_t length = strlen(words[i]);
        if (size < length + 2 || memcmp(text, words[i], length) != 0 || text[length] != ':' ||
            !strchr(" {", text[length + 1]))
            continue;
        zi_image_metadata_add(metadata, words[i], text + length + 1, size - length - 1);
        return;
    }
    zi_image_metadata_add(metadata, name, text, size);
}

/* Adds the text fields of a directory that are known, in the order of this table. Those that are
 * not within the block, or of another type, are left out. Short memory sets metadata->failed. */
static void add_directory(zi_image_metadata *metadata, const tiff *t, size_t directory)
{
    static const struct {
        unsigned tag;
        const char *name;
    } fields[] = {{TAG_USER_COMMENT, "UserComment"},
                  {0x010e, "ImageDescription"},
                  {0x010f, "Make"},
                  {0x0110, "Model"},
                  {0x0131, "Software"},
                  {0x927c, "MakerNote"}};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        size_t entry = find_directory_entry(t, directory, fields[i].tag);
        size_t type = entry ? read_number(t, entry + 2, 2) : 0;
        size_t count = entry ? read_number(t, entry + 4, 4) : 0;
        size_t at = count > 4 ? read_number(t, entry + 8, 4) : entry + 8;
        if (!count || at > t->size || t->size - at < count) continue;
        bool comment = fields[i].tag == TAG_USER_COMMENT &&
                       (type == TYPE_ASCII || (type == TYPE_UNDEFINED && count >= CHARSET));
        if (comment)
            add_user_comment(metadata, t->data + at, count, t->big);
        else if (type == TYPE_ASCII)
            add_text_field(metadata, fields[i].name, t->data + at, count);
    }
}

/* Takes the block with or without JPEG's prefix, in either byte order. */
void zi_image_metadata_add_exif(zi_image_metadata *metadata, const uint8_t *data, size_t size)
{
    if (size > 6 && !memcmp(data, "Exif\0", 6)) { /* some WebP files have JPEG's prefix, too */
        data += 6;
        size -= 6;
    }
    if (size < HEADER || (memcmp(data, "MM\0*", 4) && memcmp(data, "II*\0", 4))) return;
    tiff t = {data, size, data[0] == 'M'};
    uint32_t first = read_number(&t, 4, 4);
    size_t link = find_directory_entry(&t, first, TAG_EXIF);
    uint32_t exif = link ? read_number(&t, link + 8, 4) : 0;
    if (exif) add_directory(metadata, &t, exif);
    if (first && exif != first) add_directory(metadata, &t, first);
}
