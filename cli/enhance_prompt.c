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

/* Finds and loads the language model, expands the request's prompt into job->enhanced_prompt (owned
 * by the job), and frees the model. The request stays as it is. False: *error is set, and the job
 * is unchanged. */
static bool expand_prompt(const zi_generate_args *args, zi_generate_job *job, zi_engine *engine,
                          zi_error *error)
{
    zi_enhance_request r = zi_enhance_default();
    zi_enhance_result enhanced = {0};
    zi_model_options load = args->load;
    zi_used_parts parts = {0};
    zi_llm *llm = NULL;
    char *path = NULL, *template = NULL;
    load.path = job->found.path;
    r.prompt = job->generation.request.prompt;
    r.seed = job->generation.request.seed;
    r.model = &load;
    r.text = should_continue;
    bool ok = zi_read_template(args->template, &template, error);
    r.instructions = template;
    if (ok && zi_find_parts(args->models, &load, &parts, error) &&
        zi_find_llm(args->models, args->llm, job->found.path, &path, error)) {
        zi_model_options options = {.path = path};
        if (strcmp(path, job->found.path) == 0) options = load;
        zi_print_note(args->quiet, "expanding the prompt with the language model in %s", path);
        ok = zi_llm_load(engine, &options, &llm, error) && zi_enhance(llm, &r, &enhanced, error);
    } else {
        ok = false;
    }
    if (ok) {
        job->enhanced_prompt = enhanced.text;
        enhanced.text = NULL;
    }
    zi_enhance_result_free(&enhanced);
    zi_llm_free(llm);
    zi_used_parts_free(&parts);
    free(template);
    free(path);
    return ok;
}

/* Expands the request's prompt, sets request.original to the old one, and prints the new one. With
 * --enhance=try a failure other than a cancellation becomes a note: the prompt stays, and is
 * printed if it is a random one, *error (not NULL) is zeroed, and the result is true. False: *error
 * is set. */
static bool enhance_prompt(const zi_generate_args *args, zi_generate_job *job, zi_engine *engine,
                           zi_error *error)
{
    if (expand_prompt(args, job, engine, error)) {
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

bool zi_prepare_prompt(const zi_generate_args *args, zi_generate_job *job, zi_engine *engine,
                       zi_error *error)
{
    zi_request *r = &job->generation.request;
    if (args->random) {
        job->random_prompt = zi_random_prompt(r->seed);
        if (!job->random_prompt) return zi_error_no_memory(error, 1);
        r->prompt = job->random_prompt;
        if (!args->enhance && !print_prompt(args, job, error)) return false;
    }
    return !args->enhance || enhance_prompt(args, job, engine, error);
}
