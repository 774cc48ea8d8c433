/* zimage generate: where prompts come from: the command line, a file, standard input, or a file
 * with one a line. */
#include "generate.h"

#include "base/json_nul.h"
#include "base/file.h"
#include "base/tables.h"
#include "base/text.h"

#include <cJSON.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_PROMPT = 1 << 20, MAX_PROMPTS = 64 << 20, LINE_OPTIONS = 2 };

/* ---- reading texts ---- */

/* The name of a file for messages: "-" is standard input. */
static const char *shown_name(const char *name)
{
    return strcmp(name, "-") ? name : "standard input";
}

/* Reads all of standard input, at most max bytes, into *out, for free(). False: *error is set. */
static bool read_stdin(size_t max, char **out, zi_error *error)
{
    char buffer[16384];
    zi_text text;
    zi_text_init(&text, max);
    if (isatty(STDIN_FILENO)) zi_print_note(false, "type the prompt, then press Enter and Ctrl-D");
    while (!text.failed) {
        ssize_t got = read(STDIN_FILENO, buffer, sizeof buffer);
        if (zi_interrupted()) {
            zi_text_free(&text);
            return zi_error_cancelled(error);
        }
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) {
            zi_text_free(&text);
            return zi_error_set(error, ZI_ERROR_IO, "standard input", "cannot read: %s",
                                strerror(errno));
        }
        if (got == 0) break;
        zi_text_append(&text, buffer, (size_t)got);
    }
    size_t size = text.size;
    bool too_long = text.too_long;
    *out = zi_text_take(&text);
    if (!*out && !too_long) return zi_error_no_memory(error, size);
    if (!*out)
        return zi_error_set(error, ZI_ERROR_UNSUPPORTED, "standard input",
                            "has more than %zu bytes, which is too long; send a shorter text", max);
    if (strlen(*out) == size) return true;
    free(*out);
    *out = NULL;
    return zi_error_set(error, ZI_ERROR_BAD_FORMAT, "standard input",
                        "has a zero byte, so it is no plain text; send UTF-8 text");
}

/* Reads the file of that name, or for "-" standard input, into *out, for free(). False: *error is
 * set, *out unchanged or NULL. */
static bool read_text(const char *name, size_t max, char **out, zi_error *error)
{
    size_t size;
    if (!strcmp(name, "-")) return read_stdin(max, out, error);
    if (!zi_file_read(name, max, out, &size, error)) return false;
    if (strlen(*out) == size) return true;
    free(*out);
    *out = NULL;
    return zi_error_set(error, ZI_ERROR_BAD_FORMAT, name,
                        "has a zero byte, so it is no plain text; save it as UTF-8 text");
}

/* Cuts line breaks and white space at the end of text. */
static void cut_end(char *text)
{
    size_t size = strlen(text);
    while (size && strchr(" \t\r\n", text[size - 1])) text[--size] = 0;
}

/* text without a byte order mark at its start. */
static char *skip_mark(char *text)
{
    return strncmp(text, "\xef\xbb\xbf", 3) ? text : text + 3;
}

/* Checks the text of a prompt's file, of this name. False, with *error set: it is empty or no
 * UTF-8. */
static bool check_prompt_text(const char *name, const char *text, zi_error *error)
{
    const char *why = NULL;
    if (!zi_utf8_valid(text, strlen(text)))
        why = "is not UTF-8 text; convert it to UTF-8";
    else if (!*text)
        why = strcmp(name, "-") ? "has no text; write the prompt into this file, or begin a prompt "
                                  "with @@ if it shall begin with @"
                                : "has no text; send the prompt there";
    return !why ||
           zi_error_set_in(error, ZI_ERROR_INVALID_ARGUMENT, shown_name(name), NULL, "%s", why);
}

bool zi_read_prompt(zi_generate_args *args, zi_error *error)
{
    zi_request *r = &args->generation.request;
    const char *prompt = r->prompt;
    if (!prompt || (prompt[0] != '@' && strcmp(prompt, "-") != 0)) return true;
    if (!strncmp(prompt, "@@", 2)) {
        r->prompt = prompt + 1;
        return true;
    }
    const char *name = prompt[0] == '@' ? prompt + 1 : prompt;
    zi_error why = {0};
    if (!read_text(name, MAX_PROMPT, &args->prompt_text, &why)) {
        if (prompt[0] == '@' &&
            (why.code == ZI_ERROR_NOT_FOUND || why.code == ZI_ERROR_UNSUPPORTED))
            return zi_error_set(error, why.code, "prompt",
                                "%s; @FILE reads the prompt from a file, so begin a prompt with @@ "
                                "if it shall begin with @",
                                why.text);
        *error = why;
        return false;
    }
    cut_end(args->prompt_text);
    r->prompt = skip_mark(args->prompt_text);
    return check_prompt_text(name, r->prompt, error);
}

