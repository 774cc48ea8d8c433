/* Functions that the subcommands share: options, messages, model lookup, interruption and progress.
 * Exit codes of the program: 0 success, 1 failure, 2 wrong usage. After SIGINT, SIGTERM or SIGHUP
 * it dies of the signal. */
#ifndef ZI_CLI_H
#define ZI_CLI_H

#include "zimage_models.h"
#include "base/error.h"
#include "base/machine.h"
#include "base/text.h"

/* ---- subcommands ----
 *
 * argv[0] is the subcommand's name. Each parses its arguments, prints results to standard output,
 * notes and errors to standard error, and returns the program's exit code. --help gives 0. */

/* Generates images from a prompt, saves them with their parameters, and prints their paths or JSON
 * events. Returns the exit code: 0, 1 or 2. */
int cmd_generate(int argc, char **argv);

/* Prints the token ids of a text, by a model's tokenizer, as a JSON array; with --chat in the chat
 * template. Returns the exit code: 0, 1 or 2. */
int cmd_tokenize(int argc, char **argv);

/* Describes a model's folder or file, damaged or not, or an image with its parameters, as a table
 * or JSON. Returns the exit code: 0, 1 or 2. */
int cmd_inspect(int argc, char **argv);

/* Runs the checks of zi_verify on a model and prints them. Returns the exit code: 0, 1 (also when a
 * check fails) or 2. */
int cmd_verify(int argc, char **argv);

/* Measures the speed of this machine with random weights (zi_bench; --memory: zi_bench_memory) and
 * prints it as text or JSON. Returns the exit code: 0, 1 or 2. */
int cmd_bench(int argc, char **argv);
int cmd_devices(int argc, char **argv);

/* Writes the model SRC to DST, a new path or empty folder, in another layout (--to, required) and,
 * with --precision, another precision; prints DST unless --quiet. Returns the exit code: 0, 1 or
 * 2. */
int cmd_convert(int argc, char **argv);

/* Writes the model SRC to DST, a new path or empty folder, in another precision (--precision,
 * required) and the same layout; prints DST unless --quiet. Returns the exit code: 0, 1 or 2. */
int cmd_quantize(int argc, char **argv);

/* Expands a prompt with a language model and prints the new prompt or, with --ids, its token ids.
 * Returns the exit code: 0, 1 or 2. */
int cmd_enhance(int argc, char **argv);

/* Downloads a model, or one file, from a hub into its cache or --local-dir; with --to or
 * --precision converts it into the models folder instead. Prints the path or JSON events. Returns
 * the exit code: 0, 1 or 2. */
int cmd_download(int argc, char **argv);

/* By the first argument: lists the models (list, or none), sets or prints the default one
 * (default), removes one (remove), or moves models from the models folder itself to its subfolders
 * (migrate). Returns the exit code: 0, 1 or 2. */
int cmd_models(int argc, char **argv);

/* Copies (or links, moves, converts) a model into the models folder and prints its new path.
 * Returns the exit code: 0, 1 or 2. */
int cmd_import(int argc, char **argv);

/* Runs the HTTP server until SIGINT, SIGTERM or SIGHUP arrives, then returns 0; prints its URL.
 * Returns 1 if it does not start, or 2 for wrong usage. */
int cmd_serve(int argc, char **argv);

/* Lists the images in the server's output folder (--output), newest first, or removes one with its
 * file (--remove) and prints that. Returns the exit code: 0, 1 or 2. */
int cmd_gallery(int argc, char **argv);

/* Prints the man page (man), or completions for a shell (bash, zsh or fish), made from the tables
 * of options. Returns the exit code: 0, 1 or 2. */
int cmd_docs(int argc, char **argv);

/* Prints what the configuration file and ZIMAGE_* variables set, with where it comes from. Returns
 * the exit code: 0, 1 (the file or a variable is wrong) or 2. */
int cmd_config(int argc, char **argv);

/* ---- options (options.c) ---- */

