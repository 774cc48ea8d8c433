/* zimage generate: a prompt becomes a picture file, or several. */
#include "cli.h"

#include "base/file.h"
#include "base/text.h"

#include <cJSON.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <unistd.h>

typedef struct {
    const zi_command *command;
    const char *output, *aspect, *trace, *llm, *template;
    int quality, enhance;
    bool json, quiet, random;
    char *composed, *enhanced; /* prompts of our own */
    zi_found found;            /* the model */
    zi_engine_options engine;
    zi_model_options load;
    zi_generation generation;
} call;

enum { OWN_OPTIONS = 16 };
enum { ENHANCE = 1, ENHANCE_TRY };

/* The options, bound to c: those of the generation parameters and this command's own. The caller
 * keeps the arrays. */
static void bind_options(call *c, zi_option options[ZI_MAX_PARAMETERS + OWN_OPTIONS],
                         zi_option_text texts[ZI_MAX_PARAMETERS])
{
    const zi_option own[] = {
        {"aspect", 0, ZI_OPTION_TEXT, &c->aspect, 0, 0, "W:H",
         "instead of width and height: the model's size as the shorter side", NULL},
        {"output", 'o', ZI_OPTION_TEXT, &c->output, 0, 0, "FILE",
         ".png, .jpg or .webp (zimage-SEED.png)", NULL},
        {"quality", 0, ZI_OPTION_INT, &c->quality, 1, 100, "N", "of JPEG and WebP (95)", NULL},
        {"enhance", 0, ZI_OPTION_LEVEL, &c->enhance, 0, 0, "try",
         "let a language model make more of the prompt; try: draw even if it fails", NULL},
        {"llm", 0, ZI_OPTION_TEXT, &c->llm, 0, 0, "PATH",
         "it (models/prompt_enhancer, or the model's own text encoder)", NULL},
        {"template", 0, ZI_OPTION_TEXT, &c->template, 0, 0, "FILE",
         "what it is told, with {prompt} in it", NULL},
        {"random-prompt", 0, ZI_OPTION_FLAG, &c->random, 0, 0, NULL,
         "instead of --prompt: one made up from the seed", NULL},
        {"vae", 0, ZI_OPTION_TEXT, &c->load.vae, 0, 0, "FILE|DIR", "instead of MODEL's", NULL},
        {"text-encoder", 0, ZI_OPTION_TEXT, &c->load.text_encoder, 0, 0, "FILE|DIR",
         "instead of MODEL's", NULL},
        {"reference", 0, ZI_OPTION_TEXT, &c->load.reference, 0, 0, "DIR",
         "a folder that lends what MODEL lacks", NULL},
        {"threads", 0, ZI_OPTION_INT, &c->engine.threads, 1, 1024, "N", "(all the machine has)",
         NULL},
        {"cpu", 0, ZI_OPTION_TEXT, &c->engine.cpu, 0, 0, "TIER", "kernels to use (the best)", NULL},
        {"trace", 0, ZI_OPTION_TEXT, &c->trace, 0, 0, "FILE",
         "write what happened as tensors, .safetensors", NULL},
        {"json", 0, ZI_OPTION_FLAG, &c->json, 0, 0, NULL, "one event a line on standard output",
         NULL},
        {"quiet", 'q', ZI_OPTION_FLAG, &c->quiet, 0, 0, NULL, "no bar and no remarks", NULL},
        {0},
    };
    _Static_assert(sizeof own / sizeof *own <= OWN_OPTIONS, "room for all options");
    memcpy(options + zi_parameter_options(&c->generation, options, texts), own, sizeof own);
}

/* ---- names of files ---- */

/* path with -number before its extension, in new memory. */
static char *numbered(const char *path, uint64_t number)
{
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
    const char *dot = strrchr(base, '.');
    size_t stem = dot && dot != base ? (size_t)(dot - path) : strlen(path);
    zi_text name;
    zi_text_init(&name, strlen(path) + 32);
    zi_text_append(&name, path, stem);
    zi_text_printf(&name, "-%" PRIu64, number);
    zi_text_puts(&name, path + stem);
    return zi_text_take(&name);
}

/* Where picture number i (from 0) goes, in new memory: to -o, or to a default name that is free. */
static char *picture_path(const call *c, int i)
{
    if (c->output)
        return c->generation.count > 1 ? numbered(c->output, (uint64_t)i + 1) : strdup(c->output);
    char name[64];
    snprintf(name, sizeof name, "zimage-%" PRIu64 ".png", c->generation.request.seed + (uint64_t)i);
    char *path = strdup(name);
    for (uint64_t n = 2; path && access(path, F_OK) == 0; n++) {
        free(path);
        path = numbered(name, n);
    }
    return path;
}

