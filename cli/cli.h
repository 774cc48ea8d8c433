/* What the subcommands share: options, progress, interruption, finding a model. The program's
 * exit codes: 0 done, 1 it failed, 2 the call is wrong. */
#ifndef ZI_CLI_H
#define ZI_CLI_H

#include "base/error.h"
#include "base/machine.h"

/* ---- subcommands: argv[0] is the subcommand's name; each returns the exit code ---- */

int cmd_generate(int argc, char **argv);
int cmd_tokenize(int argc, char **argv);
int cmd_inspect(int argc, char **argv);
int cmd_verify(int argc, char **argv);
int cmd_bench(int argc, char **argv);
int cmd_convert(int argc, char **argv);
int cmd_quantize(int argc, char **argv);
int cmd_enhance(int argc, char **argv);
int cmd_download(int argc, char **argv);
int cmd_models(int argc, char **argv);
int cmd_import(int argc, char **argv);
int cmd_serve(int argc, char **argv);
int cmd_gallery(int argc, char **argv);

/* ---- options (options.c) ---- */

typedef enum {
    ZI_OPTION_FLAG,   /* bool: true when given */
    ZI_OPTION_TEXT,   /* const char * */
    ZI_OPTION_INT,    /* int, min to max */
    ZI_OPTION_REAL,   /* double, min to max */
    ZI_OPTION_SEED,   /* uint64_t, all of its range */
    ZI_OPTION_CHOICE, /* int: which of argument's words, as in "auto|exact|fast" */
    /* int: 1 when given alone, 2 and on for argument's words, which come in the same word:
     * --name=try */
    ZI_OPTION_LEVEL
} zi_option_kind;

typedef struct {
    const char *name; /* the long name without its dashes; NULL ends a table */
    char letter;      /* the short name, 0 for none */
    zi_option_kind kind;
    void *value; /* left alone unless the option is given */
    double min, max;
    const char *argument; /* how help calls the value; a choice's words */
    const char *help;
    bool *given; /* set to true when the option is given; may be NULL */
} zi_option;

typedef struct {
    const char *name;
    const char *about;      /* one sentence for help */
    const char *positional; /* what words that are no options are called ("PATH", "SRC DST"); those
                               in brackets may be left out ("[NAME]"); NULL: there are none */
    const zi_option *options;
} zi_command;

/* Reads a subcommand's arguments: `-x 1`, `-x1`, `--name 1`, `--name=1`; `--` ends the options.
 * Words that are no options go to positional[0] and on, as many as the command names.
 * False: do not go on but return *code (help was asked for and printed, or the call is wrong and
 * that was reported). */
bool zi_options_parse(const zi_command *command, int argc, char **argv, const char **positional,
                      int *code) ZI_CHECKED;

/* ---- options of generation parameters (parameters.c) ---- */

/* What an option's texts are kept in. */
typedef struct {
    char name[32], choices[64], help[160];
} zi_option_text;

/* Makes an option for each parameter of *generation that the command line has, and returns how many
 * there are, at most ZI_MAX_PARAMETERS. Both arrays have room for that; texts must outlive the
 * options. */
size_t zi_parameter_options(zi_generation *generation, zi_option *options, zi_option_text *texts);

/* "one|two", as the argument of an option that is a choice; returns out. */
const char *zi_join_words(const char *const *words, char *out, size_t size);

/* ---- messages (main.c, report.c) ---- */

/* A line "zimage: ..." on stderr; nothing when quiet. */
void zi_note(bool quiet, const char *format, ...) ZI_PRINTF(2, 3);

/* What an error says, in new memory, or NULL: wrong fields by the options that set them, and with
 * the options or calls that help. command: the running one, or NULL. */
char *zi_explain(const zi_command *command, const zi_error *error);

/* Prints that; returns the exit code that goes with the error. */
int zi_report(const zi_command *command, const zi_error *error);

/* ---- models (registry.c) ---- */

/* The model registry, with the strings that it borrows. */
typedef struct {
    zi_registry *registry;
    zi_registry_options options;
    char *hub_cache, *token, *demo, *cache_file;
} zi_user_registry;

/* The options as the environment has them (HF_HOME, HF_HUB_CACHE, HF_ENDPOINT, HF_TOKEN,
 * XDG_CACHE_HOME, ...); the registry is not opened. folder: NULL for ./models. */
bool zi_user_registry_read(const char *folder, zi_user_registry *out, zi_error *error) ZI_CHECKED;

/* The same, and opens the registry. */
bool zi_user_registry_open(const char *folder, zi_user_registry *out, zi_error *error) ZI_CHECKED;
void zi_user_registry_close(zi_user_registry *models);

/* The model that -m means, or that is meant without it; free it with zi_resolved_model_free. */
bool zi_find_model(const char *name, zi_resolved_model *out, zi_error *error) ZI_CHECKED;

/* The language model that --llm means, or NULL, as a path that the caller frees: where the registry
 * has none, the image model at `model`, whose text encoder is one. */
bool zi_find_llm(const char *name, const char *model, char **path, zi_error *error) ZI_CHECKED;

/* What someone without a model should call, and what that takes, in new memory; NULL when memory is
 * short. */
char *zi_download_hint(const zi_registry *registry);

/* ---- prompts (enhance.c) ---- */

/* What --template names, in new memory; NULL stays NULL. */
bool zi_read_template(const char *path, char **out, zi_error *error) ZI_CHECKED;

/* ---- interruption (interrupt.c) ---- */

/* From now on SIGINT, SIGTERM and SIGHUP ask the work to end. Work that has not ended half a second
 * later, or a second signal, ends the program on the spot, with its temporary files removed. */
void zi_interrupt_install(void);
bool zi_interrupted(void);

/* ---- progress (progress.c) ---- */

typedef struct {
    bool bar;              /* draw a bar on stderr */
    bool json;             /* print events on stdout */
    int picture, pictures; /* which of how many, from 1 */
    double called;         /* when the callback ran last; before that, when the work began */
    double stage_began;
    bool reported_any; /* what follows is the last report */
    zi_stage stage;
    int step;
    double reported; /* when */
} zi_reporter;

/* Picture number `picture` of `pictures` begins now; bar and json as in the struct. */
zi_reporter zi_reporter_start(bool bar, bool json, int picture, int pictures);

/* The callback for zi_request.progress; user is a zi_reporter. Says stop when interrupted. */
bool zi_reporter_progress(void *user, const zi_progress *progress);

/* Takes the bar off the terminal, so that a line can be printed. */
void zi_reporter_clear(zi_reporter *reporter);

struct cJSON;
/* Prints an event as a line on stdout, at once, and deletes it. */
bool zi_print_event(struct cJSON *event, zi_error *error) ZI_CHECKED;

#endif
