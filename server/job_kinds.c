/* The kinds of jobs: tables of their parameters, and what is validated and resolved before a job is
 * queued. */
#include "server/internal.h"
#include "server/import_path.h"
#include "server/worker.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

/* ---- parameters; those of generate are zi_parameters ---- */

/* Maximum bytes of a model's name, of a new model's name, and of a path. */
enum { MAX_NAME = 300, MAX_NEW_NAME = 200, MAX_PATH_BYTES = 1000 };

#define TEXT(name_, struct_, field, max_, needed)                                                  \
    {                                                                                              \
        .name = name_, .type = ZI_PARAMETER_TEXT, .offset = offsetof(struct_, field), .min = 1,    \
        .max = max_, .required = needed                                                            \
    }
#define CHOICE(name_, struct_, field, choices_, needed)                                            \
    {                                                                                              \
        .name = name_, .type = ZI_PARAMETER_CHOICE, .offset = offsetof(struct_, field),            \
        .choices = choices_, .required = needed                                                    \
    }

#define CONVERT_FIELDS                                                                             \
    TEXT("source", zi_convert_params, source, MAX_NAME, true),                                     \
        TEXT("destination", zi_convert_params, destination, MAX_NEW_NAME, true),                   \
        TEXT("vae", zi_convert_params, vae, MAX_NAME, false),                                      \
        TEXT("text_encoder", zi_convert_params, text_encoder, MAX_NAME, false),                    \
        TEXT("reference", zi_convert_params, reference, MAX_NAME, false)

static const zi_parameter convert_params[] = {
    CONVERT_FIELDS,
    CHOICE("layout", zi_convert_params, layout, zi_layout_names, false),
    CHOICE("precision", zi_convert_params, precision, zi_precision_names, false),
    {0}};

/* A convert that keeps the layout and requires a precision. */
static const zi_parameter quantize_params[] = {
    CONVERT_FIELDS,
    CHOICE("precision", zi_convert_params, precision, zi_precision_names, true),
    {0}};

static const char *const import_modes[] = {
    [ZI_IMPORT_COPY] = "copy", [ZI_IMPORT_LINK] = "link", [ZI_IMPORT_MOVE] = "move", NULL};

/* Layout "same" and precision "original" import the model unchanged. */
static const zi_parameter import_params[] = {
    TEXT("source", zi_import_params, source, MAX_PATH_BYTES, true),
    TEXT("name", zi_import_params, name, MAX_NEW_NAME, false),
    CHOICE("mode", zi_import_params, mode, import_modes, false),
    CHOICE("layout", zi_import_params, layout, zi_layout_names, false),
    CHOICE("precision", zi_import_params, precision, zi_precision_names, false),
    {0}};

/* Layout "same" and precision "original" keep the model unchanged; the layout is called `to`, as on
 * the command line. */
static const zi_parameter download_params[] = {
    TEXT("repo", zi_download_params, repo, MAX_NAME, false),
    TEXT("name", zi_download_params, name, MAX_NEW_NAME, false),
    CHOICE("to", zi_download_params, layout, zi_layout_names, false),
    CHOICE("precision", zi_download_params, precision, zi_precision_names, false),
    {0}};

static const zi_parameter verify_params[] = {
    TEXT("model", zi_verify_params, model, MAX_NAME, false),
    TEXT("against", zi_verify_params, against, MAX_NAME, false),
    {0}};

static const zi_parameter enhance_params[] = {
    TEXT("prompt", zi_enhance_params, prompt, ZI_PROMPT_BYTES, true),
    TEXT("llm", zi_enhance_params, llm, MAX_NAME, false),
    {.name = "temperature",
     .type = ZI_PARAMETER_REAL,
     .offset = offsetof(zi_enhance_params, temperature),
     .given = offsetof(zi_enhance_params, temperature_given),
     .max = 10},
    {.name = "max_tokens",
     .type = ZI_PARAMETER_INT,
     .offset = offsetof(zi_enhance_params, max_tokens),
     .min = 1,
     .max = 500},
    {.name = "seed",
     .type = ZI_PARAMETER_SEED,
     .offset = offsetof(zi_enhance_params, seed),
     .given = offsetof(zi_enhance_params, seed_given)},
    {0}};

