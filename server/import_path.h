/* Paths that clients may name as the source of an import. */
#ifndef ZI_SERVER_IMPORT_PATH_H
#define ZI_SERVER_IMPORT_PATH_H

#include "server/http_error.h"
#include "server/server.h"

/* The real path, free()d by the caller, of a file or folder below the models folder or the folder
 * that the server imports from; a relative one is looked for in the first, then in the second.
 * Nothing is found whose way, or anything below it, leads elsewhere by a link, and what is
 * elsewhere is refused in the same words whether it is there or not. */
bool zi_import_path_resolve(const zi_server_options *options, const char *source, char **path,
                            zi_http_error *http_error) ZI_CHECKED;

/* Whether a real path lies below the models folder. */
bool zi_import_path_in_models_folder(const zi_server_options *options, const char *path);

#endif
