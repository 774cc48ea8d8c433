/* What comes from a server and names something here or there: URLs, hosts, files, revisions. */
#ifndef ZI_HUB_ADDRESS_H
#define ZI_HUB_ADDRESS_H

#include "base/error.h"

struct sockaddr;

/* Who is asked: two URLs with the same origin lead to the same server. */
typedef struct {
    char *scheme, *host, *port; /* of port always the number */
} zi_url_origin;

/* Only http and https, and without a password in the URL. */
bool zi_url_origin_parse(const char *url, zi_url_origin *out, zi_error *error) ZI_CHECKED;
void zi_url_origin_free(zi_url_origin *origin);
bool zi_url_origin_equal(const zi_url_origin *a, const zi_url_origin *b);

/* Whether an address belongs to this machine, a local network or no one, instead of the internet.
 */
bool zi_sockaddr_is_private(const struct sockaddr *address);

/* The same of a host's name, when it is an address or localhost. */
bool zi_host_is_private(const char *host);

/* Whether a name of a file in a repository stays below the folder that it is put into. */
bool zi_relative_path_is_safe(const char *name);

/* OWNER/NAME, of length characters. */
bool zi_repo_id_valid(const char *repo, size_t length);

/* A branch, a tag or a commit. */
bool zi_revision_valid(const char *revision);

/* Whether text is a commit: 40 hexadecimal digits. */
bool zi_commit_hash_valid(const char *text);

#endif
