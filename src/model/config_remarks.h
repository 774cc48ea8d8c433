/* What users should know about a model's configs that is no error. */
#ifndef ZI_MODEL_CONFIG_REMARKS_H
#define ZI_MODEL_CONFIG_REMARKS_H

#include "base/text.h"
#include "model/assembly.h"

/* Receives one remark, a sentence without a full stop, valid during the call. */
typedef void (*zi_remark_fn)(void *user, const char *text);

/* Calls remark for each config file of the model whose fields are not all known, with their names.
 * False: memory is short; *error is set. */
bool zi_config_each_unknown(const zi_assembly *assembly, zi_remark_fn remark, void *user,
                            zi_error *error) ZI_CHECKED;

/* Calls remark for what changes the image and may not be meant: a scheduler of the other variant in
 * the reference, and a model_index.json that names another class of schedulers than the scheduler's
 * own config. config: from zi_assembly_scheduler. False: memory is short; *error is set. */
bool zi_config_each_warning(const zi_assembly *assembly, const zi_config *config,
                            zi_remark_fn remark, void *user, zi_error *error) ZI_CHECKED;

#endif