/* Whether the name tells a format; the library says so too, but only when the picture is done. */
static bool check_extension(const char *path, zi_error *error)
{
    static const char *const known[] = {".png", ".jpg", ".jpeg", ".webp"};
    const char *dot = strrchr(path, '.');
    for (size_t i = 0; dot && i < sizeof known / sizeof *known; i++)
        if (!strcasecmp(dot, known[i])) return true;
    return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "output",
                        "%s ends in none of .png, .jpg, .jpeg, .webp", path);
}

typedef struct {
    char *picture, *trace; /* trace: NULL when none is wanted */
} files;

static void free_names(files *names)
{
    free(names->picture);
    free(names->trace);
}

/* The files of picture number i (from 0), seen to be writable; free_names in any case. */
static bool name_files(const call *c, int i, files *names, zi_error *error)
{
    names->picture = picture_path(c, i);
    if (c->trace)
        names->trace =
            c->generation.count > 1 ? numbered(c->trace, (uint64_t)i + 1) : strdup(c->trace);
    if (!names->picture || (c->trace && !names->trace)) return zi_error_no_memory(error, 64);
    if (!check_extension(names->picture, error)) return false;
    if (!zi_output_probe(names->picture, error)) return false;
    return !names->trace || zi_output_probe(names->trace, error);
}

/* ---- before the work ---- */

static bool parse_aspect(const char *text, int *w, int *h, zi_error *error)
{
    char rest;
    if (text[strspn(text, "0123456789:")] || sscanf(text, "%4d:%4d%c", w, h, &rest) != 2 ||
        *w < 1 || *h < 1)
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "aspect",
                            "'%s' is not two numbers as in 16:9", text);
    return true;
}

/* The native size as the shorter side, the other one to the nearest multiple that images have. */
static bool apply_aspect(call *c, int native, zi_error *error)
{
    int w, h;
    if (!c->aspect) return true;
    if (!parse_aspect(c->aspect, &w, &h, error)) return false;
    const zi_parameter *side = zi_parameter_find("width");
    double ratio = w > h ? (double)w / h : (double)h / w;
    double longer = side->multiple * (int)(native * ratio / side->multiple + 0.5);
    if (longer > side->max)
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "aspect",
                            "%s makes a side of %.0f pixels; %.0f is the most", c->aspect, longer,
                            side->max);
    c->generation.request.width = w > h ? (int)longer : native;
    c->generation.request.height = w > h ? native : (int)longer;
    return true;
}

static bool draw_seed(call *c, zi_error *error)
{
    uint32_t seed; /* 32 bits: easy to type again, exact in every JSON reader */
    if (c->generation.seed_given) return true;
    if (getentropy(&seed, sizeof seed) != 0)
        return zi_error_set_in(error, ZI_ERROR_IO, NULL, "seed",
                               "the system gives no random numbers; name a seed");
    c->generation.request.seed = seed;
    return true;
}

/* All that can be refused without looking at the model. */
static bool check(call *c, zi_error *error)
{
    int w, h;
    const zi_generation *g = &c->generation;
    const zi_request *r = &g->request;
    zi_generation checked;
    if (c->random && r->prompt && *r->prompt)
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "random-prompt",
                            "is for an empty prompt; leave out --prompt");
    if (c->random) c->generation.request.prompt = NULL;
    if (!c->random && !r->prompt)
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "prompt",
                            "is missing; say what to generate with -p TEXT");
    if (c->aspect && (r->width || r->height))
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "aspect",
                            "give either it or --width and --height");
    if (c->aspect && !parse_aspect(c->aspect, &w, &h, error)) return false;
    if (g->seed_given && r->seed > UINT64_MAX - (uint64_t)(g->count - 1))
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "count",
                            "the seeds %" PRIu64 " and on run past 2^64-1", r->seed);
    checked = *g;
    checked.model = NULL; /* a path, too: zi_models_find checks it */
    return zi_generation_check(&checked, false, error);
}

/* ---- prompts of our own ---- */

static bool should_continue(void *user, const char *text)
{
    (void)user;
    (void)text;
    return !zi_interrupted();
}

