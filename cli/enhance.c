/* zimage enhance: a short prompt becomes a rich one. */
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
    const char *llm, *model, *template;
    bool raw, ids, quiet, heated;
    zi_engine_options engine;
    zi_model_options load;
    zi_enhance_request request;
    bool stream;   /* standard output is a terminal: people see the answer grow */
    zi_text shown; /* what they saw */
} call;

bool zi_read_template(const char *path, char **out, zi_error *error)
{
    size_t size;
    if (!path) return true;
    if (!zi_file_read(path, MAX_TEMPLATE, out, &size, error)) return false;
    const char *why = !zi_utf8_valid(*out, size) || memchr(*out, 0, size) ? "is not UTF-8 text"
                      : !strstr(*out, "{prompt}")
                          ? "has no {prompt}, the place where the prompt goes"
                          : NULL;
    if (!why) return true;
    free(*out);
    *out = NULL;
    return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "template", "%s %s", path, why);
}

static bool grow(void *user, const char *text)
{
    call *c = user;
    if (c->stream) {
        fputs(text, stdout);
        fflush(stdout);
        zi_text_puts(&c->shown, text);
    }
    return !zi_interrupted();
}

static void print_ids(const zi_enhance_result *e)
{
    putchar('[');
    for (size_t i = 0; i < e->count; i++) printf("%s%" PRId32, i ? ", " : "", e->ids[i]);
    puts("]");
}

/* The answer, or what of it is not on the terminal yet. */
static void print_text(const call *c, const zi_enhance_result *e)
{
    const char *shown = c->shown.data ? c->shown.data : "";
    size_t size = strlen(shown);
    bool grows = strncmp(e->text, shown, size) == 0;
    printf("%s%s\n", grows ? "" : "\n", e->text + (grows ? size : 0));
}

static void print_result(const call *c, const zi_enhance_result *e)
{
    if (c->ids)
        print_ids(e);
    else
        print_text(c, e);
    zi_note(c->quiet, "%zu tokens read in %.2f s, %zu written in %.2f s (%.1f a second)",
            e->prompt_tokens, e->read_seconds, e->count, e->write_seconds,
            e->write_seconds > 0 ? (double)e->count / e->write_seconds : 0);
}

static bool enhance(call *c, zi_error *error)
{
    zi_engine *engine = NULL;
    zi_llm *llm = NULL;
    zi_enhance_result enhanced = {0};
    zi_resolved_model model = {0};
    char *path = NULL, *template = NULL;
    bool ok = false;
    zi_enhance_request *r = &c->request;
    if (!r->prompt || !*r->prompt) {
        zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "prompt",
                     "is missing or empty; say what to make more of with -p TEXT");
        goto out;
    }
    if (!zi_read_template(c->template, &template, error) ||
        !zi_find_model(c->model, &model, error) || !zi_find_llm(c->llm, model.path, &path, error))
        goto out;
    r->instructions = template;
    c->load.path = path;
    if (!zi_engine_create(&c->engine, &engine, error) ||
        !zi_llm_load(engine, &c->load, &llm, error) || !zi_enhance(llm, r, &enhanced, error)) {
        if (c->shown.size) putchar('\n');
        goto out;
    }
    print_result(c, &enhanced);
    ok = true;
out:
    zi_enhance_result_free(&enhanced);
    zi_llm_free(llm);
    zi_engine_free(engine);
    zi_text_free(&c->shown);
    free(template);
    free(path);
    zi_resolved_model_free(&model);
    return ok;
}

int cmd_enhance(int argc, char **argv)
{
    call c = {.request = zi_enhance_default()};
    zi_enhance_request *r = &c.request;
    int tokens = 0;
    const zi_option options[] = {
        {"prompt", 'p', ZI_OPTION_TEXT, &r->prompt, 0, 0, "TEXT", "what to make more of", NULL},
        {"llm", 0, ZI_OPTION_TEXT, &c.llm, 0, 0, "PATH",
         "language model: a folder or a GGUF (models/prompt_enhancer, else MODEL's encoder)", NULL},
        {"model", 'm', ZI_OPTION_TEXT, &c.model, 0, 0, "MODEL",
         "image model whose text encoder is asked (the demo model)", NULL},
        {"reference", 0, ZI_OPTION_TEXT, &c.load.reference, 0, 0, "DIR",
         "a folder that lends what MODEL lacks", NULL},
        {"template", 0, ZI_OPTION_TEXT, &c.template, 0, 0, "FILE",
         "what the model is told, with {prompt} in it (text of our own)", NULL},
        {"raw", 0, ZI_OPTION_FLAG, &r->raw, 0, 0, NULL,
         "continue TEXT as it stands, special tokens and all", NULL},
        {"ids", 0, ZI_OPTION_FLAG, &c.ids, 0, 0, NULL, "the generated ids as one JSON array", NULL},
        {"max-tokens", 0, ZI_OPTION_INT, &tokens, 1, 1 << 20, "N",
         "of the answer (400, which 500 is the most; 128 with --raw)", NULL},
        {"temperature", 0, ZI_OPTION_REAL, &r->temperature, 0, 100, "T",
         "0: always the likeliest token (0.7; 0 with --raw)", &c.heated},
        {"seed", 0, ZI_OPTION_SEED, &r->seed, 0, 0, "N", "of the dice (0)", NULL},
        {"threads", 0, ZI_OPTION_INT, &c.engine.threads, 1, 1024, "N", "(all the machine has)",
         NULL},
        {"cpu", 0, ZI_OPTION_TEXT, &c.engine.cpu, 0, 0, "TIER", "kernels to use (the best)", NULL},
        {"quiet", 'q', ZI_OPTION_FLAG, &c.quiet, 0, 0, NULL, "no remarks", NULL},
        {0},
    };
    const zi_command command = {
        "enhance", "Prints a better prompt, as a language model on this machine writes it.", NULL,
        options};
    int code;
    if (!zi_options_parse(&command, argc, argv, NULL, &code)) return code;
    zi_error error = {0};
    if (r->raw && !c.heated) r->temperature = 0;
    if (r->temperature == 0) r->penalty = 1;
    r->max_tokens = tokens ? tokens : r->raw ? RAW_TOKENS : r->max_tokens;
    r->text = grow;
    r->user = &c;
    c.stream = !c.ids && isatty(STDOUT_FILENO);
    zi_text_init(&c.shown, 1 << 20);
    zi_interrupt_install();
    return enhance(&c, &error) ? 0 : zi_report(&command, &error);
}
