/* zimage generate: generates images from a prompt. */
#include "cli.h"
#include "base/tables.h"

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
    const char *models; /* the models folder; NULL: ./models */
    const char *output, *aspect, *trace, *llm, *template;
    int quality, enhance;
    bool json, quiet, random;
    char *random_prompt, *enhanced_prompt; /* owned; NULL: not used */
    zi_resolved_model found;               /* the resolved model */
    zi_engine_options engine;
    zi_model_options load;
    zi_generation generation;
} generate_args;

enum { OWN_OPTIONS = 17 };
enum { ENHANCE = 1, ENHANCE_TRY };

/* Fills `options` with those of the generation parameters, this command's own and the end of the
 * table. texts receives names and help of the former. Values go to *args, which must outlive the
 * options, as must texts. */
static void fill_options(generate_args *args, zi_option options[ZI_MAX_PARAMETERS + OWN_OPTIONS],
                         zi_option_strings texts[ZI_MAX_PARAMETERS])
{
    const zi_option command_options[] = {
        zi_models_option(&args->models),
        {"aspect", 0, ZI_OPTION_TEXT, &args->aspect, 0, 0, "W:H",
         "aspect ratio; the shorter side gets the model's native size", NULL},
        {"output", 'o', ZI_OPTION_TEXT, &args->output, 0, 0, "FILE",
         "output file: .png, .jpg or .webp; of several images NAME-1.png, ... (zimage-SEED.png)",
         NULL},
        {"quality", 0, ZI_OPTION_INT, &args->quality, 1, 100, "N", "quality of JPEG and WebP (95)",
         NULL},
        {"enhance", 0, ZI_OPTION_LEVEL, &args->enhance, 0, 0, "try",
         "expand the prompt with a language model; try: continue without on failure", NULL},
        {"llm", 0, ZI_OPTION_TEXT, &args->llm, 0, 0, "PATH",
         "language model (models/prompt_enhancer, or the model's own text encoder)", NULL},
        {"template", 0, ZI_OPTION_TEXT, &args->template, 0, 0, "FILE",
         "instructions for the language model, containing {prompt}", NULL},
        {"random-prompt", 0, ZI_OPTION_FLAG, &args->random, 0, 0, NULL,
         "use a random prompt, made from the seed, instead of --prompt", NULL},
        {"vae", 0, ZI_OPTION_TEXT, &args->load.vae, 0, 0, "FILE|DIR",
         "VAE to use instead of MODEL's", NULL},
        {"text-encoder", 0, ZI_OPTION_TEXT, &args->load.text_encoder, 0, 0, "FILE|DIR",
         "text encoder to use instead of MODEL's", NULL},
        {"reference", 0, ZI_OPTION_TEXT, &args->load.reference, 0, 0, "DIR",
         "folder to take missing components from", NULL},
        {"threads", 0, ZI_OPTION_INT, &args->engine.threads, 1, 1024, "N",
         "number of threads (all processors)", NULL},
        zi_cpu_option(&args->engine.cpu),
        {"trace", 0, ZI_OPTION_TEXT, &args->trace, 0, 0, "FILE",
         "write intermediate tensors to a .safetensors file", NULL},
        {"json", 0, ZI_OPTION_FLAG, &args->json, 0, 0, NULL, "print one JSON event per line", NULL},
        {"quiet", 'q', ZI_OPTION_FLAG, &args->quiet, 0, 0, NULL, "no progress bar, no notes", NULL},
        {0},
    };
    _Static_assert(sizeof command_options / sizeof *command_options <= OWN_OPTIONS,
                   "room for all options");
    size_t count = zi_parameter_options(&args->generation, options, texts);
    for (size_t i = 0; i < count; i++)
        if (!strcmp(options[i].name, "count"))
            options[i].help = "images, with the seeds SEED, SEED+1, ... and, with -o NAME.png, the "
                              "files NAME-1.png, NAME-2.png, ... (1)";
    memcpy(options + count, command_options, sizeof command_options);
}

/* ---- output paths ---- */

/* path with "-NUMBER" before the extension of its last component, or at its end if that has none
 * (".png" has none); in new memory. NULL: out of memory. */
static char *numbered_path(const char *path, uint64_t number)
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

