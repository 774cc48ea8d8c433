#include "server/base64.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

char *zi_base64_encode(const void *data, size_t size)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const uint8_t *in = data;
    if (size > SIZE_MAX / 4 * 3 - 4) return NULL;
    char *text = malloc((size + 2) / 3 * 4 + 1), *out = text;
    if (!text) return NULL;
    for (size_t i = 0; i < size; i += 3) {
        size_t left = size - i;
        uint32_t three = (uint32_t)in[i] << 16 | (left > 1 ? (uint32_t)in[i + 1] << 8 : 0) |
                         (left > 2 ? in[i + 2] : 0);
        *out++ = digits[three >> 18];
        *out++ = digits[three >> 12 & 63];
        *out++ = left > 1 ? digits[three >> 6 & 63] : '=';
        *out++ = left > 2 ? digits[three & 63] : '=';
    }
    *out = 0;
    return text;
}

/* The value of a digit of either alphabet, 0 to 63; -1: none. */
static int digit_value(char c)
{
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' || c == '-' ? 62 : c == '/' || c == '_' ? 63 : -1;
}

void *zi_base64_decode(const char *text, size_t *size)
{
    uint32_t bits = 0;
    int count = 0; /* of bits that are not output yet */
    uint8_t *data = malloc(strlen(text) / 4 * 3 + 4), *out = data;
    for (; data && *text && *text != '='; text++) {
        if (strchr(" \t\r\n", *text)) continue;
        int value = digit_value(*text);
        if (value < 0) break;
        bits = bits << 6 | (uint32_t)value;
        count += 6;
        if (count < 8) continue;
        count -= 8;
        *out++ = (uint8_t)(bits >> count);
    }
    if (!data || text[strspn(text, "= \t\r\n")] || count == 6) {
        free(data);
        return NULL;
    }
    *size = (size_t)(out - data);
    *out = 0;
    return data;
}
