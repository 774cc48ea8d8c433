/* The parts of a model, wherever they lie: which file or folder serves each, what its config says,
 * or what its shapes tell. */
#ifndef ZI_MODEL_ASSEMBLY_H
#define ZI_MODEL_ASSEMBLY_H

#include "model/config.h"
#include "model/tokenizer.h"
#include "model/weights.h"

/* What was named, in the order in which a part is looked for. */
typedef enum {
    ZI_ASSEMBLY_TEXT_ENCODER,
    ZI_ASSEMBLY_VAE,
    ZI_ASSEMBLY_MODEL,
    ZI_ASSEMBLY_REFERENCE,
    ZI_ASSEMBLY_INPUTS
} zi_assembly_input;

typedef struct {
    const char *paths[ZI_ASSEMBLY_INPUTS]; /* borrowed; NULL: not named */
    zi_layout layouts[ZI_ASSEMBLY_INPUTS];
    int from[ZI_WEIGHT_COMPONENTS]; /* the place that serves a part; ZI_ASSEMBLY_INPUTS: none has it
                                     */
} zi_assembly;

/* Looks at what the options name. A text encoder or a VAE that was named must be there; what is
 * missing otherwise is an error only when it is opened. */
bool zi_assembly_read(const zi_model_options *options, zi_assembly *out,
                      zi_error *error) ZI_CHECKED;

/* The same when the file options->path is open already; the assembly becomes one more owner. */
bool zi_assembly_read_open(const zi_model_options *options, zi_checkpoint *shared, zi_assembly *out,
                           zi_error *error) ZI_CHECKED;

void zi_assembly_free(zi_assembly *assembly);

/* Where a part lies; NULL: nowhere. */
const zi_layout *zi_assembly_layout(const zi_assembly *assembly, zi_component component);

/* The config file of a part: its own, or one that another place lends; NULL: there is none. */
const char *zi_assembly_config(const zi_assembly *assembly, zi_component component);

/* Fills in the part's config, from a file or from the weights themselves, and opens the weights for
 * binding to a backend; NULL: only to see whether they can be bound. */
bool zi_assembly_open(const zi_assembly *assembly, zi_component component, zi_backend *backend,
                      zi_config *config, zi_weights *weights, zi_error *error) ZI_CHECKED;

/* Fills in the scheduler's config; Z-Image-Turbo's own where no place has any. */
bool zi_assembly_scheduler(const zi_assembly *assembly, zi_config *config,
                           zi_error *error) ZI_CHECKED;

/* The tokenizer: of the model's folder, of the reference's, in a text encoder's GGUF file, or
 * beside the text encoder. assembly: what was read for the same options; NULL: nothing yet, and
 * only the tokenizer must be there. */
bool zi_assembly_tokenizer(const zi_model_options *options, const zi_assembly *assembly,
                           zi_tokenizer **out, zi_error *error) ZI_CHECKED;

#endif
