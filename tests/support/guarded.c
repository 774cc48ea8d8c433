#include "guarded.h"

#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { BUFFERS = 8, MARGIN = 256, GARBAGE = 0xff }; /* floats of it are NaN */

static struct {
    char *pages; /* a forbidden page, ZI_GUARDED_MAX_BYTES + a page, a forbidden page */
    char *buffer;
    size_t bytes;
    bool locked;
} buffers[BUFFERS];
static size_t page, room;
static sigjmp_buf rescue;

static void give_up(const char *what)
{
    perror(what);
    exit(1);
}

static void map(int index)
{
    page = (size_t)sysconf(_SC_PAGESIZE);
    room = ZI_GUARDED_MAX_BYTES + page;
    char *pages = mmap(NULL, room + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED) give_up("mmap");
    buffers[index].pages = pages;
    buffers[index].locked = true;
}

static void protect(int index, bool locked)
{
    if (buffers[index].locked == locked) return;
    if (mprotect(buffers[index].pages + page, room, locked ? PROT_READ : PROT_READ | PROT_WRITE))
        give_up("mprotect");
    buffers[index].locked = locked;
}

/* The garbage before and behind a buffer, as far as it is looked at. */
static size_t before(int index)
{
    size_t space = (size_t)(buffers[index].buffer - (buffers[index].pages + page));
    return space < MARGIN ? space : MARGIN;
}

static size_t behind(int index)
{
    size_t space =
        (size_t)(buffers[index].pages + page + room - buffers[index].buffer) - buffers[index].bytes;
    return space < MARGIN ? space : MARGIN;
}

void *zi_guarded_buffer(int index, size_t bytes, size_t shift, zi_guard_side place)
{
    if (bytes + shift > ZI_GUARDED_MAX_BYTES) give_up("a buffer too large");
    if (!buffers[index].pages) map(index);
    protect(index, false);
    char *begin = buffers[index].pages + page, *end = begin + room;
    char *buffer = place == ZI_GUARD_BEFORE ? begin + shift : end - bytes - shift;
    buffers[index].buffer = buffer;
    buffers[index].bytes = bytes;
    memset(buffer - before(index), GARBAGE, before(index) + bytes + behind(index));
    return buffer;
}

void zi_guarded_make_read_only(int index)
{
    protect(index, true);
}

static bool garbage(const char *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if ((uint8_t)x[i] != GARBAGE) return false;
    return true;
}

bool zi_guarded_surroundings_intact(int index)
{
    const char *buffer = buffers[index].buffer;
    return garbage(buffer - before(index), before(index)) &&
           garbage(buffer + buffers[index].bytes, behind(index));
}

static void on_fault(int number)
{
    (void)number;
    siglongjmp(rescue, 1);
}

bool zi_guarded_run(bool (*fn)(void *context), void *context, bool *fault)
{
    struct sigaction action = {.sa_handler = on_fault}, segv, bus;
    sigaction(SIGSEGV, &action, &segv);
    sigaction(SIGBUS, &action, &bus);
    volatile bool ok = false;
    *fault = sigsetjmp(rescue, 1) != 0;
    if (!*fault) ok = fn(context);
    sigaction(SIGSEGV, &segv, NULL);
    sigaction(SIGBUS, &bus, NULL);
    return ok;
}
