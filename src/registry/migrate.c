/* Moves models from the top of the models folder, where older versions kept them, to its sections.
 */
#include "base/file.h"
#include "base/filesystem.h"
#include "registry/registry.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Whether name is that of a section's folder, such as mlx or text_encoders. */
static bool is_section(const char *name)
{
    return zi_section_find(name, strlen(name)) != ZI_SECTION_HUB;
}

/* Returns FOLDER/SECTION/NAME, in new memory; NULL: out of memory. */
static char *section_path(const zi_registry *r, zi_section section, const char *name)
{
    char *dir = zi_path_join(r->options.folder, zi_section_name(section));
    char *to = dir ? zi_path_join(dir, name) : NULL;
    free(dir);
    return to;
}

/* Renames `from` to `to`, making missing folders above; ZI_ERROR_EXISTS if something is at `to`.
 * dry: only checks that nothing is there. */
static bool move_model(const char *from, const char *to, bool dry, zi_error *error)
{
    struct stat st;
    if (lstat(to, &st) == 0)
        return zi_error_set(error, ZI_ERROR_EXISTS, to,
                            "is there already, so %s stays where it is; rename one of the two",
                            from);
    if (dry) return true;
    return zi_make_parent_folders(to, error) &&
           (rename(from, to) == 0 ||
            zi_error_set(error, ZI_ERROR_IO, from, "cannot be moved: %s; it stays where it is",
                         strerror(errno)));
}

/* Moves the model at path, FOLDER/NAME, to its section (dry: not) and appends a row with the
 * result. Takes over path. A model that stays is no failure: its row has the problem. False: out of
 * memory; it was not moved. */
static bool migrate_one(const zi_registry *r, char *path, const char *name, bool dry,
                        zi_migration *out, zi_error *error)
{
    zi_error why = {0};
    zi_section section;
    zi_migrated_model row = {.from = path};
    zi_migrated_model *more = realloc(out->models, (out->count + 1) * sizeof *more);
    if (!more) {
        free(path);
        return zi_error_no_memory(error, sizeof row);
    }
    out->models = more;
    bool ok = zi_registry_detect_section(path, &section, &why);
    if (ok) row.to = section_path(r, section, name);
    ok = ok && (row.to || zi_error_no_memory(&why, strlen(name))) &&
         move_model(path, row.to, dry, &why);
    if (!ok) row.problem = strdup(why.text);
    more[out->count++] = row;
    return ok || row.problem || zi_error_no_memory(error, strlen(why.text));
}

/* Sets the error that the models folder cannot be read, for the reason in errno; returns false. */
static bool fail_folder(const char *folder, zi_error *error)
{
    if (errno == ENOENT || errno == ENOTDIR)
        return zi_error_set_in(error, ZI_ERROR_NOT_FOUND, folder, "models",
                               "this models folder %s; name the folder that has your models",
                               errno == ENOENT ? "does not exist" : "is a file");
    return zi_error_set_in(error, ZI_ERROR_IO, folder, "models",
                           "cannot read this models folder: %s; check its permissions",
                           strerror(errno));
}

bool zi_registry_migrate(zi_registry *registry, bool dry, zi_migration *out, zi_error *error)
{
    const char *folder = registry->options.folder;
    zi_migration result = {0};
    bool ok = true;
    DIR *dir = opendir(folder);
    if (!dir) return fail_folder(folder, error);
    for (const struct dirent *entry; ok && (entry = readdir(dir));) {
        char *path = zi_path_join(folder, entry->d_name);
        ok = path || zi_error_no_memory(error, strlen(folder));
        if (ok && !is_section(entry->d_name) && zi_path_may_be_model(path, entry->d_name))
            ok = migrate_one(registry, path, entry->d_name, dry, &result, error);
        else
            free(path);
    }
    closedir(dir);
    if (ok)
        *out = result;
    else
        zi_migration_free(&result);
    return ok;
}

void zi_migration_free(zi_migration *migration)
{
    if (!migration) return;
    for (size_t i = 0; i < migration->count; i++) {
        free(migration->models[i].from);
        free(migration->models[i].to);
        free(migration->models[i].problem);
    }
    free(migration->models);
    *migration = (zi_migration){0};
}
