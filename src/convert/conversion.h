/* What a conversion works with: the parts that it converts, where they come from, and what goes
 * with them. */
#ifndef ZI_CONVERT_CONVERSION_H
#define ZI_CONVERT_CONVERSION_H

#include "convert/plan.h"
#include "convert/write.h"
#include "io/layout.h"

enum { ZI_INPUT_SOURCE, ZI_INPUT_VAE, ZI_INPUT_TEXT_ENCODER, ZI_INPUT_REFERENCE, ZI_INPUTS };

typedef struct {
    zi_checkpoint *checkpoint; /* NULL: this part is not converted */
    zi_source source;
    zi_write_plan plan; /* of its own file; in a file of all parts, the first has it */
    const char *config; /* NULL: none */
} zi_conversion_component;

typedef struct {
    const zi_convert_options *options;
    const char *inputs[ZI_INPUTS]; /* NULL: not given */
    zi_layout layouts[ZI_INPUTS];
    zi_naming target;
    bool whole; /* all parts, not one alone */
    zi_conversion_component components[ZI_WEIGHT_COMPONENTS];
    const char *tokenizer, *scheduler; /* NULL: none */
    zi_write_context work;
} zi_conversion;

/* Reads what is at the given paths, decides what is to be converted and plans it. Free it in any
 * case. */
bool zi_conversion_plan(zi_conversion *out, const zi_convert_options *options,
                        zi_error *error) ZI_CHECKED;

void zi_conversion_free(zi_conversion *conversion);

/* Writes it to the destination, which nobody has looked at yet. With work.provider set it is built
 * there and goes on with what an earlier call has left; not for GGUF. */
bool zi_conversion_write(zi_conversion *conversion, zi_error *error) ZI_CHECKED;

/* The same for a layout. */
bool zi_conversion_write_folder(zi_conversion *conversion, zi_error *error) ZI_CHECKED;
bool zi_conversion_write_comfyui(zi_conversion *conversion, zi_error *error) ZI_CHECKED;
bool zi_conversion_write_gguf(zi_conversion *conversion, zi_error *error) ZI_CHECKED;

#endif
