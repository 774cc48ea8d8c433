/* What the fuzz targets share. An input stands in for files by names: the linker sends the
 * library's calls of zi_file_map, zi_file_read, zi_is_file and zi_is_dir here (--wrap), so that no
 * run touches the disk and a byte read beyond a file is one beyond an allocation. Requests alone
 * have a folder on the disk. */
#ifndef ZI_FUZZ_H
#define ZI_FUZZ_H

#include "io/checkpoint.h"
#include "model/tokenizer.h"

/* Forgets all files and begins a run: until fuzz_end memory in use may grow by what the files hold
 * and 64 MB, and ten seconds of the processor's time may pass. */
void fuzz_begin(void);

/* A file of the run. Its bytes are borrowed. */
void fuzz_file(const char *path, const void *data, size_t size);

/* That all memory of the run was freed. */
void fuzz_end(void);

/* Aborts when an expectation is not met. */
#define FUZZ_EXPECT(condition) fuzz_expect((condition), __FILE__, __LINE__, #condition)
void fuzz_expect(bool condition, const char *file, int line, const char *text);

/* What any call returns: an error must be a line of text. */
bool fuzz_ok(bool ok, const zi_error *error);

/* Looks at a file's tensors, at its parts by canonical names, and at what zi_inspect says. */
void fuzz_checkpoint(const zi_checkpoint *checkpoint);

/* Encodes some texts. */
void fuzz_tokenizer(const zi_tokenizer *tokenizer);

#endif
