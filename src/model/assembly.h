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

/* Reads the layouts of all given inputs. Fails if a text encoder or VAE was named and is not found;
 * other missing components are reported when they are opened. */
bool zi_assembly_read(const zi_model_options *options, zi_assembly *out,
                      zi_error *error) ZI_CHECKED;

/* zi_assembly_read with the checkpoint of the file options->path, which is already open (NULL: it
 * is not). The assembly takes a reference of its own. */
bool zi_assembly_read_open(const zi_model_options *options, zi_checkpoint *shared, zi_assembly *out,
                           zi_error *error) ZI_CHECKED;

void zi_assembly_free(zi_assembly *assembly);

/* The layout of the input that provides a component; NULL: none does. */
const zi_layout *zi_assembly_layout(const zi_assembly *assembly, zi_component component);

/* Path of a component's config file: its own, else the reference's, else the model's; NULL: none.
 */
const char *zi_assembly_config(const zi_assembly *assembly, zi_component component);

/* Fills in the component's part of *config, from a config file or else from the weights' shapes,
 * and opens the weights for binding to a backend. backend NULL: binding only checks the weights.
 * Fails with ZI_ERROR_INCOMPLETE, the component as subject, when no input provides it. */
bool zi_assembly_open(const zi_assembly *assembly, zi_component component, zi_backend *backend,
                      zi_config *config, zi_weights *weights, zi_error *error) ZI_CHECKED;

/* Fills in the scheduler's config; Z-Image-Turbo's when no input has one. Fails with
 * ZI_ERROR_INCOMPLETE for a diffusers folder without it. */
bool zi_assembly_scheduler(const zi_assembly *assembly, zi_config *config,
                           zi_error *error) ZI_CHECKED;

/* Loads the tokenizer: from the model's folder, the reference's folder, the text encoder's GGUF
 * file, or the folder beside the text encoder, in this order. assembly: read from the same options,
 * or NULL to load the tokenizer alone. The caller calls zi_tokenizer_free. */
bool zi_assembly_tokenizer(const zi_model_options *options, const zi_assembly *assembly,
                           zi_tokenizer **out, zi_error *error) ZI_CHECKED;

#endif
