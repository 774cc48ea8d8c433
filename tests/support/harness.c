#define _XOPEN_SOURCE 700 /* nftw */
#include "harness.h"

#include <dirent.h>
#include <ftw.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static _Atomic int failed_checks; /* checks may be made by several threads */
static int tests_passed, tests_failed;

bool zi_check(bool condition, const char *file, int line, const char *format, ...)
{
    if (condition) return true;
    failed_checks++;
    printf("%s:%d: failed: ", file, line);
    va_list args;
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf("\n");
    return false;
}

bool zi_check_error(const zi_error *error, zi_error_code code, const char *subject,
                    const char *file, int line)
{
    bool same = error->code == code && (!subject || !strcmp(error->subject, subject));
    return zi_check(same, file, line, "code %d of \"%s\" instead of %d of \"%s\": %s",
                    (int)error->code, error->subject, (int)code, subject ? subject : "anything",
                    error->text);
}

void zi_test_run(const char *name, void (*test)(void))
{
    int before = failed_checks;
    test();
    bool ok = failed_checks == before;
    printf("%s %s\n", ok ? "ok  " : "FAIL", name);
    fflush(stdout);
    if (ok)
        tests_passed++;
    else
        tests_failed++;
}

/* ---- the program's folder ---- */

static char folder[] = "test-XXXXXX";
static bool folder_made;

const char *zi_test_folder(void)
{
    if (!folder_made && !mkdtemp(folder)) {
        perror(folder);
        exit(1);
    }
    folder_made = true;
    return folder;
}

const char *zi_test_path(const char *name)
{
    static char paths[8][512];
    static int next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", zi_test_folder(), name);
    return path;
}

void zi_test_write_file(const char *path, const void *data, size_t size)
{
    FILE *file = fopen(path, "wb");
    bool ok = file && fwrite(data, 1, size, file) == size;
    if (file) ok = fclose(file) == 0 && ok;
    CHECK_MSG(ok, "cannot write %s", path);
}

int zi_test_folder_count(void)
{
    int count = 0;
    DIR *dir = opendir(zi_test_folder());
    for (struct dirent *e; dir && (e = readdir(dir));) count += e->d_name[0] != '.';
    if (dir) closedir(dir);
    return count;
}

static int remove_entry(const char *path, const struct stat *st, int kind, struct FTW *place)
{
    (void)st;
    (void)kind;
    (void)place;
    return remove(path);
}

int zi_test_result(void)
{
    if (folder_made && nftw(folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS) != 0) perror(folder);
    printf("%d passed, %d failed\n", tests_passed, tests_failed);
    return tests_failed || !tests_passed;
}

double zi_rel_l2(const float *a, const float *b, size_t n)
{
    double difference = 0, norm = 0;
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(a[i])) return INFINITY;
        difference += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        norm += (double)b[i] * b[i];
    }
    return sqrt(difference / (norm > 0 ? norm : 1));
}

double zi_max_abs_difference(const float *a, const float *b, size_t n)
{
    double max_value = 0;
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(a[i])) return INFINITY;
        double d = fabs((double)a[i] - b[i]);
        if (d > max_value) max_value = d;
    }
    return max_value;
}

bool zi_test_long(void)
{
    return getenv("ZI_TEST_LONG") != NULL;
}

const char *zi_test_data_path(const char *name)
{
    static char paths[8][512];
    static int next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", ZI_TEST_DATA, name);
    return path;
}
