/* What training and serving code puts into the names of tensors around a model's own:
 * DataParallel's "module.", torch.compile's "_orig_mod.", the attribute that holds the model. */
#ifndef ZI_IO_KEY_WRAPPERS_H
#define ZI_IO_KEY_WRAPPERS_H

#include "io/keymap.h"

/* Returns the name without the parts that wrappers add anywhere in it ("module", "_orig_mod",
 * "_fsdp_wrapped_module", "_checkpoint_wrapped_module"): in `plain`, or `stored` itself if there
 * are none or it does not fit. */
const char *zi_key_drop_wrappers(const char *stored, char plain[ZI_MAX_KEY]);

/* Returns the rest of a name behind "net." or "model." at its start; NULL: it begins with neither.
 */
const char *zi_key_drop_holder(const char *name);

/* Returns the length of the prefix, with its dot, behind which a name that zi_key_parse does not
 * know is one of Z-Image's; 0: it is known, or none of them. depth: as in zi_key_parse. */
size_t zi_key_unknown_prefix(const char *stored, const zi_vae_depth *depth);

#endif
