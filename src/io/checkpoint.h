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

/* Opens one file by mapping it: as GGUF if it begins so (with the other files of its model, see
 * gguf_split.h), else as safetensors. Headers are untrusted
 * and checked; tensors must fill a safetensors file without gaps or overlaps, and no name may occur
 * twice, else ZI_ERROR_BAD_FORMAT. Unknown types and versions are ZI_ERROR_UNSUPPORTED. The caller
 * closes *out (zi_checkpoint_close); it is unchanged after a failure. */
bool zi_checkpoint_open(const char *path, zi_checkpoint *out, zi_error *error) ZI_CHECKED;

/* Opens all shards listed in DIR/NAME.safetensors.index.json if that exists, else
 * DIR/NAME.safetensors, else those of a variant (see zi_weights_find). Fails with
 * ZI_ERROR_NOT_FOUND without either or without a listed shard, with ZI_ERROR_BAD_FORMAT unless the
 * shards contain exactly the tensors that the index assigns to them, or as zi_checkpoint_open. The
 * caller closes *out; it is unchanged after a failure. */
bool zi_checkpoint_open_dir(const char *dir, const char *name, zi_checkpoint *out,
                            zi_error *error) ZI_CHECKED;

/* Opens the safetensors files DIR/0.safetensors, DIR/1.safetensors and so on, as mflux writes them,
 * up to the first number that is missing; without 0 it fails with ZI_ERROR_NOT_FOUND. No name may
 * occur twice in all of them. The caller closes *out; it is unchanged after a failure. */
bool zi_checkpoint_open_numbered(const char *dir, zi_checkpoint *out, zi_error *error) ZI_CHECKED;

/* Unmaps the files, frees names and metadata and zeroes *checkpoint. A zeroed struct is allowed,
 * NULL is not. Not for one on the heap: see zi_checkpoint_release. */
void zi_checkpoint_close(zi_checkpoint *checkpoint);

/* ---- reference counting, so that no file is opened and parsed twice ---- */

/* Moves an open checkpoint to the heap, as *out with one reference, and zeroes *opened; pointers to
 * its tensors stay valid. On failure (memory is short) *opened is closed and zeroed, and *out is
 * unchanged. */
bool zi_checkpoint_share(zi_checkpoint *opened, zi_checkpoint **out, zi_error *error) ZI_CHECKED;

/* Adds a reference to a checkpoint on the heap (not NULL) and returns it, for
 * zi_checkpoint_release. Thread-safe. */
zi_checkpoint *zi_checkpoint_retain(zi_checkpoint *shared);

/* Drops a reference; the last one closes and frees the checkpoint. NULL is allowed. Thread-safe. */
void zi_checkpoint_release(zi_checkpoint *shared);

/* The tensor of this stored name, owned by the checkpoint; NULL: absent. */
const zi_tensor *zi_checkpoint_find(const zi_checkpoint *checkpoint, const char *name);

/* Returns the value of a key in the __metadata__ of safetensors files, from the first file that has
 * it, owned by the checkpoint; NULL: none has, as for GGUF (see zi_gguf_find). */
const char *zi_checkpoint_metadata(const zi_checkpoint *checkpoint, const char *key);

/* For readers of file formats: maps the file at path and appends it to the checkpoint's files. On
 * failure the caller closes the checkpoint, to which the file may have been added. */
bool zi_checkpoint_map_file(zi_checkpoint *checkpoint, const char *path,
                            zi_error *error) ZI_CHECKED;

/* For readers of file formats: appends a copy of key and value, even if the key is there already.
 * False: memory is short; *error is set, and the checkpoint can only be closed then, as the new
 * entry may lack its key or value. */
bool zi_checkpoint_add_metadata(zi_checkpoint *checkpoint, const char *key, const char *value,
                                zi_error *error) ZI_CHECKED;

/* Returns the path, owned by the checkpoint, of the file that holds one of its tensors; for
 * errors. */
const char *zi_tensor_file(const zi_checkpoint *checkpoint, const zi_tensor *tensor);

/* Bytes of a buffer for zi_shape_text. */
enum { ZI_SHAPE_TEXT = 160 };

/* Writes a shape like "[3840, 2560]" to a buffer of ZI_SHAPE_TEXT bytes, and returns the buffer.
 * The last dimensions are left out, without a mark, if they do not fit; dims 0 gives "[]". */
const char *zi_shape_text(const size_t *shape, int dims, char *buffer);

/* ---- writing ---- */

typedef struct {
    const char *name;
    zi_dtype type;
    int dims;
    size_t shape[ZI_MAX_DIMS];
    const void *data;
} zi_tensor_out;

/* Writes all bytes of tensor `tensor` (from 0) with zi_output_write. False: *error is set. */
typedef bool (*zi_tensor_write_fn)(void *context, size_t tensor, zi_output *output,
                                   zi_error *error);

/* Writes one tensor's bytes at the current position: with fill(context, number, ...), which sets
 * the error when it fails, or, if fill is NULL, from tensor->data. Fails with ZI_ERROR_BAD_FORMAT
 * unless exactly `bytes` bytes were written. After a failure a part may be written. number: from
 * 0. */
bool zi_tensor_write(zi_output *output, const zi_tensor_out *tensor, size_t number, size_t bytes,
                     zi_tensor_write_fn fill, void *context, zi_error *error) ZI_CHECKED;

/* Writes a safetensors file of these tensors, in this order, from their data and without metadata.
 * The file is written atomically and replaces one at path; after a failure path is unchanged. Names
 * must be unique and need no escapes in JSON; they are not checked. */
bool zi_safetensors_write(const char *path, const zi_tensor_out *tensors, size_t count,
                          zi_error *error) ZI_CHECKED;

/* Writes the length and header of a safetensors file at the current position; the tensors' bytes
 * must follow without gaps, in this order. format: "format" in the metadata, "pt" or "mlx"; NULL:
 * no metadata. *data_offset (may be NULL): bytes written, a multiple of 8; it may be set after a
 * failure, too. A header above 100 MiB fails like short memory. */
bool zi_safetensors_write_header(zi_output *output, const char *format,
                                 const zi_tensor_out *tensors, size_t count, size_t *data_offset,
                                 zi_error *error) ZI_CHECKED;

#endif
