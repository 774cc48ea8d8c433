/* The model registry: listing models, resolving names, and the inspection cache. */
#include "harness.h"

#include "base/error.h"
#include "base/file.h"
#include "base/machine.h"
#include "base/filesystem.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define GOLDEN ZI_TEST_DATA "/golden/model"

static char folder[512], cache_file[512];

/* An empty models folder and no cache file. */
static void begin(void)
{
    snprintf(folder, sizeof folder, "%s", zi_test_path("models"));
    snprintf(cache_file, sizeof cache_file, "%s", zi_test_path("cache/inspections.json"));
    if (zi_is_dir(folder)) CHECK(zi_remove_tree(folder, NULL));
    CHECK(zi_make_folders(folder, NULL));
    unlink(cache_file);
}

static const char *in_folder(const char *name)
{
    static char paths[4][600];
    static unsigned turn;
    char *path = paths[turn++ % 4];
    snprintf(path, 600, "%s/%s", folder, name);
    return path;
}

static void put_link(const char *name)
{
    const char *path = in_folder(name);
    CHECK(zi_make_parent_folders(path, NULL) && symlink(GOLDEN, path) == 0);
}

static zi_registry *open_registry(const zi_registry_options *more)
{
    zi_registry_options options = more ? *more : (zi_registry_options){0};
    zi_registry *registry = NULL;
    zi_error error = {0};
    options.folder = folder;
    options.cache_file = cache_file;
    CHECK_OK(zi_registry_open(&options, &registry, &error), error);
    return registry;
}

static void found(zi_registry *registry, const char *name, const char *wanted,
                  zi_resolved_reason as)
{
    zi_resolved_model f = {0};
    zi_error error = {0};
    CHECK_OK(zi_registry_resolve(registry, name, &f, &error), error);
    CHECK_MSG(f.name && !strcmp(f.name, wanted) && f.as == as && f.path,
              "%s as %d instead of %s as %d", f.name ? f.name : "nothing", f.as, wanted, as);
    zi_resolved_model_free(&f);
}

static void not_found(zi_registry *registry, const char *name, const char *subject,
                      const char *says)
{
    zi_resolved_model f = {0};
    zi_error error = {0};
    CHECK(!zi_registry_resolve(registry, name, &f, &error) && !f.name && !f.path);
    CHECK_ERROR(error, ZI_ERROR_NOT_FOUND, subject);
    CHECK_MSG(strstr(error.text, says), "%s", error.text);
}

/* ---- which one is meant ---- */

/* What is asked about before it is removed, and outputs that stay after a failure. */
static void removable_ones(void)
{
    zi_error error = {0};
    char *path = NULL, text[] = "unchanged", *llm = text;
    begin();
    put_link("mlx/one");
    CHECK(zi_make_folders(in_folder(".incoming/two"), NULL));
    zi_registry *registry = open_registry(NULL);
    CHECK_OK(zi_registry_find_removable(registry, "one", &path, &error), error);
    CHECK_MSG(path && !strcmp(path, in_folder("mlx/one")), "%s", path);
    zi_free(path);
    CHECK_OK(zi_registry_find_removable(registry, ".incoming/two", &path, &error), error);
    CHECK_MSG(path && !strcmp(path, in_folder(".incoming/two")), "%s", path);
    zi_free(path);
    path = text;
    CHECK(!zi_registry_find_removable(registry, "three", &path, &error) && path == text);
    CHECK_ERROR(error, ZI_ERROR_NOT_FOUND, "name");
    CHECK(!zi_registry_find_removable(registry, "mlx/x.part-1-0", &path, &error) && path == text);
    CHECK_ERROR(error, ZI_ERROR_NOT_FOUND, "name");
    CHECK(!zi_registry_resolve_llm(registry, "three", &llm, &error) && llm == text);
    zi_registry_close(registry);
}

