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
    char *
        pickle; /* if the component is absent: a pickle in its folder, which is not read; or NULL */
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
 * folder of a single component, of a tokenizer alone (its files, or the subfolder tokenizer), or of
 * a single file of weights of any name, or a file with one or all components; zi_layout_free()
 * *out. Fails,
 * *out unchanged, with ZI_ERROR_NOT_FOUND (no such path, or no known kind of folder), with
 * ZI_ERROR_UNSUPPORTED (another model, named if it was recognised), or as zi_checkpoint_open. */
bool zi_layout_read(const char *path, zi_layout *out, zi_error *error) ZI_CHECKED;

/* Reads the layout of a file that is already open as `shared` (not NULL), with the failures of
 * zi_layout_read; path is copied as its components' path and not read. The layout takes a reference
 * of its own; after a failure none is kept, and *out is unchanged. */
bool zi_layout_read_open(const char *path, zi_checkpoint *shared, zi_layout *out,
                         zi_error *error) ZI_CHECKED;

/* Frees what the layout owns, drops its reference to the checkpoint and zeroes *layout. A zeroed
 * layout is allowed, NULL is not. */
void zi_layout_free(zi_layout *layout);

/* Whether dir has the files of a tokenizer: tokenizer.json or vocab.json. Does not look into
 * subfolders. False also when memory is short. */
bool zi_is_tokenizer_folder(const char *dir);

/* Sets *out to the folder of the tokenizer in dir, in new memory: its subfolder tokenizer if it has
 * one, else dir itself if zi_is_tokenizer_folder; NULL: there is none. False: memory is short; *out
 * is NULL. */
bool zi_find_tokenizer_folder(const char *dir, char **out, zi_error *error) ZI_CHECKED;

/* Sets *out to the folder of the tokenizer in the folder path, or in the folder of the file path,
 * as zi_find_tokenizer_folder does; else to the folder "tokenizer" beside that folder, as a
 * diffusers text_encoder has it; NULL: there is none. False: memory is short; *out is NULL. */
bool zi_find_tokenizer_near(const char *path, char **out, zi_error *error) ZI_CHECKED;

/* Whether the class that a model_index.json names is a pipeline of Z-Image, of text, images or
 * masks, whose components are those of ZImagePipeline. */
bool zi_is_pipeline_class(const char *name);

/* Opens the files of a component, which must have weights and be present, or shares the layout's
 * open checkpoint. The caller drops *out with zi_checkpoint_release; it is unchanged after a
 * failure. Files of several components contain the others' tensors, too. */
bool zi_layout_open_component(const zi_layout *layout, zi_component component, zi_checkpoint **out,
                              zi_error *error) ZI_CHECKED;

/* "diffusers", "ComfyUI", "MLX", "mflux" or "GGUF"; a constant. */
const char *zi_naming_name(zi_naming naming);

#endif