static const zi_parameter load_params[] = {TEXT("model", zi_load_params, model, MAX_NAME, false),
                                           {0}};

static const zi_parameter no_params[] = {{0}};

/* ---- resolving names ---- */

/* Marks the parameter of that name, which the job's kind must have, as set: clients see it then. */
static void add_field(zi_job *job, const char *name)
{
    zi_fields_add(&job->fields, job->kind->params, name);
}

/* Finds the model *name, or the default one if it is NULL: frees *name and replaces it by the full
 * name in new memory, sets job->paths.model, and marks the field "model" as set. False: there is no
 * such model or no default, or out of memory; *http_error is filled and nothing has changed. */
static bool resolve_model(zi_server *server, zi_job *job, const char **name,
                          zi_http_error *http_error)
{
    zi_resolved_model found;
    if (!zi_models_find(server, *name, "model", &found, http_error)) return false;
    free((char *)*name);
    *name = found.name;
    job->paths.model = found.path;
    found.name = found.path = NULL;
    zi_resolved_model_free(&found);
    add_field(job, "model");
    return true;
}

/* Sets *seed to a random 32-bit number unless it is given, and marks the field "seed" as set in
 * either case. False: the system has no random numbers; *http_error is a 500 and nothing has
 * changed. */
static bool resolve_seed(zi_job *job, uint64_t *seed, bool given, zi_http_error *http_error)
{
    uint32_t random = 0;
    if (!given && getentropy(&random, sizeof random) != 0)
        return zi_http_error_set(http_error, 500, NULL,
                                 "cannot get random numbers from the system; send a seed");
    if (!given) *seed = random;
    add_field(job, "seed");
    return true;
}

/* ---- generate ---- */

/* Checks that a prompt (NULL passes) has no tag of sd_cpp_extra_args, which would reach the model
 * as words: clients of other APIs send it once in a prompt, from which it was cut out. False:
 * *http_error is a 400 for the field, with whose name the text begins. */
static bool check_no_extra_args(const char *field, const char *prompt, zi_http_error *http_error)
{
    return !prompt || !strstr(prompt, "sd_cpp_extra_args>") ||
           zi_http_error_set(
               http_error, 400, field,
               "%s: contains a tag of sd_cpp_extra_args; only a prompt for OpenAI's "
               "or A1111's API may have <sd_cpp_extra_args>{...}</sd_cpp_extra_args>, "
               "and only once; send the parameters as fields",
               field);
}

/* Checks the ranges of all parameters, and the product of width and height (field "width"). False:
 * *http_error is a 400 that names the field. The table alone would not do, since requests of the
 * compatibility APIs do not pass through it. */
static bool check_generation(const zi_generation *g, zi_http_error *http_error)
{
    zi_error error;
    const zi_request *r = &g->request;
    if (!zi_generation_check(g, true, &error))
        return zi_http_error_from(http_error, zi_parameters, NULL, &error);
    if (!check_no_extra_args("prompt", r->prompt, http_error) ||
        !check_no_extra_args("negative", r->negative, http_error))
        return false;
    return r->width * r->height <= ZI_MAX_PIXELS ||
           zi_http_error_set(http_error, 400, "width",
                             "%dx%d has too many pixels; the maximum is %d (2048x2048)", r->width,
                             r->height, ZI_MAX_PIXELS);
}

/* zi_job_kind.resolve of "generate": checks the parameters, finds the model (the default one if
 * none is named) and chooses a seed if none is given. False: *http_error is filled, and the job,
 * which the caller frees, may be partly resolved. */
static bool resolve_generate(zi_server *server, zi_job *job, zi_http_error *http_error)
{
    zi_generation *g = &job->params.generate;
    return check_generation(g, http_error) && resolve_model(server, job, &g->model, http_error) &&
           resolve_seed(job, &g->request.seed, g->seed_given, http_error);
}

/* ---- models ---- */

/* zi_job_kind.resolve of "load": finds the model, the default one if none is named. False:
 * *http_error is filled and nothing has changed. */
static bool resolve_load(zi_server *server, zi_job *job, zi_http_error *http_error)
{
    return resolve_model(server, job, &job->params.load.model, http_error);
}

/* zi_job_kind.resolve of kinds that name nothing; always succeeds. */
static bool resolve_nothing(zi_server *server, zi_job *job, zi_http_error *http_error)
{
    (void)server;
    (void)job;
    (void)http_error;
    return true;
}

