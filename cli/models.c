/* Which model -m means. */
#include "cli.h"

#include "base/file.h"
#include "base/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#ifdef __APPLE__
#include <mach-o/dyld.h>
#endif

static bool exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0;
}

/* The folder of the running program, symbolic links resolved, in new memory; or NULL. */
static char *program_folder(void)
{
    char *path = NULL;
#ifdef __APPLE__
    char name[4096];
    uint32_t size = sizeof name;
    if (_NSGetExecutablePath(name, &size) == 0) path = realpath(name, NULL);
#else
    path = realpath("/proc/self/exe", NULL);
#endif
    char *slash = path ? strrchr(path, '/') : NULL;
    if (slash) *slash = 0;
    return path;
}

/* dir/sub/demo-model in new memory if it is a folder, or NULL. */
static char *demo_below(const char *dir, const char *sub)
{
    char *share = zi_path_join(dir, sub);
    char *path = share ? zi_path_join(share, "demo-model") : NULL;
    free(share);
    if (path && !zi_is_dir(path)) {
        free(path);
        path = NULL;
    }
    return path;
}

bool zi_models_find_demo(char **path, zi_error *error)
{
    char *folder = program_folder();
    /* As built, as installed and then moved as a whole, as installed. */
    char *found = folder ? demo_below(folder, ZI_SHARE_RELATIVE) : NULL;
    if (!found && folder) found = demo_below(folder, ZI_SHARE_RELATIVE "/zimage");
    if (!found) found = demo_below(ZI_SHARE_INSTALLED, "");
    free(folder);
    if (!found)
        return zi_error_set_in(
            error, ZI_ERROR_NOT_FOUND, NULL, "model",
            "the demo model is neither in %s beside the program nor in %s; name a model",
            ZI_SHARE_RELATIVE, ZI_SHARE_INSTALLED);
    *path = found;
    return true;
}

char *zi_models_advice(const zi_store *store)
{
    zi_precision precision;
    zi_text text;
    char *takes = zi_store_advice(store, &precision);
    if (!takes) return NULL;
    zi_text_init(&text, 2000);
    zi_text_printf(&text, "`zimage download --to mlx --precision %s` gets the real one: %s",
                   zi_precision_names[precision], takes);
    free(takes);
    return zi_text_take(&text);
}

bool zi_models_is_demo(const char *path)
{
    char *demo = NULL;
    bool is = zi_models_find_demo(&demo, NULL) && !strcmp(demo, path);
    free(demo);
    return is;
}

/* ---- finding ---- */

bool zi_models_find(const char *name, char **path, size_t *models, zi_error *error)
{
    zi_place place;
    zi_found found = {0};
    if (!zi_place_read(NULL, &place, error)) return false;
    bool ok = zi_store_find(&place.store, name, &found, error);
    if (!ok && error->code == ZI_ERROR_NOT_FOUND && !strcmp(error->subject, "repo"))
        zi_error_set_in(error, error->code, NULL, "repo", "%s; `zimage download %s` gets it",
                        error->text, name);
    if (ok && !found.path) ok = zi_models_find_demo(&found.path, error);
    zi_place_free(&place);
    if (models) *models = found.models;
    if (ok) *path = found.path;
    return ok;
}

bool zi_models_find_llm(const char *name, const char *model, char **path, zi_error *error)
{
    zi_place place;
    char *found = NULL;
    if (name && !exists(name))
        return zi_error_set_in(error, ZI_ERROR_NOT_FOUND, name, "llm", "no such file or folder");
    if (!zi_place_read(NULL, &place, error)) return false;
    bool ok = name || zi_store_find_llm(&place.store, &found, error);
    zi_place_free(&place);
    if (ok && !found) {
        found = strdup(name ? name : model);
        ok = found || zi_error_no_memory(error, 64);
    }
    if (ok) *path = found;
    return ok;
}