/* ---- lines ---- */

void zi_plan_report(const zi_generate_args *args, zi_generate_plan *plan, zi_generate_job *job,
                    const zi_error *error)
{
    zi_text text;
    job->failed = true;
    plan->failures++;
    zi_text_init(&text, 4096);
    if (job->line && error->code != ZI_ERROR_CANCELLED)
        zi_text_printf(&text, "%s, line %d: %s", shown_name(args->prompts), job->line, error->text);
    else
        zi_text_puts(&text, error->text);
    if (job->line) zi_append_error_hints(&text, args->command, error);
    char *message = zi_text_take(&text);
    zi_print_failure(error, message ? message : error->text, job->line);
    free(message);
}

/* The option of a JSON line's key, in which _ and - are the same; NULL: there is none. */
static const zi_option *find_key(const zi_option *options, const char *key)
{
    char name[64];
    snprintf(name, sizeof name, "%s", key);
    for (char *c = name; *c; c++)
        if (*c == '_') *c = '-';
    return zi_option_find(options, name);
}

/* Fails because a JSON line has a key that is no parameter. */
static bool fail_key(const zi_option *options, const char *key, zi_error *error)
{
    zi_text names;
    zi_text_init(&names, 900);
    for (; options->name; options++)
        zi_text_printf(&names, "%s%s", names.size ? ", " : "", options->name);
    char *list = zi_text_take(&names);
    zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, NULL,
                 "there is no parameter '%.60s'; the parameters are %s", key, list ? list : "");
    free(list);
    return false;
}

/* Sets an option by the value of a JSON line, which a text borrows. False: *error is set; the
 * value's type or range is wrong. */
static bool set_by_json(const zi_option *option, const cJSON *item, zi_error *error)
{
    char number[40];
    bool text = option->kind == ZI_OPTION_TEXT;
    if (cJSON_IsString(item)) return zi_option_set(option, item->valuestring, error);
    if (cJSON_IsBool(item) && option->kind == ZI_OPTION_FLAG)
        return zi_option_set(option, cJSON_IsTrue(item) ? "yes" : "no", error);
    if (!cJSON_IsNumber(item) || text)
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, option->name, "must be %s",
                            text                               ? "text in quotes"
                            : option->kind == ZI_OPTION_FLAG   ? "true or false"
                            : option->kind == ZI_OPTION_CHOICE ? option->argument
                                                               : "a number");
    if (option->kind == ZI_OPTION_SEED && item->valuedouble > 9007199254740992.0)
        return zi_error_set(
            error, ZI_ERROR_INVALID_ARGUMENT, option->name,
            "a number above 9007199254740992 must be in quotes, so that no digit is "
            "lost, as in \"seed\": \"18446744073709551615\"");
    snprintf(number, sizeof number, "%.17g", item->valuedouble);
    return zi_option_set(option, number, error);
}

/* Whether the object has a member of that name that is not null. */
static bool has_value(const cJSON *object, const char *name)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);
    return item && !cJSON_IsNull(item);
}

/* Sets the job's parameters by its JSON object. A width or height takes the place of the call's
 * aspect ratio, and the other way round. False: *error is set. */
static bool apply_json(zi_generate_job *job, zi_error *error)
{
    zi_option options[ZI_MAX_PARAMETERS + LINE_OPTIONS + 1];
    zi_option_strings texts[ZI_MAX_PARAMETERS];
    zi_request *r = &job->generation.request;
    size_t count = zi_parameter_options(&job->generation, options, texts);
    options[count++] = (zi_option){"aspect", 0, ZI_OPTION_TEXT, &job->aspect, 0, 0, "", "", NULL};
    options[count++] = (zi_option){"output", 0, ZI_OPTION_TEXT, &job->output, 0, 0, "", "", NULL};
    options[count] = (zi_option){0};
    if (has_value(job->json, "width") || has_value(job->json, "height")) job->aspect = NULL;
    if (has_value(job->json, "aspect")) r->width = r->height = 0;
    job->own_output = has_value(job->json, "output");
    const cJSON *item;
    cJSON_ArrayForEach(item, job->json)
    {
        const zi_option *option = find_key(options, item->string);
        if (!option) return fail_key(options, item->string, error);
        if (!cJSON_IsNull(item) && !set_by_json(option, item, error)) return false;
    }
    return true;
}