/* zi_job_kind.resolve of "verify": finds the model (the default one if none is named) and the model
 * to compare it with, if one is named. False: *http_error is filled, and the job, which the caller
 * frees, may be partly resolved. */
static bool resolve_verify(zi_server *server, zi_job *job, zi_http_error *http_error)
{
    zi_verify_params *p = &job->params.verify;
    return resolve_model(server, job, &p->model, http_error) &&
           zi_models_find_path(server, p->against, "against", &job->paths.against, http_error);
}

/* Whether text ends with `end` and is longer than it. */
static bool ends_with(const char *text, const char *end)
{
    size_t length = strlen(text), size = strlen(end);
    return length > size && !strcmp(text + length - size, end);
}

/* Where a converted model goes, by layout: section of the registry and extension of the file. */
static const struct {
    zi_section section;
    const char *extension;
} destinations[] = {[ZI_LAYOUT_MLX] = {ZI_SECTION_MLX, ""},
                    [ZI_LAYOUT_DIFFUSERS] = {ZI_SECTION_PYTORCH, ""},
                    [ZI_LAYOUT_COMFYUI] = {ZI_SECTION_COMFYUI, ".safetensors"},
                    [ZI_LAYOUT_GGUF] = {ZI_SECTION_COMFYUI, ".gguf"}};

/* Guesses the layout of the model at path by its extension; without one it counts as a folder: MLX
 * if source, its name in the registry, is "mlx/...", else diffusers. */
static zi_layout_kind guess_layout(const char *source, const char *path)
{
    zi_layout_kind layout = zi_layout_of_extension(path);
    if (layout != ZI_LAYOUT_SAME) return layout;
    return !strncmp(source, "mlx/", 4) ? ZI_LAYOUT_MLX : ZI_LAYOUT_DIFFUSERS;
}

/* zi_job_kind.resolve of "convert" and "quantize": finds all models that are named, and sets path
 * and name of the new one. The layout to write (the source's if none is given) decides its folder
 * and the extension, which is appended if it is missing. False: *http_error is filled (409: the
 * path exists), and the job, which the caller frees, may be partly resolved. */
static bool resolve_convert(zi_server *server, zi_job *job, zi_http_error *http_error)
{
    const zi_convert_params *p = &job->params.convert;
    char file[256];
    if (!zi_models_find_path(server, p->source, "source", &job->paths.model, http_error) ||
        !zi_models_find_part(server, ZI_COMPONENT_VAE, p->vae, "vae", &job->paths.vae,
                             http_error) ||
        !zi_models_find_part(server, ZI_COMPONENT_TEXT_ENCODER, p->text_encoder, "text_encoder",
                             &job->paths.text_encoder, http_error) ||
        !zi_models_find_part(server, ZI_COMPONENT_TOKENIZER, p->reference, "reference",
                             &job->paths.reference, http_error))
        return false;
    zi_layout_kind layout = p->layout ? p->layout : guess_layout(p->source, job->paths.model);
    const char *extension = destinations[layout].extension;
    snprintf(file, sizeof file, "%s%s", p->destination,
             ends_with(p->destination, extension) ? "" : extension);
    return zi_models_destination(server, destinations[layout].section, file, "destination",
                                 &job->paths.new_model, &job->paths.new_name, http_error);
}

/* Checks that a name, if it is not NULL, is a plain file name: no dot at its start, no slash,
 * backslash, colon or control character. An empty one passes; the tables refuse it. False:
 * *http_error is a 400 for field "name". */
static bool check_new_name(const char *name, zi_http_error *http_error)
{
    const char *bad = name && name[0] == '.' ? "begins with a dot" : NULL;
    for (const char *c = name; !bad && c && *c; c++)
        bad = *c == '/' || *c == '\\' || *c == ':'     ? "has a slash, backslash or colon"
              : (unsigned char)*c < 0x20 || *c == 0x7f ? "has a control character"
                                                       : NULL;
    return !bad || zi_http_error_set(http_error, 400, "name", "name: '%s' %s; choose one without",
                                     name, bad);
}

/* Rejects impossible combinations before anything is downloaded; any precision goes with the layout
 * "same". False: *http_error is a 400 for field "precision". */