/* The output path of image i (from 0) in new memory; NULL: out of memory. With -o that file, which
 * may exist, or NAME-1.png, NAME-2.png, ... if there are several images; else "zimage-SEED.png" in
 * the current folder, or with -2, -3, ... if such a file exists. */
static char *image_path(const generate_args *args, int i)
{
    if (args->output)
        return args->generation.count > 1 ? numbered_path(args->output, (uint64_t)i + 1)
                                          : strdup(args->output);
    char name[64];
    snprintf(name, sizeof name, "zimage-%" PRIu64 ".png",
             args->generation.request.seed + (uint64_t)i);
    char *path = strdup(name);
    for (uint64_t n = 2; path && access(path, F_OK) == 0; n++) {
        free(path);
        path = numbered_path(name, n);
    }
    return path;
}

/* Checks that path ends, in upper or lower case, in .png, .jpg, .jpeg or .webp; else *error is set.
 * The library checks that only after generation. */
static bool check_extension(const char *path, zi_error *error)
{
    static const char *const known[] = {".png", ".jpg", ".jpeg", ".webp"};
    const char *dot = strrchr(path, '.');
    for (size_t i = 0; dot && i < sizeof known / sizeof *known; i++)
        if (!strcasecmp(dot, known[i])) return true;
    return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "output",
                        "'%s' must end in .png, .jpg, .jpeg or .webp", path);
}

typedef struct {
    char *image, *trace; /* trace: NULL: not requested */
} output_paths;

/* Frees both strings, which may be NULL; the struct (not NULL) keeps the pointers. */
static void free_output_paths(output_paths *paths)
{
    free(paths->image);
    free(paths->trace);
}

/* Sets *paths, {0} before, for image i (from 0); trace stays NULL without --trace. False, with
 * *error set: the image's extension is none of an image format, image or trace cannot be written
 * there, which is tried with temporary files, or memory is short. Call free_output_paths in any
 * case. */
static bool choose_output_paths(const generate_args *args, int i, output_paths *paths,
                                zi_error *error)
{
    paths->image = image_path(args, i);
    if (args->trace)
        paths->trace = args->generation.count > 1 ? numbered_path(args->trace, (uint64_t)i + 1)
                                                  : strdup(args->trace);
    if (!paths->image || (args->trace && !paths->trace)) return zi_error_no_memory(error, 64);
    if (!check_extension(paths->image, error)) return false;
    if (!zi_output_check_writable(paths->image, error)) return false;
    return !paths->trace || zi_output_check_writable(paths->trace, error);
}

/* ---- checks and defaults ---- */

/* Parses "16:9", two whole numbers from 1 to 9999. False: *error is set, and *w and *h may be
 * changed. */
static bool parse_aspect(const char *text, int *w, int *h, zi_error *error)
{
    char rest;
    if (text[strspn(text, "0123456789:")] || sscanf(text, "%4d:%4d%c", w, h, &rest) != 2 ||
        *w < 1 || *h < 1)
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "aspect",
                            "'%s' is no ratio of width to height, such as 16:9", text);
    return true;
}

/* Sets width and height of the request by --aspect, if it was given: the shorter side gets `native`
 * pixels, the other one is rounded to the nearest valid multiple. False, with *error set and the
 * request unchanged: --aspect is malformed, or the longer side exceeds the largest one. */
static bool apply_aspect(generate_args *args, int native, zi_error *error)
{
    int w, h;
    if (!args->aspect) return true;
    if (!parse_aspect(args->aspect, &w, &h, error)) return false;
    const zi_parameter *side = zi_parameter_find("width");
    double ratio = w > h ? (double)w / h : (double)h / w;
    double longer = side->multiple * (int)(native * ratio / side->multiple + 0.5);
    if (longer > side->max)
        return zi_error_set(
            error, ZI_ERROR_INVALID_ARGUMENT, "aspect",
            "%s needs a side of %.0f pixels, and at most %.0f are possible; choose a "
            "ratio closer to 1:1",
            args->aspect, longer, side->max);
    args->generation.request.width = w > h ? (int)longer : native;
    args->generation.request.height = w > h ? native : (int)longer;
    return true;
}

