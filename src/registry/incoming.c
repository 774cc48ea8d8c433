#include "registry/incoming.h"
#include "base/file.h"
#include "base/folder.h"
#include "base/text.h"
#include "hub/address.h"
#include "hub/disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

static const char folder_name[] = ".incoming";

bool zi_partial_download_init(const char *folder, const char *name, zi_partial_download *out,
                              zi_error *error)
{
    zi_text lock;
    *out = (zi_partial_download){.lock = -1, .above = zi_path_join(folder, folder_name)};
    out->path = out->above ? zi_path_join(out->above, name) : NULL;
    zi_text_init(&lock, 1 << 13);
    zi_text_printf(&lock, "%s.lock", out->path ? out->path : "");
    out->lock_path = zi_text_take(&lock);
    return (out->path && out->lock_path) || zi_error_no_memory(error, strlen(name));
}

bool zi_partial_download_lock(zi_partial_download *it, zi_error *error)
{
    if (!zi_make_folders(it->above, error)) return false;
    it->lock = open(it->lock_path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (it->lock < 0)
        return zi_error_set(error, ZI_ERROR_IO, it->lock_path, "cannot write here: %s",
                            strerror(errno));
    if (flock(it->lock, LOCK_EX | LOCK_NB) == 0) return true;
    close(it->lock);
    it->lock = -1;
    return zi_error_set(error, ZI_ERROR_EXISTS, it->path, "another zimage is fetching this model");
}

bool zi_partial_download_delete_files(zi_partial_download *it, zi_error *error)
{
    bool ok = !zi_is_dir(it->path) || zi_remove_tree(it->path, error);
    unlink(it->lock_path);
    rmdir(it->above); /* unless others are coming */
    return ok;
}

void zi_partial_download_free(zi_partial_download *it)
{
    if (it->lock >= 0) close(it->lock);
    free(it->path);
    free(it->lock_path);
    free(it->above);
    *it = (zi_partial_download){.lock = -1};
}

void zi_partial_download_for_each(const char *folder, zi_partial_download_fn fn, void *user)
{
    char *above = zi_path_join(folder, folder_name);
    DIR *dir = above ? opendir(above) : NULL;
    for (const struct dirent *entry; dir && (entry = readdir(dir));) {
        char *path = entry->d_name[0] == '.' ? NULL : zi_path_join(above, entry->d_name);
        char *name = zi_path_join(folder_name, entry->d_name);
        if (path && name && zi_is_dir(path)) fn(user, name, zi_disk_usage(path));
        free(name);
        free(path);
    }
    if (dir) closedir(dir);
    free(above);
}

const char *zi_partial_download_parse_name(const char *name)
{
    size_t length = sizeof folder_name - 1;
    return !strncmp(name, folder_name, length) && name[length] == '/' ? name + length + 1 : NULL;
}

bool zi_partial_download_remove(const char *folder, const char *name, zi_error *error)
{
    zi_partial_download it;
    bool plain = zi_relative_path_is_safe(name) && !strchr(name, '/');
    bool ok = zi_partial_download_init(folder, name, &it, error);
    if (ok && (!plain || !zi_is_dir(it.path)))
        ok = zi_error_set_in(error, ZI_ERROR_NOT_FOUND, NULL, "name", "%s/%s: no such download",
                             folder_name, name);
    ok = ok && zi_partial_download_lock(&it, error) && zi_partial_download_delete_files(&it, error);
    zi_partial_download_free(&it);
    return ok;
}
