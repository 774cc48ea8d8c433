#include "base/memory.h"
#include "base/file.h"
#include "base/machine.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/mman.h>
#include <sys/vfs.h>
#endif

enum { ALIGNMENT = 64, HUGE_PAGE = 2 << 20 };

bool zi_memory_take(zi_memory *memory, size_t size, zi_error *error)
{
    *memory = (zi_memory){0};
    size_t unit = size < HUGE_PAGE ? ALIGNMENT : HUGE_PAGE;
    size_t rounded = (size + unit - 1) / unit * unit;
    if (rounded < size) return zi_error_no_memory(error, size);
    memory->base = aligned_alloc(unit, rounded ? rounded : unit);
    if (!memory->base) return zi_error_no_memory(error, size);
    memory->size = rounded;
#ifdef MADV_HUGEPAGE
    /* Products touch a page for every row of a tile: with small pages, looking those up costs a
     * tenth of their time. The kernel may refuse; then pages are small. */
    if (unit == HUGE_PAGE) (void)madvise(memory->base, rounded, MADV_HUGEPAGE);
#endif
    return true;
}

#ifdef __linux__

/* Whether the open file lies on a file system that is on a disk: not tmpfs or ramfs; network file
 * systems count as disks. False also when that cannot be found out. */
static bool on_disk(int fd)
{
    enum { TMPFS = 0x01021994, RAMFS = 0x858458f6 };
    struct statfs fs;
    if (fstatfs(fd, &fs) != 0) return false;
    return (uint32_t)fs.f_type != (uint32_t)TMPFS && (uint32_t)fs.f_type != (uint32_t)RAMFS;
}

/* Opens a new file in `folder`, which must exist, for reading and writing, that has lost its name
 * already, so that closing it removes it. Returns its descriptor, for the caller to close, or -1
 * with an error (ZI_ERROR_IO, or memory is short). */
static int open_nameless(const char *folder, zi_error *error)
{
    char *path = zi_path_join(folder, "zimage-XXXXXX");
    if (!path) {
        zi_error_no_memory(error, strlen(folder));
        return -1;
    }
    int fd = mkostemp(path, O_CLOEXEC);
    if (fd < 0)
        zi_error_set_in(
            error, ZI_ERROR_IO, folder, "scratch",
            "memory is short, and the file to use in its place cannot be made in this folder: %s; "
            "close other programs, ask for a smaller image, or name another folder",
            errno == ENOENT ? "this folder does not exist" : strerror(errno));
    else
        unlink(path);
    free(path);
    return fd;
}

/* Extends the file to `size` bytes and has the disk keep space for them: a page that found no room
 * later would be a crash. False with ZI_ERROR_IO, which names `folder`; the file may be longer
 * then. */
static bool reserve_disk_space(int fd, size_t size, const char *folder, zi_error *error)
{
    int code;
    char text[32];
    while ((code = posix_fallocate(fd, 0, (off_t)size)) == EINTR) continue;
    if (code == 0) return true;
    return zi_error_set_in(
        error, ZI_ERROR_IO, folder, "scratch",
        "memory is short, and this folder cannot take the file of %s to use in its place: %s; make "
        "room on this disk, name another folder, or ask for a smaller image",
        zi_format_bytes(size, text), strerror(code));
}

bool zi_memory_take_in_file(zi_memory *memory, size_t size, const char *folder, zi_error *error)
{
    *memory = (zi_memory){0};
    int fd = open_nameless(folder, error);
    if (fd < 0) return false;
    bool ok =
        on_disk(fd)
            ? reserve_disk_space(fd, size, folder, error)
            : zi_error_set_in(error, ZI_ERROR_IO, folder, "scratch",
                              "memory is short, and a file in this folder would not help, as the "
                              "folder lies in memory, too (tmpfs); name a folder on a disk");
    if (ok) {
        void *base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (base == MAP_FAILED)
            ok = zi_error_set_in(
                error, ZI_ERROR_IO, folder, "scratch",
                "memory is short, and the file of %zu bytes to use in its place cannot be used: "
                "%s; close other programs, or ask for a smaller image",
                size, strerror(errno));
        else
            *memory = (zi_memory){.base = base, .size = size, .in_file = true};
    }
    close(fd);
    return ok;
}

#else

bool zi_memory_take_in_file(zi_memory *memory, size_t size, const char *folder, zi_error *error)
{
    *memory = (zi_memory){0};
    (void)size;
    return zi_error_set(error, ZI_ERROR_UNSUPPORTED, folder,
                        "memory is short, and only Linux can use a file in its place; close other "
                        "programs, or ask for a smaller image");
}

#endif

bool zi_memory_is_small(size_t size, size_t free)
{
    return size <= (size_t)1 << 30 || size < free / 2;
}

bool zi_memory_take_fitting(zi_memory *memory, size_t size, const char *folder, zi_error *error)
{
    size_t available = zi_available_memory("");
    if (zi_memory_is_small(size, available)) return zi_memory_take(memory, size, error);
    zi_error why = {0};
    bool named = folder && folder[0]; /* then its error is the one to report */
    if (named && zi_memory_take_in_file(memory, size, folder, &why)) return true;
    if (zi_memory_take_in_file(memory, size, "/var/tmp", named ? NULL : &why)) return true;
    /* Without a file: memory, as long as there is any hope. */
    if (size < available) return zi_memory_take(memory, size, error);
    if (error) *error = why;
    return false;
}

void zi_memory_release(zi_memory *memory)
{
#ifdef __linux__
    if (memory->in_file) {
        munmap(memory->base, memory->size);
        memory->base = NULL;
    }
#endif
    free(memory->base);
    *memory = (zi_memory){0};
}