/* Sets the request's seed to a random number of 32 bits unless one was given. False, with *error
 * set and the seed unchanged: the system gives no random numbers. */
static bool choose_seed(generate_args *args, zi_error *error)
{
    uint32_t seed; /* 32 bits: easy to type, exact in every JSON reader */
    if (args->generation.seed_given) return true;
    if (getentropy(&seed, sizeof seed) != 0)
        return zi_error_set_in(error, ZI_ERROR_IO, NULL, "seed",
                               "cannot get random numbers from the system; give a seed");
    args->generation.request.seed = seed;
    return true;
}

/* Checks the arguments as far as they do not depend on the model: prompt, aspect, seeds and the
 * ranges of all parameters. With --random-prompt the request's prompt, empty or not given, becomes
 * NULL; all else stays. False: *error is set. */
static bool check_args(generate_args *args, zi_error *error)
{
    int w, h;
    const zi_generation *g = &args->generation;
    const zi_request *r = &g->request;
    zi_generation checked;
    if (args->random && r->prompt && *r->prompt)
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "random-prompt",
                            "cannot be used with --prompt; leave one of the two out");
    if (args->random) args->generation.request.prompt = NULL;
    if (!args->random && !r->prompt)
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "prompt",
                            "is missing; give it with -p TEXT");
    if (args->aspect && (r->width || r->height))
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "aspect",
                            "cannot be used with --width or --height; leave one of them out");
    if (args->aspect && !parse_aspect(args->aspect, &w, &h, error)) return false;
    if (g->seed_given && r->seed > UINT64_MAX - (uint64_t)(g->count - 1))
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "count",
                            "%d images from seed %" PRIu64 " on need seeds above the largest one, "
                            "18446744073709551615; give a smaller seed",
                            g->count, r->seed);
    checked = *g;
    checked.model = NULL; /* it may be a path, and is checked by zi_find_model */
    return zi_generation_check(&checked, false, error);
}

/* ---- random and enhanced prompts ---- */

/* zi_enhance_request.text. Ignores the text; returns false, to cancel, after a signal. */
static bool should_continue(void *user, const char *text)
{
    (void)user;
    (void)text;
    return !zi_interrupted();
}

/* Prints the prompt that is used as a note (unless --quiet) and, with --json, also as the event
 * "prompt". False: out of memory; *error is set. */
static bool print_prompt(const generate_args *args, zi_error *error)
{
    const zi_request *r = &args->generation.request;
    zi_print_note(args->quiet, "prompt: %s", r->prompt);
    if (!args->json) return true;
    cJSON *event = cJSON_CreateObject();
    cJSON_AddStringToObject(event, "event", "prompt");
    cJSON_AddStringToObject(event, "prompt", r->prompt);
    if (r->original) cJSON_AddStringToObject(event, "original", r->original);
    return zi_print_json_event(event, error);
}

/* Finds and loads the language model, expands the request's prompt into args->enhanced_prompt
 * (owned by args), and frees the model before the image model is loaded. The request stays as it
 * is. False: *error is set, and args is unchanged. */
static bool expand_prompt(generate_args *args, zi_engine *engine, zi_error *error)
{
    zi_enhance_request r = zi_enhance_default();
    zi_enhance_result enhanced = {0};
    zi_llm *llm = NULL;
    char *path = NULL, *template = NULL;
    r.prompt = args->generation.request.prompt;
    r.seed = args->generation.request.seed;
    r.model = &args->load;
    r.text = should_continue;
    bool ok = zi_read_template(args->template, &template, error);
    r.instructions = template;
    if (ok && zi_find_llm(args->models, args->llm, args->found.path, &path, error)) {
        zi_model_options options = {.path = path};
        if (strcmp(path, args->found.path) == 0) options = args->load;
        zi_print_note(args->quiet, "expanding the prompt with the language model in %s", path);
        ok = zi_llm_load(engine, &options, &llm, error) && zi_enhance(llm, &r, &enhanced, error);
    } else {
        ok = false;
    }
    if (ok) {
        args->enhanced_prompt = enhanced.text;
        enhanced.text = NULL;
    }
    zi_enhance_result_free(&enhanced);
    zi_llm_free(llm);
    free(template);
    free(path);
    return ok;
}

