#include "hub/leftover.h"
#include "base/draft.h"
#include "base/file.h"
#include "base/folder.h"
#include "hub/disk.h"
#include "hub/store.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void look_at(const char *shelf, const char *dir, const char *file, zi_leftover_fn fn,
                    void *user)
{
    char *path = zi_path_join(dir, file), *name = zi_path_join(shelf, file);
    int lock = path && name ? zi_draft_claim(path) : -1;
    if (lock >= 0) {
        fn(user, name, zi_disk_taken(path));
        close(lock);
    }
    free(name);
    free(path);
}

void zi_leftover_each(const zi_store *store, zi_leftover_fn fn, void *user)
{
    for (int kind = 0; kind < ZI_SHELVES; kind++) {
        const char *shelf = zi_store_kind_name((zi_store_kind)kind);
        char *dir = zi_path_join(store->folder, shelf);
        DIR *opened = dir ? opendir(dir) : NULL;
        for (const struct dirent *entry; opened && (entry = readdir(opened));)
            if (zi_draft_named(entry->d_name)) look_at(shelf, dir, entry->d_name, fn, user);
        if (opened) closedir(opened);
        free(dir);
    }
}

/* SHELF/FILE and nothing else. */
static bool is_on_shelf(const char *name)
{
    const char *slash = strchr(name, '/');
    for (int kind = 0; slash && !strchr(slash + 1, '/') && kind < ZI_SHELVES; kind++) {
        const char *shelf = zi_store_kind_name((zi_store_kind)kind);
        size_t length = strlen(shelf);
        if (!strncmp(name, shelf, length) && name + length == slash) return true;
    }
    return false;
}

bool zi_leftover_remove(const zi_store *store, const char *name, zi_error *error)
{
    struct stat st;
    char *path = zi_path_join(store->folder, name);
    if (!path) return zi_error_no_memory(error, strlen(name));
    bool there = is_on_shelf(name) && lstat(path, &st) == 0, ok = false;
    int lock = there ? zi_draft_claim(path) : -1;
    if (!there)
        zi_error_set_in(error, ZI_ERROR_NOT_FOUND, name, "name", "no such model");
    else if (lock < 0)
        zi_error_set(error, ZI_ERROR_EXISTS, path, "is being written; it goes when that ends");
    else
        ok = zi_remove_all(path, error);
    if (lock >= 0) close(lock);
    free(path);
    return ok;
}
