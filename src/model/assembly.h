/* Assembles a model from several inputs: which of them provides each component, its config, the
 * scheduler and the tokenizer. */
#ifndef ZI_MODEL_ASSEMBLY_H
#define ZI_MODEL_ASSEMBLY_H

#include "model/config.h"
#include "model/tokenizer.h"
#include "model/weights.h"

/* The inputs of a zi_model_options, in the order in which a component is looked for. */
typedef enum {
    ZI_ASSEMBLY_TEXT_ENCODER,
    ZI_ASSEMBLY_VAE,
    ZI_ASSEMBLY_MODEL,
    ZI_ASSEMBLY_REFERENCE,
    ZI_ASSEMBLY_INPUTS
} zi_assembly_input;

typedef struct {
    const char *paths[ZI_ASSEMBLY_INPUTS]; /* borrowed; NULL: not given */
    zi_layout layouts[ZI_ASSEMBLY_INPUTS];
    int from[ZI_WEIGHT_COMPONENTS]; /* the input that provides each component; ZI_ASSEMBLY_INPUTS:
                                     * none
                                     */
} zi_assembly;

/* Reads the layouts of all inputs that options name and chooses the input that provides each
 * component. Fails if an input cannot be read, is of another pipeline, or was named as text encoder
 * or VAE and has none; zi_assembly_open reports other missing components. Borrows the strings of
 * options. The caller calls zi_assembly_free; *out is unchanged after a failure. */
bool zi_assembly_read(const zi_model_options *options, zi_assembly *out,
                      zi_error *error) ZI_CHECKED;

/* Reads all layouts and chooses inputs as zi_assembly_read does, but options->path is a file that
 * is open already as `shared`, of which the assembly takes a reference of its own. shared NULL:
 * exactly zi_assembly_read. */
bool zi_assembly_read_open(const zi_model_options *options, zi_checkpoint *shared, zi_assembly *out,
                           zi_error *error) ZI_CHECKED;

/* Frees the layouts, drops their references to checkpoints and zeroes *assembly. A zeroed assembly
 * is allowed, NULL is not. */
void zi_assembly_free(zi_assembly *assembly);

/* The layout of the input that provides a component, owned by the assembly; NULL: none does. */
const zi_layout *zi_assembly_layout(const zi_assembly *assembly, zi_component component);

/* Path of a component's config file, owned by the assembly: the one of the input that provides the
 * component, else the reference's, else the model's; NULL: none has one. */
const char *zi_assembly_config(const zi_assembly *assembly, zi_component component);

/* Fills in the component's part of *config, {0} at first, from a config file or else the weights'
 * shapes, and opens *weights, for the caller to bind or close; they may outlive the assembly.
 * backend NULL: binding only checks. ZI_ERROR_INCOMPLETE: no input has the component (the
 * subject), or its layout lacks its config ("config"). On failure nothing is open; *config may
 * have changed. */
bool zi_assembly_open(const zi_assembly *assembly, zi_component component, zi_backend *backend,
                      zi_config *config, zi_weights *weights, zi_error *error) ZI_CHECKED;

/* Fills in scheduler, variant and foreign_shift of *config from the first scheduler config there
 * is: the model's, else the reference's, unless the model is known to be of the other variant. If
 * neither has one, it is the variant's, but ZI_ERROR_INCOMPLETE for a diffusers folder as the
 * model. They may have changed after a failure. */
bool zi_assembly_scheduler(const zi_assembly *assembly, zi_config *config,
                           zi_error *error) ZI_CHECKED;

/* Loads the tokenizer from the first place that has one, and fails if that one is broken: the
 * model's folder, the reference's, the metadata of the text encoder's GGUF file (the model's if no
 * text encoder is named), the folder of the named text encoder or the model's file, or "tokenizer"
 * beside it, options->tokenizer. assembly: of the same options, or NULL. The caller calls
 * zi_tokenizer_free. *out is NULL after a failure, which is ZI_ERROR_INCOMPLETE when there is no
 * tokenizer. */
bool zi_assembly_tokenizer(const zi_model_options *options, const zi_assembly *assembly,
                           zi_tokenizer **out, zi_error *error) ZI_CHECKED;

#endif