static void default_model(void)
{
    begin();
    zi_error error = {0};
    zi_registry *registry = open_registry(NULL);
    not_found(registry, NULL, "model", "there is no model");
    zi_registry_close(registry);
    registry = open_registry(&(zi_registry_options){.demo = GOLDEN});
    found(registry, NULL, "demo", ZI_RESOLVED_DEMO);
    put_link("mlx/one");
    put_link("prompt_enhancer/llm");
    found(registry, NULL, "mlx/one", ZI_RESOLVED_ONLY);
    put_link("pytorch/two");
    not_found(registry, NULL, "default",
              "and none is the default: mlx/one, pytorch/two");
    CHECK_OK(zi_registry_set_default(registry, "two", true, &error), error);
    found(registry, NULL, "pytorch/two", ZI_RESOLVED_DEFAULT);
    CHECK_OK(zi_registry_set_default(registry, "mlx/one", false, &error), error);
    found(registry, NULL, "mlx/one", ZI_RESOLVED_DEFAULT);
    zi_registry_close(registry);
    registry = open_registry(NULL);
    found(registry, NULL, "pytorch/two", ZI_RESOLVED_DEFAULT); /* the lasting choice */
    CHECK(!zi_registry_set_default(registry, "prompt_enhancer/llm", true, &error));
    CHECK_ERROR(error, ZI_ERROR_UNSUPPORTED, "prompt_enhancer/llm");
    CHECK(!zi_registry_set_default(registry, "three", true, &error));
    CHECK_ERROR(error, ZI_ERROR_NOT_FOUND, "name");
    CHECK(unlink(in_folder("pytorch/two")) == 0);
    not_found(registry, NULL, "default", "names pytorch/two, which is not there any more");
    zi_registry_close(registry);
    registry = open_registry(&(zi_registry_options){.model = GOLDEN});
    found(registry, NULL, "named/model", ZI_RESOLVED_DEFAULT);
    zi_registry_close(registry);
    registry = open_registry(&(zi_registry_options){.model = in_folder("mlx/one")});
    CHECK_MSG(registry != NULL, "no registry");
    CHECK_OK(zi_registry_set_default(registry, "mlx/one", false, &error), error);
    CHECK(unlink(in_folder("mlx/one")) == 0);
    not_found(registry, NULL, "default", "the default model, mlx/one, is not there any more");
    zi_registry_close(registry);
}

static void names_and_paths(void)
{
    begin();
    put_link("mlx/one");
    CHECK(mkdir(in_folder("comfyui"), 0777) == 0);
    CHECK(mkdir(in_folder("comfyui/inside"), 0777) == 0);
    zi_registry *open = open_registry(NULL);
    zi_registry *closed = open_registry(&(zi_registry_options){.demo = GOLDEN, .names_only = true});
    found(open, "one", "mlx/one", ZI_RESOLVED_NAMED);
    found(open, "mlx/one", "mlx/one", ZI_RESOLVED_NAMED);
    found(open, GOLDEN, GOLDEN, ZI_RESOLVED_NAMED);
    not_found(open, "nobody", "name", "no such file or folder");
    not_found(open, "no/body", "repo", "nor a whole one in the cache of Hugging Face");
    found(closed, "inside", "comfyui/inside", ZI_RESOLVED_NAMED);
    found(closed, "demo", "demo", ZI_RESOLVED_NAMED);
    not_found(closed, "mlx/one", "name", "no such model"); /* it leads out of the folder */
    not_found(closed, GOLDEN, "name", "no such model");
    not_found(closed, "../models/comfyui/inside", "name", "no such model");
    zi_registry_close(open);
    zi_registry_close(closed);
}

/* Of a link within the folder, only the link goes; what it points to stays, however it was found.
 */
