/* No thread allocates or frees memory in the step loop, and short memory is reported as what it is.
 * The program replaces malloc and related functions, for libraries as well, counts calls and lets
 * single ones fail. glibc only. */
#include "base/file.h"
#include "base/pool.h"
#include "convert/component_config.h"
#include "harness.h"
#include "internal.h"
#include "io/formats.h"
#include "io/json.h"
#include "model/lm.h"
#include "quantized_model.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#ifdef __GLIBC__

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *block, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void __libc_free(void *block);

static atomic_size_t calls;

static atomic_long left = -1; /* blocks that are still given before one is refused; below 0: all */

static bool fails(void)
{
    if (atomic_load(&left) < 0 || atomic_fetch_sub(&left, 1) != 0) return false;
    errno = ENOMEM;
    return true;
}

void *malloc(size_t size)
{
    atomic_fetch_add(&calls, 1);
    if (fails()) return NULL;
    return __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    atomic_fetch_add(&calls, 1);
    if (fails()) return NULL;
    return __libc_calloc(count, size);
}

void *realloc(void *block, size_t size)
{
    atomic_fetch_add(&calls, 1);
    if (fails()) return NULL;
    return __libc_realloc(block, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    atomic_fetch_add(&calls, 1);
    if (fails()) return NULL;
    return __libc_memalign(alignment, size);
}

int posix_memalign(void **out, size_t alignment, size_t size)
{
    atomic_fetch_add(&calls, 1);
    if (fails()) return ENOMEM;
    *out = __libc_memalign(alignment, size);
    return *out ? 0 : ENOMEM;
}

void free(void *block)
{
    atomic_fetch_add(&calls, 1);
    __libc_free(block);
}

/* ---- the counter counts ---- */

static void *volatile kept; /* no compiler may leave a pair of malloc and free out */

static void allocate(void *context, size_t task, size_t worker)
{
    (void)context;
    (void)worker;
    if (task == 0) usleep(20000); /* so that the other thread takes the other task */
    void *block = malloc(100);
    if (task == 1) kept = block;
    free(block);
}

static void the_counter_counts(void)
{
    size_t before = calls;
    kept = malloc(1);
    kept = realloc(kept, 2);
    free(kept);
    kept = calloc(1, 1);
    free(kept);
    kept = aligned_alloc(64, 64);
    free(kept);
    CHECK_MSG(calls - before == 7, "%zu calls of 7", calls - before);
    zi_pool *pool = NULL;
    zi_error error = {0};
    if (!CHECK_OK(zi_pool_create(2, &pool, &error), error)) return;
    zi_pool_run(pool, 2, allocate, NULL); /* now the threads have let go of what started them */
    before = calls;
    zi_pool_run(pool, 2, allocate, NULL);
    CHECK_MSG(calls - before == 4, "%zu calls of 4 in two threads", calls - before);
    zi_pool_free(pool);
}

/* ---- the loop ---- */

typedef struct {
    size_t first, last; /* calls that were counted at the loop's first and last report */
    int reports;
    bool allocate; /* the callback itself does */
} watcher;

static bool watch(void *user, const zi_progress *p)
{
    watcher *w = user;
    if (p->stage != ZI_STAGE_STEP) return true;
    w->last = calls;
    if (w->reports++ == 0) w->first = w->last;
    if (w->allocate) {
        kept = malloc(1);
        free(kept);
    }
    return true;
}

static watcher draw(zi_model *model, zi_compute compute, double guidance, bool allocate)
{
    watcher w = {.allocate = allocate};
    zi_image *image = NULL;
    zi_error error = {0};
    zi_request request = zi_request_default();
    request.prompt = "a red circle on a blue background";
    request.negative = "noise";
    request.width = 96;
    request.height = 64;
    request.steps = 4;
    request.guidance = guidance;
    request.compute = compute;
    request.progress = watch;
    request.user = &w;
    CHECK_OK(zi_generate(model, &request, &image, &error), error);
    zi_image_free(image);
    return w;
}

static zi_engine *engine;
static zi_model *model;

static void load(const char *path)
{
    zi_error error = {0};
    zi_model_free(model);
    model = NULL;
    CHECK_OK(zi_model_load(engine, &(zi_model_options){.path = path}, &model, &error), error);
}

static void loops(void)
{
    static const zi_compute computes[] = {ZI_COMPUTE_EXACT, ZI_COMPUTE_FAST};
    for (int i = 0; i < 2; i++)
        for (double guidance = 0; guidance < 3; guidance += 2) {
            watcher w = draw(model, computes[i], guidance, false);
            CHECK_MSG(w.reports >= 4 * 3, "%d reports", w.reports);
            CHECK_MSG(w.first == w.last, "compute %d, guidance %g: %zu calls in %d layers", i,
                      guidance, w.last - w.first, w.reports);
        }
}

static void as_stored(void)
{
    load(zi_test_data_path("golden/model"));
    if (model) loops();
}

static void quantized(void)
{
    load(zi_test_quantized_model(zi_test_data_path("golden/model")));
    if (model) loops();
}

static void a_call_in_the_loop_is_noticed(void)
{
    watcher w = draw(model, ZI_COMPUTE_AUTO, 0, true);
    CHECK_MSG(w.last - w.first == 2 * ((size_t)w.reports - 1), "%zu calls, %d reports",
              w.last - w.first, w.reports);
}

/* ---- short memory ---- */

/* Runs `run` again and again, each time with another block refused, until none is or `max_runs`
 * have been. run: does its work, checks a result, and returns false with an error after a failure,
 * which must be ZI_ERROR_NO_MEMORY. Some failures may be without consequence. */
static void refuse_each(const char *what, bool (*run)(zi_error *error), long first, long step,
                        int max_runs)
{
    int failed = 0;
    for (int i = 0; i < max_runs; i++) {
        zi_error error = {0};
        long n = first + i * step;
        atomic_store(&left, n);
        bool ok = run(&error);
        bool refused = atomic_exchange(&left, -1) < 0;
        CHECK_MSG(ok || error.code == ZI_ERROR_NO_MEMORY, "%s, block %ld: code %d: %s", what, n,
                  error.code, error.text);
        CHECK_MSG(ok || refused, "%s fails with all memory: %s", what, error.text);
        failed += !ok;
        if (!refused) break;
    }
    CHECK_MSG(failed > 0, "%s never failed", what);
}

static bool read_json(zi_error *error)
{
    cJSON *json = NULL;
    bool ok = zi_json_read(zi_test_data_path("golden/model/transformer/config.json"), 1 << 20,
                           &json, error);
    cJSON_Delete(json);
    return ok;
}

static bool read_safetensors(zi_error *error)
{
    zi_checkpoint checkpoint;
    if (!zi_checkpoint_open(zi_test_data_path("golden/comfyui/seed_single_file.safetensors"),
                            &checkpoint, error))
        return false;
    zi_checkpoint_close(&checkpoint);
    return true;
}

static zi_checkpoint with_formats;

static bool accept_format(void *context, const char *file, const char *layer,
                          zi_layer_format format, zi_error *error)
{
    (void)context;
    (void)file;
    (void)error;
    return CHECK(strcmp(layer, "a") == 0 && format.kind == ZI_QUANTIZATION_FP8_E4M3);
}

static bool read_formats(zi_error *error)
{
    return zi_formats_check(&with_formats, error) &&
           zi_formats_read_metadata(&with_formats, accept_format, NULL, error);
}

static zi_source source;
static char *mlx_config; /* with all memory */

static bool make_mlx_config(zi_error *error)
{
    const zi_write_plan plan = {0};
    char *text = NULL;
    zi_component_config of = {&source, zi_test_data_path("golden/model/transformer/config.json"),
                              ZI_NAMES_MLX, ZI_PRECISION_ORIGINAL, &plan};
    if (!zi_component_config_text(&of, &text, error)) return false;
    CHECK_MSG(!mlx_config || !strcmp(text, mlx_config), "%s", text);
    if (!mlx_config)
        mlx_config = text;
    else
        free(text);
    return true;
}

static char *config; /* with all memory */

static bool make_config(zi_error *error)
{
    cJSON *json = NULL;
    if (!zi_component_config_json(&source, NULL, &json, error)) return false;
    long saved = atomic_exchange(&left, -1);
    char *text = cJSON_Print(json);
    cJSON_Delete(json);
    CHECK_MSG(!config || !strcmp(text, config), "%s", text);
    if (!config)
        config = text;
    else
        free(text);
    atomic_store(&left, saved);
    return true;
}

/* Configs are whole, or there are none. */
static void configs(void)
{
    static const char *const folders[] = {"transformer", "text_encoder", "vae"};
    static const char *const stems[] = {"diffusion_pytorch_model", "model",
                                        "diffusion_pytorch_model"};
    for (int part = 0; part < ZI_WEIGHT_COMPONENTS; part++) {
        zi_checkpoint checkpoint;
        zi_error error = {0};
        char path[600];
        snprintf(path, sizeof path, "%s/%s", zi_test_data_path("golden/model"), folders[part]);
        if (!CHECK_OK(zi_checkpoint_open_dir(path, stems[part], &checkpoint, &error), error))
            return;
        const zi_checkpoint *one = &checkpoint;
        CHECK_OK(zi_source_create(&one, 1, (zi_component)part, 0, &source, &error), error);
        CHECK_OK(make_config(&error), error);
        refuse_each("a config", make_config, 0, 1, 1000);
        if (part == ZI_COMPONENT_TRANSFORMER) {
            CHECK_OK(make_mlx_config(&error), error);
            refuse_each("MLX's config", make_mlx_config, 0, 1, 1000);
        }
        free(config);
        free(mlx_config);
        config = mlx_config = NULL;
        zi_source_free(&source);
        zi_checkpoint_close(&checkpoint);
    }
}

static void files(void)
{
    zi_error error = {0};
    if (!CHECK_OK(
            zi_checkpoint_open(zi_test_data_path("golden/comfyui/seed_single_file.safetensors"),
                               &with_formats, &error),
            error))
        return;
    CHECK_OK(zi_checkpoint_add_metadata(&with_formats, "_quantization_metadata",
                                        "{\"layers\": {\"a\": {\"format\": \"float8_e4m3fn\"}}}",
                                        &error),
             error);
    refuse_each("JSON", read_json, 0, 1, 1000);
    refuse_each("safetensors", read_safetensors, 0, 7, 1000);
    refuse_each("formats", read_formats, 0, 1, 1000);
    zi_checkpoint_close(&with_formats);
}

static bool load_language_model(zi_error *error)
{
    zi_lm lm = {0};
    zi_model_options options = {.path = zi_test_path("language")};
    bool ok = zi_lm_load(&options, engine->backend, &lm, error);
    zi_lm_free(&lm);
    return ok;
}

/* A folder of one GGUF file is not taken for another kind of model. */
static void language_models(void)
{
    char target[600];
    snprintf(target, sizeof target, "%s", zi_test_data_path("golden/enhancer/gguf/q8_0.gguf"));
    if (!zi_is_dir(zi_test_path("language")))
        CHECK(mkdir(zi_test_path("language"), 0777) == 0 &&
              symlink(target, zi_test_path("language/a.gguf")) == 0);
    refuse_each("a language model", load_language_model, 0, 1, 40);
}

static bool verify(zi_error *error)
{
    zi_verification *v = NULL;
    zi_model_options options = {.path = zi_test_data_path("golden/model")};
    bool ok = zi_verify(engine, &options, NULL, NULL, NULL, &v, error);
    if (ok && !v->passed)
        for (size_t i = 0; i < v->check_count; i++)
            CHECK_MSG(v->checks[i].passed, "%s: %s", v->checks[i].name, v->checks[i].text);
    if (ok) zi_verification_free(v);
    return ok;
}

static bool encode_image(zi_error *error)
{
    static uint8_t pixels[64 * 64 * 3];
    zi_image image = {64, 64, pixels};
    zi_save_options options = {.format = ZI_FORMAT_PNG};
    uint8_t *data = pixels;
    size_t size = 7;
    bool ok = zi_image_encode(&image, &options, &data, &size, error);
    CHECK(ok || (data == pixels && size == 7)); /* a failure leaves them */
    if (ok) zi_free(data);
    return ok;
}

static void images(void)
{
    refuse_each("an image", encode_image, 0, 1, 1000);
}

/* Short memory says nothing about the model. */
static void verification(void)
{
    refuse_each("verify", verify, 40, 1511, 8);
}

int main(void)
{
    zi_error error = {0};
    RUN(the_counter_counts);
    for (int threads = 1; threads <= 4; threads += 3) {
        zi_engine_options options = {.threads = threads};
        if (!CHECK_OK(zi_engine_create(&options, &engine, &error), error)) return 1;
        RUN(as_stored);
        RUN(quantized);
        RUN(a_call_in_the_loop_is_noticed);
        if (threads == 1) {
            RUN(files);
            RUN(configs);
            RUN(language_models);
            RUN(images);
            RUN(verification);
        }
        zi_model_free(model);
        model = NULL;
        zi_engine_free(engine);
    }
    return zi_test_result();
}

#else

int main(void)
{
    printf("SKIP: only glibc lets a program count its allocations this way\n");
    return 0;
}

#endif
