/* Tells Z-Image-Turbo and Z-Image, the base model, apart, whose tensors are alike. */
#ifndef ZI_MODEL_VARIANT_H
#define ZI_MODEL_VARIANT_H

#include "model/config.h"

/* By the shift of the model's own scheduler: the base model from 5.5 on, else Turbo; never unknown.
 */
zi_variant zi_variant_of_shift(double shift);

/* By general.base_model.* and general.name of GGUF metadata (NULL: unknown), else by the last
 * component of path or, in a hub cache, the repository's name. Unknown if they say neither. */
zi_variant zi_variant_recognise(const char *path, const zi_gguf *gguf);

/* The scheduler of the published model of a variant; unknown: Turbo's. */
zi_scheduler_config zi_variant_scheduler(zi_variant variant);

#endif
