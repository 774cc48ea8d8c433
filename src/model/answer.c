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

/* Whether text begins with word, or word begins with text (as the empty text does). */
static bool is_prefix_either_way(const char *text, const char *word)
{
    size_t size = strlen(text), length = strlen(word);
    return strncmp(text, word, size < length ? size : length) == 0;
}

/* The output behind leading white space and <think>...</think>, if it begins with that; points into
 * output, where white space may follow </think>. NULL: thinking has not ended, or the output so far
 * may become "<think>", as an empty one may. */
static const char *skip_thinking(const char *output)
{
    static const char begin[] = "<think>", end[] = "</think>";
    while (is_space(*output)) output++;
    if (!is_prefix_either_way(output, begin)) return output;
    const char *close = strstr(output, end);
    return close ? close + strlen(end) : NULL;
}

void zi_clean_answer(const char *output, zi_text *out)
{
    output = skip_thinking(output);
    if (!output) return;
    while (is_space(*output)) output++;
    for (const char *at = output; *at;) {
        size_t spaces = strspn(at, " \n\r\t"), word = strcspn(at + spaces, " \n\r\t");
        if (!at[spaces]) return;
        bool broken = strcspn(at, "\n\r") < spaces;
        if (broken)
            zi_text_puts(out, " ");
        else
            zi_text_append(out, at, spaces);
        zi_text_append(out, at + spaces, word);
        at += spaces + word;
    }
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
