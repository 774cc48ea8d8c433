#include "server/proxy.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* The first bytes of an IPv4 address in the form of IPv6. */
static const unsigned char mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

/* Parses an address without brackets and port; false: it is none, and *out is unchanged. */
static bool parse_plain(const char *text, zi_ip *out)
{
    zi_ip ip;
    memcpy(ip.bytes, mapped, sizeof mapped);
    if (inet_pton(AF_INET, text, ip.bytes + sizeof mapped) != 1 &&
        inet_pton(AF_INET6, text, ip.bytes) != 1)
        return false;
    *out = ip;
    return true;
}

/* Whether text is empty or ":" with digits. */
static bool is_port(const char *text)
{
    return !*text || (*text == ':' && text[1] && !text[1 + strspn(text + 1, "0123456789")]);
}

bool zi_ip_parse(const char *text, zi_ip *out)
{
    char plain[ZI_IP_TEXT];
    if (parse_plain(text, out)) return true;
    bool brackets = *text == '[';
    if (brackets) text++;
    size_t length = strcspn(text, brackets ? "]" : ":");
    if (length >= sizeof plain || (brackets && text[length] != ']') ||
        !is_port(text + length + brackets))
        return false;
    memcpy(plain, text, length);
    plain[length] = 0;
    return parse_plain(plain, out);
}

zi_ip zi_ip_of_socket(const struct sockaddr *address)
{
    zi_ip ip = {{0}};
    if (address && address->sa_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)address;
        memcpy(ip.bytes, mapped, sizeof mapped);
        memcpy(ip.bytes + sizeof mapped, &v4->sin_addr, 4);
    } else if (address && address->sa_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)(const void *)address;
        memcpy(ip.bytes, &v6->sin6_addr, sizeof ip.bytes);
    }
    return ip;
}

const char *zi_ip_print(const zi_ip *ip, char text[ZI_IP_TEXT])
{
    bool v4 = !memcmp(ip->bytes, mapped, sizeof mapped);
    if (!inet_ntop(v4 ? AF_INET : AF_INET6, ip->bytes + (v4 ? sizeof mapped : 0), text, ZI_IP_TEXT))
        snprintf(text, ZI_IP_TEXT, "?");
    return text;
}

bool zi_ip_range_parse(const char *text, zi_ip_range *out)
{
    char plain[ZI_IP_TEXT];
    zi_ip_range range;
    size_t length = strcspn(text, "/");
    const char *digits = text[length] ? text + length + 1 : NULL;
    if (length >= sizeof plain) return false;
    memcpy(plain, text, length);
    plain[length] = 0;
    if (!parse_plain(plain, &range.ip)) return false;
    int max = strchr(plain, ':') ? 128 : 32;
    range.bits = max;
    if (digits) {
        if (!*digits || strlen(digits) > 3 || digits[strspn(digits, "0123456789")]) return false;
        range.bits = atoi(digits);
    }
    if (range.bits > max) return false;
    range.bits += 128 - max;
    *out = range;
    return true;
}

/* Whether the first `bits` bits of two addresses are the same. */
static bool same_bits(const zi_ip *a, const zi_ip *b, int bits)
{
    size_t whole = (size_t)bits / 8;
    unsigned mask = 0xff00u >> (bits % 8) & 0xff;
    return !memcmp(a->bytes, b->bytes, whole) &&
           (!mask || ((a->bytes[whole] ^ b->bytes[whole]) & mask) == 0);
}

bool zi_ip_in_ranges(const zi_ip *ip, const zi_ip_range *ranges, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (same_bits(ip, &ranges[i].ip, ranges[i].bits)) return true;
    return false;
}

/* Copies text [length] without white space at its ends to out; "" if it does not fit. Returns
 * whether out is not "". */
static bool copy_trimmed(const char *text, size_t length, char *out, size_t size)
{
    while (length && strchr(" \t", *text)) text++, length--;
    while (length && strchr(" \t", text[length - 1])) length--;
    if (length >= size) length = 0;
    memcpy(out, text, length);
    out[length] = 0;
    return length > 0;
}

zi_ip zi_forwarded_client(const char *forwarded_for, const zi_ip *peer, const zi_ip_range *ranges,
                          size_t count)
{
    zi_ip client = *peer;
    size_t end = strlen(forwarded_for);
    while (zi_ip_in_ranges(&client, ranges, count)) {
        char text[ZI_IP_TEXT + 8];
        size_t begin = end;
        while (begin && forwarded_for[begin - 1] != ',') begin--;
        if (!copy_trimmed(forwarded_for + begin, end - begin, text, sizeof text) ||
            !zi_ip_parse(text, &client) || !begin)
            break;
        end = begin - 1;
    }
    return client;
}

bool zi_forwarded_last(const char *values, char *out, size_t size)
{
    const char *comma = strrchr(values, ',');
    const char *last = comma ? comma + 1 : values;
    return copy_trimmed(last, strlen(last), out, size);
}
