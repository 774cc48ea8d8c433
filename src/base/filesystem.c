#include "base/filesystem.h"
#include "base/file.h"
#include "base/text.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>
#ifdef __linux__
#include <linux/fs.h>
#include <sys/ioctl.h>
#endif
#ifdef __APPLE__
#include <sys/clonefile.h>
#endif

enum { MAX_DEPTH = 16 /* of nested folders */, COPY_BLOCK = 4 << 20 /* bytes */ };

bool zi_make_folders(const char *path, zi_error *error)
{
    char *copy = strdup(path);
    if (!copy) return zi_error_no_memory(error, strlen(path));
    bool ok = true;
    for (char *at = copy + 1; ok && *copy; at++) {
        if (*at && *at != '/') continue;
        bool last = !*at;
        *at = 0;
        if (mkdir(copy, 0777) != 0 && !zi_is_dir(copy))
            ok = zi_error_set(
                error, ZI_ERROR_IO, copy, "cannot make this folder: %s",
                errno == EEXIST
                    ? "there is a file of this name; rename the file, or choose another folder"
                    : strerror(errno));
        if (last) break;
        *at = '/';
    }
    free(copy);
    return ok;
}

bool zi_make_parent_folders(const char *path, zi_error *error)
{
    char *folder = zi_path_dirname(path);
    bool ok = folder ? zi_make_folders(folder, error) : zi_error_no_memory(error, strlen(path));
    free(folder);
    return ok;
}

bool zi_disk_free_bytes(const char *path, uint64_t *out, zi_error *error)
{
    struct statvfs disk;
    char *at = strdup(path);
    bool ok = at || zi_error_no_memory(error, strlen(path));
    while (ok && statvfs(at, &disk) != 0) {
        int why = errno;
        char *above = why == ENOENT ? zi_path_dirname(at) : NULL;
        if (!above || !strcmp(above, at))
            ok =
                zi_error_set(error, ZI_ERROR_IO, at, "cannot write here: %s",
                             why == ENOTDIR ? "a folder in this path is a file; choose another path"
                                            : strerror(why));
        free(at);
        at = above;
    }
    free(at);
    if (ok) *out = (uint64_t)disk.f_bavail * disk.f_frsize;
    return ok;
}

bool zi_disk_check_free(const char *path, uint64_t bytes, const char *what, zi_error *error)
{
    uint64_t available;
    char need[32], free_text[32];
    if (!zi_disk_free_bytes(path, &available, error)) return false;
    return bytes <= available ||
           zi_error_set(error, ZI_ERROR_IO, path,
                        "%s takes %s, but only %s are free on this disk; make room there, or name "
                        "a folder on another disk",
                        what, zi_format_bytes(bytes, need), zi_format_bytes(available, free_text));
}

/* ---- copies ---- */

/* Makes the open, empty file `to` share the blocks of `from` (a reflink). False: the file system
 * cannot, and nothing was copied. */
static bool clone_blocks(int from, int to)
{
#ifdef FICLONE
    return ioctl(to, FICLONE, from) == 0;
#else
    (void)from, (void)to;
    return false;
#endif
}

/* Appends all bytes from the descriptor's position to the end of its file to the output, and calls
 * `copied` (may be NULL) with each piece's size. name: path of the source, for errors. False: a
 * read or write failed, or `copied` returned false (ZI_ERROR_CANCELLED). */
static bool copy_bytes(int from, zi_output *to, zi_copy_progress_fn copied, void *user,
                       const char *name, zi_error *error)
{
    char *block = malloc(COPY_BLOCK);
    bool ok = block || zi_error_no_memory(error, COPY_BLOCK);
    ssize_t got = 1;
    while (ok && got) {
        got = read(from, block, COPY_BLOCK);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0)
            ok = zi_error_set(error, ZI_ERROR_IO, name, "cannot read: %s", strerror(errno));
        ok = ok && zi_output_write(to, block, (size_t)got, error);
        if (ok && copied && !copied(user, (uint64_t)got)) ok = zi_error_cancelled(error);
    }
    free(block);
    return ok;
}

bool zi_copy_file(const char *from, const char *to, zi_copy_progress_fn copied, void *user,
                  zi_error *error)
{
    zi_output output;
    struct stat st;
#ifdef __APPLE__
    if (clonefile(from, to, 0) == 0) {
        if (!copied || (stat(to, &st) == 0 && copied(user, (uint64_t)st.st_size))) return true;
        unlink(to);
        return zi_error_cancelled(error);
    }
#endif
    int fd = open(from, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0) {
        zi_file_cannot_open(error, from);
        if (fd >= 0) close(fd);
        return false;
    }
    bool ok = zi_output_open(&output, to, error);
    if (ok && clone_blocks(fd, fileno(output.stream)))
        ok = !copied || copied(user, (uint64_t)st.st_size) || zi_error_cancelled(error);
    else
        ok = ok && copy_bytes(fd, &output, copied, user, from, error);
    ok = ok && zi_output_commit_new(&output, error);
    close(fd);
    zi_output_discard(&output);
    return ok;
}

/* ---- trees ---- */

/* A walk through a tree: as zi_walk_files says. */
typedef struct {
    const char *root;
    bool hidden;
    zi_walk_files_fn fn;
    void *user;
} tree_walk;

