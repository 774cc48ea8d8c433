#include "server/guesses.h"

#include "base/machine.h"

#include <openssl/evp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum {
    ADDRESSES = 1024, /* so many have a record; the one that was wrong longest ago makes room */
    FREE_GUESSES = 10,
    REMEMBERED = 16, /* so many wrong keys of an address do not count again */
    MAX_WAIT = 60,
    FORGET_SECONDS = 600,
    DIGEST = 32 /* bytes of SHA-256 */
};

typedef struct {
    zi_ip from;
    unsigned char keys[REMEMBERED][DIGEST]; /* digests of the latest wrong keys that counted; that
                                               of number n is keys[(n - 1) % REMEMBERED] */
    int wrong;                              /* number of keys that counted; 0: the place is free */
    double when, until; /* monotonic times: the latest wrong key came; the next may be looked at */
} record;

struct zi_guesses {
    pthread_mutex_t mutex;
    record records[ADDRESSES];
};

zi_guesses *zi_guesses_create(zi_error *error)
{
    zi_guesses *guesses = calloc(1, sizeof *guesses);
    if (!guesses) {
        zi_error_no_memory(error, sizeof *guesses);
        return NULL;
    }
    pthread_mutex_init(&guesses->mutex, NULL);
    return guesses;
}

void zi_guesses_free(zi_guesses *guesses)
{
    if (!guesses) return;
    pthread_mutex_destroy(&guesses->mutex);
    free(guesses);
}

/* Returns the address that guesses are counted for: an IPv4 address itself; an IPv6 address without
 * its last 64 bits, since one client has all addresses with the same first 64. */
static zi_ip group_of(const zi_ip *from)
{
    static const zi_ip_range v4 = {.ip.bytes = {[10] = 0xff, [11] = 0xff}, .bits = 96};
    zi_ip group = *from;
    if (!zi_ip_in_ranges(from, &v4, 1)) memset(group.bytes + 8, 0, 8);
    return group;
}

/* The record of an address, which is cleared if it is old; NULL: none. The caller holds the
 * mutex. */
static record *find_record(zi_guesses *guesses, const zi_ip *group)
{
    for (size_t i = 0; i < ADDRESSES; i++) {
        record *r = &guesses->records[i];
        if (!r->wrong || memcmp(&r->from, group, sizeof *group) != 0) continue;
        if (zi_monotonic_seconds() - r->when <= FORGET_SECONDS) return r;
        r->wrong = 0;
    }
    return NULL;
}

/* A record to use for a new address: a free one, or that which was wrong longest ago. The caller
 * holds the mutex. */
static record *oldest_record(zi_guesses *guesses)
{
    record *oldest = guesses->records;
    for (size_t i = 0; i < ADDRESSES; i++) {
        record *r = &guesses->records[i];
        if (!r->wrong) return r;
        if (r->when < oldest->when) oldest = r;
    }
    return oldest;
}

unsigned zi_guesses_wait(zi_guesses *guesses, const zi_ip *from)
{
    zi_ip group = group_of(from);
    pthread_mutex_lock(&guesses->mutex);
    const record *r = find_record(guesses, &group);
    double left = r ? r->until - zi_monotonic_seconds() : 0;
    pthread_mutex_unlock(&guesses->mutex);
    return left > 0 ? (unsigned)left + 1 : 0;
}

/* Whether one of the latest wrong keys of an address has this digest. */
static bool is_remembered(const record *r, const unsigned char digest[DIGEST])
{
    for (int i = 0; i < r->wrong && i < REMEMBERED; i++)
        if (!memcmp(r->keys[i], digest, DIGEST)) return true;
    return false;
}

void zi_guesses_add_wrong(zi_guesses *guesses, const zi_ip *from, const char *key)
{
    unsigned char digest[DIGEST] = {0};
    zi_ip group = group_of(from);
    bool known = EVP_Digest(key, strlen(key), digest, NULL, EVP_sha256(), NULL) == 1;
    pthread_mutex_lock(&guesses->mutex);
    record *r = find_record(guesses, &group);
    if (!r) {
        r = oldest_record(guesses);
        *r = (record){.from = group};
    }
    double now = zi_monotonic_seconds();
    r->when = now;
    if (!known || !is_remembered(r, digest)) { /* a key without a digest counts */
        memcpy(r->keys[r->wrong % REMEMBERED], digest, DIGEST);
        r->wrong++;
        int over = r->wrong - FREE_GUESSES;
        r->until = now + (over > 6 ? MAX_WAIT : over > 0 ? 1 << (over - 1) : 0);
    }
    pthread_mutex_unlock(&guesses->mutex);
}

void zi_guesses_clear(zi_guesses *guesses, const zi_ip *from)
{
    zi_ip group = group_of(from);
    pthread_mutex_lock(&guesses->mutex);
    record *r = find_record(guesses, &group);
    if (r) r->wrong = 0;
    pthread_mutex_unlock(&guesses->mutex);
}
