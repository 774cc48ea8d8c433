/* Which model -m means. */
#include "cli.h"

#include "base/file.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
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
        return zi_fail(error,
                       "the demo model is neither in %s beside the program nor in %s; "
                       "name a model with -m",
                       ZI_SHARE_RELATIVE, ZI_SHARE_INSTALLED);
    *path = found;
    return true;
}

/* The models folder of the current folder. */
static const char *const shelves[] = {"models/mlx", "models/pytorch", "models/comfyui"};
enum { SHELVES = sizeof shelves / sizeof *shelves };

/* Whether what lies in the models folder is one: a folder or a file of weights. */
static bool is_model(const char *path, const char *name)
{
    const char *dot = strrchr(name, '.');
    if (name[0] == '.') return false;
    if (zi_is_dir(path)) return true;
    return dot && (!strcmp(dot, ".safetensors") || !strcmp(dot, ".gguf")) && zi_is_file(path);
}

/* How many models the models folder has; *path becomes one of them, in new memory. */
static size_t count_models(char **path)
{
    size_t count = 0;
    for (size_t i = 0; i < SHELVES; i++) {
        DIR *shelf = opendir(shelves[i]);
        for (struct dirent *entry; shelf && (entry = readdir(shelf));) {
            char *model = zi_path_join(shelves[i], entry->d_name);
            if (model && is_model(model, entry->d_name)) {
                count++;
                free(*path);
                *path = model;
            } else {
                free(model);
            }
        }
        if (shelf) closedir(shelf);
    }
    return count;
}

static bool find_unnamed(char **path, size_t *models, zi_error *error)
{
    char *only = NULL;
    size_t count = count_models(&only);
    if (models) *models = count;
    if (count == 1) {
        *path = only;
        return true;
    }
    free(only);
    return zi_models_find_demo(path, error);
}

bool zi_models_find(const char *name, char **path, size_t *models, zi_error *error)
{
    if (!name) return find_unnamed(path, models, error);
    char *found = exists(name) ? strdup(name) : NULL;
    for (size_t i = 0; !found && *name && i < SHELVES; i++) {
        found = zi_path_join(shelves[i], name);
        if (found && !exists(found)) {
            free(found);
            found = NULL;
        }
    }
    if (!found)
        return zi_fail(error,
                       "%s: no such file or folder, and no model of that name in %s, %s "
                       "or %s",
                       name, shelves[0], shelves[1], shelves[2]);
    *path = found;
    return true;
}

bool zi_models_find_llm(const char *name, const char *model, char **path, zi_error *error)
{
    static const char shelf[] = "models/prompt_enhancer";
    const char *found = name ? name : zi_is_dir(shelf) ? shelf : model;
    if (!exists(found)) return zi_fail(error, "--llm: %s: no such file or folder", found);
    *path = strdup(found);
    return *path || zi_out_of_memory(error, strlen(found));
}
