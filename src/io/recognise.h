/* Recognises which model a checkpoint holds by its tensor names. */
#ifndef ZI_IO_RECOGNISE_H
#define ZI_IO_RECOGNISE_H

#include "io/checkpoint.h"

/* The model's name, a constant such as "Z-Image transformer" or "Stable Diffusion XL"; NULL:
 * unknown. */
const char *zi_recognise_model(const zi_checkpoint *checkpoint);

/* Returns the name, a constant, of a recognised model that is no component of Z-Image; NULL:
 * unknown, or it may be one. */
const char *zi_recognise_unsupported(const zi_checkpoint *checkpoint);

/* Fails with ZI_ERROR_UNSUPPORTED, for the file or folder path, if zi_recognise_unsupported names a
 * model; the subject is "text_encoder" or "vae" for one that takes the place of such a part, else
 * the path. */
bool zi_recognise_check(const zi_checkpoint *checkpoint, const char *path,
                        zi_error *error) ZI_CHECKED;

#endif
