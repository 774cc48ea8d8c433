/* Which model a checkpoint is of, told by telling tensor names. */
#ifndef ZI_IO_RECOGNISE_H
#define ZI_IO_RECOGNISE_H

#include "io/checkpoint.h"

/* A static text such as "Z-Image transformer" or "Stable Diffusion XL"; NULL when unknown. */
const char *zi_recognise_model(const zi_checkpoint *checkpoint);

/* The same, but NULL as well for what is, or could be, a part of Z-Image. */
const char *zi_recognise_unsupported(const zi_checkpoint *checkpoint);

#endif
