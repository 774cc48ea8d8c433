/* How errors are made and passed on. See zi_error in zimage.h. */
#ifndef ZI_BASE_ERROR_H
#define ZI_BASE_ERROR_H

#include "zimage.h"

/* All of these fill the error and return false, so that `return zi_error_set(...)` reads well. A
 * NULL error is allowed, and so are texts that lie in the error itself. Texts name no option of the
 * command line and nothing of HTTP: front ends add what helps there.
 *
 * What is wrong with a field of the caller's request has that field as its subject. */

/* The text is "SUBJECT: MESSAGE"; subject NULL: the message alone. */
bool zi_error_set(zi_error *error, zi_error_code code, const char *subject, const char *format, ...)
    ZI_PRINTF(4, 5);

/* For what is inside a file, such as a tensor: the text is "FILE: MESSAGE", and the message names
 * the subject itself. file NULL: the message alone. */
bool zi_error_set_in(zi_error *error, zi_error_code code, const char *file, const char *subject,
                     const char *format, ...) ZI_PRINTF(5, 6);

bool zi_error_no_memory(zi_error *error, size_t bytes);

/* The caller's progress callback asked to stop. */
bool zi_error_cancelled(zi_error *error);

/* Fails when a caller set a field of an options struct that this library does not know. */
#define ZI_CHECK_RESERVED(options, error)                                                          \
    zi_check_reserved((options)->reserved, sizeof(options)->reserved, error)
bool zi_check_reserved(const void *reserved, size_t size, zi_error *error) ZI_CHECKED;

/* Of a path that the system refused to open: ZI_ERROR_NOT_FOUND or ZI_ERROR_IO, by errno. */
zi_error_code zi_error_code_of_errno(void);

#endif
