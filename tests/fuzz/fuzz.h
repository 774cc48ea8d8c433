/* Helpers of the fuzz targets. Files are served from memory: the linker redirects the library's
 * calls that read and map files (--wrap, see CMakeLists.txt), so that a run does not touch the disk
 * and a read past the end of a file is a heap overflow. Only fuzz_requests uses a folder on the
 * disk. */
#ifndef ZI_FUZZ_H
#define ZI_FUZZ_H

#include "io/checkpoint.h"
#include "model/tokenizer.h"

/* Begins a run without files. Until fuzz_end, allocated memory may grow by the size of the files
 * and 64 MB, and processor time by 10 seconds; beyond that the run aborts. */
void fuzz_begin(void);

/* Adds a file to the run; at most 8. path and data are borrowed until fuzz_end. */
void fuzz_file(const char *path, const void *data, size_t size);

/* Ends a run; aborts if memory of the run was not freed. */
void fuzz_end(void);

/* Aborts when an expectation is not met. */
#define FUZZ_EXPECT(condition) fuzz_expect((condition), __FILE__, __LINE__, #condition)
void fuzz_expect(bool condition, const char *file, int line, const char *text);

/* Passes on the result of a call. Aborts if it failed and the error is not a line of valid UTF-8.
 */
bool fuzz_ok(bool ok, const zi_error *error);

/* Reads all tensors of a checkpoint, as each component by canonical names, and inspects its file.
 */
void fuzz_checkpoint(const zi_checkpoint *checkpoint);

/* Encodes some texts and decodes the tokens. */
void fuzz_tokenizer(const zi_tokenizer *tokenizer);

#endif
