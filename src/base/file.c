#include "base/file.h"
#include "base/filesystem.h"
#include "base/folder.h"
#include "base/temporary.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

char *zi_path_join(const char *dir, const char *name)
{
    size_t size = strlen(dir) + strlen(name) + 2;
    char *path = malloc(size);
    if (!path) return NULL;
    bool slash = dir[0] && dir[strlen(dir) - 1] == '/';
    snprintf(path, size, "%s%s%s", dir, slash ? "" : "/", name);
    return path;
}

char *zi_path_basename(const char *path)
{
    size_t end = strlen(path);
    while (end > 1 && path[end - 1] == '/') end--;
    size_t start = end;
    while (start > 0 && path[start - 1] != '/') start--;
    char *base = malloc(end - start + 1);
    if (!base) return NULL;
    memcpy(base, path + start, end - start);
    base[end - start] = 0;
    return base;
}

const char *zi_weights_extension(const char *name)
{
    const char *slash = strrchr(name, '/'), *base = slash ? slash + 1 : name;
    const char *dot = strrchr(base, '.');
    bool is = dot && dot != base && (!strcasecmp(dot, ".safetensors") || !strcasecmp(dot, ".gguf"));
    return is ? dot : NULL;
}

char *zi_path_dirname(const char *path)
{
    size_t end = strlen(path);
    while (end > 1 && path[end - 1] == '/') end--;
    while (end > 0 && path[end - 1] != '/') end--;
    while (end > 1 && path[end - 1] == '/') end--;
    return end ? strndup(path, end) : strdup(".");
}

bool zi_is_dir(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

bool zi_is_file(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

bool zi_file_cannot_open(zi_error *error, const char *path)
{
    int why = errno;
    const char *text = why == ENOENT    ? "there is no such file or folder"
                       : why == ENOTDIR ? "there is no such file: a folder in its path is a file"
                       : why == EACCES  ? "cannot be opened: you have no permission to read it"
                                        : NULL;
    return zi_error_set(error, zi_error_code_of_errno(), path, text ? "%s" : "cannot be opened: %s",
                        text ? text : strerror(why));
}

bool zi_file_cannot_write(zi_error *error, const char *path)
{
    int why = errno;
    char *folder = zi_path_dirname(path);
    const char *problem =
        why == ENOENT    ? "does not exist; create it, or choose another one"
        : why == ENOTDIR ? "is not a folder; choose another path"
        : why == EACCES  ? "is not writable for you; choose another one, or change its permissions"
        : why == EROFS   ? "is on a read-only disk; choose another one"
                         : NULL;
    if (folder && problem)
        zi_error_set(error, ZI_ERROR_IO, path, "cannot write here: %s%s %s",
                     why == ENOTDIR ? "" : "the folder ", folder, problem);
    else
        zi_error_set(error, ZI_ERROR_IO, path, "cannot write here: %s", strerror(why));
    free(folder);
    return false;
}

/* Opens a regular file for reading. Sets *fd, which the caller closes, and *size in bytes. False:
 * it cannot be opened (zi_error_code_of_errno) or is not a regular file (ZI_ERROR_UNSUPPORTED);
 * nothing stays open, and *fd and *size are of no use. */
static bool open_regular(const char *path, int *fd, size_t *size, zi_error *error)
{
    /* O_NONBLOCK: opening a FIFO does not block; regular files ignore the flag. */
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    *size = 0;
    if (*fd < 0) return zi_file_cannot_open(error, path);
    struct stat st;
    bool known = fstat(*fd, &st) == 0;
    if (!known || !S_ISREG(st.st_mode)) {
        close(*fd);
        return zi_error_set(error, ZI_ERROR_UNSUPPORTED, path,
                            "is %s, but an ordinary file is needed here",
                            known && S_ISDIR(st.st_mode) ? "a folder" : "a device or pipe");
    }
    *size = (size_t)st.st_size;
    return true;
}

bool zi_file_read(const char *path, size_t max, char **data, size_t *size, zi_error *error)
{
    int fd;
    size_t total, done = 0;
    if (!open_regular(path, &fd, &total, error)) return false;
    bool ok = false;
    char *bytes = NULL;
    if (total > max) {
        zi_error_set(error, ZI_ERROR_UNSUPPORTED, path,
                     "is too large: it has %zu bytes, and at most %zu are possible here; check "
                     "that it is the right file",
                     total, max);
        goto out;
    }
    bytes = malloc(total + 1);
    if (!bytes) {
        zi_error_no_memory(error, total);
        goto out;
    }
    while (done < total) {
        ssize_t got = read(fd, bytes + done, total - done);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) {
            zi_error_set(error, ZI_ERROR_IO, path, "cannot read: %s",
                         got ? strerror(errno)
                             : "another program made it shorter meanwhile; try again");
            goto out;
        }
        done += (size_t)got;
    }
    bytes[total] = 0;
    *data = bytes;
    *size = total;
    bytes = NULL;
    ok = true;
out:
    free(bytes);
    close(fd);
    return ok;
}

bool zi_file_map(const char *path, zi_mapping *out, zi_error *error)
{
    int fd;
    size_t size;
    if (!open_regular(path, &fd, &size, error)) return false;
    void *data = NULL;
    if (size) {
        data = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (data == MAP_FAILED) {
            zi_error_set(error, ZI_ERROR_IO, path,
                         "its %zu bytes cannot be made readable in memory: %s; raise the memory "
                         "limit of this session (ulimit), or copy the file to a local disk",
                         size, strerror(errno));
            close(fd);
            return false;
        }
    }
    close(fd);
    *out = (zi_mapping){data, size};
    return true;
}

bool zi_map_zeros(size_t size, zi_mapping *out, zi_error *error)
{
    void *data = mmap(NULL, size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED) return zi_error_no_memory(error, size);
    *out = (zi_mapping){data, size};
    return true;
}

bool zi_file_remap(const char *path, const zi_mapping *mapping, zi_error *error)
{
    int fd;
    size_t size;
    if (!open_regular(path, &fd, &size, error)) return false;
    bool ok = size == mapping->size || zi_error_set(error, ZI_ERROR_BAD_FORMAT, path,
                                                    "another program changed its size while it was "
                                                    "in use; try again when the file is complete");
    if (ok && size &&
        mmap((void *)(uintptr_t)mapping->data, size, PROT_READ, MAP_PRIVATE | MAP_FIXED, fd, 0) ==
            MAP_FAILED)
        ok = zi_error_set(error, ZI_ERROR_IO, path,
                          "its %zu bytes cannot be made readable in memory: %s; raise the memory "
                          "limit of this session (ulimit), or copy the file to a local disk",
                          size, strerror(errno));
    close(fd);
    return ok;
}

void zi_file_unmap(zi_mapping *mapping)
{
    if (mapping->data) munmap((void *)(uintptr_t)mapping->data, mapping->size);
    *mapping = (zi_mapping){0};
}

/* Gives posix_madvise's advice (POSIX_MADV_...) for the pages that contain these bytes. Does
 * nothing for no bytes; errors are ignored. */
static void advise_pages(const void *data, size_t size, int advice)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), begin = (uintptr_t)data / page * page;
    if (size) posix_madvise((void *)begin, (uintptr_t)data + size - begin, advice);
}

