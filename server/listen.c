#include "server/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BACKLOG = 1024 };

/* Returns the port that a socket is bound to, in host byte order; 0: unknown. */
static int bound_port(int fd)
{
    struct sockaddr_storage bound;
    socklen_t size = sizeof bound;
    if (getsockname(fd, (struct sockaddr *)&bound, &size) != 0) return 0;
    return bound.ss_family == AF_INET6 ? ntohs(((struct sockaddr_in6 *)&bound)->sin6_port)
                                       : ntohs(((struct sockaddr_in *)&bound)->sin_port);
}

/* Writes the address from which this machine would send to another one, to text. No packet is sent.
 * False: it has no route, and text has no meaning. */
static bool own_address(int family, char text[INET6_ADDRSTRLEN])
{
    /* Addresses of documentation, which no machine has. */
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(9)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(9)};
    struct sockaddr_storage own;
    bool four = family == AF_INET;
    inet_pton(AF_INET, "192.0.2.1", &v4.sin_addr);
    inet_pton(AF_INET6, "2001:db8::1", &v6.sin6_addr);
    const struct sockaddr *to = four ? (const struct sockaddr *)&v4 : (const struct sockaddr *)&v6;
    socklen_t size = sizeof own;
    int fd = socket(family, SOCK_DGRAM, 0);
    bool ok = fd >= 0 && connect(fd, to, four ? sizeof v4 : sizeof v6) == 0 &&
              getsockname(fd, (struct sockaddr *)&own, &size) == 0;
    if (fd >= 0) close(fd);
    const void *address = four ? (const void *)&((struct sockaddr_in *)&own)->sin_addr
                               : (const void *)&((struct sockaddr_in6 *)&own)->sin6_addr;
    return ok && inet_ntop(family, address, text, INET6_ADDRSTRLEN);
}

/* Whether a socket of IPv6 also takes connections of IPv4. */
static bool takes_ipv4(int fd)
{
    int only = 1;
    socklen_t size = sizeof only;
    return getsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, &size) == 0 && !only;
}

/* The host to name in the URL of a socket that listens on `host`: itself, or in place of all
 * addresses, one that can be opened, which is written to text if needed. */
static const char *host_to_open(const char *host, int fd, char text[INET6_ADDRSTRLEN])
{
    struct in_addr v4;
    struct in6_addr v6;
    if (inet_pton(AF_INET, host, &v4) == 1 && v4.s_addr == htonl(INADDR_ANY))
        return own_address(AF_INET, text) ? text : "127.0.0.1";
    if (inet_pton(AF_INET6, host, &v6) != 1 || !IN6_IS_ADDR_UNSPECIFIED(&v6)) return host;
    if (takes_ipv4(fd)) return own_address(AF_INET, text) ? text : "127.0.0.1";
    return own_address(AF_INET6, text) ? text : "::1";
}

/* Opens a non-blocking socket that listens at the address, for the caller to close. -1: errno tells
 * why, and nothing is left open. */
static int open_socket(const struct addrinfo *a)
{
    int on = 1, fd = socket(a->ai_family, a->ai_socktype, a->ai_protocol);
    if (fd < 0) return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    if (bind(fd, a->ai_addr, a->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0) return fd;
    int saved = errno;
    close(fd);
    errno = saved;
    return -1;
}

/* Sets the error that no address was found for a host's name, for a reason of getaddrinfo; returns
 * false. */
static bool set_name_error(const char *host, int failure, zi_error *error)
{
    if (failure == EAI_NONAME)
        return zi_error_set_in(error, ZI_ERROR_IO, host, "host",
                               "there is no machine of this name; name an address of this one, "
                               "such as 127.0.0.1");
    return zi_error_set_in(
        error, ZI_ERROR_IO, host, "host",
        "the name cannot be looked up: %s; name an IP address of this machine, such as 127.0.0.1",
        gai_strerror(failure));
}

/* Sets the error that no socket can listen, for the reason in `why`, an errno; returns false. */
static bool set_listen_error(const char *host, int port, int why, zi_error *error)
{
    if (why == EADDRINUSE)
        return zi_error_set_in(error, ZI_ERROR_EXISTS, host, "port",
                               "port %d is in use by another program; name another one", port);
    if (why == EADDRNOTAVAIL)
        return zi_error_set_in(error, ZI_ERROR_IO, host, "port",
                               "this machine does not have this address; name one that it has, "
                               "127.0.0.1 for this machine only, or 0.0.0.0 for all its addresses");
    if (why == EACCES)
        return zi_error_set_in(error, ZI_ERROR_IO, host, "port",
                               "port %d is reserved by the system; name one from 1024 on", port);
    return zi_error_set_in(error, ZI_ERROR_IO, host, "port",
                           "cannot listen on port %d of this address: %s; name another port or "
                           "address, such as 127.0.0.1",
                           port, strerror(why));
}

bool zi_listen(const char *host, int port, int *out, char *url, size_t size, zi_error *error)
{
    char digits[16];
    struct addrinfo hints = {.ai_family = AF_UNSPEC,
                             .ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_PASSIVE | AI_NUMERICSERV},
                    *found = NULL;
    if (!host) host = "127.0.0.1";
    snprintf(digits, sizeof digits, "%d", port);
    int failure = getaddrinfo(host, digits, &hints, &found);
    if (failure) return set_name_error(host, failure, error);
    int fd = -1;
    for (const struct addrinfo *a = found; a && fd < 0; a = a->ai_next) fd = open_socket(a);
    int saved = errno;
    freeaddrinfo(found);
    if (fd < 0) return set_listen_error(host, port, saved, error);
    char text[INET6_ADDRSTRLEN];
    host = host_to_open(host, fd, text);
    bool six = strchr(host, ':') != NULL;
    snprintf(url, size, "http://%s%s%s:%d", six ? "[" : "", host, six ? "]" : "", bound_port(fd));
    *out = fd;
    return true;
}
