/* Validation of the source paths of import jobs. */
#ifndef ZI_SERVER_IMPORT_PATH_H
#define ZI_SERVER_IMPORT_PATH_H

#include "server/http_error.h"
#include "server/server.h"

/* Sets *path to the real path of `source`, to free(): a file or folder below the models folder or
 * the folder of --import, as everything below it must be when symbolic links are followed. A
 * relative path is looked up in the first, then in the second. False: *http_error is a 400 for
 * field "source", the same for forbidden and missing paths and lack of memory; *path is unchanged.
 */
bool zi_import_path_resolve(const zi_server_options *options, const char *source, char **path,
                            zi_http_error *http_error) ZI_CHECKED;

/* Whether a real path is strictly below the real path of the models folder, compared as text.
 * False, too, when that folder does not exist, or out of memory. */
bool zi_import_path_in_models_folder(const zi_server_options *options, const char *path);

#endif