/* Sets the job by its line, job->text: a prompt, or a JSON object. False: *error is set. */
static bool read_job(zi_generate_job *job, zi_error *error)
{
    if (!zi_utf8_valid(job->text, strlen(job->text)))
        return zi_error_set_in(error, ZI_ERROR_BAD_FORMAT, NULL, "prompts",
                               "is not UTF-8 text; convert it to UTF-8");
    if (job->text[0] != '{') {
        job->generation.request.prompt = job->text;
        return true;
    }
    const char *end = NULL;
    job->json = cJSON_ParseWithOpts(job->text, &end, true);
    if (!cJSON_IsObject(job->json))
        return zi_error_set_in(
            error, ZI_ERROR_BAD_FORMAT, NULL, "prompts",
            "begins with {, so it must be a JSON object, but it is not valid JSON from byte %d on; "
            "correct it, or write a prompt that begins with { as {\"prompt\": \"{...\"}",
            end ? (int)(end - job->text) + 1 : 1);
    char name[64];
    if (zi_json_find_nul(job->text, name, sizeof name))
        return zi_error_set_in(error, ZI_ERROR_BAD_FORMAT, NULL, "prompts",
                               "\"%s\" has the character NUL (\\u0000), at which programs end a "
                               "text; remove it",
                               name);
    return apply_json(job, error);
}

/* Appends a job with the call's parameters, for the text of a line (NULL: the call's own), which it
 * takes over. NULL: out of memory; the text is freed. */
static zi_generate_job *add_job(const zi_generate_args *args, zi_generate_plan *plan, char *text,
                                int line, zi_error *error)
{
    zi_generate_job *grown = realloc(plan->jobs, (plan->count + 1) * sizeof *grown);
    if (!grown) {
        free(text);
        zi_error_no_memory(error, (plan->count + 1) * sizeof *grown);
        return NULL;
    }
    plan->jobs = grown;
    grown[plan->count] = (zi_generate_job){.generation = args->generation,
                                           .aspect = args->aspect,
                                           .output = args->output,
                                           .line = line,
                                           .text = text};
    return &grown[plan->count++];
}

/* Adds a job for each line of text that is not blank. False: out of memory. */
static bool add_lines(const zi_generate_args *args, zi_generate_plan *plan, char *text,
                      zi_error *error)
{
    int number = 0;
    for (char *line = text, *next; line; line = next) {
        next = strchr(line, '\n');
        if (next) *next++ = 0;
        number++;
        line += strspn(line, " \t");
        cut_end(line);
        if (!*line) continue;
        char *copy = strdup(line);
        if (!copy) return zi_error_no_memory(error, strlen(line));
        zi_generate_job *job = add_job(args, plan, copy, number, error);
        if (!job) return false;
        zi_error why = {0};
        if (!read_job(job, &why)) zi_plan_report(args, plan, job, &why);
    }
    return true;
}

/* Sets the number of each job's first image, and that of all images. */
static void number_images(zi_generate_plan *plan)
{
    for (size_t i = 0; i < plan->count; i++) {
        zi_generate_job *job = &plan->jobs[i];
        zi_generation_fill_defaults(&job->generation);
        job->first = plan->images + 1;
        plan->images += job->failed ? 1 : job->generation.count;
    }
}

bool zi_plan_read(const zi_generate_args *args, zi_generate_plan *plan, zi_error *error)
{
    char *text = NULL;
    bool ok;
    if (args->prompts) {
        if (!read_text(args->prompts, MAX_PROMPTS, &text, error)) return false;
        ok = add_lines(args, plan, skip_mark(text), error);
        free(text);
        if (ok && !plan->count)
            ok = zi_error_set(error, ZI_ERROR_BAD_FORMAT, args->prompts,
                              "has only empty lines; write one prompt on each line");
    } else {
        ok = add_job(args, plan, NULL, 0, error) != NULL;
    }
    number_images(plan);
    return ok;
}

void zi_plan_free(zi_generate_plan *plan)
{
    for (size_t i = 0; i < plan->count; i++) {
        zi_generate_job *job = &plan->jobs[i];
        free(job->text);
        cJSON_Delete(job->json);
        free(job->random_prompt);
        free(job->enhanced_prompt);
        zi_resolved_model_free(&job->found);
    }
    free(plan->jobs);
    *plan = (zi_generate_plan){0};
}