typedef enum {
    ZI_OPTION_FLAG,   /* bool: true when given */
    ZI_OPTION_TEXT,   /* const char * */
    ZI_OPTION_INT,    /* int, min to max */
    ZI_OPTION_REAL,   /* double, min to max */
    ZI_OPTION_SIZE,   /* uint64_t: bytes, as 5GB, 4G or 500000000 (units of 1000) */
    ZI_OPTION_SEED,   /* uint64_t, all of its range; -1: as if it were not given */
    ZI_OPTION_CHOICE, /* int: the index of the given word in argument, as in "auto|exact|fast" */
    /* int: 1 for --name alone, 2 and up for --name=WORD by WORD's index in argument */
    ZI_OPTION_LEVEL,
    ZI_OPTION_LIST /* zi_option_list: may be given several times, or with commas between values */
} zi_option_kind;

enum { ZI_MAX_LIST = 64 };

/* The values of a ZI_OPTION_LIST, owned by it; a NULL ends them. */
typedef struct {
    char *items[ZI_MAX_LIST + 1];
    size_t count;
} zi_option_list;

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
                               are optional ("[NAME]"), a last one with dots stands for any number
                               of them ("[WORDS...]"); NULL: none */
    const zi_option *options;
} zi_command;

enum { ZI_MAX_OPTIONS = 160 /* in a table */ };

/* Parses argv[1] and up: `-x 1`, `-x1`, `-qx 1` (q takes no value), `--name 1`, `--name=1`; `--`
 * ends the options. Options that are not given there are set by variables and the configuration
 * file (zi_settings_apply). Sets the options' `value`, unchanged if not given, and positional[0]
 * and up (NULL: the command has none), borrowed from argv, unchanged if absent; with dots there
 * must be room for argc. False when the
 * subcommand must end with exit code *code: help was printed or zi_options_intercept is in effect
 * (0), or an error was reported (2; values may have changed). True leaves *code unchanged. */
bool zi_options_parse(const zi_command *command, int argc, char **argv, const char **positional,
                      int *code) ZI_CHECKED;

/* Sets the option to the value that text has, and *option->given, as if it were on the command
 * line; a ZI_OPTION_TEXT borrows the text. Flags take true, yes, on and 1, or false, no, off and 0,
 * which leave the value alone, as they do for a level. False: *error is set, with the option's name
 * as the subject. */
bool zi_option_set(const zi_option *option, const char *text, zi_error *error) ZI_CHECKED;

/* Frees the values of a list and empties it. */
void zi_option_list_free(zi_option_list *list);

/* Whether the last zi_options_parse found the option of that long name on the command line. */
bool zi_option_on_command_line(const char *name);

/* The option of that long name, in a table; NULL: none. */
const zi_option *zi_option_find(const zi_option *options, const char *name);

/* A callback of zi_visit_commands. summary: a few words. The arguments are valid during the
 * call. */
typedef void (*zi_command_visitor)(void *user, const char *summary, const zi_command *command);

/* Calls visit(user, ...) for every subcommand, in the order of the help, with its summary and its
 * table of options. Runs none of them. Uses zi_options_intercept and ends it: not thread-safe. */
void zi_visit_commands(zi_command_visitor visit, void *user);

/* Makes zi_options_parse, instead of parsing, call visit(user, command) and end the subcommand with
 * code 0. visit NULL: it parses again. A setting of the whole process, not thread-safe. */
void zi_options_intercept(void (*visit)(void *user, const zi_command *command), void *user);

/* ---- configuration file and variables (config_file.c) ---- */

/* A setting: the value of an option that the configuration file or a variable gives. */
typedef struct {
    const char *key, *value; /* key: the option's long name */
    const char *section;     /* the subcommand that it is for; NULL: all that have the option */
    const char *variable;    /* the environment variable; NULL: a line of the file */
    int line;                /* in the file */
    char *expanded;          /* the value, if it had a ~; owned by the module; else NULL */
} zi_setting;

/* The path of the configuration file: ZIMAGE_CONFIG, else zimage/config in XDG_CONFIG_HOME or
 * ~/.config; owned by the module. NULL: there is none ("" in ZIMAGE_CONFIG, or no HOME). */
