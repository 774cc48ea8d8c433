/* The embedding cache: returns only embeddings of this text and this encoder; touches only its own
 * files. */
#include "harness.h"

#include "base/file.h"
#include "base/folder.h"
#include "internal.h"

#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { VALUES = 100 };

static const char key[] = "0123456789abcdef0123456789abcdef";

static zi_embedding_cache *open_cache(void)
{
    zi_error error = {0};
    zi_embedding_cache *cache = NULL;
    CHECK_OK(zi_embedding_cache_create(zi_test_path("cache"), &cache, &error), error);
    return cache;
}

static const char *in_cache(const char *name)
{
    static char path[600];
    snprintf(path, sizeof path, "%s/%s", zi_test_path("cache"), name);
    return path;
}

static void keep(void)
{
    float values[VALUES];
    for (int i = 0; i < VALUES; i++) values[i] = (float)i;
    zi_embedding_cache *cache = open_cache();
    zi_embedding_cache_add(cache, key, values, VALUES);
    zi_embedding_cache_free(cache);
}

static bool finds(size_t count)
{
    float values[2 * VALUES] = {0};
    zi_embedding_cache *cache = open_cache();
    bool found = zi_embedding_cache_find(cache, key, values, count);
    for (size_t i = 0; found && i < count; i++) CHECK(values[i] == (float)i);
    zi_embedding_cache_free(cache);
    return found;
}

static void on_the_disk(void)
{
    CHECK(!finds(VALUES));
    keep();
    CHECK(finds(VALUES));
    CHECK(!finds(VALUES - 1) && !finds(VALUES + 1));
    keep();
    CHECK(truncate(in_cache(key), VALUES * sizeof(float) - 4) == 0);
    CHECK(!finds(VALUES));
    keep();
    float damaged[VALUES] = {[VALUES / 2] = NAN};
    zi_test_write_file(in_cache(key), damaged, sizeof damaged);
    CHECK(!finds(VALUES)); /* it would be taken for damage of the model */
    keep();
    CHECK(finds(VALUES));
}

static void make_large(const char *name, time_t when)
{
    const char *path = in_cache(name);
    struct timespec times[2] = {{when, 0}, {when, 0}};
    zi_test_write_file(path, "", 0);
    CHECK(truncate(path, 200 << 20) == 0 && utimensat(AT_FDCWD, path, times, 0) == 0);
}

static bool is_there(const char *name)
{
    return access(in_cache(name), F_OK) == 0;
}

/* The oldest go, of those that are the cache's own. */
static void limits(void)
{
    static const char old[] = "00000000000000000000000000000001",
                      older[] = "00000000000000000000000000000002",
                      longer[] = "000000000000000000000000000000020";
    make_large("thesis.tar", 1000);
    make_large(longer, 1000);
    make_large(older, 2000);
    make_large(old, 3000);
    keep();
    CHECK(is_there("thesis.tar") && is_there(longer) && is_there(old) && is_there(key));
    CHECK(!is_there(older));
}

/* ---- keys ---- */

static const int32_t ids[] = {1, 2, 3};

static void key_of(zi_model *model, bool fast, size_t count, char out[ZI_EMBEDDING_KEY])
{
    zi_embedding_key(model, fast, ids, count, out);
}

/* All that changes embeddings changes the key, and nothing else does. */
static void keys(void)
{
    zi_error error = {0};
    zi_engine *engine = NULL;
    zi_model *model = NULL, *again = NULL, *demo = NULL;
    zi_model_options options = {.path = zi_test_data_path("golden/model")};
    zi_model_options other = {.path = ZI_SHARE "/demo-model"};
    if (!CHECK_OK(zi_engine_create(NULL, &engine, &error) &&
                      zi_model_load(engine, &options, &model, &error) &&
                      zi_model_load(engine, &options, &again, &error) &&
                      zi_model_load(engine, &other, &demo, &error),
                  error))
        return;
    char a[ZI_EMBEDDING_KEY], b[ZI_EMBEDDING_KEY];
    key_of(model, false, 3, a);
    key_of(again, false, 3, b);
    CHECK(!strcmp(a, b) && strlen(a) == ZI_EMBEDDING_KEY - 1);
    key_of(model, true, 3, b);
    CHECK(strcmp(a, b) != 0);
    key_of(model, false, 2, b);
    CHECK(strcmp(a, b) != 0);
    key_of(demo, false, 3, b);
    CHECK(strcmp(a, b) != 0);
    again->config.text.rope_theta += 1; /* the same weights with another config */
    again->digested = false;
    key_of(again, false, 3, b);
    CHECK(strcmp(a, b) != 0);
    again->config.text.rope_theta -= 1;
    again->config.text.eps *= 2;
    again->digested = false;
    key_of(again, false, 3, b);
    CHECK(strcmp(a, b) != 0);
    zi_model_free(model);
    zi_model_free(again);
    zi_model_free(demo);
    zi_engine_free(engine);
}

int main(void)
{
    RUN(on_the_disk);
    RUN(limits);
    RUN(keys);
    return zi_test_result();
}
