/* Keeps the server's folders out of messages to clients. */
#ifndef ZI_SERVER_HIDE_PATHS_H
#define ZI_SERVER_HIDE_PATHS_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>

/* Tells zi_hide_paths folders and files of this process, in place of those before: it finds them,
 * and, of those that exist now, where their symbolic links lead, whatever characters their names
 * have. Copies them; ignores NULL, "/" and relative ones, but not where these lead. Not while other
 * threads hide paths. False: out of memory; only some are known. */
bool zi_hide_folders(const char *const *folders, size_t count) ZI_CHECKED;

/* Copies text to out, cut to size - 1 bytes, with each absolute path cut to its last component. A
 * path at the start of text goes to the first ": ", spaces included; others end at a space that is
 * not in the name of a folder of zi_hide_folders. The paths of the server's API stay. */
void zi_hide_paths(const char *text, char *out, size_t size);

#endif