const char *zi_config_path(void);

/* Reads the configuration file, once. A file that does not exist has no settings. False: *error is
 * set; the file cannot be read, or a line is wrong. */
bool zi_config_load(zi_error *error) ZI_CHECKED;

/* Setting i of the file, from 0 on, as they stand there; NULL after the last one or before
 * zi_config_load. */
const zi_setting *zi_config_setting(size_t i);

/* Writes the name of the variable of an option, ZIMAGE_OPTION or, with a subcommand (else NULL),
 * ZIMAGE_SUBCOMMAND_OPTION, cut to size bytes, to name. Returns name. */
const char *zi_variable_name(const char *subcommand, const char *option, char *name, size_t size);

/* Sets *out to the setting that counts for an option of a subcommand: a variable
 * (ZIMAGE_SUBCOMMAND_OPTION, ZIMAGE_OPTION), or else the file's last line, those in the
 * subcommand's section first. Valid until the next call. False: there is none. */
bool zi_setting_find(const char *subcommand, const char *option, zi_setting *out);

/* Sets the options of the command that have a setting and are not given: given [i] is for option i.
 * A setting gives way to a given option that excludes it, as --width does --aspect. False: *error
 * is set; the file cannot be read, or a setting is wrong. */
bool zi_settings_apply(const zi_command *command, const bool *given, zi_error *error) ZI_CHECKED;

/* Sets *out to the setting of another option for which the command ignores this one, since the two
 * exclude each other. Valid until the next call, or that of zi_setting_find. False: there is none,
 * and *out may be changed. */
bool zi_setting_find_excluding(const zi_command *command, const zi_setting *setting,
                               zi_setting *out);

/* Fails if two options of the command that exclude each other, which are no numbers, are both in
 * effect, as after zi_options_parse; leaves pairs alone for which commands have own messages.
 * False: *error is set. */
bool zi_check_exclusive(const zi_command *command, zi_error *error) ZI_CHECKED;

/* ---- options of generation parameters (parameters.c) ---- */

/* Storage for the strings of an option. */
typedef struct {
    char name[32], choices[64], help[160];
} zi_option_strings;

/* Fills `options` with an option for each generation parameter that the command line has; names,
 * help and choices go to texts. Parsing puts the values into *generation, which this call leaves
 * alone. Both arrays must have room for ZI_MAX_PARAMETERS. Returns the number of options; writes no
 * row that ends the table. generation and texts must outlive the options. */
size_t zi_parameter_options(zi_generation *generation, zi_option *options,
                            zi_option_strings *texts);

enum { ZI_CHOICES_SIZE = 256 }; /* of a text that zi_join_choices fills with all precisions */

/* Joins words, an array that ends with NULL, to "one|two", the argument of a choice option; "" for
 * none. What does not fit into size bytes with the NUL (at least 1) is cut off, also within a word.
 * Returns out. */
const char *zi_join_choices(const char *const *words, char *out, size_t size);

/* ---- messages (main.c, events.c, report.c) ---- */

/* Prints text, as from files, to standard output: control characters (ASCII's) become '?'. Returns
 * its length in bytes. */
int zi_print_text(const char *text);

/* Flushes standard output. A failure, of an earlier write, too, is reported when the program ends,
 * with the reason that this call found. */
void zi_flush_output(void);

/* Makes all messages JSON, one object per line: notes on standard error, failures as events on
 * standard output. A setting of the whole process. */
void zi_set_json_messages(bool on);

/* Whether messages are JSON. Async-signal-safe. */
bool zi_json_messages(void);

/* Whether a line of JSON is being printed by any thread. Async-signal-safe. */
bool zi_event_in_progress(void);

/* Prints "zimage: ", the message (as printf) and a newline to standard error, or as JSON the event
 * "note"; nothing when quiet. Does not erase a progress bar. */
void zi_print_note(bool quiet, const char *format, ...) ZI_PRINTF(2, 3);

/* Prints notes, unless quiet, on what a request for the model does: settings of Z-Image (base) that
 * it does not give, and options that have no effect. Nothing if it is not valid. (notes.c) */
