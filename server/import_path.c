#include "server/import_path.h"

#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { ROOTS = 2, MAX_DEPTH = 8 };

/* Folders that sources may be in, with symbolic links resolved; NULL: none. */
typedef struct {
    char *paths[ROOTS];
} roots;

/* Returns the models folder and the folder of --import with symbolic links resolved. One that is
 * not given or cannot be resolved (missing, no access, out of memory) is NULL. The caller frees
 * them with free_roots. */
static roots resolve_roots(const zi_server_options *o)
{
    return (roots){
        {realpath(o->registry.folder, NULL), o->import ? realpath(o->import, NULL) : NULL}};
}

/* Frees the paths, which may be NULL, not the struct (not NULL), whose pointers are invalid
 * afterwards. */
static void free_roots(roots *r)
{
    for (int i = 0; i < ROOTS; i++) free(r->paths[i]);
}

/* Whether path is strictly below root, compared as text alone; a slash at the end of root does not
 * count. False, too, when root is NULL. */
static bool is_below(const char *root, const char *path)
{
    size_t length = root ? strlen(root) : 0;
    if (length && root[length - 1] == '/') length--; /* the root folder */
    return root && !strncmp(path, root, length) && path[length] == '/' && path[length + 1];
}

/* Whether path is strictly below one of the roots, compared as text alone. */
static bool is_within(const roots *r, const char *path)
{
    for (int i = 0; i < ROOTS; i++)
        if (is_below(r->paths[i], path)) return true;
    return false;
}

static bool is_contained(const roots *r, const char *path, int depth);

/* Whether is_contained holds for the real path of every entry of a folder; true for an empty
 * folder. False, too, when the folder or an entry cannot be read, or out of memory. depth: of the
 * folder, as for is_contained. */
static bool entries_contained(const roots *r, const char *path, int depth)
{
    DIR *dir = opendir(path);
    bool ok = dir != NULL;
    for (const struct dirent *entry; ok && (errno = 0, entry = readdir(dir));) {
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
        char *below = zi_path_join(path, entry->d_name),
             *real = below ? realpath(below, NULL) : NULL;
        ok = real && is_contained(r, real, depth + 1);
        free(real);
        free(below);
    }
    ok = ok && !errno; /* the end, not a failure to read on */
    if (dir) closedir(dir);
    return ok;
}

/* Whether a real path, and everything below it when symbolic links are followed, is within the
 * roots. False, too, for what is neither a file nor a folder, and for what is nested too deep.
 * depth: levels below the path that the check began with; at most 8. */
static bool is_contained(const roots *r, const char *path, int depth)
{
    if (depth > MAX_DEPTH || !is_within(r, path)) return false;
    return zi_is_dir(path) ? entries_contained(r, path, depth) : zi_is_file(path);
}

/* Returns the real path of source in new memory, if it is contained in the roots. A relative source
 * is tried below each root in turn until one path is contained. NULL: none exists and is contained,
 * or out of memory. */
static char *find_within_roots(const roots *r, const char *source)
{
    if (source[0] == '/') {
        char *real = realpath(source, NULL);
        if (real && is_contained(r, real, 0)) return real;
        free(real);
        return NULL;
    }
    for (int i = 0; i < ROOTS; i++) {
        char *path = r->paths[i] ? zi_path_join(r->paths[i], source) : NULL;
        char *real = path ? realpath(path, NULL) : NULL;
        free(path);
        if (real && is_contained(r, real, 0)) return real;
        free(real);
    }
    return NULL;
}

bool zi_import_path_resolve(const zi_server_options *options, const char *source, char **path,
                            zi_http_error *http_error)
{
    roots r = resolve_roots(options);
    char *found = find_within_roots(&r, source);
    free_roots(&r);
    if (found) {
        *path = found;
        return true;
    }
    return zi_http_error_set(
        http_error, 400, "source",
        "source: there is no file or folder of this path that the server may read, since it reads "
        "only below its models folder%s; run `zimage import PATH` on the command line, which "
        "imports from anywhere%s",
        options->import ? " and the folder of --import, and follows no symbolic links out of them"
                        : ", and follows no symbolic links out of it",
        options->import ? "" : ", or start the server with --import DIR to import from DIR, too");
}

bool zi_import_path_in_models_folder(const zi_server_options *options, const char *path)
{
    char *root = realpath(options->registry.folder, NULL);
    bool in_folder = is_below(root, path);
    free(root);
    return in_folder;
}