void zi_prefetch_pages(const void *data, size_t size)
{
    advise_pages(data, size, POSIX_MADV_SEQUENTIAL);
    advise_pages(data, size, POSIX_MADV_WILLNEED);
}

void zi_drop_pages(const void *data, size_t size)
{
#ifdef MADV_DONTNEED
    /* Not posix_madvise: glibc ignores POSIX_MADV_DONTNEED. */
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), begin = (uintptr_t)data / page * page;
    if (size) madvise((void *)begin, (uintptr_t)data + size - begin, MADV_DONTNEED);
#else
    advise_pages(data, size, POSIX_MADV_DONTNEED);
#endif
}

/* Names of the temporary files that exist now. A signal handler reads this table
 * (zi_output_abandon_all), so slots are set and cleared by compare-and-swap, without a lock. */
enum { MAX_OPEN_OUTPUTS = 64 };
static _Atomic(char *) open_outputs[MAX_OPEN_OUTPUTS];

/* Adds the temporary file's path (borrowed) to those that zi_output_abandon_all removes. Does
 * nothing when all slots are taken: then a signal leaves the file behind. */
static void register_temporary(char *temporary)
{
    for (int i = 0; i < MAX_OPEN_OUTPUTS; i++) {
        char *none = NULL;
        if (atomic_compare_exchange_strong(&open_outputs[i], &none, temporary)) return;
    }
}

/* Takes this pointer out of the table of temporary files; nothing happens to the file, or when it
 * is not there. */
static void unregister_temporary(char *temporary)
{
    for (int i = 0; i < MAX_OPEN_OUTPUTS; i++) {
        char *expected = temporary;
        if (atomic_compare_exchange_strong(&open_outputs[i], &expected, NULL)) return;
    }
}

void zi_output_abandon_all(void)
{
    for (int i = 0; i < MAX_OPEN_OUTPUTS; i++) {
        char *temporary = atomic_load(&open_outputs[i]);
        if (temporary) unlink(temporary);
    }
    zi_output_folder_abandon_all();
}

/* Creates, registers and locks a temporary file with this mode, less the umask. Writes its name to
 * output->temporary, of `size` bytes, and tries further names while one exists. Returns its
 * descriptor, open for writing, or -1 and errno; then nothing is registered. */
