/* zimage enhance: expands a short prompt with a language model. */
#include "cli.h"

#include "base/file.h"
#include "base/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_TEMPLATE = 1 << 20, RAW_TOKENS = 128 };

typedef struct {
    const char *models, *llm, *model, *template; /* models: the models folder; NULL: ./models */
    bool raw, ids, quiet, temperature_given;
    zi_engine_options engine;
    zi_model_options load;
    zi_enhance_request request;
    bool stream;   /* print the text while it is generated: standard output is a terminal */
    zi_text shown; /* the text printed so far */
} enhance_args;

bool zi_read_template(const char *path, char **out, zi_error *error)
{
    size_t size;
    if (!path) return true;
    if (!zi_file_read(path, MAX_TEMPLATE, out, &size, error)) return false;
    const char *why =
        memchr(*out, 0, size) ? "has a zero byte, so it is no plain text; save it as UTF-8 text"
        : !zi_utf8_valid(*out, size) ? "is not UTF-8 text; save it as UTF-8"
        : !strstr(*out, "{prompt}")
            ? "does not contain {prompt}; write {prompt} at the place where the prompt goes"
            : NULL;
    if (!why) return true;
    free(*out);
    *out = NULL;
    return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "template", "%s %s", path, why);
}

/* zi_enhance_request.text; user is the enhance_args. If args->stream, prints the new piece of the
 * text, flushes, and appends it to args->shown (args->shown.failed: memory was short). Returns
 * false, to cancel, after a signal. */
static bool on_text(void *user, const char *text)
{
    enhance_args *args = user;
    if (args->stream) {
        fputs(text, stdout);
        zi_flush_output();
        zi_text_puts(&args->shown, text);
    }
    return !zi_interrupted();
}

/* Prints the generated token ids, without the prompt's, as a JSON array and a newline. */
static void print_ids(const zi_enhance_result *e)
{
    putchar('[');
    for (size_t i = 0; i < e->count; i++) printf("%s%" PRId32, i ? ", " : "", e->ids[i]);
    puts("]");
}

/* Prints what of the final text was not printed while it was generated, and a newline. A text that
 * does not begin with args->shown is printed whole on a new line. */
static void print_remaining_text(const enhance_args *args, const zi_enhance_result *e)
{
    const char *shown = args->shown.data ? args->shown.data : "";
    size_t size = strlen(shown);
    bool grows = strncmp(e->text, shown, size) == 0;
    printf("%s%s\n", grows ? "" : "\n", e->text + (grows ? size : 0));
}

/* Prints the token ids (--ids) or what of the text is not printed yet, then a note (unless --quiet)
 * with numbers of tokens and speed. */
static void print_result(const enhance_args *args, const zi_enhance_result *e)
{
    if (args->ids)
        print_ids(e);
    else
        print_remaining_text(args, e);
    zi_print_note(args->quiet, "%zu tokens read in %.2f s, %zu written in %.2f s (%.1f a second)",
                  e->prompt_tokens, e->read_seconds, e->count, e->write_seconds,
                  e->write_seconds > 0 ? (double)e->count / e->write_seconds : 0);
}

/* Checks that there is a prompt, loads the language model, expands the prompt and prints the
 * result. Empties args->shown in any case. False: *error is set; text that was printed ends with a
 * newline. */
static bool run_enhance(enhance_args *args, zi_error *error)
{
    zi_engine *engine = NULL;
    zi_llm *llm = NULL;
    zi_enhance_result enhanced = {0};
    zi_resolved_model model = {0};
    zi_used_parts parts = {0};
    zi_user_registry models = {0};
    char *path = NULL, *template = NULL;
    bool ok = false;
    zi_enhance_request *r = &args->request;
    if (!r->prompt || !*r->prompt) {
        zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "prompt",
                     "is missing or empty; give the prompt to expand with -p TEXT");
        goto out;
    }
    if (!zi_read_template(args->template, &template, error) ||
        !zi_user_registry_open(args->models, &args->load, &models, error) ||
        !zi_resolve_parts(&models, &args->load, &parts, error) ||
        !zi_find_model(&models, args->model, &model, error) ||
        !zi_find_llm(&models, args->llm, model.path, &path, error))
        goto out;
    r->instructions = template;
    args->load.path = path;
    zi_prepare_engine(&models, args->quiet, &args->engine);
    if (!zi_find_parts(&models, &args->load, &parts, error) ||
        !zi_engine_create(&args->engine, &engine, error) ||
        !zi_llm_load(engine, &args->load, &llm, error) || !zi_enhance(llm, r, &enhanced, error)) {
        if (args->shown.size) putchar('\n');
        goto out;
    }
    print_result(args, &enhanced);
    ok = true;
