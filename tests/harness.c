#include "harness.h"

#include <math.h>
#include <stdarg.h>

static int failed_checks, tests_passed, tests_failed;

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

int zi_test_result(void)
{
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

double zi_max_abs(const float *a, const float *b, size_t n)
{
    double most = 0;
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(a[i])) return INFINITY;
        double d = fabs((double)a[i] - b[i]);
        if (d > most) most = d;
    }
    return most;
}

const char *zi_test_data(const char *name)
{
    static char paths[8][512];
    static int next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", ZI_TEST_DATA, name);
    return path;
}
