#include "registry/stale_temporary.h"
#include "base/file.h"
#include "base/filesystem.h"
#include "base/temporary.h"
#include "registry/registry.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Calls fn for the temporary dir/file, dir being the section's folder, with the name SECTION/FILE
 * and its disk usage in bytes, unless a writer holds its lock, it cannot be opened, or memory is
 * short. It is locked during the call. */
static void report_if_stale(const char *section, const char *dir, const char *file,
                            zi_stale_temporary_fn fn, void *user)
{
    char *path = zi_path_join(dir, file), *name = zi_path_join(section, file);
    int lock = path && name ? zi_temporary_try_lock(path) : -1;
    if (lock >= 0) {
        fn(user, name, zi_disk_usage(path));
        close(lock);
    }
    free(name);
    free(path);
}

void zi_stale_temporary_for_each(const char *folder, zi_stale_temporary_fn fn, void *user)
{
    for (int i = 0; i < ZI_FOLDER_SECTIONS; i++) {
        const char *section = zi_section_name((zi_section)i);
        char *dir = zi_path_join(folder, section);
        DIR *opened = dir ? opendir(dir) : NULL;
        for (const struct dirent *entry; opened && (entry = readdir(opened));)
            if (zi_is_temporary_name(entry->d_name))
                report_if_stale(section, dir, entry->d_name, fn, user);
        if (opened) closedir(opened);
        free(dir);
    }
}

/* Whether name is SECTION/FILE without further slashes. The section's folder need not exist. */
static bool is_in_section(const char *name)
{
    const char *slash = strchr(name, '/');
    return slash && !strchr(slash + 1, '/') &&
           zi_section_find(name, (size_t)(slash - name)) != ZI_SECTION_HUB;
}

bool zi_stale_temporary_find(const char *folder, const char *name, char **path, zi_error *error)
{
    struct stat st;
    char *found = zi_path_join(folder, name);
    if (!found) return zi_error_no_memory(error, strlen(name));
    if (is_in_section(name) && lstat(found, &st) == 0) {
        *path = found;
        return true;
    }
    free(found);
    return zi_error_set_in(error, ZI_ERROR_NOT_FOUND, name, "name",
                           "there is no unfinished file of this name in the list of models");
}

bool zi_stale_temporary_remove(const char *folder, const char *name, zi_error *error)
{
    char *path;
    bool ok = false;
    if (!zi_stale_temporary_find(folder, name, &path, error)) return false;
    int lock = zi_temporary_try_lock(path);
    if (lock < 0)
        zi_error_set(error, ZI_ERROR_EXISTS, path,
                     "is being written by a running process, so it was not removed; wait for that "
                     "process, or end it");
    else
        ok = zi_remove_tree(path, error);
    if (lock >= 0) close(lock);
    free(path);
    return ok;
}
