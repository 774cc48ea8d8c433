/* The tensors of one component under canonical names, whatever layout its files have. An entry says
 * which rows of which stored tensor make up the canonical tensor, and how they are quantized and
 * shaped. Nothing is copied or converted: entries point into the mapped files. */
#ifndef ZI_IO_SOURCE_H
#define ZI_IO_SOURCE_H

#include "io/checkpoint.h"
#include "io/keymap.h"
#include "base/groups.h"

typedef enum {
    ZI_PLAIN,   /* elements or ggml blocks of the tensor's type */
    ZI_GROUPED, /* packed codes, a scale and perhaps a bias per group: MLX, NVFP4, MXFP8 */
    ZI_SCALED   /* fp8 or int8 values, times a scale for the tensor or for each row */
} zi_packing;

/* Rows of a stored tensor. */
typedef struct {
    const zi_tensor *tensor; /* NULL: no rows */
    const uint8_t *data;     /* of these rows; may be unaligned */
    size_t count;            /* elements of these rows */
} zi_rows;

typedef struct {
    char *name; /* canonical */
    zi_tensor_kind kind;
    const zi_checkpoint *checkpoint;
    const zi_tensor *tensor;
    const uint8_t *data; /* of its rows; may be unaligned */
    size_t bytes;
    size_t row, rows; /* first row and number of rows in the stored tensor */
    int dims;         /* of the canonical shape, which counts unpacked values */
    size_t shape[ZI_MAX_DIMS];
    bool nhwc; /* stored as [out, h, w, in] where shape is [out, in, h, w] */
    zi_packing packing;
    zi_codes codes;      /* ZI_GROUPED */
    int bits;            /* ZI_GROUPED: of a code, 2 to 6 or 8 */
    size_t group;        /* ZI_GROUPED: values per group, 16 to 128 */
    zi_rows scales;      /* ZI_GROUPED: [rows, groups], or all of a swizzled tensor; ZI_SCALED: one
                            value, or one per row */
    zi_rows biases;      /* ZI_GROUPED: [rows, groups], or none */
    zi_dtype scale_type; /* of scales; E8M0 and E4M3 may be in tensors of U8 */
    bool swizzled;  /* ZI_GROUPED: scales in tiles of 128 x 4 (matrix.h), rows as in the tensor; the
                       shape may be padded to multiples of group */
    zi_rows factor; /* ZI_GROUPED: one value for all scales, or none */
    size_t padded_columns; /* ZI_GROUPED: of a stored row, whole groups */
    size_t rotation;       /* ZI_SCALED: values that were rotated together (ConvRot); 0: none */
} zi_entry;

/* Checkpoints are borrowed and must outlive the source. */
typedef struct {
    zi_component component;
    zi_vae_depth vae_depth; /* of a VAE */
    zi_entry *entries;      /* [count], sorted by name */
    size_t count;
    bool language;    /* read by zi_source_create_language */
    const char *file; /* the first file with a tensor of the component, for errors; NULL: none */
} zi_source;

/* Collects the tensors of one component (none: it is absent) from checkpoints [count] of any
 * layout, which must stay open until zi_source_free. Skips other components. group: values per MLX
 * group as the config says, 0: unknown. Shapes cannot tell 4 bits in groups of 64 from 8 bits in
 * groups of 32: the width that other tensors imply decides, then group, then 64, 32, 128.
 *
 * Fails, *out unchanged, with ZI_ERROR_UNSUPPORTED for other models, LoRAs, and the first tensor
 * that is unknown or of an unsupported format; with ZI_ERROR_BAD_FORMAT for one that is duplicated,
 * of a wrong shape, or a companion without its weight. */
bool zi_source_create(const zi_checkpoint *const *checkpoints, size_t count, zi_component component,
                      size_t group, zi_source *out, zi_error *error) ZI_CHECKED;

/* Collects the tensors of a language model (Qwen or Llama), under the text encoder's names, and its
 * output head, if there is one, as lm_head.weight. Otherwise like zi_source_create, but any model
 * is taken whose tensors all have known names. The checkpoint must stay open as long as *out. */
bool zi_source_create_language(const zi_checkpoint *checkpoint, size_t group, zi_source *out,
                               zi_error *error) ZI_CHECKED;

/* Frees the entries and zeroes the source; the checkpoints stay open. A zeroed source is allowed,
 * NULL is not. */
void zi_source_free(zi_source *source);

/* The entry of a canonical name, owned by the source; NULL: absent. */
const zi_entry *zi_source_find(const zi_source *source, const char *name);

/* Adds a copy of an entry, name included, which no entry of the source has yet; what it points to
 * is borrowed and must outlive the source. Pointers to entries are invalid afterwards. False:
 * memory is short; *error is set, and the source is unchanged. */
bool zi_source_add(zi_source *source, const zi_entry *entry, zi_error *error) ZI_CHECKED;

/* Returns the path, owned by the checkpoint, of the file that holds the entry's weight; for
 * errors. */
const char *zi_entry_file(const zi_entry *entry);

#endif
