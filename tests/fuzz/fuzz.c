#include "fuzz.h"
#include "base/text.h"

#include <sanitizer/allocator_interface.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

enum { MAX_FILES = 8, MAX_EXTRA_BYTES = 64 << 20, MAX_SECONDS = 10 };

static struct {
    const char *path;
    const void *data;
    size_t size;
} files[MAX_FILES];
static int file_count;

/* Bytes allocated now, at the beginning of the run, and the limit. */
static atomic_size_t in_use, before, max_in_use = SIZE_MAX;

void fuzz_expect(bool condition, const char *file, int line, const char *text)
{
    if (condition) return;
    fprintf(stderr, "%s:%d: not so: %s\n", file, line, text);
    abort();
}

bool fuzz_ok(bool ok, const zi_error *error)
{
    if (ok) return true;
    FUZZ_EXPECT(error->text[0]);
    FUZZ_EXPECT(zi_utf8_valid(error->text, strlen(error->text)));
    for (const char *c = error->text; *c; c++) FUZZ_EXPECT((unsigned char)*c >= 0x20);
    return false;
}

/* ---- memory ---- */

static void taken(const volatile void *data, size_t size)
{
    (void)data;
    if (atomic_fetch_add(&in_use, size) + size <= atomic_load(&max_in_use)) return;
    size_t used = atomic_load(&in_use) - atomic_load(&before);
    atomic_store(&max_in_use, SIZE_MAX); /* reporting takes memory, too */
    fprintf(stderr, "%zu bytes in use, the last %zu of them at once, exceed the limit\n", used,
            size);
    abort();
}

static void given_back(const volatile void *data)
{
    if (data) atomic_fetch_sub(&in_use, __sanitizer_get_allocated_size(data));
}

/* ---- time ---- */

/* Limits processor time. libFuzzer's own limit would take a pause of the machine for a hang. */
static void limit_time(int seconds)
{
    const struct itimerval timer = {.it_value.tv_sec = seconds};
    FUZZ_EXPECT(setitimer(ITIMER_VIRTUAL, &timer, NULL) == 0);
}

static void too_slow(int number)
{
    (void)number;
    static const char text[] = "a run takes longer than the limit\n";
    (void)!write(STDERR_FILENO, text, sizeof text - 1);
    abort();
}

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    FUZZ_EXPECT(__sanitizer_install_malloc_and_free_hooks(taken, given_back) > 0);
    FUZZ_EXPECT(signal(SIGVTALRM, too_slow) != SIG_ERR);
    return 0;
}

/* The address sanitizer keeps freed memory in a quarantine of 256 MB by default. Tokenizers
 * allocate 12 MB each, so that would be most of the memory limit. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "quarantine_size_mb=32";
}

void fuzz_begin(void)
{
    file_count = 0;
    atomic_store(&before, atomic_load(&in_use));
    atomic_store(&max_in_use, atomic_load(&in_use) + MAX_EXTRA_BYTES);
    limit_time(MAX_SECONDS);
}

void fuzz_end(void)
{
    limit_time(0);
    atomic_store(&max_in_use, SIZE_MAX);
    FUZZ_EXPECT(atomic_load(&in_use) == atomic_load(&before));
}

/* ---- files ---- */

void fuzz_file(const char *path, const void *data, size_t size)
{
    FUZZ_EXPECT(file_count < MAX_FILES);
    files[file_count].path = path;
    files[file_count].data = data;
    files[file_count++].size = size;
    atomic_fetch_add(&max_in_use, size);
}

static int find(const char *path)
{
    int i = 0;
    while (i < file_count && strcmp(files[i].path, path) != 0) i++;
    return i;
}

bool __wrap_zi_is_file(const char *path);
bool __wrap_zi_is_file(const char *path)
{
    return find(path) < file_count;
}

bool __wrap_zi_is_dir(const char *path);
bool __wrap_zi_is_dir(const char *path)
{
    size_t length = strlen(path);
    for (int i = 0; i < file_count; i++)
        if (strncmp(files[i].path, path, length) == 0 && files[i].path[length] == '/') return true;
    return false;
}

/* Copies a file's bytes to new memory; text: with a closing NUL. */
static bool copy(const char *path, bool text, uint8_t **out, size_t *size, zi_error *error)
{
    int i = find(path);
    if (i == file_count)
        return zi_error_set(error, ZI_ERROR_NOT_FOUND, path, "cannot open: it is not there");
    *size = files[i].size;
    *out = malloc(*size + text);
    FUZZ_EXPECT(*out);
    if (*size) memcpy(*out, files[i].data, *size);
    if (text) (*out)[*size] = 0;
    return true;
}

bool __wrap_zi_file_read(const char *path, size_t max, char **data, size_t *size, zi_error *error);
bool __wrap_zi_file_read(const char *path, size_t max, char **data, size_t *size, zi_error *error)
{
    uint8_t *bytes = NULL;
    if (!copy(path, true, &bytes, size, error)) return false;
    FUZZ_EXPECT(*size <= max);
    *data = (char *)bytes;
    return true;
}

bool __wrap_zi_file_map(const char *path, zi_mapping *out, zi_error *error);
bool __wrap_zi_file_map(const char *path, zi_mapping *out, zi_error *error)
{
    uint8_t *bytes = NULL;
    if (!copy(path, false, &bytes, &out->size, error)) return false;
    out->data = bytes;
    return true;
}

void __wrap_zi_file_unmap(zi_mapping *mapping);
void __wrap_zi_file_unmap(zi_mapping *mapping)
{
    free((void *)(uintptr_t)mapping->data);
    *mapping = (zi_mapping){0};
}
