#include "model/answer.h"

#include <string.h>

static const char replacement[] = "\xef\xbf\xbd";

/* Bytes of the UTF-8 character that begins with this byte; 0: none does (0x80 to 0xc1, 0xf5 and
 * up). */
static size_t utf8_length(unsigned char first)
{
    return first < 0x80   ? 1
           : first < 0xc2 ? 0
           : first < 0xe0 ? 2
           : first < 0xf0 ? 3
           : first < 0xf5 ? 4
                          : 0;
}

/* Appends one U+FFFD in place of all pending bytes of an incomplete character, if there are any,
 * and discards them. */
static void flush_incomplete(zi_utf8_stream *stream)
{
    if (stream->pending_size) zi_text_puts(&stream->text, replacement);
    stream->pending_size = 0;
}

/* Takes the next byte of the stream. Appends a character to the text once its last byte is there,
 * and U+FFFD for bytes that turn out to be no character. A byte that cuts an incomplete character
 * short begins the next one. */
static void add_byte(zi_utf8_stream *stream, char byte)
{
    bool continues = ((unsigned char)byte & 0xc0) == 0x80;
    if (!stream->pending_size || !continues) {
        flush_incomplete(stream);
        stream->pending[stream->pending_size++] = byte;
    } else {
        stream->pending[stream->pending_size++] = byte;
    }
    size_t length = utf8_length((unsigned char)stream->pending[0]);
    if (stream->pending_size < length) return;
    if (length && zi_utf8_valid(stream->pending, length))
        zi_text_append(&stream->text, stream->pending, length);
    else
        zi_text_puts(&stream->text, replacement);
    stream->pending_size = 0;
}

void zi_utf8_stream_add(zi_utf8_stream *stream, const char *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) add_byte(stream, bytes[i]);
}

void zi_utf8_stream_finish(zi_utf8_stream *stream)
{
    flush_incomplete(stream);
}

/* ---- answers ---- */

/* Whether c is a space, tab, line feed or carriage return. */
static bool is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static const char think[] = "<think>", end_think[] = "</think>";

/* Appends the output without its thoughts. */
static void put_without_thoughts(const char *output, zi_text *out)
{
    for (;;) {
        const char *open = strstr(output, think), *close = strstr(output, end_think);
        if (!close) {
            zi_text_append(out, output, open ? (size_t)(open - output) : strlen(output));
            return;
        }
        if (open && open < close) {
            zi_text_append(out, output, (size_t)(open - output));
        } else { /* it was opened before the output: all so far was a thought */
            size_t ceiling = out->ceiling;
            zi_text_free(out);
            zi_text_init(out, ceiling);
        }
        output = close + strlen(end_think);
    }
}

enum { CONTROL_TOKEN_MAX = 64 /* bytes */ };

/* Whether `size` bytes are the name of a control token: <|...|> of letters, digits, _, - and ., or
 * one of a list. */
