/* Functions that the subcommands share: options, messages, model lookup, interruption and progress.
 * Exit codes of the program: 0 success, 1 failure, 2 wrong usage. */
#ifndef ZI_CLI_H
#define ZI_CLI_H

#include "zimage_models.h"
#include "base/error.h"
#include "base/machine.h"

/* ---- subcommands; argv[0] is the subcommand's name; each returns the exit code ---- */

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
int cmd_docs(int argc, char **argv);

/* ---- options (options.c) ---- */

typedef enum {
    ZI_OPTION_FLAG,   /* bool: true when given */
    ZI_OPTION_TEXT,   /* const char * */
    ZI_OPTION_INT,    /* int, min to max */
    ZI_OPTION_REAL,   /* double, min to max */
    ZI_OPTION_SEED,   /* uint64_t, all of its range */
    ZI_OPTION_CHOICE, /* int: the index of the given word in argument, as in "auto|exact|fast" */
    /* int: 1 for --name alone, 2 and up for --name=WORD by WORD's index in argument */
    ZI_OPTION_LEVEL
} zi_option_kind;

typedef struct {
    const char *name; /* the long name without dashes; NULL ends a table */
    char letter;      /* the short name; 0: none */
    zi_option_kind kind;
    void *value; /* where the value goes; unchanged unless the option is given */
    double min, max;
    const char *argument; /* name of the value in help; of a choice: its words */
    const char *help;
    bool *given; /* set to true when the option is given; may be NULL */
} zi_option;

typedef struct {
    const char *name;
    const char *about;      /* description for help */
    const char *positional; /* names of positional arguments ("PATH", "SRC DST"); those in brackets
                               are optional ("[NAME]"); NULL: none */
    const zi_option *options;
} zi_command;

/* Parses a subcommand's arguments: `-x 1`, `-x1`, `--name 1`, `--name=1`; `--` ends the options.
 * Stores positional arguments in positional[0] and up. Returns false when the subcommand must end
 * with exit code *code: help was printed, or an error was reported. */
bool zi_options_parse(const zi_command *command, int argc, char **argv, const char **positional,
                      int *code) ZI_CHECKED;

/* Calls visit for every subcommand, with its summary of a few words and its table of options, which
 * are valid during the call. */
typedef void (*zi_command_visitor)(void *user, const char *summary, const zi_command *command);
void zi_visit_commands(zi_command_visitor visit, void *user);

/* Makes zi_options_parse call visit and end the subcommand with code 0; NULL: no longer. */
void zi_options_intercept(void (*visit)(void *user, const zi_command *command), void *user);

/* ---- options of generation parameters (parameters.c) ---- */

/* Storage for the strings of an option. */
typedef struct {
    char name[32], choices[64], help[160];
} zi_option_strings;

/* Makes an option for each generation parameter that the command line has; values go to
 * *generation. Returns their number, at most ZI_MAX_PARAMETERS, for which both arrays have room.
 * texts must outlive the options. */
size_t zi_parameter_options(zi_generation *generation, zi_option *options,
                            zi_option_strings *texts);

/* Joins strings to "one|two", the argument of a choice option. strings ends with NULL. Returns out.
 */
const char *zi_join_choices(const char *const *words, char *out, size_t size);

/* ---- messages (main.c, report.c) ---- */

/* Prints "zimage: ..." and a newline to standard error, unless quiet. */
void zi_print_note(bool quiet, const char *format, ...) ZI_PRINTF(2, 3);

/* The message of an error with hints, in new memory; NULL when out of memory. Fields are named by
 * the options that set them; hints name options or commands that help. command: the running one, or
 * NULL. */
char *zi_format_error(const zi_command *command, const zi_error *error);

/* Prints that message to standard error. Returns the exit code for the error: 2 for an invalid
 * argument, else 1. */
int zi_report_error(const zi_command *command, const zi_error *error);

/* ---- models (registry.c) ---- */

/* The user's model registry, with the strings that its options borrow. */
typedef struct {
    zi_registry *registry;
    zi_registry_options options;
    char *hub_cache, *token, *demo, *cache_file;
} zi_user_registry;

/* Opens the registry with the options that the environment sets (HF_HOME, HF_HUB_CACHE,
 * HF_ENDPOINT, HF_TOKEN, XDG_CACHE_HOME, ...). folder: the models folder; NULL: ./models. Close it
 * with zi_user_registry_close, which need not be called after a failure. */
bool zi_user_registry_open(const char *folder, zi_user_registry *out, zi_error *error) ZI_CHECKED;
void zi_user_registry_close(zi_user_registry *models);

/* Finds the model that -m names (a path, or a name in the registry), or the default model (NULL).
 * Free out with zi_resolved_model_free. */
bool zi_find_model(const char *name, zi_resolved_model *out, zi_error *error) ZI_CHECKED;

/* Finds the language model that --llm names, or the default one (NULL); free() *path. If the
 * registry has none, *path is the image model at `model`, whose text encoder is one. */
bool zi_find_llm(const char *name, const char *model, char **path, zi_error *error) ZI_CHECKED;

/* A command that downloads a model, and what it needs, for users without one; in new memory. NULL
 * when out of memory. */
char *zi_download_hint(const zi_registry *registry);

/* ---- prompts (enhance.c) ---- */

/* Reads the file of --template, which must be UTF-8 and contain {prompt}, into new memory. *out is
 * unchanged when path is NULL. */
bool zi_read_template(const char *path, char **out, zi_error *error) ZI_CHECKED;

/* ---- interruption (interrupt.c) ---- */

/* Installs handlers for SIGINT, SIGTERM and SIGHUP. The first signal makes zi_interrupted true;
 * half a second later, or on a second signal, the program removes its temporary files and exits
 * with code 1. */
void zi_interrupt_install(void);
/* Whether a signal has arrived. */
bool zi_interrupted(void);

/* ---- progress (progress.c) ---- */

typedef struct {
    bool bar;          /* print a progress bar to standard error */
    bool json;         /* print JSON events to standard output */
    int image, images; /* number of the current image, from 1, and how many there are */
    double called;     /* zi_monotonic_seconds() of the last update, or of the start */
    double stage_began;
    bool printed_any; /* the fields below are of the last output */
    zi_stage stage;
    int step;
    double printed; /* zi_monotonic_seconds() */
} zi_progress_printer;

/* Starts the progress of image `image` of `images`, from 1. */
zi_progress_printer zi_progress_printer_start(bool bar, bool json, int image, int images);

/* A progress callback (zi_request.progress and others); user is a zi_progress_printer. Returns
 * false, to cancel, after a signal. */
bool zi_progress_printer_update(void *user, const zi_progress *progress);

/* Erases the bar, so that a line can be printed. */
void zi_progress_printer_clear(zi_progress_printer *printer);

struct cJSON;
/* Prints an event as one line of JSON to standard output, flushes, and deletes it. Fails when out
 * of memory. */
bool zi_print_json_event(struct cJSON *event, zi_error *error) ZI_CHECKED;

#endif