static void removing_links(void)
{
    for (int names_only = 0; names_only < 2; names_only++) {
        begin();
        zi_error error = {0};
        struct stat st;
        CHECK(zi_make_folders(in_folder("mlx/real"), NULL) &&
              symlink("real", in_folder("mlx/link")) == 0);
        zi_registry *registry = open_registry(&(zi_registry_options){.names_only = names_only});
        CHECK_OK(zi_registry_remove(registry, "mlx/link", &error), error);
        CHECK(zi_is_dir(in_folder("mlx/real")) && lstat(in_folder("mlx/link"), &st) != 0);
        CHECK_OK(zi_registry_remove(registry, "real", &error), error);
        CHECK(!zi_is_dir(in_folder("mlx/real")));
        zi_registry_close(registry);
    }
}

/* The models folder may come after the registry. */
static void folder_that_comes_later(void)
{
    begin();
    CHECK(zi_remove_tree(folder, NULL));
    zi_error error = {0};
    char *path = NULL, *name = NULL;
    zi_registry *registry = open_registry(&(zi_registry_options){.names_only = true});
    not_found(registry, "inside", "name", "no such model");
    CHECK_OK(zi_registry_new_path(registry, ZI_SECTION_MLX, "new", &path, &name, &error), error);
    CHECK(path && name && !strcmp(name, "mlx/new"));
    free(path);
    free(name);
    CHECK(zi_make_folders(in_folder("comfyui/inside"), NULL));
    found(registry, "inside", "comfyui/inside", ZI_RESOLVED_NAMED);
    zi_registry_close(registry);
}

static void names_of_new_models(void)
{
    static const struct {
        const char *name, *says;
    } rows[] = {{"", "it is empty"},   {".x", "begin with a dot"},
                {"a/b", "a slash"},    {"a\\b", "a backslash"},
                {"a:b", "a colon"},    {"a\nb", "a control character"},
                {"\xff", "not UTF-8"}, {"x.part-1-0", "unfinished"}};
    begin();
    char *path = NULL, *name = NULL;
    zi_error error = {0};
    zi_registry *registry = open_registry(NULL);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        CHECK(!zi_registry_new_path(registry, ZI_SECTION_MLX, rows[i].name, &path, &name, &error));
        CHECK_ERROR(error, ZI_ERROR_INVALID_ARGUMENT, "name");
        CHECK_MSG(strstr(error.text, rows[i].says), "%s", error.text);
    }
    zi_registry_close(registry);
}

/* ---- inspections ---- */

static bool count(void *user)
{
    ++*(size_t *)user;
    return true;
}

/* How many models it had to inspect; the list is then free of unknown ones. */
static size_t inspect(zi_registry *registry, zi_registry_list *list)
{
    size_t inspected = 0;
    zi_error error = {0};
    CHECK_OK(zi_registry_inspect_all(registry, count, &inspected, &error), error);
    CHECK_OK(zi_registry_read(registry, list, &error), error);
    CHECK(list->unknown == 0);
    return inspected;
}

static size_t inspect_anew(zi_registry_list *list)
{
    zi_registry *registry = open_registry(NULL);
    size_t inspected = inspect(registry, list);
    zi_registry_close(registry);
    return inspected;
}

/* Replaces the first `from` in a file by `to`, which is as long. */
static void edit(const char *path, const char *from, const char *to)
{
    char *data = NULL;
    size_t size;
    CHECK(zi_file_read(path, 1 << 24, &data, &size, NULL));
    char *at = data ? strstr(data, from) : NULL;
    CHECK_MSG(at && strlen(from) == strlen(to), "%s is not in %s", from, path);
    if (at) memcpy(at, to, strlen(to));
    zi_test_write_file(path, data, size);
    free(data);
}

