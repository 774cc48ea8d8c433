/* Declarations that the files of `zimage generate` share. generate.c runs it; prompts.c finds out
 * what to generate, settings_from.c takes parameters from an image, outputs.c names and writes
 * files, enhance_prompt.c expands prompts, generate_report.c tells about it, preview.c shows
 * images. */
#ifndef ZI_CLI_GENERATE_H
#define ZI_CLI_GENERATE_H

#include "cli.h"

#include <stdio.h>

/* ---- arguments ---- */

enum { ZI_SHOW_AUTO = 0, ZI_SHOW_OFF, ZI_SHOW_ON, ZI_SHOW_KITTY, ZI_SHOW_ITERM2, ZI_SHOW_SIXEL };
enum { ZI_ENHANCE = 1, ZI_ENHANCE_TRY };

typedef struct {
    const zi_command *command;
    const char *folder;      /* the models folder; NULL: ./models */
    zi_user_registry models; /* open while the command runs */
    const char *output, *aspect, *trace, *llm, *template, *prompts, *settings_from;
    int quality, enhance, show, format;
    bool json, quiet, verbose, random, no_clobber, overwrite, no_metadata;
    bool quality_given, format_given;
    zi_engine_options engine;
    zi_model_options load;
    zi_used_parts parts; /* owned: what `load` borrows */
    zi_generation generation;
    char *prompt_text;   /* owned: of -p @FILE or -p -; NULL: none */
    char *image_storage; /* owned: texts of --settings-from; NULL: none */
    char *image_model;   /* owned: name of the model of --settings-from; NULL: none */
    char *not_taken;     /* owned: what of --settings-from could not be taken over; NULL: nothing */
} zi_generate_args;

/* The images of one request: those of the call, or of a line of --prompts. */
typedef struct {
    zi_generation generation;
    const char *aspect, *output;
    int line;           /* of the file of prompts; 0: there is none */
    int first;          /* number of the first image in the whole run, from 1 */
    bool own_output;    /* output is the line's, whose images are numbered from 1 */
    bool failed;        /* a failure was reported; nothing is generated */
    char *text;         /* owned: the line, or NULL */
    struct cJSON *json; /* owned: of the line, or NULL */
    char *random_prompt, *enhanced_prompt; /* owned; NULL: not used */
    zi_resolved_model found;               /* the resolved model; owned */
} zi_generate_job;

typedef struct {
    zi_generate_job *jobs;
    size_t count;
    int images;   /* of all jobs; a line that is wrong counts as one */
    int failures; /* that were reported */
} zi_generate_plan;

/* ---- what to generate (prompts.c) ---- */

/* Replaces a prompt @FILE or - by the text of the file or of standard input, without line breaks at
 * its end; @@ at the start becomes @. False: *error is set. */
bool zi_read_prompt(zi_generate_args *args, zi_error *error) ZI_CHECKED;

/* Fills *plan, {0} before, with the call's job or with those of --prompts, one for each line that
 * is not blank. Lines that are wrong are reported, and their jobs have failed. The caller frees the
 * plan, also after a failure: the file cannot be read, or it has no prompt. */
bool zi_plan_read(const zi_generate_args *args, zi_generate_plan *plan, zi_error *error) ZI_CHECKED;

/* Frees the jobs and all that they own; *plan becomes {0}. */
void zi_plan_free(zi_generate_plan *plan);

/* Reports the failure of a job, which becomes failed; of a line with its number. Counts it. */
void zi_plan_report(const zi_generate_args *args, zi_generate_plan *plan, zi_generate_job *job,
                    const zi_error *error);

/* ---- parameters of an image (settings_from.c) ---- */

/* With --settings-from, sets those parameters to the image's that are not on the command line, and
 * args->not_taken to what could not be taken over. False: *error is set; the image cannot be read
 * or has no parameters. */
bool zi_take_settings(zi_generate_args *args, zi_error *error) ZI_CHECKED;

/* ---- sizes and prompts (aspect.c, enhance_prompt.c) ---- */

/* Parses a ratio: 16:9, 16x9, 16/9, 1.85:1. False: *error is set; *w and *h may be changed. */
bool zi_parse_aspect(const char *text, double *w, double *h, zi_error *error) ZI_CHECKED;

/* Sets width and height of the job's request by its aspect ratio, if it has one: the shorter side
 * gets `native` pixels, the other one is rounded to the nearest valid multiple. False, with *error
 * set and the request unchanged: the ratio is malformed, or the longer side too long. */
bool zi_apply_aspect(zi_generate_job *job, int native, zi_error *error) ZI_CHECKED;

/* The language model and template that --enhance uses for all jobs of a run; {0}: none loaded. */
typedef struct {
    char *template;        /* text of --template; NULL: not read, or none */
    char *image_model;     /* path of the last job's */
    zi_model_options load; /* for loading that; its path is NULL if there is none */
    zi_used_parts parts;   /* which `load` borrows */
    zi_llm *llm;           /* NULL: not loaded */
    char *llm_path;        /* of the language model */
    bool llm_is_encoder;   /* it is the image model's text encoder */
} zi_prompt_expander;

/* Frees the language model and all else; *expander becomes {0}. Before the engine is freed. */
void zi_prompt_expander_free(zi_prompt_expander *expander);