/* Says what will be drawn. */
static bool show_prompt(const call *c, zi_error *error)
{
    const zi_request *r = &c->generation.request;
    zi_note(c->quiet, "prompt: %s", r->prompt);
    if (!c->json) return true;
    cJSON *event = cJSON_CreateObject();
    cJSON_AddStringToObject(event, "event", "prompt");
    cJSON_AddStringToObject(event, "prompt", r->prompt);
    if (r->original) cJSON_AddStringToObject(event, "original", r->original);
    return zi_print_event(event, error);
}

/* Asks the language model, which is gone from memory when the image model comes. */
static bool ask(call *c, zi_engine *engine, zi_error *error)
{
    zi_enhance_request r = zi_enhance_default();
    zi_enhanced enhanced = {0};
    zi_llm *llm = NULL;
    char *path = NULL, *template = NULL;
    r.prompt = c->generation.request.prompt;
    r.seed = c->generation.request.seed;
    r.model = &c->load;
    r.text = should_continue;
    bool ok = zi_read_template(c->template, &template, error);
    r.instructions = template;
    if (ok && zi_find_llm(c->llm, c->found.path, &path, error)) {
        zi_model_options options = {.path = path};
        if (strcmp(path, c->found.path) == 0) options = c->load;
        zi_note(c->quiet, "asking the language model in %s for more of a prompt", path);
        ok = zi_llm_load(engine, &options, &llm, error) && zi_enhance(llm, &r, &enhanced, error);
    } else {
        ok = false;
    }
    if (ok) {
        c->enhanced = enhanced.text;
        enhanced.text = NULL;
    }
    zi_enhanced_free(&enhanced);
    zi_llm_free(llm);
    free(template);
    free(path);
    return ok;
}

static bool enhance(call *c, zi_engine *engine, zi_error *error)
{
    if (ask(c, engine, error)) {
        c->generation.request.original = c->generation.request.prompt;
        c->generation.request.prompt = c->enhanced;
        return show_prompt(c, error);
    }
    if (c->enhance != ENHANCE_TRY || error->code == ZI_ERROR_CANCELLED) return false;
    char *why = zi_explain(c->command, error);
    zi_note(c->quiet, "%s; drawing the prompt as it is", why ? why : error->text);
    free(why);
    *error = (zi_error){0};
    return true;
}

/* The prompt to be drawn, for all pictures of the call. */
static bool settle_prompt(call *c, zi_engine *engine, zi_error *error)
{
    if (c->random) {
        c->composed = zi_random_prompt(c->generation.request.seed);
        if (!c->composed) return zi_error_no_memory(error, 1);
        c->generation.request.prompt = c->composed;
        if (!c->enhance && !show_prompt(c, error)) return false;
    }
    return !c->enhance || enhance(c, engine, error);
}

/* ---- the work ---- */

static bool print_result(const call *c, const char *path, const zi_image *image, uint64_t seed,
                         double seconds, zi_error *error)
{
    if (!c->json) {
        puts(path);
        fflush(stdout);
        return true;
    }
    char digits[24]; /* a double would round large seeds */
    snprintf(digits, sizeof digits, "%" PRIu64, seed);
    cJSON *event = cJSON_CreateObject();
    cJSON_AddStringToObject(event, "event", "done");
    cJSON_AddStringToObject(event, "file", path);
    cJSON_AddRawToObject(event, "seed", digits);
    cJSON_AddNumberToObject(event, "width", image->width);
    cJSON_AddNumberToObject(event, "height", image->height);
    cJSON_AddNumberToObject(event, "seconds", seconds);
    return zi_print_event(event, error);
}

/* Says that the demo model generates, and how to get a real one. */
static void remark_demo(const call *c)
{
    zi_user_registry models;
    if (!zi_user_registry_open(NULL, &models, NULL)) return;
    char *hint = zi_download_hint(models.registry);
    if (hint) zi_note(c->quiet, "using the small demo model; %s", hint);
    free(hint);
    zi_user_registry_close(&models);
}

/* Says which model generates when none was named. */
static void remark_choice(const call *c)
{
    if (c->found.as == ZI_FOUND_DEMO)
        remark_demo(c);
    else if (c->found.as == ZI_FOUND_ONLY)
        zi_note(c->quiet, "using %s, the only model in the models folder", c->found.path);
    else
        zi_note(c->quiet, "using %s", c->found.path);
}