void zi_print_request_notes(bool quiet, const zi_request *request, const zi_model *model);

/* Prints a failure: text as a line on standard error, or with --json the event "failed" with text
 * as its message, or "cancelled". A cancellation is printed once per process. line: of a file of
 * prompts, for the event "failed" alone; 0: none. */
void zi_print_failure(const zi_error *error, const char *text, int line);

struct cJSON;
/* Prints an event as one line of JSON to standard output, flushes, and deletes the event, also on
 * failure. False: out of memory, as which an event of NULL counts; *error (may be NULL) is set.
 * Write errors are left to the end of the program. */
bool zi_print_json_event(struct cJSON *event, zi_error *error) ZI_CHECKED;

/* The message of an error for the command line, for free(); NULL: out of memory. For an invalid
 * argument that an option of `command` sets it is "--OPTION: MESSAGE", else the error's text. Hints
 * such as "; see --reference" follow. command: the running one; NULL: the error's text alone, no
 * hints. */
char *zi_format_error(const zi_command *command, const zi_error *error);

/* Appends the hints for an error's code and subject, as "; see --vae, --reference": the options
 * that the command has, and commands or variables. Nothing if there are none. Short memory is left
 * to line->failed. */
void zi_append_error_hints(zi_text *line, const zi_command *command, const zi_error *error);

/* Prints the message of zi_format_error (the error's text, when memory is short) by
 * zi_print_failure, whatever --quiet says. command: as there. Returns the exit code for the error:
 * 2 for an invalid argument, else 1. */
int zi_report_error(const zi_command *command, const zi_error *error);

/* ---- models (registry.c) ---- */

/* The user's model registry, with the strings that its options borrow. */
typedef struct {
    zi_registry *registry;
    zi_registry_options options;
    char *hub_cache, *token, *demo, *cache_file;
    char *device_cache; /* for zi_engine_options; NULL: there is no folder for it */
} zi_user_registry;

/* Opens the registry with the options that the environment sets (HF_HOME, HF_ENDPOINT, HF_TOKEN,
 * XDG_CACHE_HOME, proxies, ...) and, as "demo", the demo model that comes with the program, if
 * found. folder: the models folder, which need not exist, borrowed until zi_user_registry_close;
 * NULL: ./models. parts: has the components that the command line names, which the default model
 * may lack then; NULL: none. False: *error (may be NULL) is set, *out is {0}. */
bool zi_user_registry_open(const char *folder, const zi_model_options *parts, zi_user_registry *out,
                           zi_error *error) ZI_CHECKED;

/* path, with a leading ~ replaced by $HOME if that is set, and `end` appended; in new memory. NULL:
 * out of memory. */
char *zi_expand_home(const char *path, const char *end);

/* Closes the registry and frees the strings of its options. *models (models is not NULL) becomes
 * {0}, for which the call does nothing. */
void zi_user_registry_close(zi_user_registry *models);

/* Prints a note: for the option `remark` of engines. user is not used. */
void zi_print_remark(void *user, const char *text);

/* Sets the options of an engine that the environment and the user's folders give: device_cache,
 * borrowed from models, and, unless quiet, remark, which prints notes. */
void zi_prepare_engine(const zi_user_registry *models, bool quiet, zi_engine_options *engine);

/* The option --models DIR of commands that find models by name, for *folder, NULL before. */
zi_option zi_models_option(const char **folder);

/* The option --cpu TIER, for *tier, NULL before. */
zi_option zi_cpu_option(const char **tier);

/* The option --device, for *device, which it sets to the default. */
zi_option zi_device_option(const char **device);

/* The option --vram SIZE, for *vram, 0 before. */
zi_option zi_vram_option(uint64_t *vram);

/* Finds the model that -m names (a path, or a name in the registry); name NULL: the default model,
 * as zi_registry_resolve chooses it. Free *out with zi_resolved_model_free. False: *error, which
 * must not be NULL, is set, and says how to download what may be a repository of the hub; *out is
 * unchanged. */
bool zi_find_model(const zi_user_registry *models, const char *name, zi_resolved_model *out,
                   zi_error *error) ZI_CHECKED;

