/* The base layer: atomic output files and folders, large buffers, thread pool, text. */
#include "harness.h"
#include "base/memory.h"
#include "base/temporary.h"
#include "base/file.h"
#include "base/filesystem.h"
#include "base/folder.h"
#include "base/machine.h"
#include "base/pool.h"
#include "base/text.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/vfs.h>
#endif

/* ---- files ---- */

static void output_appears_when_whole(void)
{
    const char *path = zi_test_path("whole");
    zi_output output;
    zi_error error = {0};
    CHECK_OK(zi_output_open(&output, path, &error), error);
    CHECK_OK(zi_output_write(&output, "abc", 3, &error), error);
    CHECK(!zi_is_file(path) && zi_test_folder_count() == 1);
    CHECK_OK(zi_output_commit(&output, &error), error);
    zi_output_discard(&output); /* nothing more to do */
    char *data = NULL;
    size_t size;
    CHECK_OK(zi_file_read(path, 100, &data, &size, &error), error);
    CHECK(size == 3 && memcmp(data, "abc", 4) == 0 && zi_test_folder_count() == 1);
    struct stat st;
    CHECK(stat(path, &st) == 0 && (st.st_mode & 0600) == 0600);
    free(data);
}

static void private_output_is_closed_to_others(void)
{
    const char *path = zi_test_path("private");
    zi_output output;
    zi_error error = {0};
    struct stat st;
    zi_test_write_file(path, "old", 3); /* which others may read */
    CHECK(chmod(path, 0644) == 0);
    mode_t mask = umask(0);
    CHECK_OK(zi_output_open_private(&output, path, &error), error);
    CHECK(fstat(fileno(output.stream), &st) == 0 && (st.st_mode & 0777) == 0600);
    CHECK_OK(zi_output_write(&output, "abc", 3, &error), error);
    CHECK_OK(zi_output_commit(&output, &error), error);
    umask(mask);
    CHECK(stat(path, &st) == 0 && (st.st_mode & 0777) == 0600 && st.st_size == 3);
    CHECK(unlink(path) == 0);
}

static void discarded_output_leaves_what_was_there(void)
{
    const char *path = zi_test_path("whole");
    zi_output output;
    zi_error error = {0};
    CHECK_OK(zi_output_open(&output, path, &error), error);
    CHECK_OK(zi_output_write(&output, "xyz", 3, &error), error);
    zi_output_discard(&output);
    char *data = NULL;
    size_t size;
    CHECK_OK(zi_file_read(path, 100, &data, &size, &error), error);
    CHECK(size == 3 && memcmp(data, "abc", 3) == 0 && zi_test_folder_count() == 1);
    free(data);
}

static void abandoned_outputs_are_removed(void)
{
    zi_output outputs[3];
    zi_error error = {0};
    for (int i = 0; i < 3; i++) {
        char name[] = "abandoned0";
        name[9] = (char)('0' + i);
        CHECK_OK(zi_output_open(&outputs[i], zi_test_path(name), &error), error);
    }
    CHECK(zi_test_folder_count() == 4);
    zi_output_abandon_all();
    CHECK(zi_test_folder_count() == 1);
    /* Should the work go on after all, it fails and leaves nothing. */
    CHECK(!zi_output_commit(&outputs[0], &error));
    CHECK_ERROR(error, ZI_ERROR_IO, zi_test_path("abandoned0"));
    for (int i = 1; i < 3; i++) zi_output_discard(&outputs[i]);
    CHECK(zi_test_folder_count() == 1);
}

static void make_file(const char *name)
{
    zi_test_write_file(zi_test_path(name), "", 0);
}

static bool is_there(const char *name)
{
    struct stat st;
    return lstat(zi_test_path(name), &st) == 0;
}