static void kept_inspections(void)
{
    zi_registry_list list;
    begin();
    put_link("pytorch/good");
    CHECK(mkdir(in_folder("mlx"), 0777) == 0 && mkdir(in_folder("mlx/bad"), 0777) == 0);
    CHECK(inspect_anew(&list) == 2);
    CHECK(list.count == 2 && !strcmp(list.entries[1].name, "pytorch/good"));
    CHECK(list.entries[0].inspection->health == ZI_HEALTH_DAMAGED);
    CHECK(list.entries[0].inspection->problem_count == 1);
    zi_problem problem = list.entries[0].inspection->problems[0];
    CHECK_MSG(problem.code == ZI_ERROR_NOT_FOUND || problem.code == ZI_ERROR_BAD_FORMAT,
              "code %d: %s", problem.code, problem.text);
    CHECK(list.entries[1].inspection->health == ZI_HEALTH_GOOD);
    char *json = zi_inspection_json(list.entries[1].inspection);
    zi_registry_list_free(&list);

    CHECK(inspect_anew(&list) == 0); /* from the file, and the same in all */
    char *again = zi_inspection_json(list.entries[1].inspection);
    CHECK_MSG(json && again && !strcmp(json, again), "%s\ninstead of\n%s", again, json);
    CHECK(list.entries[0].inspection->problem_count == 1 &&
          list.entries[0].inspection->health == ZI_HEALTH_DAMAGED);
    free(json);
    free(again);
    zi_registry_list_free(&list);

    edit(cache_file, "\"Z-Image-Turbo\"", "\"Z-image-turbo\"");
    CHECK(inspect_anew(&list) == 0);
    CHECK_MSG(!strcmp(list.entries[1].inspection->architecture, "Z-image-turbo"), "%s",
              list.entries[1].inspection->architecture);
    zi_registry_list_free(&list);

    zi_test_write_file(in_folder("mlx/bad/config.json"), "{}", 2); /* it has changed */
    CHECK(inspect_anew(&list) == 1);
    zi_registry_list_free(&list);
    usleep(20000); /* times of files advance in steps of up to 10 ms */
    zi_test_write_file(in_folder("mlx/bad/config.json"), "[]",
                       2); /* and again, with the same size */
    CHECK(inspect_anew(&list) == 1);
    zi_registry_list_free(&list);

    edit(cache_file, "{\"version\"", "<\"version\""); /* damaged: as if it were not there */
    CHECK(inspect_anew(&list) == 2);
    zi_registry_list_free(&list);
    edit(cache_file, "\"format\":3", "\"format\":9"); /* of another version */
    CHECK(inspect_anew(&list) == 2);
    zi_registry_list_free(&list);

    CHECK(unlink(in_folder("pytorch/good")) == 0); /* it goes when something new comes */
    put_link("pytorch/other");
    CHECK(inspect_anew(&list) == 1);
    zi_registry_list_free(&list);
    char *data = NULL;
    size_t size;
    CHECK(zi_file_read(cache_file, 1 << 24, &data, &size, NULL));
    CHECK_MSG(data && strstr(data, "pytorch/other") && !strstr(data, "pytorch/good"), "%s", data);
    free(data);
}

/* Replaces a text in a file, from its first part to its last, by `to` and spaces. */
static void edit_range(const char *path, const char *first, const char *last, const char *to)
{
    char *data = NULL;
    size_t size;
    CHECK(zi_file_read(path, 1 << 24, &data, &size, NULL));
    char *at = data ? strstr(data, first) : NULL, *end = at ? strstr(at, last) : NULL;
    size_t room = end ? (size_t)(end - at) + strlen(last) : 0;
    if (CHECK_MSG(strlen(to) <= room, "no %s in %s, or too short", first, path)) {
        memset(at, ' ', room);
        memcpy(at, to, strlen(to));
        zi_test_write_file(path, data, size);
    }
    free(data);
}

/* Entries of a cache whose values have other types than they should: each is as if it were not
 * there. */