/* Returns the name or path for zi_find_model, in new memory, of the model that an image's metadata
 * names: as zi_find_model, else an image model whose name without folder is that name, also where
 * one of the two lacks a tensor file's extension, else, for "demo-model", the demo model. NULL:
 * none, or out of memory. */
char *zi_find_model_of_image(const zi_user_registry *models, const char *name);

/* Prints notes, unless quiet, on a model that was found without a name: which it is, which folder
 * was searched, and models there that are not used, with the reason. Prints less, or nothing, if
 * memory is short. */
void zi_print_model_notes(const zi_user_registry *models, const zi_resolved_model *found,
                          bool quiet);

/* Prints a note, unless quiet, for each model that lies directly in the models folder, where it is
 * not found. Inspects these. Prints nothing if the folder cannot be read or memory is short. */
void zi_print_misplaced_models(const zi_user_registry *models, bool quiet);

/* Returns the absolute path of the models folder, which need not exist, in new memory; NULL: out of
 * memory, or the current folder is unknown. */
char *zi_models_folder_path(const zi_user_registry *models);

/* Sets hash to the model hash for infotexts (zi_registry_model_hash) of the model at path, "" if it
 * is not known. compute: reads the weight file if need be, until a signal comes. Errors are
 * ignored. */
void zi_find_model_hash(const zi_user_registry *models, const char *path, bool compute,
                        char hash[ZI_MODEL_HASH]);

/* If the error is ZI_ERROR_NOT_FOUND with the subject "repo" (no such model, but the name may be a
 * repository of the hub), adds to its text how to download `name`, cut if too long; else does
 * nothing. error must not be NULL. */
void zi_add_download_hint(const char *name, zi_error *error);

/* Sets *path, for free(), to the language model that --llm names: a path, which is not checked to
 * be one, or a name in the registry. name NULL: the default one, as in zi_registry_resolve_llm,
 * else a copy of `model` (not NULL), the path of the image model, whose text encoder serves as one.
 * False: *error, which must not be NULL, is set; *path is unchanged. */
bool zi_find_llm(const zi_user_registry *models, const char *name, const char *model, char **path,
                 zi_error *error) ZI_CHECKED;

/* For users without a model, in new memory, for free(): the command that downloads Z-Image-Turbo in
 * the precision that suits this machine, and what that needs of disk and memory, without newline.
 * NULL: out of memory. */
char *zi_download_hint(const zi_registry *registry);

/* ---- components from elsewhere (parts.c) ---- */

/* The paths of components, which zi_model_options borrows. */
typedef struct {
    char *text_encoder, *vae, *reference; /* what options name; NULL: not given */
    zi_model_parts found;                 /* what the registry found; its note is for the user */
} zi_used_parts;

/* Replaces text_encoder, vae and reference of *load, paths or names in the registry that options
 * gave, by paths, which *out owns. Free *out with zi_used_parts_free when *load is not used any
 * more. False: one of them does not exist; *error, which must not be NULL, is set, and *load may be
 * changed. */
bool zi_resolve_parts(const zi_user_registry *models, zi_model_options *load, zi_used_parts *out,
                      zi_error *error) ZI_CHECKED;

/* Adds to *load what zi_registry_find_parts finds for load->path, which is set; parts->found, empty
 * before, owns it. False: *error is set, *load is unchanged. */
bool zi_find_parts(const zi_user_registry *models, zi_model_options *load, zi_used_parts *parts,
                   zi_error *error) ZI_CHECKED;

/* Frees the strings and zeroes the struct, which is the caller's. */
void zi_used_parts_free(zi_used_parts *parts);

/* ---- prompts (enhance.c) ---- */

/* Reads the file of --template, at most 1 MiB of UTF-8 without NUL that contains {prompt}, into
 * *out, which must be NULL before, for free(). path NULL: does nothing and returns true. False:
 * *error is set, and *out is NULL. */
bool zi_read_template(const char *path, char **out, zi_error *error) ZI_CHECKED;

/* ---- interruption (interrupt.c) ---- */

