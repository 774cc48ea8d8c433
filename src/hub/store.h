/* What the parts of the models folder's code share. */
#ifndef ZI_HUB_STORE_H
#define ZI_HUB_STORE_H

#include "base/error.h"

typedef enum {
    ZI_SHELF_MLX,
    ZI_SHELF_PYTORCH,
    ZI_SHELF_COMFYUI,
    ZI_SHELF_LANGUAGE,
    ZI_SHELVES,
    ZI_SHELF_IMAGES = ZI_SHELF_LANGUAGE /* those before it hold image models */
} zi_store_kind;

const char *zi_store_kind_name(zi_store_kind kind);

/* What lies on a shelf: its name ("mlx/NAME") and path, in new memory. */
typedef struct {
    char *name, *path;
    zi_store_kind kind;
} zi_store_entry;

typedef struct {
    zi_store_entry *entries;
    size_t count;
} zi_store_entries;

/* All of them, by shelf and name. */
bool zi_store_entries_read(const zi_store *store, zi_store_entries *out,
                           zi_error *error) ZI_CHECKED;
void zi_store_entries_free(zi_store_entries *entries);

/* Whether what is called so may be a model: a folder, or a file of weights, and whole. */
bool zi_store_may_be_model(const char *path, const char *name);

/* What is at path and where it belongs. Fails, with its name, when it is nothing of ours. */
bool zi_store_detect(const char *path, zi_store_kind *kind, zi_error *error) ZI_CHECKED;

/* Where models of a layout belong. */
zi_store_kind zi_store_kind_of(zi_layout_kind layout);

/* The name that what is imported gets, in new memory. */
char *zi_store_name(const zi_import_options *options);

/* Where it is to be, in new memory: FOLDER/SHELF/NAME, free and in a folder that is there. */
bool zi_store_settle(const zi_store *store, const zi_import_options *options, zi_store_kind kind,
                     char **path, zi_error *error) ZI_CHECKED;

/* Moves the options' source to that place, from another disk, too. */
bool zi_store_move(const zi_import_options *options, const char *to, zi_error *error) ZI_CHECKED;

/* Bytes of a file, or of all files in a folder. */
bool zi_store_bytes(const char *path, uint64_t *out, zi_error *error) ZI_CHECKED;

/* The name of the default, in new memory; NULL: none was chosen. */
char *zi_store_default(const zi_store *store);
bool zi_store_set_default(const zi_store *store, const char *name, zi_error *error) ZI_CHECKED;

#endif
