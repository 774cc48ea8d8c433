#include "registry/partial_download.h"
#include "base/file.h"
#include "base/filesystem.h"
#include "base/text.h"
#include "hub/repo.h"

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
    *out = (zi_partial_download){.lock = -1, .incoming_folder = zi_path_join(folder, folder_name)};
    out->path = out->incoming_folder ? zi_path_join(out->incoming_folder, name) : NULL;
    zi_text_init(&lock, 1 << 13);
    zi_text_printf(&lock, "%s.lock", out->path ? out->path : "");
    out->lock_path = zi_text_take(&lock);
    return (out->path && out->lock_path) || zi_error_no_memory(error, strlen(name));
}

bool zi_partial_download_lock(zi_partial_download *download, zi_error *error)
{
    if (!zi_make_folders(download->incoming_folder, error)) return false;
    download->lock = open(download->lock_path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (download->lock < 0) return zi_file_cannot_write(error, download->lock_path);
    if (flock(download->lock, LOCK_EX | LOCK_NB) == 0) return true;
    close(download->lock);
    download->lock = -1;
    return zi_error_set(error, ZI_ERROR_EXISTS, download->path,
                        "another zimage process is downloading this model; wait for it, or end it");
}

bool zi_partial_download_delete_files(zi_partial_download *download, zi_error *error)
{
    bool ok = !zi_is_dir(download->path) || zi_remove_tree(download->path, error);
    unlink(download->lock_path);
    rmdir(download->incoming_folder); /* fails while there are other downloads */
    return ok;
}

void zi_partial_download_free(zi_partial_download *download)
{
    if (download->lock >= 0) close(download->lock);
    free(download->path);
    free(download->lock_path);
    free(download->incoming_folder);
    *download = (zi_partial_download){.lock = -1};
}

void zi_partial_download_for_each(const char *folder, zi_partial_download_fn fn, void *user)
{
    char *incoming = zi_path_join(folder, folder_name);
    DIR *dir = incoming ? opendir(incoming) : NULL;
    for (const struct dirent *entry; dir && (entry = readdir(dir));) {
        char *path = entry->d_name[0] == '.' ? NULL : zi_path_join(incoming, entry->d_name);
        char *name = zi_path_join(folder_name, entry->d_name);
        if (path && name && zi_is_dir(path)) fn(user, name, zi_disk_usage(path));
        free(name);
        free(path);
    }
    if (dir) closedir(dir);
    free(incoming);
}

const char *zi_partial_download_parse_name(const char *name)
{
    size_t length = sizeof folder_name - 1;
    return !strncmp(name, folder_name, length) && name[length] == '/' ? name + length + 1 : NULL;
}

/* As zi_partial_download_init, but fails with ZI_ERROR_NOT_FOUND unless there is such a download
 * and the name is valid. */
static bool find_download(const char *folder, const char *name, zi_partial_download *out,
                          zi_error *error)
{
    bool valid = zi_relative_path_is_safe(name) && !strchr(name, '/');
    return zi_partial_download_init(folder, name, out, error) &&
           ((valid && zi_is_dir(out->path)) ||
            zi_error_set_in(
                error, ZI_ERROR_NOT_FOUND, NULL, "name",
                "%s/%s: there is no unfinished download of this name in the list of models",
                folder_name, name));
}

bool zi_partial_download_find(const char *folder, const char *name, char **path, zi_error *error)
{
    zi_partial_download download;
    bool ok = find_download(folder, name, &download, error);
    if (ok) {
        *path = download.path;
        download.path = NULL;
    }
    zi_partial_download_free(&download);
    return ok;
}

bool zi_partial_download_remove(const char *folder, const char *name, zi_error *error)
{
    zi_partial_download download;
    bool ok = find_download(folder, name, &download, error);
    ok = ok && zi_partial_download_lock(&download, error) &&
         zi_partial_download_delete_files(&download, error);
    zi_partial_download_free(&download);
    return ok;
}