static void damaged_entries(void)
{
    static const struct {
        const char *first, *last, *to;
    } damages[] = {
        {"\"types\":{", "}", "\"types\":[1, 2]"},
        {"\"types\":{", "}", "\"types\":[{}]"},
        {"\"path\":", ",", "\"path\":7,"},
        {"\"missing\":", "\"remarks\":[],", "\"remarks\":[7],"},
        {"\"missing\":", "\"causes\":[],", "\"problems\":[7],\"causes\":[7],"},
        {"\"missing\":", "\"causes\":[],", "\"problems\":[7],"},
        {"\"missing\":", "\"causes\":[],", "\"problems\":\"\",\"causes\":[{}],"},
        {"\"place\":", ",", "\"place\":7,"},
        {"\"state\":", "}", "\"state\":7}"},
        {"\"models\":[", "]}\n", "\"models\":[[7]]}"},
        {"\"models\":[", "]}\n", "\"models\":7}"},
    };
    zi_registry_list list;
    for (size_t i = 0; i < sizeof damages / sizeof *damages; i++) {
        begin();
        put_link("pytorch/good");
        CHECK(inspect_anew(&list) == 1);
        zi_registry_list_free(&list);
        edit_range(cache_file, damages[i].first, damages[i].last, damages[i].to);
        CHECK_MSG(inspect_anew(&list) == 1, "%s is taken", damages[i].to);
        CHECK(list.count == 1 && list.entries[0].inspection->health == ZI_HEALTH_GOOD);
        zi_registry_list_free(&list);
    }
}

/* A cache that cannot be written costs time and nothing else. */
static void no_place_for_the_cache(void)
{
    zi_registry_list list;
    begin();
    put_link("mlx/one");
    snprintf(cache_file, sizeof cache_file, "/dev/null/inspections.json");
    CHECK(inspect_anew(&list) == 1);
    zi_registry_list_free(&list);
}

/* What could not be written is written by the next call, when there is room again. */
static void cache_is_written_again(void)
{
    zi_error error = {0};
    const char *place = zi_test_path("cache");
    begin();
    put_link("mlx/one");
    CHECK(rename(place, zi_test_path("moved")) == 0 || !zi_is_dir(place));
    zi_test_write_file(place, "", 0);
    zi_registry *registry = open_registry(NULL);
    CHECK_OK(zi_registry_inspect_all(registry, NULL, NULL, &error), error);
    CHECK(unlink(zi_test_path("cache")) == 0 && !zi_is_file(cache_file));
    CHECK_OK(zi_registry_inspect_all(registry, NULL, NULL, &error), error);
    CHECK(zi_is_file(cache_file));
    zi_registry_close(registry);
}

/* Reading a list costs little: it looks into no model. */
static void many_models(void)
{
    enum { MANY = 200 };
    zi_registry_list list;
    begin();
    for (int i = 0; i < MANY; i++) {
        char name[40];
        snprintf(name, sizeof name, "mlx/model-%d", i);
        put_link(name);
    }
    double began = zi_monotonic_seconds();
    CHECK(inspect_anew(&list) == MANY);
    zi_registry_list_free(&list);
    double first = zi_monotonic_seconds() - began, best = first;
    for (int i = 0; i < 3; i++) {
        began = zi_monotonic_seconds();
        zi_registry *registry = open_registry(NULL);
        zi_error error = {0};
        CHECK_OK(zi_registry_read(registry, &list, &error), error);
        CHECK(list.count == MANY && list.unknown == 0);
        zi_registry_list_free(&list);
        zi_registry_close(registry);
        double taken = zi_monotonic_seconds() - began;
        if (taken < best) best = taken;
    }
    printf("%d models: %.1f ms to inspect, %.1f ms to list\n", MANY, 1000 * first, 1000 * best);
    CHECK_MSG(best < first / 5, "%.1f ms after %.1f ms", 1000 * best, 1000 * first);
}

/* ---- model hashes ---- */

/* Writes a file of `size` bytes, zeros but for the first. */
static void put_weights(const char *path, long size, char first)
{
    CHECK(zi_make_parent_folders(path, NULL));
    FILE *file = fopen(path, "wb");
    CHECK(file && fputc(first, file) >= 0 && fseek(file, size - 1, SEEK_SET) == 0 &&
          fputc(0, file) >= 0);
    if (file) fclose(file);
}

