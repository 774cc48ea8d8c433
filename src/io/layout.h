/* What is at a path: which files serve which part of a model, and where the rest of it lies. */
#ifndef ZI_IO_LAYOUT_H
#define ZI_IO_LAYOUT_H

#include "io/checkpoint.h"
#include "io/keymap.h"

/* Where a part's tensors are. */
typedef struct {
    char *path;       /* a file, or a folder with stem; NULL: the part is not there */
    const char *stem; /* of the files in the folder; NULL: 0.safetensors, 1.safetensors, ... */
    char *config;     /* its config file; NULL: none */
    /* Where such a folder has them, whether they are there or not; NULL: anywhere, and nowhere. */
    const char *usual_path, *usual_config;
} zi_layout_component;

typedef struct {
    zi_naming naming; /* whose layout; a file of one part in everyone's names is diffusers' */
    bool folder;
    zi_layout_component components[ZI_WEIGHT_COMPONENTS];
    char *tokenizer; /* folder; NULL: none (in a GGUF text encoder, it is in the file) */
    char *scheduler; /* its config file; NULL: none */
    /* What was opened to find out; NULL: the names of files told enough. */
    zi_checkpoint *checkpoint;
} zi_layout;

/* path is a diffusers, MLX or mflux folder, the folder of a single part, or a file with one part or
 * all. Fails when it is none of these, and names what it recognises. */
bool zi_layout_read(const char *path, zi_layout *out, zi_error *error) ZI_CHECKED;

/* The same for a file that is open already; the layout becomes one more owner. */
bool zi_layout_read_open(const char *path, zi_checkpoint *shared, zi_layout *out,
                         zi_error *error) ZI_CHECKED;

void zi_layout_free(zi_layout *layout);

/* The files of a part that is there, opened unless they are already; zi_checkpoint_release() it. A
 * file of several parts holds the others' tensors, too. */
bool zi_layout_open_component(const zi_layout *layout, zi_component component, zi_checkpoint **out,
                              zi_error *error) ZI_CHECKED;

/* "diffusers", "ComfyUI", "MLX", "mflux", "GGUF" */
const char *zi_naming_name(zi_naming naming);

#endif