out:
    zi_enhance_result_free(&enhanced);
    zi_llm_free(llm);
    zi_engine_free(engine);
    zi_text_free(&args->shown);
    free(template);
    free(path);
    zi_resolved_model_free(&model);
    zi_used_parts_free(&parts);
    zi_user_registry_close(&models);
    return ok;
}

int cmd_enhance(int argc, char **argv)
{
    enhance_args args = {.request = zi_enhance_default()};
    zi_enhance_request *r = &args.request;
    int tokens = 0;
    const zi_option options[] = {
        {"prompt", 'p', ZI_OPTION_TEXT, &r->prompt, 0, 0, "TEXT", "prompt to expand", NULL},
        {"llm", 0, ZI_OPTION_TEXT, &args.llm, 0, 0, "PATH",
         "language model, a folder or GGUF (models/prompt_enhancer, else MODEL's encoder)", NULL},
        {"model", 'm', ZI_OPTION_TEXT, &args.model, 0, 0, "MODEL",
         "image model whose text encoder is used (the default model)", NULL},
        zi_models_option(&args.models),
        {"reference", 0, ZI_OPTION_TEXT, &args.load.reference, 0, 0, "MODEL",
         "model, or folder of a tokenizer, to take missing components from", NULL},
        {"template", 0, ZI_OPTION_TEXT, &args.template, 0, 0, "FILE",
         "instructions for the model, containing {prompt} (built in)", NULL},
        {"raw", 0, ZI_OPTION_FLAG, &r->raw, 0, 0, NULL,
         "continue TEXT verbatim; special tokens in it are parsed", NULL},
        {"ids", 0, ZI_OPTION_FLAG, &args.ids, 0, 0, NULL,
         "print the generated token ids as a JSON array", NULL},
        {"max-tokens", 0, ZI_OPTION_INT, &tokens, 1, 1 << 20, "N",
         "maximum length of the answer in tokens (400, at most 500; 128 with --raw)", NULL},
        {"temperature", 0, ZI_OPTION_REAL, &r->temperature, 0, 100, "T",
         "sampling temperature; 0: always the most likely token (0.7; 0 with --raw)",
         &args.temperature_given},
        {"seed", 0, ZI_OPTION_SEED, &r->seed, 0, 0, "N", "seed of the sampling (0)", NULL},
        {"threads", 0, ZI_OPTION_INT, &args.engine.threads, 1, 1024, "N",
         "number of threads (all processors)", NULL},
        zi_cpu_option(&args.engine.cpu),
        zi_device_option(&args.engine.device),
        zi_vram_option(&args.engine.vram),
        {"quiet", 'q', ZI_OPTION_FLAG, &args.quiet, 0, 0, NULL, "no notes", NULL},
        {0},
    };
    const zi_command command = {
        "enhance", "Expands a prompt with a language model on this machine and prints it.", NULL,
        options};
    int code;
    if (!zi_options_parse(&command, argc, argv, NULL, &code)) return code;
    zi_error error = {0};
    if (r->raw && !args.temperature_given) r->temperature = 0;
    if (r->temperature == 0) r->penalty = 1;
    r->max_tokens = tokens ? tokens : r->raw ? RAW_TOKENS : r->max_tokens;
    r->text = on_text;
    r->user = &args;
    args.stream = !args.ids && isatty(STDOUT_FILENO);
    zi_text_init(&args.shown, 1 << 20);
    zi_interrupt_install();
    return run_enhance(&args, &error) ? 0 : zi_report_error(&command, &error);
}
