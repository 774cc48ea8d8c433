/* Internals of the model registry, shared by its files. The interface is in zimage.h. */
#ifndef ZI_REGISTRY_REGISTRY_H
#define ZI_REGISTRY_REGISTRY_H

#include "io/layout.h"
#include "registry/inspection_cache.h"

#include <pthread.h>

/* Number of sections that are folders in the models folder. */
enum { ZI_FOLDER_SECTIONS = ZI_SECTION_HUB };

struct zi_registry {
    zi_registry_options options;
    char *model_name; /* name of options.model; NULL: not set */
    zi_inspection_cache *inspections;
    pthread_mutex_t mutex;
    char
        *session_default; /* under the mutex: default until the registry is closed; NULL: not set */
};

/* ---- where models are (locations.c) ---- */

/* A model by name, without inspection or size. Both strings are owned. */
typedef struct {
    char *name, *path;
    zi_section section;
} zi_model_location;

typedef struct {
    zi_model_location *entries; /* [count], by section and name */
    size_t count;
} zi_model_locations;

/* Finds all models of the registry, sorted by section and name. Contents are not read: models may
 * be damaged, and those in the hub's cache incomplete. The caller frees *out with
 * zi_model_locations_free. False: out of memory; *out is empty. */
bool zi_registry_locate_models(const zi_registry *registry, zi_model_locations *out,
                               zi_error *error) ZI_CHECKED;

/* Whether a folder has the files of one model, and is not a folder of models: model_index.json, or
 * weights that have the name of diffusers, transformers or MLX. False also when memory is short. */
bool zi_folder_is_model(const char *dir);

/* The kind of a section's models; ZI_MODEL_OTHER for the hub's cache, where files decide. */
zi_model_kind zi_section_kind(zi_section section);

/* Whether a section is one of ComfyUI's folders, which may have subfolders. */
bool zi_section_is_comfyui(zi_section section);

/* Whether a section is a folder of image models. */
bool zi_section_has_images(zi_section section);

/* Whether a file in one of ComfyUI's folders of image models may be a transformer of Z-Image, by
 * the result of zi_layout_read: its layout, or NULL and why it failed. One that is damaged may be.
 */
bool zi_may_be_diffusion_model(const zi_layout *layout, const zi_error *why);

/* The section whose folder has the name of the first `length` bytes of name; ZI_SECTION_HUB: none.
 */
zi_section zi_section_find(const char *name, size_t length);

/* Finds the models in ComfyUI's folders below root, sorted, as zi_registry_locate_models does.
 * Links are followed as the registry's options say. The caller frees *out. False: out of memory;
 * *out is empty. */
bool zi_registry_locate_comfyui(const zi_registry *registry, const char *root,
                                zi_model_locations *out, zi_error *error) ZI_CHECKED;

/* Frees the list and its strings, and zeroes the struct, which is the caller's. A zeroed struct is
 * allowed, NULL is not. */
void zi_model_locations_free(zi_model_locations *locations);

/* Whether path, whose last component is name, may be a model: a folder or a file *.safetensors or
 * *.gguf (of those that make a model together only the first), or a link to one, neither hidden nor
 * temporary. Contents are not read. */
bool zi_path_may_be_model(const char *path, const char *name);

/* Fails with ZI_ERROR_INVALID_ARGUMENT, and says which rule is broken, unless name can be that of a
 * new model, a file or folder: 1 to 200 bytes of UTF-8, no leading dot, no slash, backslash, colon
 * or control character, and not a temporary's name. */
bool zi_check_model_name(const char *name, zi_error *error) ZI_CHECKED;

/* Finds a model of the models folder by "SECTION/NAME" or NAME alone (then in the first section
 * that has it), which in ComfyUI's folders may leave out subfolders; whole names come first, then,
 * in a section, those that leave out nothing. kind: only in sections of this kind; NULL: in all.
 * *out is {0} if there is none, which is not an error; the caller frees it. False: out of memory;
 * *out is {0}, too. */
bool zi_registry_find_in_folder(const zi_registry *registry, const zi_model_kind *kind,
                                const char *name, zi_model_location *out,
                                zi_error *error) ZI_CHECKED;

/* Frees the strings and zeroes the struct, which is the caller's. A zeroed struct is allowed, NULL
 * is not. */
void zi_model_location_free(zi_model_location *location);

/* Returns the registry's name for a path, in new memory: "SECTION/NAME" if it exists and lies,
 * links resolved, in a section of the models folder, else "named/BASENAME". NULL: memory is
 * short. */
char *zi_registry_name_of(const zi_registry *registry, const char *path);

