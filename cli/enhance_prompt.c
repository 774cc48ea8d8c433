/* zimage generate: random prompts, and prompts that a language model expands. */
#include "generate.h"

#include <cJSON.h>
#include <stdlib.h>
#include <string.h>

/* zi_enhance_request.text. Ignores the text; returns false, to cancel, after a signal. */
static bool should_continue(void *user, const char *text)
{
    (void)user;
    (void)text;
    return !zi_interrupted();
}

/* Prints the prompt that is used as a note (unless --quiet) or, with --json, as the event "prompt".
 * False: out of memory; *error is set. */
static bool print_prompt(const zi_generate_args *args, const zi_generate_job *job, zi_error *error)
{
    const zi_request *r = &job->generation.request;
    if (!args->json) {
        zi_print_note(args->quiet, "prompt: %s", r->prompt);
        return true;
    }
    cJSON *event = cJSON_CreateObject();
    cJSON_AddStringToObject(event, "event", "prompt");
    cJSON_AddStringToObject(event, "prompt", r->prompt);
    if (r->original) cJSON_AddStringToObject(event, "original", r->original);
    return zi_print_json_event(event, error);
}

/* Makes `path` the image model, for whose prompts the expander writes, unless it is: sets e->load
 * to the options for loading it. False: *error is set, and there is none. */
static bool set_image_model(zi_prompt_expander *e, const zi_generate_args *args, const char *path,
                            zi_error *error)
{
    if (e->load.path && !strcmp(e->load.path, path)) return true;
    zi_used_parts_free(&e->parts);
    free(e->image_model);
    e->load = (zi_model_options){0};
    e->image_model = strdup(path);
    if (!e->image_model) return zi_error_no_memory(error, strlen(path));
    zi_model_options load = args->load;
    load.path = e->image_model;
    if (!zi_find_parts(&args->models, &load, &e->parts, error)) return false;
    e->load = load;
    return true;
}

/* Loads the language model that --llm and the image model stand for, unless it is loaded. False:
 * *error is set, and none is loaded. */
static bool load_llm(zi_prompt_expander *e, const zi_generate_args *args, zi_engine *engine,
                     zi_error *error)
{
    char *path = NULL;
    if (!zi_find_llm(&args->models, args->llm, e->load.path, &path, error)) return false;
    bool encoder = !strcmp(path, e->load.path);
    bool loaded = e->llm && encoder == e->llm_is_encoder && !strcmp(path, e->llm_path);
    if (loaded) {
        free(path);
        return true;
    }
    zi_llm_free(e->llm);
    free(e->llm_path);
    e->llm = NULL;
    e->llm_path = path;
    e->llm_is_encoder = encoder;
    const zi_model_options options = encoder ? e->load : (zi_model_options){.path = path};
    zi_print_note(args->quiet, "expanding the prompt with the language model in %s", path);
    return zi_llm_load(engine, &options, &e->llm, error);
}

/* Reads --template, once. True without one. False: *error is set. */
static bool read_template(zi_prompt_expander *e, const zi_generate_args *args, zi_error *error)
{
    return e->template || zi_read_template(args->template, &e->template, error);
}

void zi_prompt_expander_free(zi_prompt_expander *expander)
{
    zi_llm_free(expander->llm);
    free(expander->llm_path);
    zi_used_parts_free(&expander->parts);
    free(expander->image_model);
    free(expander->template);
    *expander = (zi_prompt_expander){0};
}

/* Expands the request's prompt into job->enhanced_prompt (owned by the job). The request stays as
 * it is. False: *error is set, and the job is unchanged. */
static bool expand_prompt(zi_prompt_expander *e, const zi_generate_args *args, zi_generate_job *job,
                          zi_engine *engine, zi_error *error)
{
    zi_enhance_request r = zi_enhance_default();
    zi_enhance_result enhanced = {0};
    if (!read_template(e, args, error) || !set_image_model(e, args, job->found.path, error) ||
        !load_llm(e, args, engine, error))
        return false;
    r.prompt = job->generation.request.prompt;
    r.seed = job->generation.request.seed;
    r.model = &e->load;
    r.text = should_continue;
    r.instructions = e->template;
    bool ok = zi_enhance(e->llm, &r, &enhanced, error);
    if (ok) {
        job->enhanced_prompt = enhanced.text;
        enhanced.text = NULL;
    }
    zi_enhance_result_free(&enhanced);
    return ok;
}

/* Expands the request's prompt, sets request.original to the old one, and prints the new one. With
 * --enhance=try a failure other than a cancellation becomes a note: the prompt stays, and is
 * printed if it is a random one, *error (not NULL) is zeroed, and the result is true. False: *error
 * is set. */
static bool enhance_prompt(zi_prompt_expander *expander, const zi_generate_args *args,
                           zi_generate_job *job, zi_engine *engine, zi_error *error)
{
    if (expand_prompt(expander, args, job, engine, error)) {
        job->generation.request.original = job->generation.request.prompt;
        job->generation.request.prompt = job->enhanced_prompt;
        return print_prompt(args, job, error);
    }
    if (args->enhance != ZI_ENHANCE_TRY || error->code == ZI_ERROR_CANCELLED) return false;
    char *why = zi_format_error(args->command, error);
    zi_print_note(args->quiet, "the prompt is used unchanged, since it cannot be expanded: %s",
                  why ? why : error->text);
    free(why);
    *error = (zi_error){0};
    return !args->random || print_prompt(args, job, error);
}

bool zi_prepare_prompt(zi_prompt_expander *expander, const zi_generate_args *args,
                       zi_generate_job *job, zi_engine *engine, zi_error *error)
{
    zi_request *r = &job->generation.request;
    if (args->random) {
        job->random_prompt = zi_random_prompt(r->seed);
        if (!job->random_prompt) return zi_error_no_memory(error, 1);
        r->prompt = job->random_prompt;
        if (!args->enhance && !print_prompt(args, job, error)) return false;
    }
    return !args->enhance || enhance_prompt(expander, args, job, engine, error);
}
