/* A conversion: its inputs, the components that it converts, and the plans of the files to write.
 */
#ifndef ZI_CONVERT_CONVERSION_H
#define ZI_CONVERT_CONVERSION_H

#include "convert/plan.h"
#include "convert/write.h"
#include "io/layout.h"

enum { ZI_INPUT_SOURCE, ZI_INPUT_VAE, ZI_INPUT_TEXT_ENCODER, ZI_INPUT_REFERENCE, ZI_INPUTS };

typedef struct {
    zi_checkpoint *checkpoint; /* one reference, released by zi_conversion_free; NULL: this
                                  component is not converted */
    zi_source source;
    zi_write_plan plan; /* when all components go into one file, components[0] has its plan */
    const char *config; /* path, borrowed from a layout; NULL: none */
} zi_conversion_component;

typedef struct {
    const zi_convert_options *options; /* borrowed */
    const char *inputs[ZI_INPUTS];     /* paths, borrowed; NULL: not given */
    zi_layout layouts[ZI_INPUTS];
    zi_naming target;
    bool whole;                       /* a model with all components; false: one component alone */
    int chosen[ZI_WEIGHT_COMPONENTS]; /* ZI_INPUT_... of each component; ZI_INPUTS: not converted */
    zi_conversion_component components[ZI_WEIGHT_COMPONENTS];
    char *tokenizer;             /* folder; NULL: none */
    bool tokenizer_from_options; /* it is that of options->tokenizer */
    const char *scheduler;       /* file, borrowed from a layout; NULL: none */
    /* For pad tokens that the transformer lacks, see pad_tokens.h; NULL and {0}: not needed. */
    zi_checkpoint *reference_checkpoint, *zeros; /* one reference each: its transformer; zeros */
    zi_source reference;                         /* tensors of reference_checkpoint */
    bool pads_from_reference, pads_zero, pads_missing;
    zi_write_context work;
} zi_conversion;

/* Reads the inputs, decides what to convert, opens it and plans the files; sets work.bytes_total,
 * but neither work.pool nor work.provider. Nothing is written. *out needs no contents before. Call
 * zi_conversion_free even after false. options must outlive *out. */
bool zi_conversion_plan(zi_conversion *out, const zi_convert_options *options,
                        zi_error *error) ZI_CHECKED;

/* Frees what the conversion owns (checkpoints, plans, layouts, work.pool) and zeroes it. options
 * and work.provider are the caller's. A zeroed struct is allowed, NULL is not. */
void zi_conversion_free(zi_conversion *conversion);

/* Checks that what is planned will load (zi_conversion_check), creates work.pool and writes the
 * planned files to options->destination, without checking that path or the free space before (see
 * destination.h). After a failure nothing is left there. With work.provider set, output is built in
 * place, stays after a failure, and is resumed by the next call; GGUF output ignores it. */
bool zi_conversion_write(zi_conversion *conversion, zi_error *error) ZI_CHECKED;

/* Writes a diffusers or MLX folder to options->destination, otherwise like zi_conversion_write;
 * work.pool must be set. ZI_ERROR_EXISTS, at the end and only without work.provider: at the
 * destination is something else than an empty folder. */
bool zi_conversion_write_folder(zi_conversion *conversion, zi_error *error) ZI_CHECKED;

/* Writes one safetensors file with all planned components to options->destination, otherwise like
 * zi_conversion_write; work.pool must be set. ZI_ERROR_EXISTS, at the end and only without
 * work.provider: something is at the destination. */
bool zi_conversion_write_comfyui(zi_conversion *conversion, zi_error *error) ZI_CHECKED;

/* Writes a GGUF file to options->destination: the transformer, or if it is not converted the text
 * encoder with config and tokenizer in its metadata. work.pool must be set. Writes atomically:
 * nothing is left after a failure; a file at the destination is ZI_ERROR_EXISTS, at the end. */
bool zi_conversion_write_gguf(zi_conversion *conversion, zi_error *error) ZI_CHECKED;

#endif