/* All that is worth knowing beside the result. */
static void remark(const call *c, const zi_model *model)
{
    const zi_request *r = &c->generation.request;
    const char *line;
    if (!c->generation.seed_given) zi_note(c->quiet, "seed %" PRIu64, r->seed);
    if (!c->generation.model) remark_choice(c);
    for (size_t i = 0; (line = zi_model_remark(model, i)); i++) zi_note(c->quiet, "%s", line);
    if (r->negative && r->guidance <= 0)
        zi_note(c->quiet, "--negative has no effect without --guidance");
    if (!c->enhance && (c->llm || c->template))
        zi_note(c->quiet, "--%s has no effect without --enhance", c->llm ? "llm" : "template");
}

/* Remarks come when the work has begun, so that the line of a call that is refused stands alone. */
typedef struct {
    const call *call;
    const zi_model *model;
    bool remarked;
    zi_reporter reporter;
} watcher;

static bool watch(void *user, const zi_progress *progress)
{
    watcher *w = user;
    if (!w->remarked) remark(w->call, w->model);
    w->remarked = true;
    return zi_reporter_progress(&w->reporter, progress);
}

/* Generates with request and saves to path. */
static bool draw(const call *c, zi_model *model, zi_request *request, const char *path,
                 zi_reporter *reporter, zi_error *error)
{
    double begun = zi_monotonic_seconds();
    zi_image *image = NULL;
    char *infotext = NULL;
    bool ok = false;
    bool drawn = zi_generate(model, request, &image, error);
    zi_reporter_clear(reporter);
    if (!drawn) goto out;
    request->width = image->width;
    request->height = image->height;
    infotext = zi_infotext(model, request);
    if (!infotext) {
        zi_error_no_memory(error, strlen(request->prompt));
        goto out;
    }
    zi_save_options save = {.quality = c->quality, .infotext = infotext};
    if (!zi_image_save(image, path, &save, error)) goto out;
    ok = print_result(c, path, image, request->seed, zi_monotonic_seconds() - begun, error);
out:
    free(infotext);
    zi_image_free(image);
    return ok;
}

/* Picture number i, from 0. */
static bool draw_number(const call *c, zi_model *model, int i, zi_error *error)
{
    bool bar = !c->quiet && !c->json && isatty(STDERR_FILENO);
    watcher w = {c, model, i > 0, zi_reporter_start(bar, c->json, i + 1, c->generation.count)};
    files names = {0};
    zi_request request = c->generation.request;
    bool ok = false;
    if (zi_interrupted()) {
        zi_error_cancelled(error);
        goto out;
    }
    if (!name_files(c, i, &names, error)) goto out;
    request.seed += (uint64_t)i;
    request.trace_path = names.trace;
    request.progress = watch;
    request.user = &w;
    ok = draw(c, model, &request, names.picture, &w.reporter, error);
out:
    free_names(&names);
    return ok;
}

static bool generate(call *c, zi_error *error)
{
    zi_engine *engine = NULL;
    zi_model *model = NULL;
    files names = {0};
    bool ok = false;
    if (!check(c, error) || !zi_find_model(c->generation.model, &c->found, error) ||
        !draw_seed(c, error) || !name_files(c, 0, &names, error))
        goto out;
    c->load.path = c->found.path;
    if (!zi_engine_create(&c->engine, &engine, error) || !settle_prompt(c, engine, error) ||
        !zi_model_load(engine, &c->load, &model, error) ||
        !apply_aspect(c, zi_model_native_size(model), error))
        goto out;
    for (int i = 0; i < c->generation.count; i++)
        if (!draw_number(c, model, i, error)) goto out;
    ok = true;
out:
    zi_model_free(model);
    zi_engine_free(engine);
    free_names(&names);
    zi_found_free(&c->found);
    free(c->composed);
    free(c->enhanced);
    return ok;
}

int cmd_generate(int argc, char **argv)
{
    call c = {.engine.scratch = getenv("TMPDIR")};
    zi_option options[ZI_MAX_PARAMETERS + OWN_OPTIONS];
    zi_option_text texts[ZI_MAX_PARAMETERS];
    bind_options(&c, options, texts);
    const zi_command command = {
        "generate", "Draws what the prompt says and prints the file's name.", NULL, options};
    zi_error error = {0};
    int code;
    c.command = &command;
    if (!zi_options_parse(&command, argc, argv, NULL, &code)) return code;
    zi_generation_fill_defaults(&c.generation);
    zi_interrupt_install();
    return generate(&c, &error) ? 0 : zi_report(&command, &error);
}
