/* Which text encoder, VAE and tokenizer a model gets that lacks them: one rule for loading, for the
 * list, and for the model that is used when none is named. */
#ifndef ZI_REGISTRY_PARTS_SEARCH_H
#define ZI_REGISTRY_PARTS_SEARCH_H

#include "registry/registry.h"

/* The kinds of parts that are chosen in ComfyUI's folders. */
enum { ZI_PART_TEXT_ENCODER, ZI_PART_VAE, ZI_PARTS };

/* Looks for the parts of one model after the other, and keeps what it has read meanwhile. */
struct zi_parts_search {
    zi_registry *registry;       /* borrowed */
    bool now;                    /* inspect what is not inspected yet */
    char *tokenizer;             /* folder of Z-Image-Turbo's in the hub's cache; NULL: none */
    char *root;                  /* ComfyUI's folder that the last model is in; NULL: none */
    zi_model_locations files;    /* in that folder */
    zi_inspection **inspections; /* [files.count]; NULL: of no part, or not inspected */
};

/* Starts a search, for zi_parts_search_end. now: as in the struct; else stored inspections are all
 * that is known. False: memory is short; *out is {0}. */
bool zi_parts_search_start(zi_registry *registry, bool now, zi_parts_search *out,
                           zi_error *error) ZI_CHECKED;

/* Frees what the search has and zeroes it; saves inspections if it may have made some. A zeroed
 * search is allowed, NULL is not. */
void zi_parts_search_end(zi_parts_search *search);

/* Sets search->root to ComfyUI's folder that the file at this path is in, and reads what is in it;
 * to NULL if it is in none, or a folder. False: memory is short; root is NULL. */
bool zi_parts_search_enter(zi_parts_search *search, const char *path, zi_error *error) ZI_CHECKED;

/* Whether the text encoders and VAEs in search->root, which is set, are all inspected. */
bool zi_parts_search_knows_all(const zi_parts_search *search);

/* Returns the inspection of a model at a location, stored or, with search->now, made now; the
 * caller frees it. NULL: there is none. */
zi_inspection *zi_parts_search_inspect(const zi_parts_search *search,
                                       const zi_model_location *location);

/* A part that was chosen; both pointers are the search's, until it enters another folder. */
typedef struct {
    const zi_model_location *file; /* NULL: none fits */
    const zi_inspection *inspection;
    size_t count; /* of files that fit */
} zi_chosen_part;

/* Chooses a part of this kind for the model in search->root: of those that fit, one with ComfyUI's
 * usual name, else the first. No file: none fits, or root is NULL. */
zi_chosen_part zi_parts_search_choose(const zi_parts_search *search, int kind,
                                      const zi_inspection *model);

/* The component of a kind of parts. */
zi_component zi_part_component(int kind);

/* The parts that were found for a model, and the components that it still lacks. */
typedef struct {
    zi_chosen_part parts[ZI_PARTS];
    char *tokenizer;           /* a folder, owned; NULL: none, or not needed */
    bool lacks[ZI_COMPONENTS]; /* components that neither it nor its parts have */
} zi_model_needs;

/* Sets parts and tokenizer for the model at `path`, in the folder that the search has entered for
 * it, and takes them from out->lacks, where the caller has set what the model itself lacks. model:
 * its inspection; NULL: no parts are chosen for it. The caller frees out->tokenizer. False: memory
 * is short; it is NULL. */
bool zi_parts_search_meet_needs(const zi_parts_search *search, const char *path,
                                const zi_inspection *model, zi_model_needs *out,
                                zi_error *error) ZI_CHECKED;

/* Appends the text encoders and VAEs that models of the list get from a folder of ComfyUI's outside
 * of the models folder, to *out, which is {0} before. The caller frees *out. False: memory is
 * short; *out is {0}. */
bool zi_registry_locate_parts(const zi_registry *registry, const zi_model_locations *models,
                              zi_model_locations *out, zi_error *error) ZI_CHECKED;

#endif
