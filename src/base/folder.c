#include "base/folder.h"
#include "base/draft.h"
#include "base/file.h"

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

/* The entries of open folders, for a signal handler, which must not wait for a lock: a row belongs
 * to the folder that claimed it, and lists grow at their front. */
enum { MAX_OPEN_FOLDERS = 16 };
static _Atomic(zi_output_folder_entry *) open_folders[MAX_OPEN_FOLDERS];

static void show(zi_output_folder_entry *before, zi_output_folder_entry *now)
{
    for (int i = 0; i < MAX_OPEN_FOLDERS; i++) {
        zi_output_folder_entry *it = before;
        if (atomic_compare_exchange_strong(&open_folders[i], &it, now)) return;
    }
}

/* What was made last goes first: files before the folders that they are in. */
static void remove_entries(const zi_output_folder_entry *entry)
{
    for (; entry; entry = entry->next)
        if (unlink(entry->path) != 0) rmdir(entry->path);
}

void zi_output_folder_abandon_all(void)
{
    for (int i = 0; i < MAX_OPEN_FOLDERS; i++) remove_entries(atomic_load(&open_folders[i]));
}

/* Remembers a path before it is made: removing what is not there does no harm. */
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
    if (!folder->stays) show(folder->entries, entry);
    folder->entries = entry;
    return entry;
}

static const char *root_of(const zi_output_folder *folder)
{
    const zi_output_folder_entry *entry = folder->entries;
    while (entry->next) entry = entry->next;
    return entry->path;
}

/* The only entry, whose name something else has. */
static void forget_root(zi_output_folder *folder)
{
    if (folder->lock >= 0) close(folder->lock);
    folder->lock = -1;
    show(folder->entries, NULL);
    free(folder->entries);
    folder->entries = NULL;
}

/* Without the slashes behind a name, which would put the temporary folder inside of it. */
static char *copy_path(const char *path)
{
    size_t length = strlen(path);
    while (length > 1 && path[length - 1] == '/') length--;
    return strndup(path, length);
}

/* The folder itself under a name that nothing has; one that a sweep took away is made again. */
static bool make_root(zi_output_folder *folder, char *name, size_t size, zi_error *error)
{
    for (;;) {
        zi_temporary_name(folder->path, name, size);
        zi_output_folder_entry *entry = add_entry(folder, name, "", error);
        if (!entry) return false;
        bool made = mkdir(name, 0777) == 0, there = !made && errno == EEXIST;
        if (made) folder->lock = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (folder->lock >= 0 && zi_temporary_lock(folder->lock)) return true;
        if (!there && folder->lock < 0)
            return zi_error_set(error, ZI_ERROR_IO, folder->path, "cannot write here: %s",
                                strerror(errno));
        forget_root(folder);
    }
}

bool zi_output_folder_open(zi_output_folder *folder, const char *path, zi_error *error)
{
    *folder = (zi_output_folder){.path = copy_path(path), .lock = -1};
    size_t size = ZI_TEMPORARY_NAME_SIZE(path);
    char *name = malloc(size);
    if (!folder->path || !name) zi_error_no_memory(error, size);
    bool made = folder->path && name && make_root(folder, name, size, error);
    free(name);
    if (!made) zi_output_folder_discard(folder);
    return made;
}

static bool make(const zi_output_folder *folder, const char *path, zi_error *error)
{
    return mkdir(path, 0777) == 0 || (folder->stays && errno == EEXIST) ||
           zi_error_set(error, ZI_ERROR_IO, path, "cannot make this folder: %s", strerror(errno));
}

bool zi_output_folder_resume(zi_output_folder *folder, const char *path, zi_error *error)
{
    *folder = (zi_output_folder){.path = copy_path(path), .stays = true, .lock = -1};
    if (!folder->path) return zi_error_no_memory(error, strlen(path));
    const zi_output_folder_entry *entry = add_entry(folder, folder->path, "", error);
    if (entry && make(folder, entry->path, error)) return true;
    zi_output_folder_discard(folder);
    return false;
}

bool zi_output_folder_mkdir(zi_output_folder *folder, const char *name, zi_error *error)
{
    const char *path = zi_output_folder_add_path(folder, name, error);
    return path && make(folder, path, error);
}

const char *zi_output_folder_add_path(zi_output_folder *folder, const char *name, zi_error *error)
{
    const zi_output_folder_entry *entry = add_entry(folder, root_of(folder), name, error);
    return entry ? entry->path : NULL;
}

bool zi_output_folder_open_file(zi_output_folder *folder, const char *name, zi_output *output,
                                zi_error *error)
{
    const char *path = zi_output_folder_add_path(folder, name, error);
    if (!path) return false;
    return folder->stays ? zi_output_resume(output, path, error)
                         : zi_output_open(output, path, error);
}

static void free_entries(zi_output_folder *folder)
{
    if (folder->entries && !folder->stays) show(folder->entries, NULL);
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
    const char *root = root_of(folder);
    if (!folder->stays && rename(root, folder->path) != 0) {
        int failure = errno;
        bool taken = failure == ENOTEMPTY || failure == EEXIST || failure == ENOTDIR;
        zi_error_set(error, taken ? ZI_ERROR_EXISTS : ZI_ERROR_IO, folder->path, "%s%s",
                     taken ? "" : "cannot write: ",
                     taken ? "something came there while it was written" : strerror(failure));
        zi_output_folder_discard(folder);
        return false;
    }
    zi_sync_parent_folder(folder->path);
    free_entries(folder);
    return true;
}

void zi_output_folder_discard(zi_output_folder *folder)
{
    if (!folder->stays) remove_entries(folder->entries);
    free_entries(folder);
}

enum { MAX_DEPTH = 16 }; /* of folders in folders */

static bool remove_below(const char *path, int depth, zi_error *error)
{
    DIR *dir = depth > MAX_DEPTH ? NULL : opendir(path);
    bool ok = dir || zi_error_set(error, ZI_ERROR_IO, path, "cannot read this folder");
    for (const struct dirent *entry; ok && (entry = readdir(dir));) {
        struct stat st;
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
        char *below = zi_path_join(path, entry->d_name);
        if (!below)
            ok = zi_error_no_memory(error, strlen(path));
        else if (lstat(below, &st) == 0 && S_ISDIR(st.st_mode))
            ok = remove_below(below, depth + 1, error);
        else if (unlink(below) != 0)
            ok = zi_error_set(error, ZI_ERROR_IO, below, "cannot be removed: %s", strerror(errno));
        free(below);
    }
    if (dir) closedir(dir);
    if (ok && rmdir(path) != 0)
        ok = zi_error_set(error, ZI_ERROR_IO, path, "cannot be removed: %s", strerror(errno));
    return ok;
}

bool zi_remove_tree(const char *path, zi_error *error)
{
    struct stat st;
    if (lstat(path, &st) != 0)
        return zi_error_set(error, zi_error_code_of_errno(), path, "%s", strerror(errno));
    if (S_ISDIR(st.st_mode)) return remove_below(path, 0, error);
    return unlink(path) == 0 ||
           zi_error_set(error, ZI_ERROR_IO, path, "cannot be removed: %s", strerror(errno));
}

void zi_sync_parent_folder(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *dir = slash == path ? strdup("/")
                : slash       ? strndup(path, (size_t)(slash - path))
                              : strdup(".");
    int fd = dir ? open(dir, O_RDONLY | O_CLOEXEC) : -1;
    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
    free(dir);
}
