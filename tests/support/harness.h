/* The little that a test needs: named tests, checks that say what went wrong and go on.
 *
 *     static void adds(void) { CHECK(1 + 1 == 2); }
 *     int main(void) { RUN(adds); return zi_test_result(); }
 */
#ifndef ZI_TEST_HARNESS_H
#define ZI_TEST_HARNESS_H

#include "zimage.h"

#include <stdio.h>

#define CHECK(condition) zi_check((condition), __FILE__, __LINE__, "%s", #condition)
/* As CHECK, with a message of your own in printf's manner. */
#define CHECK_MSG(condition, ...) zi_check((condition), __FILE__, __LINE__, __VA_ARGS__)
/* A fallible call that must work; prints its error. */
#define CHECK_OK(call, error) zi_check((call), __FILE__, __LINE__, "%s: %s", #call, (error).text)
/* What a call that failed said: a code, and what it is about (NULL: anything). */
#define CHECK_ERROR(error, code, subject)                                                          \
    zi_check_error(&(error), (code), (subject), __FILE__, __LINE__)
#define RUN(test) zi_test_run(#test, test)

bool zi_check(bool condition, const char *file, int line, const char *format, ...) ZI_PRINTF(4, 5);
bool zi_check_error(const zi_error *error, zi_error_code code, const char *subject,
                    const char *file, int line);
void zi_test_run(const char *name, void (*test)(void));
int zi_test_result(void); /* prints a summary; the exit code for main */

/* Relative L2 error |a-b| / |b| and largest absolute difference. Infinity where a is not finite. */
double zi_rel_l2(const float *a, const float *b, size_t n);
double zi_max_abs_difference(const float *a, const float *b, size_t n);

/* Whether ZI_TEST_LONG is set: suites that have a short form then run in full (see CMakeLists.txt).
 */
bool zi_test_long(void);

/* ZI_TEST_DATA/name in a static buffer (eight of them, used in turn). */
const char *zi_test_data_path(const char *name);

/* A folder of the program's own, for files that its tests write: it is made when it is first asked
 * for, and zi_test_result removes it with all that is in it. */
const char *zi_test_folder(void);
/* A path in it, in a static buffer (eight of them, used in turn). */
const char *zi_test_path(const char *name);
/* A file that holds these bytes. */
void zi_test_write_file(const char *path, const void *data, size_t size);
/* How many names in it do not begin with a dot. */
int zi_test_folder_count(void);

#endif