/* Calls w->fn for the regular files below the folder root/name (name "": root itself), recursively,
 * with names relative to root. depth: levels below root, at most MAX_DEPTH. False: fn stopped it,
 * or something cannot be read. */
static bool walk_folder(const tree_walk *w, const char *name, int depth, zi_error *error)
{
    char *path = *name ? zi_path_join(w->root, name) : strdup(w->root);
    DIR *dir = path ? opendir(path) : NULL;
    bool ok = dir || zi_error_set(error, ZI_ERROR_IO, path ? path : w->root,
                                  "cannot read this folder: %s", strerror(errno));
    if (ok && depth > MAX_DEPTH)
        ok = zi_error_set(error, ZI_ERROR_UNSUPPORTED, path,
                          "this folder lies too deep: at most %d folders within one another are "
                          "read; move it higher up, or out of the model folder",
                          MAX_DEPTH);
    for (const struct dirent *entry; ok && (entry = readdir(dir));) {
        struct stat st;
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
        if (entry->d_name[0] == '.' && !w->hidden) continue;
        char *below = *name ? zi_path_join(name, entry->d_name) : strdup(entry->d_name);
        char *full = below ? zi_path_join(w->root, below) : NULL;
        if (!full)
            ok = zi_error_no_memory(error, strlen(w->root));
        else if (stat(full, &st) != 0)
            ok = zi_error_set(error, zi_error_code_of_errno(), full, "cannot be read: %s",
                              errno == ENOENT ? "it is a link to something that does not exist; "
                                                "remove the link, or fetch the file again"
                                              : strerror(errno));
        else if (S_ISDIR(st.st_mode))
            ok = walk_folder(w, below, depth + 1, error);
        else if (S_ISREG(st.st_mode))
            ok = w->fn(w->user, below, &st, error);
        free(full);
        free(below);
    }
    if (dir) closedir(dir);
    free(path);
    return ok;
}

bool zi_walk_files(const char *path, bool hidden, zi_walk_files_fn fn, void *user, zi_error *error)
{
    const tree_walk walk = {path, hidden, fn, user};
    struct stat st;
    if (stat(path, &st) != 0) return zi_file_cannot_open(error, path);
    if (S_ISREG(st.st_mode)) return fn(user, "", &st, error);
    return walk_folder(&walk, "", 0, error);
}

/* Returns the bytes on the disk of path and, if it is a folder, of all in it. depth: levels below
 * the first path; contents of folders below MAX_DEPTH do not count, nor does what cannot be read.
 * Links are not followed. */
static uint64_t usage_below(const char *path, int depth)
{
    struct stat st;
    if (lstat(path, &st) != 0) return 0;
    uint64_t bytes = (uint64_t)st.st_blocks * 512;
    DIR *dir = S_ISDIR(st.st_mode) && depth <= MAX_DEPTH ? opendir(path) : NULL;
    for (const struct dirent *entry; dir && (entry = readdir(dir));) {
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
        char *below = zi_path_join(path, entry->d_name);
        if (below) bytes += usage_below(below, depth + 1);
        free(below);
    }
    if (dir) closedir(dir);
    return bytes;
}

uint64_t zi_disk_usage(const char *path)
{
    return usage_below(path, 0);
}

/* Removes a folder and all in it, links without following them. depth: levels below the first one;
 * more than MAX_DEPTH is an error. Stops at the first failure, with an error (ZI_ERROR_IO, or
 * memory is short): a part is then gone. */
static bool remove_folder(const char *path, int depth, zi_error *error)
{
    DIR *dir = depth > MAX_DEPTH ? NULL : opendir(path);
    bool ok =
        dir ||
        zi_error_set(
            error, ZI_ERROR_IO, path,
            "cannot be removed: %s; some files in it may be gone already: remove the rest yourself",
            depth > MAX_DEPTH ? "the folders in it are nested too deep" : strerror(errno));
    for (const struct dirent *entry; ok && (entry = readdir(dir));) {
        struct stat st;
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
        char *below = zi_path_join(path, entry->d_name);
        if (!below)
            ok = zi_error_no_memory(error, strlen(path));
        else if (lstat(below, &st) == 0 && S_ISDIR(st.st_mode))
            ok = remove_folder(below, depth + 1, error);
        else if (unlink(below) != 0)
            ok = zi_error_set(error, ZI_ERROR_IO, below,
                              "cannot be removed: %s; check the permissions of its folder",
                              strerror(errno));
        free(below);
    }
    if (dir) closedir(dir);
    if (ok && rmdir(path) != 0)
        ok = zi_error_set(error, ZI_ERROR_IO, path,
                          "cannot be removed: %s; check the permissions of its folder",
                          strerror(errno));
    return ok;
}

bool zi_remove_tree(const char *path, zi_error *error)
{
    struct stat st;
    if (lstat(path, &st) != 0) return zi_file_cannot_open(error, path);
    if (S_ISDIR(st.st_mode)) return remove_folder(path, 0, error);
    return unlink(path) == 0 ||
           zi_error_set(error, ZI_ERROR_IO, path,
                        "cannot be removed: %s; check the permissions of its folder",
                        strerror(errno));
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
