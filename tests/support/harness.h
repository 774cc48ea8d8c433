/* The test harness: named tests, and checks that report a failure and continue.
 *
 *     static void adds(void) { CHECK(1 + 1 == 2); }
 *     int main(void) { RUN(adds); return zi_test_result(); }
 */
#ifndef ZI_TEST_HARNESS_H
#define ZI_TEST_HARNESS_H

#include "zimage_models.h"

#include <stdio.h>

#define CHECK(condition) zi_check((condition), __FILE__, __LINE__, "%s", #condition)
/* As CHECK, with a printf-like message. */
#define CHECK_MSG(condition, ...) zi_check((condition), __FILE__, __LINE__, __VA_ARGS__)
/* A fallible call that must succeed; prints its error. */
#define CHECK_OK(call, error) zi_check((call), __FILE__, __LINE__, "%s: %s", #call, (error).text)
/* Checks the code and the subject (NULL: any) of an error. */
#define CHECK_ERROR(error, code, subject)                                                          \
    zi_check_error(&(error), (code), (subject), __FILE__, __LINE__)
/* Runs a test and prints its name with ok or FAIL. */
#define RUN(test) zi_test_run(#test, test)

/* The functions behind the macros; they return whether the check passed. Thread-safe. */
bool zi_check(bool condition, const char *file, int line, const char *format, ...) ZI_PRINTF(4, 5);
bool zi_check_error(const zi_error *error, zi_error_code code, const char *subject,
                    const char *file, int line);
void zi_test_run(const char *name, void (*test)(void));
/* Removes the test folder and prints a summary. Returns the exit code for main: 1 if a test failed
 * or none ran. */
int zi_test_result(void);

/* Relative L2 error |a-b| / |b| and largest absolute difference. Infinity where a is not finite. */
double zi_rel_l2(const float *a, const float *b, size_t n);
double zi_max_abs_difference(const float *a, const float *b, size_t n);

/* Whether ZI_TEST_LONG is set: suites that have a short form then run in full (see CMakeLists.txt).
 */
bool zi_test_long(void);

/* Path of a file in tests/data. Static buffer, overwritten by the eighth next call. */
const char *zi_test_data_path(const char *name);

/* A temporary folder for files that tests write. It is created by the first call in the current
 * directory and removed by zi_test_result. */
const char *zi_test_folder(void);
/* Path of a file in that folder. Static buffer, overwritten by the eighth next call. */
const char *zi_test_path(const char *name);
/* Writes a file; a failed write is a failed check. */
void zi_test_write_file(const char *path, const void *data, size_t size);
/* Number of entries in the test folder, without hidden ones. */
int zi_test_folder_count(void);

#endif
