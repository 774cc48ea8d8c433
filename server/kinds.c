/* Tables of what jobs take, and what is looked up before they wait. */
#include "server/kinds.h"
#include "server/origin.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define AT(field) offsetof(zi_order, field)

enum { NAME = 300, LONGEST_PATH = 1000 };

static const zi_param generate_params[] = {
    {"prompt", ZI_PARAM_TEXT, AT(prompt), 1, ZI_PROMPT_BYTES, NULL, true, 0},
    {"original", ZI_PARAM_TEXT, AT(original), 0, ZI_PROMPT_BYTES, NULL, false, 0},
    {"negative", ZI_PARAM_TEXT, AT(negative), 0, ZI_PROMPT_BYTES, NULL, false, 0},
    {"model", ZI_PARAM_TEXT, AT(model), 1, NAME, NULL, false, 0},
    {"width", ZI_PARAM_INT, AT(width), 16, ZI_MAX_SIDE, NULL, false, 16},
    {"height", ZI_PARAM_INT, AT(height), 16, ZI_MAX_SIDE, NULL, false, 16},
    {"steps", ZI_PARAM_INT, AT(steps), 1, ZI_MAX_STEPS, NULL, false, 0},
    {"shift", ZI_PARAM_REAL, AT(shift), 0.01, 100, NULL, false, 0},
    {"guidance", ZI_PARAM_REAL, AT(guidance), 0, 100, NULL, false, 0},
    {"seed", ZI_PARAM_SEED, AT(seed), 0, 0, NULL, false, 0},
    {"count", ZI_PARAM_INT, AT(count), 1, ZI_MAX_COUNT, NULL, false, 0},
    {"schedule", ZI_PARAM_CHOICE, AT(schedule), 0, 0, "diffusers|mlx", false, 0},
    {"compute", ZI_PARAM_CHOICE, AT(compute), 0, 0, "auto|exact|fast", false, 0},
    {0}};

#define PLACES                                                                                     \
    {"source", ZI_PARAM_TEXT, AT(source), 1, NAME, NULL, true, 0},                                 \
        {"destination", ZI_PARAM_TEXT, AT(destination), 1, 200, NULL, true, 0},                    \
        {"vae", ZI_PARAM_TEXT, AT(vae), 1, NAME, NULL, false, 0},                                  \
        {"text_encoder", ZI_PARAM_TEXT, AT(text_encoder), 1, NAME, NULL, false, 0},                \
    {                                                                                              \
        "reference", ZI_PARAM_TEXT, AT(reference), 1, NAME, NULL, false, 0                         \
    }
#define LAYOUTS "same|mlx|diffusers|comfyui|gguf"
#define PRECISIONS "original|fp16|bf16|fp8|q8|q4"

static const zi_param convert_params[] = {
    PLACES,
    {"layout", ZI_PARAM_CHOICE, AT(layout), 0, 0, LAYOUTS, false, 0},
    {"precision", ZI_PARAM_CHOICE, AT(precision), 0, 0, PRECISIONS, false, 0},
    {0}};

/* Layout and precision are those of zi_convert: same and original leave the model as it is. */
static const zi_param import_params[] = {
    {"source", ZI_PARAM_TEXT, AT(source), 1, LONGEST_PATH, NULL, true, 0},
    {"name", ZI_PARAM_TEXT, AT(destination), 1, 200, NULL, false, 0},
    {"mode", ZI_PARAM_CHOICE, AT(mode), 0, 0, "copy|link|move", false, 0},
    {"layout", ZI_PARAM_CHOICE, AT(layout), 0, 0, LAYOUTS, false, 0},
    {"precision", ZI_PARAM_CHOICE, AT(precision), 0, 0, PRECISIONS, false, 0},
    {0}};

/* As import_params; to is the layout, as on the command line. */
static const zi_param download_params[] = {
    {"repo", ZI_PARAM_TEXT, AT(repo), 1, NAME, NULL, false, 0},
    {"name", ZI_PARAM_TEXT, AT(destination), 1, 200, NULL, false, 0},
    {"to", ZI_PARAM_CHOICE, AT(layout), 0, 0, LAYOUTS, false, 0},
    {"precision", ZI_PARAM_CHOICE, AT(precision), 0, 0, PRECISIONS, false, 0},
    {0}};

/* Converting that keeps the layout and must be told the precision. */
static const zi_param quantize_params[] = {
    PLACES, {"precision", ZI_PARAM_CHOICE, AT(precision), 0, 0, PRECISIONS, true, 0}, {0}};

static const zi_param verify_params[] = {
    {"model", ZI_PARAM_TEXT, AT(model), 1, NAME, NULL, false, 0},
    {"against", ZI_PARAM_TEXT, AT(against), 1, NAME, NULL, false, 0},
    {0}};

