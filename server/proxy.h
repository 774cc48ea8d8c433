/* IP addresses, and the X-Forwarded-* headers of reverse proxies, which count only if the proxy is
 * trusted: anyone else can send them, too. */
#ifndef ZI_SERVER_PROXY_H
#define ZI_SERVER_PROXY_H

#include "base/error.h"

#include <stddef.h>

struct sockaddr;

/* An IPv6 address, or an IPv4 one in the IPv6 form ::ffff:a.b.c.d. */
typedef struct {
    unsigned char bytes[16];
} zi_ip;

/* All addresses whose first `bits` bits are those of ip. */
typedef struct {
    zi_ip ip;
    int bits;
} zi_ip_range;

enum { ZI_IP_TEXT = 46 /* bytes of an address as text, with its NUL */ };

/* Parses a literal address: IPv4, or IPv6 with or without brackets; a port may follow, except
 * behind an IPv6 address without brackets. False: it is none, and *out is unchanged. */
bool zi_ip_parse(const char *text, zi_ip *out);

/* The address of a socket's other end; all zeros for what is neither IPv4 nor IPv6, and for
 * NULL. */
zi_ip zi_ip_of_socket(const struct sockaddr *address);

/* Writes an address as text, IPv4 with dots. Returns text. */
const char *zi_ip_print(const zi_ip *ip, char text[ZI_IP_TEXT]);

/* Parses ADDRESS or ADDRESS/BITS, without brackets and port. False: it is neither, and *out is
 * unchanged. */
bool zi_ip_range_parse(const char *text, zi_ip_range *out);

/* Whether an address is in one of the ranges. */
bool zi_ip_in_ranges(const zi_ip *ip, const zi_ip_range *ranges, size_t count);

/* The client's address by X-Forwarded-For (addresses with commas between them, the latest proxy's
 * last): the last one that is in none of the ranges, or else the first one. Stops at what is no
 * address; peer, which must be in the ranges, if there is none. */
zi_ip zi_forwarded_client(const char *forwarded_for, const zi_ip *peer, const zi_ip_range *ranges,
                          size_t count);

/* Copies the last value of a header with commas between its values, which the nearest proxy has
 * added, to out; "" if it does not fit or is empty. Returns whether out is not "". */
bool zi_forwarded_last(const char *values, char *out, size_t size);

#endif
