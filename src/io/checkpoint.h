/* Named tensors in mapped safetensors and GGUF files. */
#ifndef ZI_IO_CHECKPOINT_H
#define ZI_IO_CHECKPOINT_H

#include "base/dtype.h"
#include "base/file.h"

#include <stdatomic.h>

enum { ZI_MAX_DIMS = 8 };

typedef struct {
    char *name;
    zi_dtype type;
    int dims;
    size_t shape[ZI_MAX_DIMS];
    size_t count; /* elements */
    size_t bytes;
    const void *data; /* in the mapping; may be unaligned */
    int file;         /* index into zi_checkpoint.files */
} zi_tensor;

/* One entry of a safetensors file's __metadata__. */
typedef struct {
    char *key, *value;
} zi_metadata;

typedef struct zi_gguf zi_gguf; /* see gguf.h */

/* One file, or the shards of one component. Tensors are sorted by name. */
typedef struct {
    struct {
        char *path;
        zi_mapping mapping;
    } * files;
    int file_count;
    zi_tensor *tensors;
    size_t tensor_count;
    zi_metadata *metadata; /* of all files, in their order */
    size_t metadata_count;
    zi_gguf *gguf;     /* the metadata of a GGUF file; NULL: it is none */
    atomic_int owners; /* of one on the heap, see zi_checkpoint_share */
} zi_checkpoint;

/* Opens one file, safetensors or GGUF depending on its first bytes, by mapping it. Headers are
 * untrusted: lengths, offsets, shapes and types are checked, and a safetensors file's tensors must
 * fill it without gaps or overlaps, as the format demands. Names that occur twice are refused. The
 * caller closes *out; it is unchanged after a failure.
 * https://github.com/huggingface/safetensors#format */
bool zi_checkpoint_open(const char *path, zi_checkpoint *out, zi_error *error) ZI_CHECKED;

/* Opens all shards listed in DIR/NAME.safetensors.index.json if that exists, else
 * DIR/NAME.safetensors; ZI_ERROR_NOT_FOUND without either. The shards must contain exactly the
 * tensors that the index assigns to them. The caller closes *out; it is unchanged after a failure.
 */
bool zi_checkpoint_open_dir(const char *dir, const char *name, zi_checkpoint *out,
                            zi_error *error) ZI_CHECKED;

/* Opens DIR/0.safetensors, DIR/1.safetensors and so on, as mflux writes them, up to the first
 * number that is missing; 0 must be there. The caller closes *out; it is unchanged after a failure.
 */
bool zi_checkpoint_open_numbered(const char *dir, zi_checkpoint *out, zi_error *error) ZI_CHECKED;

/* Unmaps the files, frees names and metadata and zeroes *checkpoint. A zeroed struct is allowed.
 * Not for one on the heap: see zi_checkpoint_release. */
void zi_checkpoint_close(zi_checkpoint *checkpoint);

/* ---- reference counting, so that no file is opened and parsed twice ---- */

/* Moves an open checkpoint to the heap, with one reference, and zeroes *opened. Closes it on
 * failure (memory is short). */
bool zi_checkpoint_share(zi_checkpoint *opened, zi_checkpoint **out, zi_error *error) ZI_CHECKED;

/* Adds a reference to a checkpoint on the heap and returns it. Thread-safe, like
 * zi_checkpoint_release. */
zi_checkpoint *zi_checkpoint_retain(zi_checkpoint *shared);

/* Drops a reference; the last one closes and frees the checkpoint. NULL is allowed. */
void zi_checkpoint_release(zi_checkpoint *shared);

/* The tensor of this stored name, owned by the checkpoint; NULL: absent. */
const zi_tensor *zi_checkpoint_find(const zi_checkpoint *checkpoint, const char *name);

/* The value of a key in the __metadata__ of safetensors files, from the first file that has it,
 * owned by the checkpoint; NULL: none has. */
const char *zi_checkpoint_metadata(const zi_checkpoint *checkpoint, const char *key);

/* For readers of file formats: appends a copy of key and value, even if the key is there already.
 * False: memory is short; the checkpoint can only be closed then. */
bool zi_checkpoint_add_metadata(zi_checkpoint *checkpoint, const char *key, const char *value,
                                zi_error *error) ZI_CHECKED;

/* Path of the file that holds a tensor of this checkpoint, which owns it; for errors. */
const char *zi_tensor_file(const zi_checkpoint *checkpoint, const zi_tensor *tensor);

/* "[3840, 2560]" into a buffer of ZI_SHAPE_TEXT bytes; returns the buffer. */
enum { ZI_SHAPE_TEXT = 160 };

/* Writes a shape like "[3840, 2560]" to a buffer of ZI_SHAPE_TEXT bytes, without the last
 * dimensions if they do not fit; returns the buffer. */
const char *zi_shape_text(const size_t *shape, int dims, char *buffer);

/* ---- writing ---- */

typedef struct {
    const char *name;
    zi_dtype type;
    int dims;
    size_t shape[ZI_MAX_DIMS];
    const void *data;
} zi_tensor_out;

/* Writes all bytes of tensor number `tensor` with zi_output_write. */
typedef bool (*zi_tensor_write_fn)(void *context, size_t tensor, zi_output *output,
                                   zi_error *error);

/* Writes one tensor's bytes at the current position, with fill(context, number, ...) or, if that is
 * NULL, from tensor->data. Fails unless exactly `bytes` bytes were written. */
bool zi_tensor_write(zi_output *output, const zi_tensor_out *tensor, size_t number, size_t bytes,
                     zi_tensor_write_fn fill, void *context, zi_error *error) ZI_CHECKED;

/* Writes a safetensors file of these tensors, in this order, from their data and without metadata.
 * The file is written atomically and replaces one at path. */
bool zi_safetensors_write(const char *path, const zi_tensor_out *tensors, size_t count,
                          zi_error *error) ZI_CHECKED;

/* Writes the length and header of a safetensors file at the current position; the tensors' bytes
 * must follow without gaps. *size (may be NULL): byte offset of the first tensor, a multiple of 8.
 * format: "format" in the metadata, "pt" or "mlx"; NULL: no metadata. */
bool zi_safetensors_write_header(zi_output *output, const char *format,
                                 const zi_tensor_out *tensors, size_t count, size_t *size,
                                 zi_error *error) ZI_CHECKED;

#endif
