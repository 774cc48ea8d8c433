#include "base/temporary.h"
#include "base/file.h"
#include "base/filesystem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static const char infix[] = ".part-", digits[] = "0123456789";

void zi_temporary_name(const char *target, char *name, size_t size)
{
    static atomic_uint number;
    snprintf(name, size, "%s%s%ld-%u", target, infix, (long)getpid(), atomic_fetch_add(&number, 1));
}

/* Returns a pointer into name to the ".part-PID-N" (PID and N: digits) that it ends in, or is, or
 * NULL if it does not. */
static const char *find_temporary_suffix(const char *name)
{
    const char *suffix = NULL;
    for (const char *at = name; (at = strstr(at, infix)); at++) suffix = at;
    if (!suffix) return NULL;
    const char *process = suffix + sizeof infix - 1;
    size_t length = strspn(process, digits);
    if (!length || process[length] != '-') return NULL;
    const char *number = process + length + 1;
    return *number && !number[strspn(number, digits)] ? suffix : NULL;
}

bool zi_is_temporary_name(const char *name)
{
    return find_temporary_suffix(name) != NULL;
}

bool zi_temporary_lock(int fd)
{
    struct stat st;
    if (flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) return false;
    return fstat(fd, &st) == 0 && st.st_nlink > 0; /* another errno: no flock here */
}

int zi_temporary_try_lock(const char *path)
{
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) == 0) return fd;
    close(fd);
    return -1;
}

/* Removes dir/name, a temporary file or a folder with its contents, unless a writer holds its lock.
 * Errors are ignored. */
static void remove_if_stale(const char *dir, const char *name)
{
    char *path = zi_path_join(dir, name);
    int fd = path ? zi_temporary_try_lock(path) : -1;
    if (fd >= 0) {
        (void)!zi_remove_tree(path, NULL); /* `zimage models` lists what stays */
        close(fd);
    }
    free(path);
}

void zi_remove_stale_temporaries(const char *target)
{
    char *dir = zi_path_dirname(target), *base = zi_path_basename(target);
    size_t length = base ? strlen(base) : 0;
    DIR *opened = dir && base ? opendir(dir) : NULL;
    for (const struct dirent *entry; opened && (entry = readdir(opened));)
        if (!strncmp(entry->d_name, base, length) &&
            find_temporary_suffix(entry->d_name) == entry->d_name + length)
            remove_if_stale(dir, entry->d_name);
    if (opened) closedir(opened);
    free(base);
    free(dir);
}
