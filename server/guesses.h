/* Slows clients down that guess API keys: after eleven wrong ones, an address must wait before its
 * next key is looked at. */
#ifndef ZI_SERVER_GUESSES_H
#define ZI_SERVER_GUESSES_H

#include "server/proxy.h"

typedef struct zi_guesses zi_guesses;

/* Creates an empty record of wrong keys. NULL: out of memory; *error is set. */
zi_guesses *zi_guesses_create(zi_error *error);

/* Frees it. NULL is allowed. */
void zi_guesses_free(zi_guesses *guesses);

/* Seconds until a key from this address may be looked at, at least 1; 0: it may be now. */
unsigned zi_guesses_wait(zi_guesses *guesses, const zi_ip *from);

/* Records a wrong key. One of the latest 16 again is no new guess and does not count: clients with
 * old keys do not lock others out. From the eleventh that counts on, the address has to wait: 1
 * second, 2, 4 and so on, up to 60. Ten minutes without a wrong key clear the record. */
void zi_guesses_add_wrong(zi_guesses *guesses, const zi_ip *from, const char *key);

/* Clears the record of an address, which has sent the right key. */
void zi_guesses_clear(zi_guesses *guesses, const zi_ip *from);

#endif