/* Expands the request's prompt, sets request.original to the old one, and prints the new one. With
 * --enhance=try a failure other than a cancellation becomes a note: the prompt stays, and is
 * printed if it is a random one, *error (not NULL) is zeroed, and the result is true. False: *error
 * is set.
 */
static bool enhance_prompt(generate_args *args, zi_engine *engine, zi_error *error)
{
    if (expand_prompt(args, engine, error)) {
        args->generation.request.original = args->generation.request.prompt;
        args->generation.request.prompt = args->enhanced_prompt;
        return print_prompt(args, error);
    }
    if (args->enhance != ENHANCE_TRY || error->code == ZI_ERROR_CANCELLED) return false;
    char *why = zi_format_error(args->command, error);
    zi_print_note(args->quiet, "using the prompt unchanged: %s", why ? why : error->text);
    free(why);
    *error = (zi_error){0};
    return !args->random || print_prompt(args, error);
}

/* Sets the request's prompt for all images: with --random-prompt to one made from the seed, then
 * with --enhance to that or the given one expanded, and prints the last. A given prompt that stays
 * is not printed. args owns the new texts. False: *error is set. */
static bool prepare_prompt(generate_args *args, zi_engine *engine, zi_error *error)
{
    if (args->random) {
        args->random_prompt = zi_random_prompt(args->generation.request.seed);
        if (!args->random_prompt) return zi_error_no_memory(error, 1);
        args->generation.request.prompt = args->random_prompt;
        if (!args->enhance && !print_prompt(args, error)) return false;
    }
    return !args->enhance || enhance_prompt(args, engine, error);
}

/* ---- generation ---- */

/* Prints the image's path or, with --json, the event "done" with path, seed, width, height and
 * `seconds`. False: out of memory; *error is set. */
static bool print_result(const generate_args *args, const char *path, const zi_image *image,
                         uint64_t seed, double seconds, zi_error *error)
{
    if (!args->json) {
        puts(path);
        zi_flush_output();
        return true;
    }
    char digits[24]; /* as text, since a double would round large seeds */
    snprintf(digits, sizeof digits, "%" PRIu64, seed);
    cJSON *event = cJSON_CreateObject();
    cJSON_AddStringToObject(event, "event", "done");
    cJSON_AddStringToObject(event, "file", path);
    cJSON_AddRawToObject(event, "seed", digits);
    cJSON_AddNumberToObject(event, "width", image->width);
    cJSON_AddNumberToObject(event, "height", image->height);
    cJSON_AddNumberToObject(event, "seconds", seconds);
    return zi_print_json_event(event, error);
}

/* Prints notes, unless --quiet: the seed and the model if they were not given, the model's warning,
 * settings of the base model, options without effect. */
static void print_notes(const generate_args *args, const zi_model *model)
{
    const zi_request *r = &args->generation.request;
    const char *warning = zi_model_warning(model);
    if (!args->generation.seed_given) zi_print_note(args->quiet, "seed %" PRIu64, r->seed);
    if (!args->generation.model) zi_print_model_notes(args->models, &args->found, args->quiet);
    if (warning) zi_print_note(args->quiet, "%s", warning);
    zi_print_request_notes(args->quiet, r, model);
    if (!args->enhance && (args->llm || args->template))
        zi_print_note(args->quiet, "--%s has no effect without --enhance",
                      args->llm ? "llm" : "template");
}

/* Notes are printed at the first progress, so that a failed call prints only its error. */
typedef struct {
    const generate_args *generate_args;
    const zi_model *model;
    bool notes_printed;
    zi_progress_printer printer;
} progress_state;

/* zi_request.progress; user is a progress_state. Prints the notes, unless notes_printed is set,
 * then bar or events. Returns false, to cancel, after a signal. */
static bool on_progress(void *user, const zi_progress *progress)
{
    progress_state *state = user;
    if (!state->notes_printed) print_notes(state->generate_args, state->model);
    state->notes_printed = true;
    return zi_progress_printer_update(&state->printer, progress);
}

/* Generates an image, erases the progress bar, saves the image to path, over a file there, with its
 * infotext, and prints the path or event. Once it is generated, width and height of *request are
 * the image's. False: *error is set; a file that was saved stays. */
