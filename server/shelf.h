/* The models that clients may name: those in the models folder, the demo model and the one that the
 * server was started with. */
#ifndef ZI_SERVER_SHELF_H
#define ZI_SERVER_SHELF_H

#include "server/refusal.h"
#include "server/server.h"

#include <cJSON.h>

typedef struct zi_shelf zi_shelf;

bool zi_shelf_create(const zi_server_options *options, zi_shelf **out, zi_error *error) ZI_CHECKED;
void zi_shelf_free(zi_shelf *shelf);

/* Where the model of that name lies; path is free()d by the caller. Nothing outside the models
 * folder is found, whatever links there are. */
bool zi_shelf_find(zi_shelf *shelf, const char *name, const char *field, char **path,
                   zi_refusal *refusal) ZI_CHECKED;

/* The name of the model that draws when none is named; free() it. */
char *zi_shelf_default(zi_shelf *shelf);

/* Makes it the one that draws when none is named, until the server ends. */
bool zi_shelf_choose(zi_shelf *shelf, const char *name, const char *field,
                     zi_refusal *refusal) ZI_CHECKED;

/* Where a new model goes: the path and the name it will have, both free()d by the caller. Refuses
 * what is there already. */
bool zi_shelf_place(zi_shelf *shelf, const char *folder, const char *file, const char *field,
                    char **path, char **name, zi_refusal *refusal) ZI_CHECKED;

/* {"models", "default", "loaded"}; loaded is a name or NULL. */
cJSON *zi_shelf_list(zi_shelf *shelf, const char *loaded);

/* {"model", "inspect"} */
bool zi_shelf_inspect(zi_shelf *shelf, const char *name, const char *loaded, cJSON **out,
                      zi_refusal *refusal) ZI_CHECKED;

/* The folder has changed: what was inspected is inspected again. */
void zi_shelf_changed(zi_shelf *shelf);

#endif
