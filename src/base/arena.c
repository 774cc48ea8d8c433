#include "base/arena.h"
#include "base/file.h"
#include "base/machine.h"

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

zi_arena zi_arena_measure(void)
{
    return (zi_arena){.size = SIZE_MAX};
}

bool zi_arena_create(zi_arena *arena, size_t size, zi_error *error)
{
    *arena = (zi_arena){0};
    size_t unit = size < HUGE_PAGE ? ALIGNMENT : HUGE_PAGE;
    size_t rounded = (size + unit - 1) / unit * unit;
    if (rounded < size) return zi_error_no_memory(error, size);
    arena->base = aligned_alloc(unit, rounded ? rounded : unit);
    if (!arena->base) return zi_error_no_memory(error, size);
    arena->size = rounded;
#ifdef MADV_HUGEPAGE
    /* Products touch a page for every row of a tile: with small pages, looking those up costs a
     * tenth of their time. The kernel may refuse; then pages are small. */
    if (unit == HUGE_PAGE) (void)madvise(arena->base, rounded, MADV_HUGEPAGE);
#endif
    return true;
}

#ifdef __linux__

/* Whether what is open as fd is written to a disk at all. */
static bool on_disk(int fd)
{
    enum { TMPFS = 0x01021994, RAMFS = 0x858458f6 };
    struct statfs fs;
    if (fstatfs(fd, &fs) != 0) return false;
    return (uint32_t)fs.f_type != (uint32_t)TMPFS && (uint32_t)fs.f_type != (uint32_t)RAMFS;
}

/* Opens a new file that has lost its name already. */
static int open_nameless(const char *folder, zi_error *error)
{
    char *path = zi_path_join(folder, "zimage-XXXXXX");
    if (!path) {
        zi_error_no_memory(error, strlen(folder));
        return -1;
    }
    int fd = mkostemp(path, O_CLOEXEC);
    if (fd < 0)
        zi_error_set_in(error, ZI_ERROR_IO, folder, "scratch",
                        "cannot put working memory there: %s", strerror(errno));
    else
        unlink(path);
    free(path);
    return fd;
}

/* Has the disk keep `size` bytes for the file: a page that found no room later would be a crash. */
static bool reserve(int fd, size_t size, const char *folder, zi_error *error)
{
    int code;
    while ((code = posix_fallocate(fd, 0, (off_t)size)) == EINTR) continue;
    if (code == 0) return true;
    return zi_error_set_in(error, ZI_ERROR_IO, folder, "scratch",
                           "cannot reserve %zu bytes for working memory: %s; make room, name "
                           "another folder, or ask for a smaller image",
                           size, strerror(code));
}

bool zi_arena_create_in_file(zi_arena *arena, size_t size, const char *folder, zi_error *error)
{
    *arena = (zi_arena){0};
    int fd = open_nameless(folder, error);
    if (fd < 0) return false;
    bool ok = on_disk(fd) ? reserve(fd, size, folder, error)
                          : zi_error_set_in(error, ZI_ERROR_IO, folder, "scratch",
                                            "lies in memory; name a folder on a disk");
    if (ok) {
        void *base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (base == MAP_FAILED)
            ok = zi_error_set_in(error, ZI_ERROR_IO, folder, "scratch",
                                 "cannot map %zu bytes of a file there: %s", size, strerror(errno));
        else
            *arena = (zi_arena){.base = base, .size = size, .in_file = true};
    }
    close(fd);
    return ok;
}

#else

bool zi_arena_create_in_file(zi_arena *arena, size_t size, const char *folder, zi_error *error)
{
    *arena = (zi_arena){0};
    (void)size;
    return zi_error_set(error, ZI_ERROR_UNSUPPORTED, folder,
                        "working memory in files is for Linux only");
}

#endif

bool zi_arena_is_small(size_t size, size_t free)
{
    return size <= (size_t)1 << 30 || size < free / 2;
}

bool zi_arena_create_fitting(zi_arena *arena, size_t size, const char *folder, zi_error *error)
{
    size_t available = zi_free_memory("");
    if (zi_arena_is_small(size, available)) return zi_arena_create(arena, size, error);
    if (folder && folder[0] && zi_arena_create_in_file(arena, size, folder, NULL)) return true;
    if (zi_arena_create_in_file(arena, size, "/var/tmp", error)) return true;
    /* Without a file: memory, as long as there is any hope. */
    return size < available && zi_arena_create(arena, size, error);
}

void zi_arena_free(zi_arena *arena)
{
#ifdef __linux__
    if (arena->in_file) {
        munmap(arena->base, arena->size);
        arena->base = NULL;
    }
#endif
    free(arena->base);
    *arena = (zi_arena){0};
}

void *zi_arena_alloc(zi_arena *arena, size_t count, size_t size)
{
    size_t bytes, end;
    if (__builtin_mul_overflow(count, size, &bytes) ||
        __builtin_add_overflow(bytes, (size_t)(ALIGNMENT - 1), &bytes) ||
        __builtin_add_overflow(arena->used, bytes / ALIGNMENT * ALIGNMENT, &end) ||
        end > arena->size) {
        arena->overflow = true;
        return NULL;
    }
    void *block = arena->base ? arena->base + arena->used : NULL;
    arena->used = end;
    if (end > arena->peak) arena->peak = end;
    return block;
}

float *zi_arena_floats(zi_arena *arena, size_t count)
{
    return zi_arena_alloc(arena, count, sizeof(float));
}
