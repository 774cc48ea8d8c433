/* What the parts of the model registry share. */
#ifndef ZI_REGISTRY_REGISTRY_H
#define ZI_REGISTRY_REGISTRY_H

#include "registry/inspections.h"

#include <pthread.h>

/* How many sections are in the models folder; all before the last of them hold image models. */
enum { ZI_FOLDER_SECTIONS = ZI_SECTION_PROMPT_ENHANCER + 1 };

struct zi_registry {
    zi_registry_options options;
    char *root;       /* of names_only: the real path of the folder; NULL: there is none */
    char *model_name; /* of options.model; NULL: there is none */
    zi_inspection_cache *inspections;
    pthread_mutex_t mutex;
    char *preferred; /* the default until it is closed; NULL: none was chosen so */
};

/* ---- entries (entries.c) ---- */

/* What there is, by section and name: paths, but no inspections and sizes. */
typedef struct {
    char *name, *path;
    zi_section section;
} zi_model_location;

typedef struct {
    zi_model_location *entries; /* [count] */
    size_t count;
} zi_model_locations;

bool zi_registry_locate_models(const zi_registry *registry, zi_model_locations *out,
                               zi_error *error) ZI_CHECKED;
void zi_model_locations_free(zi_model_locations *names);

/* Whether what is called so may be a model: a folder, or a file of weights, and no temporary one.
 */
bool zi_path_may_be_model(const char *path, const char *name);

/* The path of a name that the folder has, as "mlx/NAME" or as NAME; *out is {0} when it has none.
 */
bool zi_registry_find_in_folder(const zi_registry *registry, const char *name,
                                zi_model_location *out, zi_error *error) ZI_CHECKED;
void zi_model_location_free(zi_model_location *entry);

/* The name of what is at a path: as in the folder, else "named/BASE". In new memory. */
char *zi_registry_name_of(const zi_registry *registry, const char *path);

/* The path in the hub's cache of OWNER/NAME; *path is NULL when it is not there as a whole. */
bool zi_registry_find_in_hub_cache(const zi_registry *registry, const char *name, char **path,
                                   zi_error *error) ZI_CHECKED;

/* ---- the default (registry.c) ---- */

/* The name that was chosen, in new memory; NULL: none was. */
char *zi_registry_default_name(zi_registry *registry);

/* ---- taking in (import.c) ---- */

/* What is at path and where it belongs. Fails, with its name, when it is nothing of ours. */
bool zi_registry_detect_section(const char *path, zi_section *section, zi_error *error) ZI_CHECKED;

/* Where models of a layout belong. */
zi_section zi_section_of_layout(zi_layout_kind layout);

/* The name that what is imported gets, in new memory. */
char *zi_import_target_name(const zi_import_options *options);

/* Where it is to be, in new memory: FOLDER/SECTION/NAME, free and in a folder that is there. */
bool zi_import_target_path(const zi_registry *registry, const zi_import_options *options,
                           zi_section section, char **path, zi_error *error) ZI_CHECKED;

/* Moves the options' source to that place, from another disk, too. */
bool zi_import_move_source(const zi_import_options *options, const char *to,
                           zi_error *error) ZI_CHECKED;

#endif
