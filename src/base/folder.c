#include "base/folder.h"
#include "base/file.h"
#include "base/filesystem.h"
#include "base/temporary.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct zi_output_folder_entry {
    zi_output_folder_entry *next;
    char path[];
};

/* Entry lists of the open temporary folders. A signal handler reads this table
 * (zi_output_folder_abandon_all), so slots change by compare-and-swap, without a lock. Lists grow
 * at their front. */
enum { MAX_OPEN_FOLDERS = 16 };
static _Atomic(zi_output_folder_entry *) open_folders[MAX_OPEN_FOLDERS];

/* Replaces a list's old head by its new one in the table that zi_output_folder_abandon_all reads.
 * old NULL: takes a free slot; new NULL: frees the slot. Does nothing if no slot is free, or old
 * has none: then a signal leaves the folder behind. Thread-safe. */
static void publish_head(zi_output_folder_entry *old, zi_output_folder_entry *new)
{
    for (int i = 0; i < MAX_OPEN_FOLDERS; i++) {
        zi_output_folder_entry *expected = old;
        if (atomic_compare_exchange_strong(&open_folders[i], &expected, new)) return;
    }
}

/* Removes the paths of a list from the disk, newest first: files before the folders that contain
 * them. Errors are ignored; the list stays. Async-signal-safe. */
static void remove_entries(const zi_output_folder_entry *entry)
{
    for (; entry; entry = entry->next)
        if (unlink(entry->path) != 0) rmdir(entry->path);
}

void zi_output_folder_abandon_all(void)
{
    for (int i = 0; i < MAX_OPEN_FOLDERS; i++) remove_entries(atomic_load(&open_folders[i]));
}

/* Adds the path dir/name (name "": dir itself) at the front of folder->entries and, unless the
 * folder is in_place, to the signal handler's table. It is added before it is created: removing a
 * missing path does no harm. The folder owns the result. NULL with an error: memory is short. */
static zi_output_folder_entry *add_entry(zi_output_folder *folder, const char *dir,
                                         const char *name, zi_error *error)
{
    size_t size = strlen(dir) + strlen(name) + 2;
    zi_output_folder_entry *entry = malloc(sizeof *entry + size);
    if (!entry) {
        zi_error_no_memory(error, size);
        return NULL;
    }
    snprintf(entry->path, size, "%s%s%s", dir, *name ? "/" : "", name);
    entry->next = folder->entries;
    if (!folder->in_place) publish_head(folder->entries, entry);
    folder->entries = entry;
    return entry;
}

/* The path under which the folder is built: that of the last, oldest entry. Borrowed. There must be
 * one. */
static const char *root_path(const zi_output_folder *folder)
{
    const zi_output_folder_entry *entry = folder->entries;
    while (entry->next) entry = entry->next;
    return entry->path;
}

/* Forgets the temporary folder without removing it from the disk: closes its lock, takes its entry,
 * which must be the only one, out of the signal handler's table and frees it. */
static void drop_root(zi_output_folder *folder)
{
    if (folder->lock >= 0) close(folder->lock);
    folder->lock = -1;
    publish_head(folder->entries, NULL);
    free(folder->entries);
    folder->entries = NULL;
}

/* Returns a copy without trailing slashes ("/" stays, "" too), because ".part-PID-N" is appended to
 * it; the caller frees it. NULL: memory is short. */
static char *copy_without_trailing_slashes(const char *path)
{
    size_t length = strlen(path);
    while (length > 1 && path[length - 1] == '/') length--;
    return strndup(path, length);
}

/* Creates, registers and locks the temporary folder beside folder->path; `name` (of `size` bytes)
 * is a buffer for its path, folder->lock gets the lock's descriptor. Tries further names when one
 * exists or a cleanup has locked or removed the new folder first. False with an error; the caller
 * then discards the folder. */
static bool create_root(zi_output_folder *folder, char *name, size_t size, zi_error *error)
{
    for (;;) {
        zi_temporary_name(folder->path, name, size);
        zi_output_folder_entry *entry = add_entry(folder, name, "", error);
        if (!entry) return false;
        bool made = mkdir(name, 0777) == 0;
        if (made) folder->lock = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        /* A cleanup may have removed the new folder. */
        bool retry = errno == (made ? ENOENT : EEXIST);
        if (folder->lock >= 0 && zi_temporary_lock(folder->lock)) return true;
        if (folder->lock < 0 && !retry) return zi_file_cannot_write(error, folder->path);
        drop_root(folder);
    }
}

