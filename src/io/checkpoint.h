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
    const void *data; /* in the mapping */
    int file;         /* index into zi_checkpoint.files */
} zi_tensor;

/* Text that a safetensors file says about itself (__metadata__). */
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

/* Opens one file, safetensors or GGUF as its first bytes say. A safetensors header is believed in
 * nothing: lengths, offsets, shapes and types are checked, and the tensors must fill the file
 * without gaps or overlaps, as the format says. https://github.com/huggingface/safetensors#format
 */
bool zi_checkpoint_open(const char *path, zi_checkpoint *out, zi_error *error) ZI_CHECKED;

/* Opens DIR/NAME.safetensors, or, when there is DIR/NAME.safetensors.index.json, all the shards
 * that it lists. Every tensor of the index must be in the shard it is said to be in, and no other.
 */
bool zi_checkpoint_open_dir(const char *dir, const char *name, zi_checkpoint *out,
                            zi_error *error) ZI_CHECKED;

/* Opens DIR/0.safetensors, DIR/1.safetensors and so on, as mflux writes them. */
bool zi_checkpoint_open_numbered(const char *dir, zi_checkpoint *out, zi_error *error) ZI_CHECKED;

void zi_checkpoint_close(zi_checkpoint *checkpoint);

/* ---- several owners, so that no file is opened and parsed twice ---- */

/* Moves an open checkpoint to the heap, where it has one owner. Closes it on failure. */
bool zi_checkpoint_share(zi_checkpoint *opened, zi_checkpoint **out, zi_error *error) ZI_CHECKED;

/* One owner more; returns the checkpoint. */
zi_checkpoint *zi_checkpoint_retain(zi_checkpoint *shared);

/* One owner less; the last one closes it. NULL is allowed. */
void zi_checkpoint_release(zi_checkpoint *shared);

/* NULL when there is none of that name. */
const zi_tensor *zi_checkpoint_find(const zi_checkpoint *checkpoint, const char *name);

/* What the files say under a key (the first that says something), NULL when they are silent. */
const char *zi_checkpoint_metadata(const zi_checkpoint *checkpoint, const char *key);

/* For readers of file formats: key and value are copied. */
bool zi_checkpoint_add_metadata(zi_checkpoint *checkpoint, const char *key, const char *value,
                                zi_error *error) ZI_CHECKED;

/* The file that a tensor came from, for error texts. */
const char *zi_tensor_file(const zi_checkpoint *checkpoint, const zi_tensor *tensor);

/* "[3840, 2560]" into a buffer of ZI_SHAPE_TEXT bytes; returns the buffer. */
enum { ZI_SHAPE_TEXT = 160 };
const char *zi_shape_text(const size_t *shape, int dims, char *buffer);

/* ---- writing ---- */

typedef struct {
    const char *name;
    zi_dtype type;
    int dims;
    size_t shape[ZI_MAX_DIMS];
    const void *data;
} zi_tensor_out;

/* Writes the bytes of tensor number `tensor`, all of them, with zi_output_write. */
typedef bool (*zi_tensor_write_fn)(void *context, size_t tensor, zi_output *output,
                                   zi_error *error);

/* Writes one tensor's bytes, from fill or (NULL) from its data. A fill that writes too much or too
 * little would spoil all that follow: it is refused. */
bool zi_tensor_write(zi_output *output, const zi_tensor_out *tensor, size_t number, size_t bytes,
                     zi_tensor_write_fn fill, void *context, zi_error *error) ZI_CHECKED;

/* Writes a safetensors file of these tensors, in this order. */
bool zi_safetensors_write(const char *path, const zi_tensor_out *tensors, size_t count,
                          zi_error *error) ZI_CHECKED;

/* Writes what stands before the tensors, whose bytes follow without gaps; *size, where the first
 * begins, may be NULL. format: what the file's metadata says under "format", "pt" or "mlx". */
bool zi_safetensors_write_header(zi_output *output, const char *format,
                                 const zi_tensor_out *tensors, size_t count, size_t *size,
                                 zi_error *error) ZI_CHECKED;

#endif