static bool never(void *user)
{
    ++*(int *)user;
    return false;
}

static void expect_hash(zi_registry *registry, const char *path, bool compute, const char *wanted)
{
    char hash[ZI_MODEL_HASH] = "?";
    zi_error error = {0};
    CHECK_OK(zi_registry_model_hash(registry, path, compute, NULL, NULL, hash, &error), error);
    CHECK_MSG(!strcmp(hash, wanted), "%s: \"%s\", not \"%s\"", path, hash, wanted);
}

/* Large files are read only when asked for, and once; small ones at once; those of the hub's cache
 * never. The digests are those of sha256sum. */
static void model_hashes(void)
{
    const long large = 70 << 20;
    static const char blob[] = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
    char path[600], link[100], hash[ZI_MODEL_HASH] = "?";
    int asked = 0;
    zi_error error = {0};
    begin();
    unlink(zi_test_path("cache/hashes.json"));
    zi_registry *registry = open_registry(NULL);
    snprintf(path, sizeof path, "%s", in_folder("comfyui/large.safetensors"));
    put_weights(path, large, 'a');
    expect_hash(registry, path, false, "");
    CHECK(!zi_registry_model_hash(registry, path, true, never, &asked, hash, &error));
    CHECK_ERROR(error, ZI_ERROR_CANCELLED, "");
    CHECK(asked == 1 && !strcmp(hash, "?"));
    expect_hash(registry, path, true, "f5506ed4c8");
    CHECK(zi_registry_model_hash(registry, path, true, never, &asked, hash, &error) && asked == 1);
    zi_registry_close(registry);
    registry = open_registry(NULL); /* it was stored */
    expect_hash(registry, path, false, "f5506ed4c8");
    put_weights(path, large, 'b');
    expect_hash(registry, path, false, "");
    expect_hash(registry, path, true, "25aa10a475");
    put_weights(in_folder("small/transformer/b.safetensors"), 10, 'b');
    put_weights(in_folder("small/transformer/a.safetensors"), 10, 'a');
    put_weights(in_folder("small/transformer/.c.safetensors"), 10, 'c');
    put_weights(in_folder("small/vae/a.safetensors"), 10, 'v');
    expect_hash(registry, in_folder("small"), false, "7b771da26f");
    expect_hash(registry, in_folder("small/transformer/b.safetensors"), false, "89a3d23f57");
    expect_hash(registry, in_folder("none"), true, "");
    CHECK(zi_make_folders(in_folder("empty"), NULL));
    expect_hash(registry, in_folder("empty"), true, "");
    snprintf(path, sizeof path, "%s/%s", in_folder("hub/blobs"), blob);
    snprintf(link, sizeof link, "../../../blobs/%s", blob);
    put_weights(path, large, 'h');
    CHECK(zi_make_folders(in_folder("hub/snapshots/1/transformer"), NULL) &&
          symlink(link, in_folder("hub/snapshots/1/transformer/model.safetensors")) == 0);
    expect_hash(registry, in_folder("hub/snapshots/1"), false, "0011223344");
    FILE *file = fopen(zi_test_path("cache/hashes.json"), "w");
    CHECK(file && fputs("[{\"path\": 1}, 2, {\"sha256\": \"x\"}", file) >= 0);
    if (file) fclose(file);
    expect_hash(registry, in_folder("comfyui/large.safetensors"), false, "");
    expect_hash(registry, in_folder("comfyui/large.safetensors"), true, "25aa10a475");
    zi_registry_close(registry);
}

int main(void)
{
    RUN(default_model);
    RUN(removable_ones);
    RUN(names_and_paths);
    RUN(removing_links);
    RUN(folder_that_comes_later);
    RUN(names_of_new_models);
    RUN(kept_inspections);
    RUN(damaged_entries);
    RUN(no_place_for_the_cache);
    RUN(cache_is_written_again);
    RUN(many_models);
    RUN(model_hashes);
    return zi_test_result();
}