bool zi_output_folder_open(zi_output_folder *folder, const char *path, zi_error *error)
{
    *folder = (zi_output_folder){.path = copy_without_trailing_slashes(path), .lock = -1};
    size_t size = ZI_TEMPORARY_NAME_SIZE(path);
    char *name = malloc(size);
    if (!folder->path || !name) zi_error_no_memory(error, size);
    bool made = folder->path && name && create_root(folder, name, size, error);
    free(name);
    if (!made) zi_output_folder_discard(folder);
    return made;
}

/* Makes the folder at this full path, whose parent must exist. If something exists there, that is
 * an error (ZI_ERROR_IO), but when `folder` is in_place (resumed) it is taken as the folder,
 * unchecked. */
static bool make_subfolder(const zi_output_folder *folder, const char *path, zi_error *error)
{
    return mkdir(path, 0777) == 0 || (folder->in_place && errno == EEXIST) ||
           zi_error_set(error, ZI_ERROR_IO, path, "cannot make this folder: %s", strerror(errno));
}

bool zi_output_folder_resume(zi_output_folder *folder, const char *path, zi_error *error)
{
    *folder = (zi_output_folder){
        .path = copy_without_trailing_slashes(path), .in_place = true, .lock = -1};
    if (!folder->path) return zi_error_no_memory(error, strlen(path));
    const zi_output_folder_entry *entry = add_entry(folder, folder->path, "", error);
    if (entry && make_subfolder(folder, entry->path, error)) return true;
    zi_output_folder_discard(folder);
    return false;
}

bool zi_output_folder_mkdir(zi_output_folder *folder, const char *name, zi_error *error)
{
    const char *path = zi_output_folder_add_path(folder, name, error);
    return path && make_subfolder(folder, path, error);
}

const char *zi_output_folder_add_path(zi_output_folder *folder, const char *name, zi_error *error)
{
    const zi_output_folder_entry *entry = add_entry(folder, root_path(folder), name, error);
    return entry ? entry->path : NULL;
}

bool zi_output_folder_open_file(zi_output_folder *folder, const char *name, zi_output *output,
                                zi_error *error)
{
    const char *path = zi_output_folder_add_path(folder, name, error);
    if (!path) return false;
    return folder->in_place ? zi_output_resume(output, path, error)
                            : zi_output_open(output, path, error);
}

/* Frees the entries and the path, releases the lock, takes the folder (not NULL) out of the signal
 * handler's table, and resets *folder to an empty one. Removes nothing from the disk. */
static void free_folder(zi_output_folder *folder)
{
    if (folder->entries && !folder->in_place) publish_head(folder->entries, NULL);
    while (folder->entries) {
        zi_output_folder_entry *next = folder->entries->next;
        free(folder->entries);
        folder->entries = next;
    }
    if (folder->path && folder->lock >= 0) close(folder->lock);
    free(folder->path);
    *folder = (zi_output_folder){.lock = -1};
}

bool zi_output_folder_commit(zi_output_folder *folder, zi_error *error)
{
    const char *root = root_path(folder);
    if (!folder->in_place && rename(root, folder->path) != 0) {
        int failure = errno;
        bool taken = failure == ENOTEMPTY || failure == EEXIST || failure == ENOTDIR;
        zi_error_set(error, taken ? ZI_ERROR_EXISTS : ZI_ERROR_IO, folder->path, "%s%s%s",
                     taken ? "" : "the finished folder cannot get this name: ",
                     taken ? "another program has meanwhile created something of this name; "
                             "nothing was written there: start again with another name"
                           : strerror(failure),
                     taken ? ""
                           : "; the result was removed: check the folder above, and start again");
        zi_output_folder_discard(folder);
        return false;
    }
    zi_sync_parent_folder(folder->path);
    free_folder(folder);
    return true;
}

void zi_output_folder_discard(zi_output_folder *folder)
{
    if (!folder->in_place) remove_entries(folder->entries);
    free_folder(folder);
}