static bool generate_and_save(const generate_args *args, zi_model *model, zi_request *request,
                              const char *path, zi_progress_printer *printer, zi_error *error)
{
    double began = zi_monotonic_seconds();
    zi_image *image = NULL;
    char *infotext = NULL;
    bool ok = false;
    bool generated = zi_generate(model, request, &image, error);
    zi_progress_printer_clear(printer);
    if (!generated) goto out;
    request->width = image->width;
    request->height = image->height;
    infotext = zi_infotext_create(model, request);
    if (!infotext) {
        zi_error_no_memory(error, strlen(request->prompt));
        goto out;
    }
    zi_save_options save = {.quality = args->quality, .infotext = infotext};
    if (!zi_image_save(image, path, &save, error)) goto out;
    ok = print_result(args, path, image, request->seed, zi_monotonic_seconds() - began, error);
out:
    free(infotext);
    zi_image_free(image);
    return ok;
}

/* Generates image i (from 0), whose seed is the request's plus i, saves it and prints its path or
 * event; shows progress, and notes for the first image. After a signal it fails at once with
 * ZI_ERROR_CANCELLED. False: *error is set. */
static bool generate_image(const generate_args *args, zi_model *model, int i, zi_error *error)
{
    bool bar = !args->quiet && !args->json && isatty(STDERR_FILENO);
    progress_state state = {
        args, model, i > 0,
        zi_progress_printer_start(bar, args->json, i + 1, args->generation.count)};
    output_paths paths = {0};
    zi_request request = args->generation.request;
    bool ok = false;
    if (zi_interrupted()) {
        zi_error_cancelled(error);
        goto out;
    }
    if (!choose_output_paths(args, i, &paths, error)) goto out;
    request.seed += (uint64_t)i;
    request.trace_path = paths.trace;
    request.progress = on_progress;
    request.user = &state;
    ok = generate_and_save(args, model, &request, paths.image, &state.printer, error);
out:
    free_output_paths(&paths);
    return ok;
}

/* Checks the arguments and that the first output can be written, chooses seed and prompt, loads the
 * model, and generates all images. Frees what args owns in any case; args cannot be used again.
 * False: *error is set; images that were finished stay. */
static bool run_generate(generate_args *args, zi_error *error)
{
    zi_engine *engine = NULL;
    zi_model *model = NULL;
    output_paths paths = {0};
    char hash[ZI_MODEL_HASH];
    bool ok = false;
    if (!check_args(args, error) ||
        !zi_find_model(args->models, args->generation.model, &args->load, &args->found, error) ||
        !choose_seed(args, error) || !choose_output_paths(args, 0, &paths, error))
        goto out;
    args->load.path = args->found.path;
    if (!zi_engine_create(&args->engine, &engine, error) || !prepare_prompt(args, engine, error) ||
        !zi_model_load(engine, &args->load, &model, error) ||
        !apply_aspect(args, zi_model_native_size(model), error))
        goto out;
    zi_find_model_hash(args->found.path, false, hash);
    args->generation.request.model_hash = hash;
    for (int i = 0; i < args->generation.count; i++)
        if (!generate_image(args, model, i, error)) goto out;
    ok = true;
out:
    zi_model_free(model);
    zi_engine_free(engine);
    free_output_paths(&paths);
    zi_resolved_model_free(&args->found);
    free(args->random_prompt);
    free(args->enhanced_prompt);
    return ok;
}

int cmd_generate(int argc, char **argv)
{
    generate_args args = {.engine.scratch = getenv("TMPDIR")};
    zi_option options[ZI_MAX_PARAMETERS + OWN_OPTIONS];
    zi_option_strings texts[ZI_MAX_PARAMETERS];
    fill_options(&args, options, texts);
    const zi_command command = {
        "generate", "Generates an image from a prompt and prints the file's name.", NULL, options};
    zi_error error = {0};
    int code;
    args.command = &command;
    if (!zi_options_parse(&command, argc, argv, NULL, &code)) return code;
    zi_generation_fill_defaults(&args.generation);
    zi_interrupt_install();
    return run_generate(&args, &error) ? 0 : zi_report_error(&command, &error);
}
