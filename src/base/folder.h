/* An output folder under construction: it is built under a temporary name beside the place where it
 * is to be, and takes that place when it is whole. */
#ifndef ZI_BASE_FOLDER_H
#define ZI_BASE_FOLDER_H

#include "base/file.h"

typedef struct zi_output_folder_entry zi_output_folder_entry;

typedef struct {
    char *path; /* where it is to be; nothing or an empty folder is there */
    bool stays; /* it is built there, and is not removed */
    int lock;   /* see base/draft.h; below 0: none */
    zi_output_folder_entry
        *entries; /* what was made, the latest first; the last is the folder itself */
} zi_output_folder;

bool zi_output_folder_open(zi_output_folder *folder, const char *path, zi_error *error) ZI_CHECKED;

/* The same at path itself, to go on with what an earlier call left there: it stays, whatever
 * happens. */
bool zi_output_folder_resume(zi_output_folder *folder, const char *path,
                             zi_error *error) ZI_CHECKED;

/* Makes a folder in it ("vae"). */
bool zi_output_folder_mkdir(zi_output_folder *folder, const char *name, zi_error *error) ZI_CHECKED;

/* The path of a file to be written into it ("vae/config.json"), which the folder remembers. NULL
 * after a failure. */
const char *zi_output_folder_add_path(zi_output_folder *folder, const char *name, zi_error *error);

/* Opens such a file; in a folder that stays it is written over. */
bool zi_output_folder_open_file(zi_output_folder *folder, const char *name, zi_output *output,
                                zi_error *error) ZI_CHECKED;

bool zi_output_folder_commit(zi_output_folder *folder, zi_error *error) ZI_CHECKED;

/* Removes what was made; does nothing after a commit. */
void zi_output_folder_discard(zi_output_folder *folder);

/* Removes all open folders; safe to call from a signal handler. */
void zi_output_folder_abandon_all(void);

/* Removes a file, a link or a folder with all that is in it; links are not followed. */
bool zi_remove_tree(const char *path, zi_error *error) ZI_CHECKED;

/* Makes what was renamed or created in the folder of path last through a crash. */
void zi_sync_parent_folder(const char *path);

#endif