static bool check_layout_has_precision(zi_layout_kind layout, zi_precision precision,
                                       zi_http_error *http_error)
{
    zi_error error;
    return zi_layout_check(layout, precision, &error) ||
           zi_http_error_from(http_error, NULL, "precision", &error);
}

/* zi_job_kind.resolve of "import": checks the name and the precision, and sets job->paths.model to
 * the real path of the source, which need not be a model. Refuses to link or move when it also
 * converts, and to link what is outside the models folder. False: *http_error is a 400 for the
 * field. */
static bool resolve_import(zi_server *server, zi_job *job, zi_http_error *http_error)
{
    const zi_import_params *p = &job->params.import;
    if (!check_new_name(p->name, http_error) ||
        !check_layout_has_precision(p->layout, p->precision, http_error) ||
        !zi_import_path_resolve(&server->options, p->source, &job->paths.model, http_error))
        return false;
    if (p->mode && (p->layout || p->precision))
        return zi_http_error_set(
            http_error, 400, "mode",
            "mode %s cannot be used with layout or precision, which convert the "
            "model; leave out mode, or both of these",
            import_modes[p->mode]);
    if (p->mode == ZI_IMPORT_LINK &&
        !zi_import_path_in_models_folder(&server->options, job->paths.model))
        return zi_http_error_set(
            http_error, 400, "mode",
            "a model outside the models folder cannot be linked; use mode copy or "
            "move");
    return true;
}

/* zi_job_kind.resolve of "download": checks the name, the precision and the form of `repo`, the
 * latter by a look-up in the hub's cache without network access; it need not be there. Sets no
 * path. False: *http_error is filled, for the field. */
static bool resolve_download(zi_server *server, zi_job *job, zi_http_error *http_error)
{
    const zi_download_params *p = &job->params.download;
    zi_error error;
    char *path = NULL;
    if (!check_new_name(p->name, http_error) ||
        !check_layout_has_precision(p->layout, p->precision, http_error))
        return false;
    bool ok = zi_hub_find_cached(&server->options.registry.hub, p->repo, &path, &error);
    free(path);
    return ok || zi_http_error_from(http_error, NULL, "repo", &error);
}

/* ---- enhance ---- */

/* zi_job_kind.resolve of "enhance": chooses a seed if none is given, and finds the language model
 * (if none is named, the installed prompt enhancer, else the default image model). False:
 * *http_error is filled, and the job, which the caller frees, may be partly resolved. */
static bool resolve_enhance(zi_server *server, zi_job *job, zi_http_error *http_error)
{
    zi_enhance_params *p = &job->params.enhance;
    return resolve_seed(job, &p->seed, p->seed_given, http_error) &&
           zi_models_find_llm(server, p->llm, &job->paths.model, http_error);
}

/* ---- the kinds ---- */

const zi_job_kind zi_job_kinds[] = {
    {"generate", ZI_QUEUE_COMPUTE, zi_parameters, "GenerateParams", resolve_generate,
     zi_run_generate_job},
    {"convert", ZI_QUEUE_COMPUTE, convert_params, "ConvertParams", resolve_convert,
     zi_run_convert_job},
    {"quantize", ZI_QUEUE_COMPUTE, quantize_params, NULL, resolve_convert, zi_run_convert_job},
    {"import", ZI_QUEUE_COMPUTE, import_params, "ImportParams", resolve_import, zi_run_import_job},
    {"download", ZI_QUEUE_DOWNLOAD, download_params, "DownloadParams", resolve_download,
     zi_run_download_job},
    {"verify", ZI_QUEUE_COMPUTE, verify_params, "VerifyParams", resolve_verify, zi_run_verify_job},
    {"enhance", ZI_QUEUE_COMPUTE, enhance_params, "EnhanceParams", resolve_enhance,
     zi_run_enhance_job},
    {"load", ZI_QUEUE_COMPUTE, load_params, "LoadParams", resolve_load, zi_run_load_job},
    {"unload", ZI_QUEUE_COMPUTE, no_params, NULL, resolve_nothing, zi_run_unload_job},
    {0}};

const zi_job_kind *zi_job_kind_find(const char *name)
{
    const zi_job_kind *kind = zi_job_kinds;
    while (kind->name && strcmp(kind->name, name) != 0) kind++;
    return kind->name ? kind : NULL;
}