/* What nobody writes goes, and what is written stays. */
static void drafts(void)
{
    zi_output output;
    zi_output_folder folder;
    zi_error error = {0};
    int before = zi_test_folder_count();
    CHECK(zi_is_temporary_name("mlx/x.part-12-0") && zi_is_temporary_name("x.part-a.part-1-23"));
    CHECK(!zi_is_temporary_name("x.part-12") && !zi_is_temporary_name("x.part-12-0.png"));
    CHECK(!zi_is_temporary_name("x.part--1") && !zi_is_temporary_name("x.part-1-") &&
          !zi_is_temporary_name("x"));
    char mine[64];
    zi_temporary_name("kept", mine, sizeof mine);
    unsigned next = (unsigned)strtoul(strrchr(mine, '-') + 1, NULL, 10) + 1;
    CHECK_OK(zi_output_open(&output, zi_test_path("kept"), &error), error);
    CHECK(zi_temporary_try_lock(output.temporary) < 0);
    snprintf(mine, sizeof mine, "kept.part-%ld-%u", (long)getpid(), next + 1);
    make_file(mine); /* the name that the folder would take, of a process with the same number */
    CHECK_OK(zi_output_folder_open(&folder, zi_test_path("kept"), &error), error);
    snprintf(mine, sizeof mine, "kept.part-%ld-%u", (long)getpid(), next + 2);
    CHECK(is_there(mine) && zi_temporary_try_lock(zi_test_path(mine)) < 0);

    make_file("kept.part-77-0"), make_file("kept.part-77"), make_file("kepta.part-1-1");
    CHECK(mkdir(zi_test_path("kept.part-78-1"), 0777) == 0);
    make_file("kept.part-78-1/below");
    zi_remove_stale_temporaries(zi_test_path("kept"));
    CHECK(!is_there("kept.part-77-0") && !is_there("kept.part-78-1"));
    CHECK(is_there("kept.part-77") && is_there("kepta.part-1-1"));
    CHECK(is_there(mine));
    zi_output_folder_discard(&folder);
    CHECK_OK(zi_output_commit(&output, &error), error);
    unlink(zi_test_path("kept.part-77")), unlink(zi_test_path("kepta.part-1-1"));
    unlink(zi_test_path("kept"));
    CHECK(zi_test_folder_count() == before);
}

static void new_files_replace_nothing(void)
{
    zi_output output;
    zi_error error = {0};
    char *data = NULL;
    size_t size = 0;
    int before = zi_test_folder_count();
    CHECK_OK(zi_output_open(&output, zi_test_path("new"), &error), error);
    make_file("new");
    CHECK_OK(zi_output_write(&output, "late", 4, &error), error);
    CHECK(!zi_output_commit_new(&output, &error));
    CHECK_ERROR(error, ZI_ERROR_EXISTS, zi_test_path("new"));
    CHECK_OK(zi_file_read(zi_test_path("new"), 10, &data, &size, &error), error);
    CHECK(size == 0);
    free(data);
    unlink(zi_test_path("new"));
    CHECK_OK(zi_output_open(&output, zi_test_path("new"), &error), error);
    CHECK_OK(zi_output_write(&output, "first", 5, &error), error);
    CHECK_OK(zi_output_commit_new(&output, &error), error);
    CHECK_OK(zi_file_read(zi_test_path("new"), 10, &data, &size, &error), error);
    CHECK(size == 5 && !memcmp(data, "first", 5));
    free(data);
    unlink(zi_test_path("new"));
    CHECK(zi_test_folder_count() == before);
}

/* Writes "new" through zi_output_open_named and checks what is then at `target`, and its mode. */
static void replace_named(const char *name, const char *target, mode_t mode)
{
    zi_output output;
    zi_error error = {0};
    struct stat st;
    char *data = NULL;
    size_t size = 0;
    CHECK_OK(zi_output_check_writable(zi_test_path(name), &error), error);
    if (!CHECK_OK(zi_output_open_named(&output, zi_test_path(name), &error), error)) return;
    CHECK_OK(zi_output_write(&output, "new", 3, &error), error);
    CHECK_OK(zi_output_commit(&output, &error), error);
    CHECK(lstat(zi_test_path(target), &st) == 0 && S_ISREG(st.st_mode));
    CHECK((st.st_mode & 07777) == mode);
    CHECK_OK(zi_file_read(zi_test_path(target), 10, &data, &size, &error), error);
    CHECK(size == 3 && !memcmp(data, "new", 3));
    free(data);
}

static void named_outputs_keep_links_and_modes(void)
{
    zi_output output;
    zi_error error = {0};
    struct stat st;
    int before = zi_test_folder_count();
    make_file("target");
    chmod(zi_test_path("target"), 0640);
    CHECK(symlink("target", zi_test_path("link")) == 0);
    CHECK(symlink("./link", zi_test_path("chain")) == 0);
    replace_named("target", "target", 0640);
    replace_named("link", "target", 0640);
    replace_named("chain", "target", 0640);
    CHECK(lstat(zi_test_path("chain"), &st) == 0 && S_ISLNK(st.st_mode));
    /* A link to nothing: the target is created. */
    mode_t mask = umask(022);
    unlink(zi_test_path("target"));
    replace_named("chain", "target", 0644);
    umask(mask);
    /* Other outputs replace the link itself. */
    CHECK_OK(zi_output_open(&output, zi_test_path("chain"), &error), error);
    CHECK_OK(zi_output_commit(&output, &error), error);
    CHECK(lstat(zi_test_path("chain"), &st) == 0 && S_ISREG(st.st_mode));
    unlink(zi_test_path("chain"));
    CHECK(symlink("chain", zi_test_path("chain")) == 0);
    CHECK(!zi_output_open_named(&output, zi_test_path("chain"), &error));
    CHECK_ERROR(error, ZI_ERROR_IO, zi_test_path("chain"));
    unlink(zi_test_path("chain")), unlink(zi_test_path("link")), unlink(zi_test_path("target"));
    CHECK(zi_test_folder_count() == before);
}