static const zi_param load_params[] = {{"model", ZI_PARAM_TEXT, AT(model), 1, NAME, NULL, false, 0},
                                       {0}};

static const zi_param no_params[] = {{0}};

static const zi_param enhance_params[] = {
    {"prompt", ZI_PARAM_TEXT, AT(prompt), 1, ZI_PROMPT_BYTES, NULL, true, 0},
    {"llm", ZI_PARAM_TEXT, AT(llm), 1, NAME, NULL, false, 0},
    {"temperature", ZI_PARAM_REAL, AT(temperature), 0, 10, NULL, false, 0},
    {"max_tokens", ZI_PARAM_INT, AT(max_tokens), 1, 500, NULL, false, 0},
    {"seed", ZI_PARAM_SEED, AT(seed), 0, 0, NULL, false, 0},
    {0}};

/* ---- settling ---- */

static bool settle_model(zi_server *server, zi_job *job, zi_refusal *refusal)
{
    zi_order *o = &job->order;
    zi_found found;
    if (!zi_models_find(server, o->model, "model", &found, refusal)) return false;
    o->path = found.path;
    bool ok = zi_params_set(job->params, "model", cJSON_CreateString(found.name));
    free(found.name);
    if (!ok) return zi_refuse(refusal, 500, NULL, "out of memory");
    o->model = cJSON_GetObjectItemCaseSensitive(job->params, "model")->valuestring;
    return true;
}

static bool settle_seed(zi_job *job, zi_refusal *refusal)
{
    char digits[24];
    zi_seed *seed = &job->order.seed;
    uint32_t drawn = 0;
    if (!seed->given && getentropy(&drawn, sizeof drawn) != 0)
        return zi_refuse(refusal, 500, NULL, "the system gives no random numbers");
    if (!seed->given) *seed = (zi_seed){true, drawn};
    snprintf(digits, sizeof digits, "%" PRIu64, seed->value);
    return zi_params_set(job->params, "seed", cJSON_CreateString(digits)) ||
           zi_refuse(refusal, 500, NULL, "out of memory");
}

static bool settle_generate(zi_server *server, zi_job *job, zi_refusal *refusal)
{
    zi_order *o = &job->order;
    if (!o->count) o->count = 1;
    if (o->width * o->height > ZI_MAX_PIXELS)
        return zi_refuse(refusal, 400, "width",
                         "%dx%d are too many pixels; %d (2048x2048) are the most", o->width,
                         o->height, ZI_MAX_PIXELS);
    return settle_model(server, job, refusal) && settle_seed(job, refusal);
}

static bool settle_nothing(zi_server *server, zi_job *job, zi_refusal *refusal)
{
    (void)server;
    (void)job;
    (void)refusal;
    return true;
}

static bool settle_verify(zi_server *server, zi_job *job, zi_refusal *refusal)
{
    zi_order *o = &job->order;
    return settle_model(server, job, refusal) &&
           (!o->against ||
            zi_models_find_path(server, o->against, "against", &o->other_path, refusal));
}

static bool settle_enhance(zi_server *server, zi_job *job, zi_refusal *refusal)
{
    zi_order *o = &job->order;
    return settle_seed(job, refusal) && zi_models_find_llm(server, o->llm, &o->path, refusal);
}

static bool ends_with(const char *text, const char *end)
{
    size_t length = strlen(text), size = strlen(end);
    return length > size && !strcmp(text + length - size, end);
}

/* The section of new models of a layout, and the extension of their files. */
static const struct {
    zi_section section;
    const char *extension;
} homes[] = {[ZI_LAYOUT_MLX] = {ZI_SECTION_MLX, ""},
             [ZI_LAYOUT_DIFFUSERS] = {ZI_SECTION_PYTORCH, ""},
             [ZI_LAYOUT_COMFYUI] = {ZI_SECTION_COMFYUI, ".safetensors"},
             [ZI_LAYOUT_GGUF] = {ZI_SECTION_COMFYUI, ".gguf"}};

/* As homes, for what keeps the layout of what lies at path. */
static size_t home_of(const char *source, const char *path)
{
    if (ends_with(path, ".gguf")) return ZI_LAYOUT_GGUF;
    if (ends_with(path, ".safetensors")) return ZI_LAYOUT_COMFYUI;
    return !strncmp(source, "mlx/", 4) ? ZI_LAYOUT_MLX : ZI_LAYOUT_DIFFUSERS;
}

