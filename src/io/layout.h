/* Recognises the layout of a model at a path: which files hold each component, its configs,
 * tokenizer and scheduler. */
#ifndef ZI_IO_LAYOUT_H
#define ZI_IO_LAYOUT_H

#include "io/checkpoint.h"
#include "io/keymap.h"

/* Where a component's tensors are. Strings marked "constant" are not freed. */
typedef struct {
    char *path; /* a file, or a folder with stem; NULL: the component is absent */
    const char
        *stem;    /* of file names in the folder, constant; NULL: 0.safetensors, 1.safetensors... */
    char *config; /* path of the config file; NULL: absent */
    /* Relative paths at which this layout has weights and config, present or not; constant. NULL:
     * the layout has no fixed place for them. */
    const char *usual_path, *usual_config;
} zi_layout_component;

typedef struct {
    zi_naming naming; /* ZI_NAMES_DIFFUSERS when names are the same in all layouts */
    bool folder;      /* false: a single file */
    zi_layout_component components[ZI_WEIGHT_COMPONENTS];
    char *tokenizer; /* folder; NULL: absent (a GGUF text encoder has it in its metadata) */
    char *scheduler; /* config file; NULL: absent */
    zi_checkpoint *checkpoint; /* opened to recognise the layout, one reference; NULL: not needed */
} zi_layout;

/* Reads the layout of path: a diffusers, MLX or mflux folder (any component may be absent), the
 * folder of a single component, or a file with one or all components. Fails with
 * ZI_ERROR_NOT_FOUND, or with ZI_ERROR_UNSUPPORTED and the name of the other model that was
 * recognised. *out is set only on success. */
bool zi_layout_read(const char *path, zi_layout *out, zi_error *error) ZI_CHECKED;

/* zi_layout_read for a file that is already open as `shared`; path is stored as its components'
 * path. The layout takes a reference of its own. */
bool zi_layout_read_open(const char *path, zi_checkpoint *shared, zi_layout *out,
                         zi_error *error) ZI_CHECKED;

/* Frees what the layout owns, drops its reference and zeroes it. */
void zi_layout_free(zi_layout *layout);

/* Opens the files of a component that is present, or shares the layout's open checkpoint. The
 * caller drops the reference with zi_checkpoint_release. Files of several components contain the
 * others' tensors, too. */
bool zi_layout_open_component(const zi_layout *layout, zi_component component, zi_checkpoint **out,
                              zi_error *error) ZI_CHECKED;

/* "diffusers", "ComfyUI", "MLX", "mflux" or "GGUF"; a constant. */
const char *zi_naming_name(zi_naming naming);

#endif