static void unwritable_places(void)
{
    zi_output output;
    zi_error error = {0};
    CHECK(!zi_output_open(&output, zi_test_path("none/file"), &error));
    CHECK_ERROR(error, ZI_ERROR_IO, zi_test_path("none/file"));
    CHECK_MSG(strstr(error.text, "the folder ") && strstr(error.text, "/none does not exist"), "%s",
              error.text);
    CHECK(!zi_output_open(&output, zi_test_path("whole/file"), &error));
    CHECK_MSG(strstr(error.text, "/whole is not a folder"), "%s", error.text);
    CHECK(!zi_output_open(&output, zi_test_folder(), &error));
    CHECK_ERROR(error, ZI_ERROR_EXISTS, zi_test_folder());
    CHECK(!zi_output_check_writable("", &error));
    CHECK_ERROR(error, ZI_ERROR_INVALID_ARGUMENT, "path");
    CHECK(!zi_output_check_writable("/dev/null", &error));
    CHECK_ERROR(error, ZI_ERROR_EXISTS, "/dev/null");
    CHECK_OK(zi_output_check_writable(zi_test_path("probe"), &error), error);
    CHECK(zi_test_folder_count() == 1);
}

/* Cancelled, a copy leaves nothing, also if that was after the last byte. */
static bool cancel_copy(void *user, uint64_t bytes)
{
    (void)user, (void)bytes;
    return false;
}

static void copies(void)
{
    zi_error error = {0};
    const char *from = zi_test_path("whole"), *to = zi_test_path("copy");
    CHECK(!zi_copy_file(from, to, cancel_copy, NULL, &error));
    CHECK_ERROR(error, ZI_ERROR_CANCELLED, NULL);
    CHECK(!zi_is_file(to) && zi_test_folder_count() == 1);
    CHECK_OK(zi_copy_file(from, to, NULL, NULL, &error), error);
    CHECK(zi_is_file(to) && unlink(to) == 0);
}

static void reading(void)
{
    char *data;
    size_t size;
    zi_mapping mapping;
    zi_error error = {0};
    CHECK(!zi_file_read(zi_test_path("none"), 10, &data, &size, &error));
    CHECK_ERROR(error, ZI_ERROR_NOT_FOUND, zi_test_path("none"));
    CHECK(!zi_file_read(zi_test_path("whole/below"), 10, &data, &size, &error));
    CHECK_ERROR(error, ZI_ERROR_NOT_FOUND, zi_test_path("whole/below"));
    CHECK(!zi_file_read(zi_test_folder(), 10, &data, &size, &error));
    CHECK_ERROR(error, ZI_ERROR_UNSUPPORTED, zi_test_folder());
    CHECK(!zi_file_read(zi_test_path("whole"), 2, &data, &size, &error));
    CHECK_ERROR(error, ZI_ERROR_UNSUPPORTED, zi_test_path("whole"));
    CHECK_MSG(strstr(error.text, "it has 3 bytes, and at most 2"), "%s", error.text);
    CHECK_OK(zi_file_map(zi_test_path("whole"), &mapping, &error), error);
    CHECK(mapping.size == 3 && memcmp(mapping.data, "abc", 3) == 0);
    zi_file_unmap(&mapping);
    CHECK(!mapping.data);
}

static void paths(void)
{
    static const char *const rows[][2] = {{"a/b", "b"}, {"a/b//", "b"}, {"b", "b"},
                                          {"/b", "b"},  {"/", ""},      {"", ""}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char *base = zi_path_basename(rows[i][0]);
        CHECK_MSG(base && strcmp(base, rows[i][1]) == 0, "row %zu", i);
        free(base);
    }
    char *joined = zi_path_join("a/", "b"), *other = zi_path_join("a", "b");
    CHECK(strcmp(joined, "a/b") == 0 && strcmp(other, "a/b") == 0);
    free(joined);
    free(other);
}

/* ---- large memory ---- */

