/* Keeps the server's folders out of messages to clients. */
#ifndef ZI_SERVER_HIDE_PATHS_H
#define ZI_SERVER_HIDE_PATHS_H

#include <stddef.h>

/* Copies text to out, cut to size - 1 bytes, with each absolute path cut to its last component. A
 * path at the start of text goes to the first ": ", spaces included; others end at a space. The
 * paths of the server's API stay. */
void zi_hide_paths(const char *text, char *out, size_t size);

#endif
