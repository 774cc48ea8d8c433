/* Weights of which only the header is there: enough to know what a model holds. */
#ifndef ZI_HUB_HEADERS_H
#define ZI_HUB_HEADERS_H

#include "hub/transfer.h"

/* Fetches the headers of these files, which are safetensors, as the transfer says. At their targets
 * there are then files which are as large as they will be and have nothing but the headers on the
 * disk; what came is at `partial`, where the rest joins it. Small files come as a whole. */
bool zi_headers_fetch(zi_transfer *transfer, zi_transfer_file *files, size_t count,
                      zi_error *error) ZI_CHECKED;

/* Gives back what a file takes on the disk, but for its header. */
bool zi_safetensors_drop_data(const char *path, zi_error *error) ZI_CHECKED;

#endif
