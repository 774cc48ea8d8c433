#include "hub/headers.h"
#include "hub/disk.h"
#include "io/safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* More than headers of published models have. */
static const uint64_t usual = 1 << 20;

static bool read_at(int fd, void *data, uint64_t size, const char *path, zi_error *error)
{
    for (uint64_t done = 0; done < size;) {
        ssize_t n = pread(fd, (char *)data + done, (size_t)(size - done), (off_t)done);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0)
            return zi_error_set(error, ZI_ERROR_IO, path, "cannot read: %s",
                                n ? strerror(errno) : "cut");
        done += (uint64_t)n;
    }
    return true;
}

/* Bytes of the header of a file of `size` bytes. */
static bool measure(int fd, const char *path, uint64_t size, uint64_t *out, zi_error *error)
{
    uint8_t bytes[ZI_SAFETENSORS_LENGTH];
    if (size < sizeof bytes)
        return zi_error_set(error, ZI_ERROR_BAD_FORMAT, path, "not a safetensors file");
    if (!read_at(fd, bytes, sizeof bytes, path, error)) return false;
    *out = zi_safetensors_data_offset(bytes);
    return (*out && *out <= size) ||
           zi_error_set(error, ZI_ERROR_BAD_FORMAT, path, "not a safetensors file");
}

static bool cut_and_stretch(int fd, const char *path, uint64_t head, uint64_t size, zi_error *error)
{
    return (ftruncate(fd, (off_t)head) == 0 && ftruncate(fd, (off_t)size) == 0) ||
           zi_error_set(error, ZI_ERROR_IO, path, "cannot write: %s", strerror(errno));
}

/* Writes the header and nothing behind it. */
static bool write_head(const char *path, const void *data, uint64_t head, uint64_t size,
                       zi_error *error)
{
    unlink(path);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    bool ok = fd >= 0 && pwrite(fd, data, (size_t)head, 0) == (ssize_t)head;
    if (!ok) zi_error_set(error, ZI_ERROR_IO, path, "cannot write: %s", strerror(errno));
    ok = ok && cut_and_stretch(fd, path, head, size, error);
    if (fd >= 0) close(fd);
    return ok;
}

/* What there is of a file; replace and upto tell then whether it still grows, and until where its
 * header goes. */
static bool look(zi_wanted *w, int *fd, zi_error *error)
{
    *fd = open(w->partial, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    w->replace = *fd >= 0;
    if (*fd < 0 && errno == ENOENT) return true; /* it has come as a whole */
    if (*fd < 0)
        return zi_error_set(error, zi_error_code_of_errno(), w->partial, "cannot open: %s",
                            strerror(errno));
    return measure(*fd, w->name, w->size, &w->upto, error);
}

static bool find_head(zi_wanted *w, zi_error *error)
{
    int fd;
    bool ok = look(w, &fd, error);
    if (fd >= 0) close(fd);
    return ok;
}

static bool stand_in(zi_wanted *w, zi_error *error)
{
    int fd;
    void *data = NULL;
    bool ok = look(w, &fd, error);
    if (ok && w->replace) {
        data = malloc((size_t)w->upto);
        ok = (data || zi_error_no_memory(error, (size_t)w->upto)) &&
             read_at(fd, data, w->upto, w->partial, error) && zi_make_folder_of(w->target, error) &&
             write_head(w->target, data, w->upto, w->size, error);
    }
    free(data);
    if (fd >= 0) close(fd);
    return ok;
}

bool zi_headers_fetch(zi_transfer *transfer, zi_wanted *files, size_t count, zi_error *error)
{
    zi_transfer part = *transfer;
    part.files = files;
    part.count = count;
    for (size_t i = 0; i < count; i++) files[i].upto = usual;
    bool ok = zi_transfer_run(&part, error);
    for (size_t i = 0; ok && i < count; i++) ok = find_head(&files[i], error);
    ok = ok && zi_transfer_run(&part, error); /* what is longer than usual */
    for (size_t i = 0; ok && i < count; i++) ok = stand_in(&files[i], error);
    for (size_t i = 0; i < count; i++) files[i].upto = 0;
    transfer->fetched = part.fetched;
    return ok;
}

bool zi_header_keep(const char *path, zi_error *error)
{
    struct stat st;
    uint64_t head = 0;
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || fstat(fd, &st) != 0) {
        zi_error_set(error, zi_error_code_of_errno(), path, "cannot open: %s", strerror(errno));
        if (fd >= 0) close(fd);
        return false;
    }
    bool ok = measure(fd, path, (uint64_t)st.st_size, &head, error) &&
              cut_and_stretch(fd, path, head, (uint64_t)st.st_size, error);
    close(fd);
    return ok;
}
