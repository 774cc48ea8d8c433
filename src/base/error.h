/* How errors are made and passed on. See zi_error in zimage.h. */
#ifndef ZI_BASE_ERROR_H
#define ZI_BASE_ERROR_H

#include "zimage.h"

/* All of these fill the error and return false, so that `return zi_error_set(...)` reads well. A
 * NULL error is allowed, and so are texts that lie in the error itself. Texts name no option of the
 * command line and nothing of HTTP: front ends add what helps there.
 *
 * What is wrong with a field of the caller's request has that field as its subject. */

/* Fills *error with the code, the subject (NULL: "") and the text "SUBJECT: MESSAGE", or the
 * message alone if subject is NULL; cut if too long, control characters as spaces. Always returns
 * false. error may be NULL; the arguments may lie in *error. */
bool zi_error_set(zi_error *error, zi_error_code code, const char *subject, const char *format, ...)
    ZI_PRINTF(4, 5);

/* Fills *error, if it is not NULL, like zi_error_set, but with the text "FILE: MESSAGE" (file NULL:
 * the message alone) and a subject (NULL: "") that the text does not get: it is for what is inside
 * a file, such as a tensor, which the message itself names. Always returns false. */
bool zi_error_set_in(zi_error *error, zi_error_code code, const char *file, const char *subject,
                     const char *format, ...) ZI_PRINTF(5, 6);

/* Fills *error, if it is not NULL, with ZI_ERROR_NO_MEMORY and a text that `bytes` bytes could not
 * be had. Always returns false. */
bool zi_error_no_memory(zi_error *error, size_t bytes);

/* Fills *error, if it is not NULL, with ZI_ERROR_CANCELLED, because the caller's progress callback
 * asked to stop. Always returns false. */
bool zi_error_cancelled(zi_error *error);

/* Fails with ZI_ERROR_INVALID_ARGUMENT and the subject "reserved" unless all `size` bytes at
 * `reserved` are 0: they are the fields of an options struct that this library does not know. The
 * macro ZI_CHECK_RESERVED takes a pointer to the struct. */
#define ZI_CHECK_RESERVED(options, error)                                                          \
    zi_check_reserved((options)->reserved, sizeof(options)->reserved, error)
bool zi_check_reserved(const void *reserved, size_t size, zi_error *error) ZI_CHECKED;

/* Returns the error code for the current errno, after a path could not be opened:
 * ZI_ERROR_NOT_FOUND for ENOENT and ENOTDIR, else ZI_ERROR_IO. */
zi_error_code zi_error_code_of_errno(void);

#endif