static bool settle_convert(zi_server *server, zi_job *job, zi_refusal *refusal)
{
    zi_order *o = &job->order;
    char file[256];
    if (!zi_models_find_path(server, o->source, "source", &o->path, refusal) ||
        !zi_models_find_path(server, o->vae, "vae", &o->vae_path, refusal) ||
        !zi_models_find_path(server, o->text_encoder, "text_encoder", &o->text_encoder_path,
                             refusal) ||
        !zi_models_find_path(server, o->reference, "reference", &o->reference_path, refusal))
        return false;
    size_t home = o->layout ? (size_t)o->layout : home_of(o->source, o->path);
    const char *extension = homes[home].extension;
    snprintf(file, sizeof file, "%s%s", o->destination,
             ends_with(o->destination, extension) ? "" : extension);
    return zi_models_place(server, homes[home].section, file, "destination", &o->place, &o->name,
                           refusal);
}

/* A new model's name, where the library chooses the folder. */
static bool check_name(const char *name, zi_refusal *refusal)
{
    bool plain = !name || (name[0] != '.' && !strchr(name, '/') && !strchr(name, '\\') &&
                           !strchr(name, ':'));
    for (const char *c = name; plain && c && *c; c++)
        plain = (unsigned char)*c >= 0x20 && *c != 0x7f;
    return plain || zi_refuse(refusal, 400, "name", "the name must be a plain file name");
}

const zi_layout_offer zi_layout_offers[ZI_LAYOUT_OFFERS] = {
    [ZI_LAYOUT_MLX] = {"mlx", "original|fp16|bf16|fp8|q8|q4"},
    [ZI_LAYOUT_DIFFUSERS] = {"diffusers", "original|fp16|bf16|fp8"},
    [ZI_LAYOUT_COMFYUI] = {"comfyui", "original|fp16|bf16|fp8"},
    [ZI_LAYOUT_GGUF] = {"gguf", "original|fp16|bf16|q8|q4"}};

static bool has_word(const char *words, const char *word)
{
    size_t length = strlen(word);
    for (const char *at = words; at; at = strchr(at, '|')) {
        at += *at == '|';
        if (!strncmp(at, word, length) && (!at[length] || at[length] == '|')) return true;
    }
    return false;
}

/* Before much is fetched for nothing. */
static bool check_precision(const zi_job *job, zi_refusal *refusal)
{
    const zi_layout_offer *layout = &zi_layout_offers[job->order.layout];
    const cJSON *word = cJSON_GetObjectItemCaseSensitive(job->params, "precision");
    if (!layout->name || !cJSON_IsString(word) || has_word(layout->precisions, word->valuestring))
        return true;
    return zi_refuse(refusal, 400, "precision", "%s has no %s, only %s", layout->name,
                     word->valuestring, layout->precisions);
}

static bool settle_import(zi_server *server, zi_job *job, zi_refusal *refusal)
{
    zi_order *o = &job->order;
    if (!check_name(o->destination, refusal) || !check_precision(job, refusal) ||
        !zi_origin_find(&server->options, o->source, &o->path, refusal))
        return false;
    if (o->mode && (o->layout || o->precision))
        return zi_refuse(refusal, 400, "mode",
                         "what is converted is neither linked nor moved; leave the mode out");
    if (o->mode == ZI_IMPORT_LINK && !zi_origin_is_ours(&server->options, o->path))
        return zi_refuse(refusal, 400, "mode",
                         "this server follows no link out of its models folder; copy or move it");
    return true;
}

/* Whether repo is one is found out by looking into the cache, which asks no one. */
static bool settle_download(zi_server *server, zi_job *job, zi_refusal *refusal)
{
    const zi_order *o = &job->order;
    zi_error error;
    char *path = NULL;
    if (!check_name(o->destination, refusal) || !check_precision(job, refusal)) return false;
    bool ok = zi_hub_find(&server->options.registry.hub, o->repo, &path, &error);
    free(path);
    return ok || zi_refuse_error(refusal, NULL, "repo", &error);
}

const zi_kind zi_kinds[] = {
    {"generate", ZI_LANE_WORK, generate_params, settle_generate, zi_work_generate},
    {"convert", ZI_LANE_WORK, convert_params, settle_convert, zi_work_convert},
    {"quantize", ZI_LANE_WORK, quantize_params, settle_convert, zi_work_convert},
    {"import", ZI_LANE_WORK, import_params, settle_import, zi_work_import},
    {"download", ZI_LANE_FETCH, download_params, settle_download, zi_work_download},
    {"verify", ZI_LANE_WORK, verify_params, settle_verify, zi_work_verify},
    {"enhance", ZI_LANE_WORK, enhance_params, settle_enhance, zi_work_enhance},
    {"load", ZI_LANE_WORK, load_params, settle_model, zi_work_load},
    {"unload", ZI_LANE_WORK, no_params, settle_nothing, zi_work_unload},
    {0}};
