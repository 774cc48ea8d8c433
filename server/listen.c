#include "server/listen.h"

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
    if (failure)
        return zi_error_set_in(error, ZI_ERROR_IO, host, "host", "%s", gai_strerror(failure));
    int fd = -1;
    for (const struct addrinfo *a = found; a && fd < 0; a = a->ai_next) fd = open_socket(a);
    int saved = errno;
    freeaddrinfo(found);
    if (fd < 0)
        return zi_error_set_in(error, saved == EADDRINUSE ? ZI_ERROR_EXISTS : ZI_ERROR_IO, host,
                               "port", "port %d: %s%s", port, strerror(saved),
                               saved == EADDRINUSE ? "; name another one" : "");
    bool six = strchr(host, ':') != NULL;
    snprintf(url, size, "http://%s%s%s:%d", six ? "[" : "", host, six ? "]" : "", bound_port(fd));
    *out = fd;
    return true;
}
