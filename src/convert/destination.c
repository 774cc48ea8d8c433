#include "convert/destination.h"
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Sets *out to the absolute path with symbolic links resolved, in new memory. The last name need
 * not exist (a dangling link counts as missing), but its folder must. False, with an error and *out
 * NULL: it does not (ZI_ERROR_IO), or out of memory. */
static bool real_path_of_target(const char *path, char **out, zi_error *error)
{
    char *target = realpath(path, NULL);
    if (!target) {
        char *folder = zi_path_dirname(path), *base = zi_path_basename(path);
        char *real = folder ? realpath(folder, NULL) : NULL;
        target = real && base ? zi_path_join(real, base) : NULL;
        if (folder && base && !real)
            zi_file_cannot_write(error, path);
        else if (!target)
            zi_error_no_memory(error, strlen(path));
        free(folder);
        free(base);
        free(real);
    }
    *out = target;
    return target;
}

/* Whether path is dir itself or lies below it. Both are absolute and resolved; only the texts are
 * compared. */
static bool is_at_or_below(const char *path, const char *dir)
{
    size_t length = strlen(dir);
    return strncmp(path, dir, length) == 0 &&
           (path[length] == 0 || path[length] == '/' || (length && dir[length - 1] == '/'));
}

/* Fails with ZI_ERROR_INVALID_ARGUMENT when the target and an input are the same or contain one
 * another; an input that does not exist passes. target is path resolved; path and input are named
 * in errors. */
static bool check_not_nested(const char *path, const char *target, const char *input,
                             zi_error *error)
{
    char *real = realpath(input, NULL);
    bool ok = true;
    if (real && strcmp(target, real) == 0)
        ok = zi_error_set_in(error, ZI_ERROR_INVALID_ARGUMENT, NULL, "destination",
                             "source and destination are the same: %s; name another destination",
                             path);
    else if (real && is_at_or_below(target, real))
        ok = zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "destination",
                          "%s is inside the input %s; name another destination", path, input);
    else if (real && is_at_or_below(real, target))
        ok = zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "destination",
                          "the input %s is inside %s; name another destination", input, path);
    free(real);
    return ok;
}

/* Whether path, slashes at its end not counted, is a symbolic link. */
static bool is_link(const char *path)
{
    struct stat st;
    size_t length = strlen(path);
    while (length > 1 && path[length - 1] == '/') length--;
    char *name = strndup(path, length);
    bool is = name && lstat(name, &st) == 0 && S_ISLNK(st.st_mode);
    free(name);
    return is;
}

/* Whether folder is an empty folder, and no link, which a new folder cannot replace. False also
 * when it is no folder or cannot be read. */
static bool is_empty_folder(const char *folder)
{
    DIR *dir = is_link(folder) ? NULL : opendir(folder);
    if (!dir) return false;
    const struct dirent *entry;
    bool empty = true;
    while (empty && (entry = readdir(dir)))
        empty = !strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..");
    closedir(dir);
    return empty;
}

bool zi_destination_check(const char *path, bool folder, const char *const *inputs, size_t count,
                          zi_error *error)
{
    char *target;
    struct stat st;
    if (!path[0])
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "destination",
                            "is empty; name a file or folder to write");
    if (!real_path_of_target(path, &target, error)) return false;
    bool ok = true;
    for (size_t i = 0; ok && i < count; i++)
        ok = !inputs[i] || check_not_nested(path, target, inputs[i], error);
    free(target);
    if (ok && lstat(path, &st) == 0 && !(folder && is_empty_folder(path)))
        ok = zi_error_set_in(error, ZI_ERROR_EXISTS, path, "destination",
                             "already exists; remove it, or name another destination");
    return ok;
}