/* Sets *path to the complete snapshot of OWNER/NAME[@REVISION] in the hub's cache, in new memory;
 * to NULL, which is no error, if there is none or name is no such id. False: out of memory; *path
 * is NULL. */
bool zi_registry_find_in_hub_cache(const zi_registry *registry, const char *name, char **path,
                                   zi_error *error) ZI_CHECKED;

/* ---- ComfyUI's folder (comfyui_folder.c) ---- */

/* Sets *root to the folder, in new memory, that has the folder of image models in which the file at
 * this path is, a few levels above it, by the path as given or else by the real path; to NULL if it
 * is in none, or a folder. False: memory is short; *root is NULL. */
bool zi_comfyui_find_root(const char *path, char **root, zi_error *error) ZI_CHECKED;

/* Sets *path to the only diffusion model of Z-Image in ComfyUI's folders below `folder`, in new
 * memory; to NULL, which is no error, if the folder has none of these folders, or is itself a
 * model. ZI_ERROR_NOT_FOUND: there are several, or none. */
bool zi_registry_find_in_comfyui(const zi_registry *registry, const char *folder, char **path,
                                 zi_error *error) ZI_CHECKED;

/* ---- parts of models (parts.c) ---- */

typedef struct zi_parts_search zi_parts_search; /* see parts_search.h */

/* Sets *is_model to whether a model in a section of image models is one: false only for files in
 * ComfyUI's folders, where all kinds of models are, that are none of Z-Image or have no
 * transformer. Sets *complete to whether it has what generating needs: transformer, text encoder,
 * VAE and tokenizer, its own or those that zi_registry_find_parts finds; with options.parts_given
 * only the transformer. Both are true for a model whose layout cannot be read (loading it tells
 * why). *complete is true, too, with a search that inspects nothing, as long as parts are not
 * inspected yet. False: memory is short. */
bool zi_registry_is_complete(zi_parts_search *search, const zi_model_location *model,
                             bool *is_model, bool *complete, zi_error *error) ZI_CHECKED;

/* Sets text_encoder, vae, tokenizer, lacks and usable of the list's image models. Looks at stored
 * inspections alone. False: out of memory. */
bool zi_registry_add_parts(zi_registry *registry, zi_registry_list *list,
                           zi_error *error) ZI_CHECKED;

/* ---- inspections (list.c) ---- */

/* Returns the inspection of a model at a location, stored or made now and then stored, for
 * zi_inspection_free. NULL: its files cannot be read, or memory is short. */
zi_inspection *zi_registry_inspect(zi_registry *registry, const zi_model_location *location);

/* ---- the default model (registry.c) ---- */

/* Returns the name of the chosen default, in new memory: that of this session, else
 * options.model's, else the one in default.txt. The model may be gone. NULL, without an error: none
 * was chosen, or memory is short. Locks the mutex. */
char *zi_registry_default_name(zi_registry *registry);

/* ---- import (import.c) ---- */

/* Inspects a path, reading its files' headers, and sets the section it belongs to. Fails, with
 * *section unchanged, when it is damaged, or neither a Z-Image model nor a part of one nor a
 * language model. */
bool zi_registry_detect_section(const char *path, zi_section *section, zi_error *error) ZI_CHECKED;

/* The section for converted models of this layout: mlx for MLX, pytorch for diffusers, else
 * comfyui, also for ZI_LAYOUT_SAME. */
zi_section zi_section_of_layout(zi_layout_kind layout);

/* Returns the file or folder name of the imported model, in new memory: options->name or one made
 * from the source's and, with a conversion, the precision. A file gets the extension of its format,
 * without which it would not be found. NULL: memory is short. */
char *zi_import_target_name(const zi_import_options *options);

/* Sets *path to FOLDER/SECTION/NAME, in new memory. Makes no folder: the section's may be missing.
 * ZI_ERROR_EXISTS: the name is taken; the error proposes a free one. ZI_ERROR_INVALID_ARGUMENT: it
 * is no valid name. After a failure *path is unchanged. */
bool zi_import_target_path(const zi_registry *registry, const zi_import_options *options,
                           zi_section section, char **path, zi_error *error) ZI_CHECKED;

/* Moves options->source to the target path, where nothing may be: a file or an empty folder there
 * would be replaced. Across file systems it copies, reporting progress, and then removes the
 * source; if only that fails, the copy stays, and part of the source may be gone. After another
 * failure the source is as it was. A symbolic link as the source is an error. */
bool zi_import_move_source(const zi_import_options *options, const char *to,
                           zi_error *error) ZI_CHECKED;

#endif
