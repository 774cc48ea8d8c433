#include "hub/disk.h"
#include "base/file.h"

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

enum { MAX_DEPTH = 16, COPY_BLOCK = 4 << 20 };

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
            ok = zi_error_set(error, ZI_ERROR_IO, copy, "cannot make this folder: %s",
                              strerror(errno));
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
            ok = zi_error_set(error, ZI_ERROR_IO, at, "cannot write here: %s", strerror(why));
        free(at);
        at = above;
    }
    free(at);
    if (ok) *out = (uint64_t)disk.f_bavail * disk.f_frsize;
    return ok;
}

bool zi_disk_check_free(const char *path, uint64_t bytes, const char *what, zi_error *error)
{
    uint64_t room;
    char need[32], free_text[32];
    if (!zi_disk_free_bytes(path, &room, error)) return false;
    return bytes <= room ||
           zi_error_set(error, ZI_ERROR_IO, path, "%s takes %s, and %s are free on this disk", what,
                        zi_format_bytes(bytes, need), zi_format_bytes(room, free_text));
}

const char *zi_format_bytes(uint64_t bytes, char out[32])
{
    static const char *const units[] = {"bytes", "kB", "MB", "GB", "TB", "PB"};
    double value = (double)bytes;
    int unit = 0;
    for (; value >= 999.5 && unit < 5; unit++) value /= 1000;
    snprintf(out, 32, unit && value < 100 ? "%.1f %s" : "%.0f %s", value, units[unit]);
    return out;
}

/* ---- copies ---- */

/* Both files with the same blocks, where the disk can do that; to is a path without a file. */
static bool clone_file(int from, int to)
{
#ifdef FICLONE
    return ioctl(to, FICLONE, from) == 0;
#else
    (void)from, (void)to;
    return false;
#endif
}

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
    if (clonefile(from, to, 0) == 0 && stat(from, &st) == 0)
        return !copied || copied(user, (uint64_t)st.st_size) || zi_error_cancelled(error);
#endif
    int fd = open(from, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0) {
        zi_error_set(error, zi_error_code_of_errno(), from, "cannot open: %s", strerror(errno));
        if (fd >= 0) close(fd);
        return false;
    }
    bool ok = zi_output_open(&output, to, error);
    if (ok && clone_file(fd, fileno(output.stream)))
        ok = !copied || copied(user, (uint64_t)st.st_size) || zi_error_cancelled(error);
    else
        ok = ok && copy_bytes(fd, &output, copied, user, from, error);
    ok = ok && zi_output_commit_new(&output, error);
    close(fd);
    zi_output_discard(&output);
    return ok;
}

/* ---- trees ---- */

static bool walk(const char *root, const char *name, int depth, zi_walk_files_fn fn, void *user,
                 zi_error *error)
{
    char *path = *name ? zi_path_join(root, name) : strdup(root);
    DIR *dir = path ? opendir(path) : NULL;
    bool ok =
        dir || zi_error_set(error, ZI_ERROR_IO, path ? path : root, "cannot read this folder");
    if (ok && depth > MAX_DEPTH)
        ok = zi_error_set(error, ZI_ERROR_UNSUPPORTED, path, "folders are nested too deep");
    for (const struct dirent *entry; ok && (entry = readdir(dir));) {
        struct stat st;
        if (entry->d_name[0] == '.') continue;
        char *below = *name ? zi_path_join(name, entry->d_name) : strdup(entry->d_name);
        char *full = below ? zi_path_join(root, below) : NULL;
        if (!full)
            ok = zi_error_no_memory(error, strlen(root));
        else if (stat(full, &st) != 0)
            ok = zi_error_set(error, zi_error_code_of_errno(), full, "cannot be read: %s",
                              strerror(errno));
        else if (S_ISDIR(st.st_mode))
            ok = walk(root, below, depth + 1, fn, user, error);
        else if (S_ISREG(st.st_mode))
            ok = fn(user, below, &st, error);
        free(full);
        free(below);
    }
    if (dir) closedir(dir);
    free(path);
    return ok;
}

bool zi_walk_files(const char *path, zi_walk_files_fn fn, void *user, zi_error *error)
{
    struct stat st;
    if (stat(path, &st) != 0)
        return zi_error_set(error, zi_error_code_of_errno(), path, "%s", strerror(errno));
    if (S_ISREG(st.st_mode)) return fn(user, "", &st, error);
    return walk(path, "", 0, fn, user, error);
}

static uint64_t taken_below(const char *path, int depth)
{
    struct stat st;
    if (lstat(path, &st) != 0) return 0;
    uint64_t bytes = (uint64_t)st.st_blocks * 512;
    DIR *dir = S_ISDIR(st.st_mode) && depth <= MAX_DEPTH ? opendir(path) : NULL;
    for (const struct dirent *entry; dir && (entry = readdir(dir));) {
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
        char *below = zi_path_join(path, entry->d_name);
        if (below) bytes += taken_below(below, depth + 1);
        free(below);
    }
    if (dir) closedir(dir);
    return bytes;
}

uint64_t zi_disk_usage(const char *path)
{
    return taken_below(path, 0);
}
