/* Output folders written atomically: built under a temporary name beside the target, renamed to the
 * target when complete. */
#ifndef ZI_BASE_FOLDER_H
#define ZI_BASE_FOLDER_H

#include "base/file.h"

typedef struct zi_output_folder_entry zi_output_folder_entry;

typedef struct {
    char *path;    /* the target; missing or an empty folder, unless in_place */
    bool in_place; /* built at the target itself, and not removed by discard */
    int lock;      /* descriptor with the lock of base/temporary.h; below 0: none */
    zi_output_folder_entry *entries; /* paths created in it, newest first; the last is its root */
} zi_output_folder;

/* Creates and locks the temporary folder beside the target path; the folder above must exist. The
 * target itself is not looked at before the commit. On failure *folder holds nothing. */
bool zi_output_folder_open(zi_output_folder *folder, const char *path, zi_error *error) ZI_CHECKED;

/* Opens the target path itself, to resume an interrupted write: existing contents stay, and nothing
 * is ever removed from it. Creates the folder if missing, not those above it; takes no lock. On
 * failure *folder holds nothing. */
bool zi_output_folder_resume(zi_output_folder *folder, const char *path,
                             zi_error *error) ZI_CHECKED;

/* Makes a subfolder ("vae"), and registers it for removal by discard. Its parent must exist. If
 * something is there already, that is an error (ZI_ERROR_IO), but not in a resumed folder. After a
 * failure the name may stay registered, which does no harm. */
bool zi_output_folder_mkdir(zi_output_folder *folder, const char *name, zi_error *error) ZI_CHECKED;

/* Registers a name ("vae/config.json") for removal by discard and returns its full path, where the
 * caller creates the file; creates nothing itself. The folder owns the path, until commit or
 * discard. NULL (with an error) when memory is short. */
const char *zi_output_folder_add_path(zi_output_folder *folder, const char *name, zi_error *error);

/* Registers a name for removal by discard and opens it for writing (zi_output_open); its subfolder
 * must exist. The caller commits or discards *output before the folder. In a resumed folder the
 * existing file is opened and not truncated (zi_output_resume). On failure *output is zeroed, or
 * unchanged if memory is short: zero it before. */
bool zi_output_folder_open_file(zi_output_folder *folder, const char *name, zi_output *output,
                                zi_error *error) ZI_CHECKED;

/* Renames the folder to its target, also over an empty folder, and syncs the folder above (errors
 * of that are ignored). Fails with ZI_ERROR_EXISTS if something else is at the target by then, or
 * with ZI_ERROR_IO, and discards. A resumed folder is in place already. Frees what *folder has in
 * any case. */
bool zi_output_folder_commit(zi_output_folder *folder, zi_error *error) ZI_CHECKED;

/* Removes the registered paths and the temporary folder (nothing of a resumed folder), and frees
 * what *folder has. Errors are ignored: with other files in it, the folder stays. Does nothing
 * after a commit or a failed open. NULL is not allowed. */
void zi_output_folder_discard(zi_output_folder *folder);

/* Removes the temporary folders of all open output folders of the process (16 at most), resumed
 * ones excepted; frees nothing. Errors are ignored: a folder with files in it that are not
 * registered stays. Async-signal-safe. */
void zi_output_folder_abandon_all(void);

#endif