/* Large memory goes to a file only where it would crowd out the rest. */
static void small_memory(void)
{
    const size_t GB = (size_t)1 << 30;
    static const struct {
        size_t size, free; /* gigabytes */
        bool small;
    } rows[] = {{1, 0, true},  {1, 1, true}, {2, 4, false}, {2, 5, true},
                {4, 3, false}, {4, 9, true}, {9, 16, false}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        CHECK_MSG(zi_memory_is_small(rows[i].size * GB, rows[i].free * GB) == rows[i].small,
                  "row %zu", i);
    CHECK(zi_memory_is_small(64 * GB, SIZE_MAX)); /* nothing is known */
}

#ifdef __linux__

static void memory_in_file(void)
{
    enum { SIZE = 3 << 20 };
    zi_memory memory;
    zi_error error = {0};
    int before = zi_test_folder_count();
    if (!zi_memory_take_in_file(&memory, SIZE, zi_test_folder(), &error) &&
        strstr(error.text, "lies in memory")) {
        printf("SKIP: %s\n", error.text);
        return;
    }
    CHECK_MSG(memory.base && memory.in_file && memory.size >= SIZE, "%s", error.text);
    CHECK(zi_test_folder_count() == before); /* it has no name */
    unsigned char *a = memory.base;
    CHECK(a[0] == 0 && a[SIZE - 1] == 0);
    memset(a, 7, SIZE);
    CHECK(a[0] == 7 && a[SIZE - 1] == 7);
    zi_memory_release(&memory);
    CHECK(!memory.base && !memory.in_file);
}

/* No room is an error at once and not a signal later. A limit for files stands in for a full disk.
 */
static void memory_without_a_file(void)
{
    zi_memory memory;
    zi_error error = {0};
    struct rlimit limit, old;
    CHECK(!zi_memory_take_in_file(&memory, 1000, zi_test_path("none"), &error) && !memory.base);
    CHECK_ERROR(error, ZI_ERROR_IO, "scratch");
    CHECK_MSG(strstr(error.text,
                     "none: memory is short, and the file to use in its place cannot be made in "
                     "this folder: this folder does not exist"),
              "%s", error.text);
    CHECK(getrlimit(RLIMIT_FSIZE, &old) == 0);
    limit = (struct rlimit){1 << 20, old.rlim_max};
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    CHECK(!zi_memory_take_in_file(&memory, 2 << 20, zi_test_folder(), &error) && !memory.base);
    CHECK(setrlimit(RLIMIT_FSIZE, &old) == 0);
    signal(SIGXFSZ, handler);
    CHECK_ERROR(error, ZI_ERROR_IO, "scratch");
    CHECK_MSG(
        strstr(error.text, "this folder cannot take the file of 2.1 MB to use in its place") ||
            strstr(error.text, "the folder lies in memory, too"),
        "%s", error.text);
    CHECK(zi_test_folder_count() == 1);
}

/* A file system in memory would be no help. */
/* What no file can take comes from RAM, and then there is no error. */
static void memory_without_any_file(void)
{
    zi_memory memory;
    zi_error error = {0};
    struct rlimit limit, old;
    size_t size = zi_available_memory("") / 4 * 3;
    CHECK(getrlimit(RLIMIT_FSIZE, &old) == 0);
    limit = (struct rlimit){1 << 20, old.rlim_max};
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    bool ok = zi_memory_take_fitting(&memory, size, zi_test_folder(), &error);
    CHECK(setrlimit(RLIMIT_FSIZE, &old) == 0);
    signal(SIGXFSZ, handler);
    CHECK_MSG(ok ? error.code == ZI_OK : error.code == ZI_ERROR_NO_MEMORY || !memory.base, "%s",
              error.text);
    zi_memory_release(&memory);
}

static void memory_on_tmpfs(void)
{
    struct statfs fs;
    zi_memory memory;
    zi_error error = {0};
    if (statfs("/dev/shm", &fs) != 0 || fs.f_type != 0x01021994) {
        printf("SKIP: /dev/shm is no tmpfs here\n");
        return;
    }
    CHECK(!zi_memory_take_in_file(&memory, 1000, "/dev/shm", &error) && !memory.base);
    CHECK_ERROR(error, ZI_ERROR_IO, "scratch");
    CHECK_MSG(strstr(error.text,
                     "/dev/shm: memory is short, and a file in this folder would not help, "
                     "as the folder lies in memory, too (tmpfs)"),
              "%s", error.text);
}

#else

static void memory_in_file(void)
{
    zi_memory memory;
    zi_error error = {0};
    CHECK(!zi_memory_take_in_file(&memory, 1000, zi_test_folder(), &error) && !memory.base);
}

#endif

/* ---- pool ---- */

enum { TASKS = 1000 };
typedef struct {
    atomic_int runs[TASKS];
    atomic_size_t most_worker;
} tally;

static void count_task(void *context, size_t task, size_t worker)
{
    tally *t = context;
    atomic_fetch_add(&t->runs[task], 1);
    size_t most = atomic_load(&t->most_worker);
    while (worker > most && !atomic_compare_exchange_weak(&t->most_worker, &most, worker)) continue;
}

static void every_task_once(void)
{
    for (size_t threads = 1; threads <= 8; threads *= 2) {
        zi_pool *pool = NULL;
        zi_error error = {0};
        tally *t = calloc(1, sizeof *t);
        if (!CHECK_OK(zi_pool_create(threads, &pool, &error), error)) return;
        CHECK(zi_pool_threads(pool) == threads);
        for (int run = 0; run < 50; run++) zi_pool_run(pool, TASKS, count_task, t);
        zi_pool_run(pool, 0, count_task, t);
        zi_pool_run(pool, 1, count_task, t);
        for (int i = 0; i < TASKS; i++) CHECK(t->runs[i] == 50 + (i == 0));
        CHECK(t->most_worker < threads);
        zi_pool_free(pool);
        free(t);
    }
    zi_pool_free(NULL);
}

/* Runs that follow at once find threads that look on, later ones find them asleep, or on the way.
 */
static void short_runs(void)
{
    static const useconds_t pauses[] = {0, 0, 0, 0, 10, 40, 50, 60, 500};
    enum { PAUSES = sizeof pauses / sizeof *pauses, RUNS = 900 };
    for (size_t threads = 2; threads <= 4; threads++) {
        zi_pool *pool = NULL;
        zi_error error = {0};
        tally *t = calloc(1, sizeof *t);
        if (!CHECK_OK(zi_pool_create(threads, &pool, &error), error)) return;
        for (int run = 0; run < RUNS; run++) {
            if (pauses[run % PAUSES]) usleep(pauses[run % PAUSES]);
            zi_pool_run(pool, 2 + (size_t)run % 3, count_task, t);
        }
        CHECK(t->runs[0] == RUNS && t->runs[1] == RUNS);
        CHECK(t->runs[2] == RUNS / 3 * 2 && t->runs[3] == RUNS / 3);
        zi_pool_free(pool);
        free(t);
    }
}

/* ---- text ---- */

static void growing_text(void)
{
    zi_text text;
    zi_text_init(&text, 100);
    for (int i = 0; i < 10; i++) zi_text_printf(&text, "%d,", i);
    zi_text_puts(&text, "end");
    char *taken = zi_text_take(&text);
    CHECK(taken && strcmp(taken, "0,1,2,3,4,5,6,7,8,9,end") == 0);
    free(taken);
    taken = zi_text_take(&text);
    CHECK(taken && !*taken);
    free(taken);
    for (int i = 0; i < 20; i++) zi_text_puts(&text, "0123456789");
    CHECK(text.failed && !zi_text_take(&text));
}

static void utf8(void)
{
    static const struct {
        const char *text;
        bool valid;
    } rows[] = {
        {"", true},
        {"plain", true},
        {"caf\xc3\xa9", true},
        {"\xe9\x9b\xaa", true},
        {"\xf0\x9f\x8e\xa8", true},
        {"\x80", false},
        {"\xc3", false},
        {"\xc0\x80", false},
        {"\xe0\x80\x80", false},
        {"\xed\xa0\x80", false},
        {"\xf4\x90\x80\x80", false},
        {"\xf8\x88\x80\x80\x80", false},
        {"a\xff", false},
        {"\xf0\x9f\x8e", false},
        {"\xf4\x8f\xbf\xbf", true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        CHECK_MSG(zi_utf8_valid(rows[i].text, strlen(rows[i].text)) == rows[i].valid, "row %zu", i);
}

int main(void)
{
    RUN(output_appears_when_whole);
    RUN(private_output_is_closed_to_others);
    RUN(discarded_output_leaves_what_was_there);
    RUN(abandoned_outputs_are_removed);
    RUN(drafts);
    RUN(new_files_replace_nothing);
    RUN(named_outputs_keep_links_and_modes);
    RUN(unwritable_places);
    RUN(copies);
    RUN(reading);
    RUN(paths);
    RUN(small_memory);
    RUN(memory_in_file);
#ifdef __linux__
    RUN(memory_without_a_file);
    RUN(memory_without_any_file);
    RUN(memory_on_tmpfs);
#endif
    RUN(every_task_once);
    RUN(short_runs);
    RUN(growing_text);
    RUN(utf8);
    unlink(zi_test_path("whole"));
    CHECK(zi_test_folder_count() == 0);
    return zi_test_result();
}