static int create_temporary(zi_output *output, size_t size, mode_t mode)
{
    int fd;
    do {
        zi_temporary_name(output->path, output->temporary, size);
        register_temporary(output->temporary);
        fd = open(output->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
        if (fd >= 0 && !zi_temporary_lock(fd)) {
            close(fd);
            fd = -1, errno = EEXIST;
        }
        if (fd < 0) unregister_temporary(output->temporary);
    } while (fd < 0 && errno == EEXIST);
    return fd;
}

/* Returns what to do after a failed write with this errno, to append to a message: a constant, or
 * "" where the error alone says it. */
static const char *write_hint(int why)
{
    return why == EFBIG ? "; the file system, or a limit of this session (ulimit), does "
                          "not allow a file of this size: raise the limit, or write to another disk"
           : why == ENOSPC || why == EDQUOT ? "; free space, or write to another disk"
                                            : "";
}

/* Fails if path is "" (ZI_ERROR_INVALID_ARGUMENT), or if something is there other than a regular
 * file or a link to one (ZI_ERROR_EXISTS): rename would fail on a folder only after all is written,
 * and would replace a device. */
static bool check_replaceable(const char *path, zi_error *error)
{
    struct stat st;
    if (!path[0])
        return zi_error_set_in(error, ZI_ERROR_INVALID_ARGUMENT, NULL, "path",
                               "the name of the output file is empty; give a name");
    if (stat(path, &st) != 0 || S_ISREG(st.st_mode)) return true;
    return zi_error_set(error, ZI_ERROR_EXISTS, path, "is %s; name a file",
                        S_ISDIR(st.st_mode) ? "a folder" : "a device or pipe");
}

/* zi_output_open with this mode, less the umask, for the new file. */
static bool open_output(zi_output *output, const char *path, mode_t mode, zi_error *error)
{
    *output = (zi_output){0};
    if (!check_replaceable(path, error)) return false;
    size_t size = ZI_TEMPORARY_NAME_SIZE(path);
    output->path = strdup(path);
    output->temporary = malloc(size);
    if (!output->path || !output->temporary) {
        zi_error_no_memory(error, size);
        goto fail;
    }
    int fd = create_temporary(output, size, mode);
    if (fd < 0) {
        zi_file_cannot_write(error, path);
        goto fail;
    }
    output->stream = fdopen(fd, "wb");
    if (!output->stream) {
        zi_error_set(error, ZI_ERROR_IO, path, "cannot write: %s%s", strerror(errno),
                     write_hint(errno));
        close(fd);
        zi_output_discard(output);
        return false;
    }
    return true;
fail:
    free(output->path);
    free(output->temporary);
    *output = (zi_output){0};
    return false;
}

bool zi_output_open(zi_output *output, const char *path, zi_error *error)
{
    return open_output(output, path, 0666, error);
}

bool zi_output_open_private(zi_output *output, const char *path, zi_error *error)
{
    return open_output(output, path, 0600, error);
}

/* Follows the link at path, and further links at its target, which need not exist. Returns the
 * final path in new memory: a copy of path if that is no link. NULL, with *error set: more than
 * MAX_LINKS links, or out of memory. */
static char *follow_links(const char *path, zi_error *error)
{
    enum { MAX_LINKS = 40, MAX_TARGET = 4096 };
    char *at = strdup(path);
    for (int links = 0; at; links++) {
        char target[MAX_TARGET];
        ssize_t size = readlink(at, target, sizeof target - 1);
        if (size < 0) return at; /* no link, or nothing there */
        if (links == MAX_LINKS || (size_t)size == sizeof target - 1) {
            free(at);
            zi_error_set(error, ZI_ERROR_IO, path,
                         "cannot write here: this symbolic link leads to itself or over too many "
                         "others; name another file");
            return NULL;
        }
        target[size] = 0;
        char *folder = zi_path_dirname(at);
        free(at);
        at = !folder ? NULL : target[0] == '/' ? strdup(target) : zi_path_join(folder, target);
        free(folder);
    }
    zi_error_no_memory(error, strlen(path));
    return NULL;
}

/* Hands on why the target of path cannot be opened; of a link (path and target differ) the error
 * names both. Returns false. */
static bool fail_named(const char *path, const char *target, const zi_error *why, zi_error *error)
{
    if (why->code != ZI_ERROR_NO_MEMORY && strcmp(target, path) != 0)
        return zi_error_set(error, why->code, path, "is a symbolic link to %s", why->text);
    if (error) *error = *why;
    return false;
}

bool zi_output_open_named(zi_output *output, const char *path, zi_error *error)
{
    struct stat st;
    *output = (zi_output){0};
    char *target = follow_links(path, error);
    if (!target) return false;
    bool replaces = stat(target, &st) == 0 && S_ISREG(st.st_mode);
    zi_error why = {0};
    bool ok = zi_output_open(output, target, &why);
    if (ok && replaces) {
        int fd = fileno(output->stream);
        if (fchown(fd, st.st_uid, st.st_gid) != 0) errno = 0; /* only root may give files away */
        ok = fchmod(fd, st.st_mode & 07777) == 0 || zi_file_cannot_write(&why, target);
    }
    if (!ok) {
        zi_output_discard(output);
        fail_named(path, target, &why, error);
    }
    free(target);
    return ok;
}

bool zi_output_resume(zi_output *output, const char *path, zi_error *error)
{
    *output = (zi_output){0};
    if (!check_replaceable(path, error)) return false;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    output->path = strdup(path);
    output->stream = fd < 0 ? NULL : fdopen(fd, "r+b");
    if (output->path && output->stream) return true;
    zi_file_cannot_write(error, path);
    if (fd >= 0 && !output->stream) close(fd);
    zi_output_discard(output);
    return false;
}

bool zi_output_seek(zi_output *output, size_t offset, zi_error *error)
{
    return fseeko(output->stream, (off_t)offset, SEEK_SET) == 0 ||
           zi_error_set(error, ZI_ERROR_IO, output->path, "cannot write: %s%s", strerror(errno),
                        write_hint(errno));
}

bool zi_output_sync(zi_output *output, zi_error *error)
{
    return (fflush(output->stream) == 0 && fsync(fileno(output->stream)) == 0) ||
           zi_error_set(error, ZI_ERROR_IO, output->path, "cannot write: %s%s", strerror(errno),
                        write_hint(errno));
}

bool zi_output_write(zi_output *output, const void *data, size_t size, zi_error *error)
{
    if (size && fwrite(data, 1, size, output->stream) != size)
        return zi_error_set(error, ZI_ERROR_IO, output->path, "cannot write: %s%s", strerror(errno),
                            write_hint(errno));
    return true;
}

/* Renames the temporary if nothing is at path: link(2) fails on an existing path, rename(2) would
 * not. False with errno, EEXIST if something is; the temporary stays then, and also path if only
 * the temporary could not be removed. Without hard links the check and the rename are two steps. */
static bool rename_if_free(const char *temporary, const char *path)
{
    struct stat st;
    if (link(temporary, path) == 0) {
        unlink(temporary); /* on failure it stays; path is complete all the same */
        return true;
    }
    if (errno == EEXIST) return false;
    if (lstat(path, &st) != 0) return rename(temporary, path) == 0;
    errno = EEXIST;
    return false;
}

/* Renames the temporary to path. replace: also over an existing file. False with errno on failure:
 * EEXIST if path exists and may not be replaced. The temporary stays then. */
static bool rename_temporary(const char *temporary, const char *path, bool replace)
{
    return replace ? rename(temporary, path) == 0 : rename_if_free(temporary, path);
}

/* Syncs, closes and renames the output, as zi_output_commit says; without `replace` an existing
 * path is ZI_ERROR_EXISTS. Frees and zeroes the output, also on failure, which removes the
 * temporary. */
static bool commit_output(zi_output *output, bool replace, zi_error *error)
{
    bool ok = zi_output_sync(output, error);
    bool closed = fclose(output->stream) == 0;
    output->stream = NULL;
    if (ok && (!closed || (output->temporary &&
                           !rename_temporary(output->temporary, output->path, replace)))) {
        bool taken = closed && !replace && errno == EEXIST;
        ok = zi_error_set(error, taken ? ZI_ERROR_EXISTS : ZI_ERROR_IO, output->path, "%s%s%s",
                          taken ? "" : "cannot write: ",
                          taken ? "another program has created a file of this name meanwhile, "
                                  "which was left as it is; name another one"
                                : strerror(errno),
                          taken ? "" : write_hint(errno));
    }
    if (!ok) {
        zi_output_discard(output);
        return false;
    }
    zi_sync_parent_folder(output->path); /* so that the rename survives a crash */
    if (output->temporary) unregister_temporary(output->temporary);
    free(output->path);
    free(output->temporary);
    *output = (zi_output){0};
    return true;
}

bool zi_output_commit(zi_output *output, zi_error *error)
{
    return commit_output(output, true, error);
}

bool zi_output_commit_new(zi_output *output, zi_error *error)
{
    return commit_output(output, false, error);
}

void zi_output_discard(zi_output *output)
{
    if (output->stream) fclose(output->stream);
    if (output->temporary) {
        unlink(output->temporary);
        unregister_temporary(output->temporary);
    }
    free(output->path);
    free(output->temporary);
    *output = (zi_output){0};
}

bool zi_output_check_writable(const char *path, zi_error *error)
{
    zi_output output;
    if (!zi_output_open_named(&output, path, error)) return false;
    zi_output_discard(&output);
    return true;
}
