#include "base/draft.h"
#include "base/file.h"
#include "base/folder.h"

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

void zi_temporary_name(const char *path, char *name, size_t size)
{
    static atomic_uint number;
    snprintf(name, size, "%s%s%ld-%u", path, infix, (long)getpid(), atomic_fetch_add(&number, 1));
}

/* The place of ".part-PID-N" at the end of name, or NULL. */
static const char *ending_of(const char *name)
{
    const char *ending = NULL;
    for (const char *at = name; (at = strstr(at, infix)); at++) ending = at;
    if (!ending) return NULL;
    const char *process = ending + sizeof infix - 1;
    size_t length = strspn(process, digits);
    if (!length || process[length] != '-') return NULL;
    const char *number = process + length + 1;
    return *number && !number[strspn(number, digits)] ? ending : NULL;
}

bool zi_is_temporary_name(const char *name)
{
    return ending_of(name) != NULL;
}

bool zi_temporary_lock(int fd)
{
    struct stat st;
    if (flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) return false;
    return fstat(fd, &st) == 0 && st.st_nlink > 0; /* a disk without locks will do */
}

int zi_temporary_try_lock(const char *path)
{
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) == 0) return fd;
    close(fd);
    return -1;
}

static void sweep(const char *dir, const char *name)
{
    char *path = zi_path_join(dir, name);
    int fd = path ? zi_temporary_try_lock(path) : -1;
    if (fd >= 0) {
        (void)!zi_remove_tree(path, NULL); /* what stays is listed by zimage models */
        close(fd);
    }
    free(path);
}

void zi_remove_stale_temporaries(const char *path)
{
    char *dir = zi_path_dirname(path), *base = zi_path_basename(path);
    size_t length = base ? strlen(base) : 0;
    DIR *opened = dir && base ? opendir(dir) : NULL;
    for (const struct dirent *entry; opened && (entry = readdir(opened));)
        if (!strncmp(entry->d_name, base, length) &&
            ending_of(entry->d_name) == entry->d_name + length)
            sweep(dir, entry->d_name);
    if (opened) closedir(opened);
    free(base);
    free(dir);
}