/* Installs handlers for SIGINT, SIGTERM, SIGHUP (unless they are ignored, as under nohup) and
 * SIGALRM, which the process must not use otherwise. The first signal makes zi_interrupted true;
 * half a second later, or on a second signal, if the program still runs, it removes its temporary
 * files, prints "zimage: cancelled", unless that was printed, and dies of the first signal. Once
 * zi_interrupt_claim_report was called, a second signal does nothing. */
void zi_interrupt_install(void);

/* True for the first caller only, who prints that the program was cancelled. Async-signal-safe. */
bool zi_interrupt_claim_report(void);

/* If a signal has arrived since zi_interrupt_install, removes temporary files and dies of it; else
 * does nothing. */
void zi_interrupt_finish(void);

/* Whether SIGINT, SIGTERM or SIGHUP has arrived since zi_interrupt_install; false before that. It
 * stays true. Callable from any thread. */
bool zi_interrupted(void);

/* ---- the terminal (terminal.c) ---- */

enum { ZI_BAR_WIDTH = 30 /* the longest bar */ };

/* Whether fd is a terminal that understands escape sequences: TERM is set, and not "dumb". */
bool zi_terminal_has_escapes(int fd);

/* The width of the terminal fd: the window's, else COLUMNS, else 80. */
int zi_terminal_columns(int fd);

/* Whether progress on standard error should be lines: it is a file, or a terminal that understands
 * no escape sequences. */
bool zi_stderr_wants_lines(void);

/* Whether progress on standard error should be a bar: it is a terminal with escape sequences. */
bool zi_stderr_wants_bar(void);

/* Prints text, cut to the window's width, over the line of status on standard error. */
void zi_print_status(const char *text);

/* Erases the line of status on standard error. */
void zi_clear_status(void);

/* Writes " [###...]" with at most width and ZI_BAR_WIDTH cells to bar; "" where it would have fewer
 * than 4. fraction: 0 to 1. Returns bar. */
const char *zi_format_bar(double fraction, int width, char bar[ZI_BAR_WIDTH + 4]);

/* ---- progress (progress.c) ---- */

typedef struct {
    bool bar;          /* print a progress bar to standard error */
    bool lines;        /* print a line per step to standard error */
    bool json;         /* print JSON events to standard output */
    int image, images; /* number of the current image, from 1, and how many there are */
    double began;      /* zi_monotonic_seconds() of the start */
    double whole;      /* share of all images that is done; never falls */
    double called;     /* zi_monotonic_seconds() of the last update, or of the start */
    double stage_began, step_began;
    int steps_reported; /* of this image */
    bool printed_any;   /* the fields below are of the last output */
    zi_stage stage;
    int step;
    double printed; /* zi_monotonic_seconds() */
} zi_progress_printer;

/* Returns the state of a progress display for the first of `images` images; prints nothing. The
 * first stage counts as begun now. A bar is shown only where the terminal can. */
zi_progress_printer zi_progress_printer_start(bool bar, bool json, int images);

/* Erases the bar and goes on with the first stage of the image of that number. */
void zi_progress_printer_next_image(zi_progress_printer *printer, int image);

/* A new event of that name with the number of the image and of all images, for
 * zi_print_json_event. Without memory it is incomplete, or NULL. */
struct cJSON *zi_new_image_event(const zi_progress_printer *printer, const char *name);

/* A progress callback (zi_request.progress and others); user is a zi_progress_printer *, used by
 * one thread at a time. Prints the bar and the event, as enabled, at each new stage or step, and
 * within one at most every 0.1 s (events: 0.25 s). After a signal returns false, to cancel, and
 * prints nothing. */
bool zi_progress_printer_update(void *user, const zi_progress *progress);

/* A remark callback (zi_convert_options.remark and others); user as above. Erases the bar and
 * prints the text as a note. */
void zi_progress_printer_remark(void *user, const char *text);

/* Erases the bar on standard error, if one is shown, so that a line can be printed. The next update
 * prints at once. */
void zi_progress_printer_clear(zi_progress_printer *printer);

#endif