/* Sets the prompt of the job's request for all its images: with --random-prompt to one made from
 * the seed, then with --enhance to that or the given one expanded, and prints the last. A given
 * prompt that stays is not printed. The job owns the new texts. False: *error is set. */
bool zi_prepare_prompt(zi_prompt_expander *expander, const zi_generate_args *args,
                       zi_generate_job *job, zi_engine *engine, zi_error *error) ZI_CHECKED;

/* ---- files (outputs.c) ---- */

/* Whether the output is standard output. */
bool zi_output_is_stdout(const char *output);

/* The format of an image in the file at path (NULL: standard output): that of the extension, else
 * the one of --format. */
zi_format zi_output_format(const zi_generate_args *args, const char *path);

/* Checks the options that are about outputs, as far as they do not depend on the images: patterns,
 * formats, and what standard output cannot do. images: of the whole run. */
bool zi_check_output_options(const zi_generate_args *args, const char *output, int images,
                             zi_error *error) ZI_CHECKED;

/* The names that a run has used, so that none of its images replaces another one. {0}: none. */
typedef struct {
    char **names;
    size_t count, capacity;
} zi_used_names;

void zi_used_names_free(zi_used_names *used);

typedef struct {
    char *image, *trace; /* image: NULL: standard output; trace: NULL: not requested */
} zi_output_paths;

/* Sets *paths for image i (from 0) of a job among `images`, and checks that the files can be
 * written. used: names that are taken; the new ones are not added. False: *error is set.
 * zi_output_paths_free in any case. */
bool zi_choose_outputs(const zi_generate_args *args, const zi_generate_job *job, int images, int i,
                       const zi_used_names *used, zi_output_paths *paths,
                       zi_error *error) ZI_CHECKED;

/* Frees both strings, which may be NULL; the struct (not NULL) keeps the pointers. */
void zi_output_paths_free(zi_output_paths *paths);

/* Marks the paths as used by this run. False: out of memory. */
bool zi_used_names_add(zi_used_names *used, const zi_output_paths *paths, zi_error *error);

/* Writes an image to path (NULL: standard output), with infotext unless it is NULL. With
 * --no-clobber a file there is ZI_ERROR_EXISTS, even if it came meanwhile. False: *error is set. */
bool zi_write_image(const zi_generate_args *args, const zi_image *image, const char *path,
                    const char *infotext, zi_error *error) ZI_CHECKED;

/* ---- reports (generate_report.c) ---- */

/* Numbers of a prompt's tokens: all, and those that are used. */
typedef struct {
    size_t all, used;
} zi_prompt_size;

/* The time that each stage of an image took, in seconds. */
typedef struct {
    double encode, sample, decode, save;
} zi_timings;

/* State of reports on the image that is generated. The notes are printed at its first progress, so
 * that a failed call prints only its error. */
typedef struct {
    const zi_generate_args *args;
    const zi_generate_job *job;
    const zi_model *model;
    const char *path;          /* of the image; NULL: standard output */
    const char *parts_note;    /* which components were found elsewhere; NULL: none */
    const zi_request *request; /* of the image: with its seed */
    zi_request used;           /* the request with the model's defaults */
    zi_progress_printer *printer;
    bool first_of_run, first_of_model, first_of_job; /* which notes apply */
    bool begun;
    zi_prompt_size prompt, negative;
    zi_stage stage;
    double stage_began;
    zi_timings timings;
} zi_image_report;

/* Starts the report on an image; prints nothing. Counts the prompts' tokens. False: the request is
 * not valid for the model; *error is set. */
bool zi_image_report_start(zi_image_report *report, zi_error *error) ZI_CHECKED;

/* zi_request.progress; user is a zi_image_report. Prints notes and the event "start" at first, then
 * bar, lines or events. Returns false, to cancel, after a signal. */
bool zi_on_progress(void *user, const zi_progress *progress);

/* zi_request.preview; user is a zi_image_report. Prints the event "preview", with a PNG. */
void zi_on_preview(void *user, int step, const zi_image *image);

/* Ends the stage that is measured, after generation. */
void zi_image_report_generated(zi_image_report *report);

/* Prints report->path (NULL, for standard output: nothing) or, with --json, the event "done", whose
 * "file" is "-" for NULL; and with --verbose the times. False: out of memory; *error is set. */
bool zi_print_result(const zi_image_report *report, const zi_image *image, double seconds,
                     zi_error *error) ZI_CHECKED;

/* ---- images in the terminal (preview.c, sixel.c) ---- */

/* Shows the image in the terminal, scaled to fit, if --preview and the terminal say so. on_stdout:
 * standard output has the image file, so it is shown on standard error. Failures are ignored: the
 * image is in its file. */
void zi_show_image(const zi_generate_args *args, const zi_image *image, bool on_stdout);

/* The image reduced to at most max_width x max_height pixels, each the mean of those that it
 * covers; zi_image_free. NULL: out of memory. An image that fits is copied. */
zi_image *zi_image_reduce(const zi_image *image, int max_width, int max_height);

/* The image as a PNG file of *size bytes in base64, for free(). NULL: out of memory. */
char *zi_png_base64(const zi_image *image, size_t *size);

/* Writes the image as sixels, in 252 colours with error diffusion. Without memory nothing. */
void zi_print_sixels(const zi_image *image, FILE *stream);

#endif