static bool is_control_token(const char *text, size_t size)
{
    static const char *const others[] = {
        think,   end_think, "<s>",     "</s>",     "<unk>",       "<pad>",       "<bos>",
        "<eos>", "<mask>",  "<<SYS>>", "<</SYS>>", "<tool_call>", "</tool_call>"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (size == strlen(others[i]) && !memcmp(text, others[i], size)) return true;
    if (size < 5 || memcmp(text, "<|", 2) != 0 || memcmp(text + size - 2, "|>", 2) != 0)
        return false;
    for (size_t i = 2; i < size - 2; i++) {
        char c = text[i];
        bool name = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                    c == '_' || c == '-' || c == '.' || c == ' ';
        if (!name) return false;
    }
    return true;
}

/* Removes the control token at the end of the text, if there is one: one that began there, or that
 * came together because another one within it was removed. */
static void drop_control_token(zi_text *text)
{
    size_t first = text->size > CONTROL_TOKEN_MAX ? text->size - CONTROL_TOKEN_MAX : 0;
    for (size_t at = text->size; at-- > first;)
        if (text->data[at] == '<' && is_control_token(text->data + at, text->size - at)) {
            text->size = at;
            text->data[at] = 0;
            return;
        }
}

/* Whether a character of `length` bytes of UTF-8 is a control character but white space: of
 * Unicode's categories Cc, or one that changes the direction of text, or a byte order mark. */
static bool is_control(const char *text, size_t length)
{
    const unsigned char *b = (const unsigned char *)text;
    if (length == 1) return (*b < 0x20 && !is_space(*text)) || *b == 0x7f;
    if (length == 2) return b[0] == 0xc2 && b[1] < 0xa0;
    if (length != 3) return false;
    if (b[0] == 0xe2 && b[1] == 0x80) return b[2] >= 0xaa && b[2] <= 0xae; /* U+202A to U+202E */
    if (b[0] == 0xe2 && b[1] == 0x81) return b[2] >= 0xa6 && b[2] <= 0xa9; /* U+2066 to U+2069 */
    return b[0] == 0xef && b[1] == 0xbb && b[2] == 0xbf;
}

/* Appends text, valid UTF-8, without control characters and tokens. ended false: without the end
 * that may become a control token. */
static void put_without_controls(const char *text, bool ended, zi_text *out)
{
    for (size_t length; *text && !out->failed; text += length) {
        length = utf8_length((unsigned char)*text);
        if (!length) length = 1;
        if (is_control(text, length)) continue;
        zi_text_append(out, text, length);
        if (*text == '>' && !out->failed) drop_control_token(out);
    }
    if (ended || !out->size) return;
    size_t first = out->size > CONTROL_TOKEN_MAX ? out->size - CONTROL_TOKEN_MAX : 0;
    const char *open = memchr(out->data + first, '<', out->size - first);
    if (!open) return;
    out->size = (size_t)(open - out->data);
    out->data[out->size] = 0;
}

void zi_clean_answer(const char *output, bool ended, zi_text *out)
{
    zi_text said, plain;
    zi_text_init(&said, SIZE_MAX / 2);
    zi_text_init(&plain, SIZE_MAX / 2);
    put_without_thoughts(output, &said);
    put_without_controls(said.data ? said.data : "", ended, &plain);
    out->failed |= said.failed || plain.failed;
    const char *at = plain.data ? plain.data : "";
    while (is_space(*at)) at++;
    while (*at) {
        size_t spaces = strspn(at, " \n\r\t"), word = strcspn(at + spaces, " \n\r\t");
        if (!at[spaces]) break;
        bool broken = strcspn(at, "\n\r") < spaces;
        if (broken)
            zi_text_puts(out, " ");
        else
            zi_text_append(out, at, spaces);
        zi_text_append(out, at + spaces, word);
        at += spaces + word;
    }
    zi_text_free(&said);
    zi_text_free(&plain);
}

/* ---- quoted text ---- */

static const struct {
    const char *open, *close;
} quote_marks[] = {
    {"\"", "\""},
    {"\xe2\x80\x9c", "\xe2\x80\x9d"}, /* “ ” */
    {"\xe2\x80\x9e", "\xe2\x80\x9c"}, /* „ “ */
    {"\xe2\x80\x98", "\xe2\x80\x99"}, /* ‘ ’ */
    {"\xc2\xab", "\xc2\xbb"},         /* « » */
    {"\xe3\x80\x8c", "\xe3\x80\x8d"}, /* 「 」 */
    {"\xe3\x80\x8e", "\xe3\x80\x8f"}, /* 『 』 */
};

/* Sets *out to the text, perhaps empty, of the quote that begins at `at`, and *end behind its
 * closing mark. False: no quote begins there, or it is not closed; both are unchanged. */
static bool read_quote(const char *at, zi_quote *out, const char **end)
{
    for (size_t i = 0; i < sizeof quote_marks / sizeof *quote_marks; i++) {
        size_t open = strlen(quote_marks[i].open);
        if (strncmp(at, quote_marks[i].open, open) != 0) continue;
        const char *begin = at + open, *close = strstr(begin, quote_marks[i].close);
        if (!close) continue;
        *out = (zi_quote){begin, (size_t)(close - begin)};
        *end = close + strlen(quote_marks[i].close);
        return true;
    }
    return false;
}

bool zi_quote_next(const char **at, zi_quote *out)
{
    zi_quote quote;
    while (**at) {
        const char *end = *at + 1;
        bool found = read_quote(*at, &quote, &end);
        *at = end;
        if (!found || !quote.size) continue;
        *out = quote;
        return true;
    }
    return false;
}

/* The code point of a UTF-8 character of three bytes, which are not checked; 0 for other lengths.
 */
static uint32_t code_of_3_bytes(const char *text, size_t length)
{
    if (length != 3) return 0;
    const unsigned char *b = (const unsigned char *)text;
    return (uint32_t)(b[0] & 15) << 12 | (uint32_t)(b[1] & 63) << 6 | (b[2] & 63);
}

bool zi_is_chinese(const char *text)
{
    bool han = false;
    for (size_t length; *text; text += length) {
        length = utf8_length((unsigned char)*text);
        if (!length) length = 1;
        uint32_t code = code_of_3_bytes(text, length);
        if ((code >= 0x3400 && code < 0x4dc0) || (code >= 0x4e00 && code < 0xa000)) han = true;
        bool other = (code >= 0x3040 && code < 0x3100) || (code >= 0xac00 && code < 0xd7b0);
        if (other) return false;
    }
    return han;
}

/* 2: the character of `length` bytes at text ends a sentence; 1: it ends a clause; 0: neither.
 * next: the byte behind it. ASCII punctuation counts only before white space or the end (NUL),
 * Chinese punctuation always. */
static int boundary_rank(const char *text, size_t length, char next)
{
    static const char *const sentences[] = {"\xe3\x80\x82", "\xef\xbc\x81", "\xef\xbc\x9f"};
    static const char *const parts[] = {"\xef\xbc\x8c", "\xe3\x80\x81", "\xef\xbc\x9b"};
    if (length == 1) {
        bool last = !next || is_space(next);
        return !last ? 0 : strchr(".!?", *text) ? 2 : strchr(",;:", *text) ? 1 : 0;
    }
    for (int i = 0; i < 3; i++) {
        if (strncmp(text, sentences[i], 3) == 0) return 2;
        if (strncmp(text, parts[i], 3) == 0) return 1;
    }
    return 0;
}

size_t zi_text_cut_point(const char *text, size_t size)
{
    size_t cuts[3] = {0}, at = 0;
    while (text[at]) {
        size_t length = utf8_length((unsigned char)text[at]);
        if (!length) length = 1;
        if (at + length >= size) break;
        if (is_space(text[at]) || length > 1) cuts[0] = is_space(text[at]) ? at : at + length;
        int rank = boundary_rank(text + at, length, text[at + length]);
        if (rank) cuts[rank] = at + length;
        at += length;
    }
    for (int rank = 2; rank >= 0; rank--)
        if (cuts[rank] * 2 > size) return cuts[rank]; /* never removes more than half of the text */
    return cuts[0];
}
