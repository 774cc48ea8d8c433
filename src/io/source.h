/* One part of a model by canonical names, whatever file it lies in: entries that say which rows of
 * which stored tensor are the canonical tensor, how they are packed and how they are shaped.
 * Nothing is read or converted here: the bytes stay where they are mapped. */
#ifndef ZI_IO_SOURCE_H
#define ZI_IO_SOURCE_H

#include "io/checkpoint.h"
#include "io/keymap.h"

typedef enum {
    ZI_PLAIN,   /* numbers, or GGUF's blocks, as the tensor's type says */
    ZI_GROUPED, /* MLX: 32-bit words of packed numbers, scales and biases a group */
    ZI_SCALED   /* fp8 or int8, times a factor for the tensor or for each row */
} zi_packing;

/* Rows of a stored tensor. */
typedef struct {
    const zi_tensor *tensor; /* NULL: none */
    const uint8_t *data;     /* of these rows; promises no alignment */
    size_t count;            /* elements of these rows */
} zi_rows;

typedef struct {
    char *name; /* canonical */
    zi_kind kind;
    const zi_checkpoint *checkpoint;
    const zi_tensor *tensor;
    const uint8_t *data; /* of its rows */
    size_t bytes;
    size_t row, rows; /* which of the stored tensor's first dimension */
    int dims;         /* canonical shape; packed numbers are counted */
    size_t shape[ZI_MAX_DIMS];
    bool nhwc; /* stored as [out, h, w, in] where shape is [out, in, h, w] */
    zi_packing packing;
    int bits;       /* grouped: 4 or 8 */
    size_t group;   /* grouped: numbers a group */
    zi_rows scales; /* grouped: [rows, groups]; scaled: one number, or one a row */
    zi_rows biases; /* grouped: [rows, groups] */
} zi_entry;

/* Entries are sorted by name. The checkpoints must outlive it. */
typedef struct {
    zi_component component;
    zi_vae_depth vae_depth; /* of a VAE's names */
    zi_entry *entries;
    size_t count;
    bool language;    /* a language model */
    const char *file; /* the first that has a tensor of the part, for error texts; NULL: none has */
} zi_source;

/* Collects the tensors of one part from checkpoints of any layout; tensors of other parts are
 * passed over. A part that is not there gives no entries. group: numbers in a group of MLX's, when
 * a config says so (shapes alone leave 4 bits in 64 and 8 bits in 32 open); 0 takes 64, MLX's
 * default, or else the first that fits.
 *
 * Refused by name: tensors that are no part of Z-Image, other models, LoRAs, two tensors for one
 * name, companions without their weight or of a wrong shape, formats that are not supported. */
bool zi_source_create(const zi_checkpoint *const *checkpoints, size_t count, zi_component component,
                      size_t group, zi_source *out, zi_error *error) ZI_CHECKED;

/* The same for the text encoder's place in a language model, which may be of another family: its
 * output head is an entry, too, if it has one of its own. */
bool zi_source_create_language(const zi_checkpoint *checkpoint, size_t group, zi_source *out,
                               zi_error *error) ZI_CHECKED;

void zi_source_free(zi_source *source);

/* NULL when there is none of that name. */
const zi_entry *zi_source_find(const zi_source *source, const char *name);

/* The file that an entry lies in, for error texts. */
const char *zi_entry_file(const zi_entry *entry);

#endif
