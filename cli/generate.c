/* zimage generate: generates images from a prompt, or from a file of prompts. */
#include "generate.h"

#include "base/tables.h"

#include <cJSON.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum { OWN_OPTIONS = 32 };

/* Fills `options` with those of the generation parameters, this command's own and the end of the
 * table. texts receives names and help of the former. Values go to *args, which must outlive the
 * options, as must texts. */
static void fill_options(zi_generate_args *args, zi_option options[ZI_MAX_PARAMETERS + OWN_OPTIONS],
                         zi_option_strings texts[ZI_MAX_PARAMETERS])
{
    const zi_option command_options[] = {
        zi_models_option(&args->folder),
        {"prompts", 0, ZI_OPTION_TEXT, &args->prompts, 0, 0, "FILE",
         "prompts, one a line; a line {...} is JSON with parameters; -: standard input", NULL},
        {"settings-from", 0, ZI_OPTION_TEXT, &args->settings_from, 0, 0, "FILE",
         "take the generation parameters of an image; given options win", NULL},
        {"aspect", 0, ZI_OPTION_TEXT, &args->aspect, 0, 0, "W:H",
         "aspect ratio; the shorter side gets the model's native size", NULL},
        {"output", 'o', ZI_OPTION_TEXT, &args->output, 0, 0, "FILE",
         "output file: .png, .jpg or .webp; -: standard output; %04d: the image's number, %s: its "
         "seed; of several images NAME-1.png, ... (zimage-SEED.png)",
         NULL},
        {"format", 0, ZI_OPTION_CHOICE, &args->format, 0, 0, "png|jpeg|webp",
         "image format (by the name's extension, else png)", &args->format_given},
        {"quality", 0, ZI_OPTION_INT, &args->quality, 1, 100, "N", "quality of JPEG and WebP (95)",
         &args->quality_given},
        {"no-clobber", 0, ZI_OPTION_FLAG, &args->no_clobber, 0, 0, NULL,
         "fail for images whose file exists, instead of replacing it", NULL},
        {"overwrite", 0, ZI_OPTION_FLAG, &args->overwrite, 0, 0, NULL,
         "replace existing files, also without --output", NULL},
        {"no-metadata", 0, ZI_OPTION_FLAG, &args->no_metadata, 0, 0, NULL,
         "store no generation parameters in the image", NULL},
        {"preview", 0, ZI_OPTION_CHOICE, &args->show, 0, 0, "auto|off|on|kitty|iterm2|sixel",
         "show the image in the terminal (auto: if it can); on with --json: preview events", NULL},
        {"enhance", 0, ZI_OPTION_LEVEL, &args->enhance, 0, 0, "try",
         "expand the prompt with a language model; try: continue without on failure", NULL},
        {"llm", 0, ZI_OPTION_TEXT, &args->llm, 0, 0, "PATH",
         "language model (models/prompt_enhancer, or the model's own text encoder)", NULL},
        {"template", 0, ZI_OPTION_TEXT, &args->template, 0, 0, "FILE",
         "instructions for the language model, containing {prompt}", NULL},
        {"random-prompt", 0, ZI_OPTION_FLAG, &args->random, 0, 0, NULL,
         "use a random prompt, made from the seed, instead of --prompt", NULL},
        {"vae", 0, ZI_OPTION_TEXT, &args->load.vae, 0, 0, "MODEL", "VAE to use instead of MODEL's",
         NULL},
        {"text-encoder", 0, ZI_OPTION_TEXT, &args->load.text_encoder, 0, 0, "MODEL",
         "text encoder to use instead of MODEL's", NULL},
        {"reference", 0, ZI_OPTION_TEXT, &args->load.reference, 0, 0, "MODEL",
         "model, or folder of a tokenizer, to take missing components from", NULL},
        {"threads", 0, ZI_OPTION_INT, &args->engine.threads, 1, 1024, "N",
         "number of threads (all processors)", NULL},
        zi_cpu_option(&args->engine.cpu),
        zi_device_option(&args->engine.device),
        zi_vram_option(&args->engine.vram),
        {"trace", 0, ZI_OPTION_TEXT, &args->trace, 0, 0, "FILE",
         "write intermediate tensors to a .safetensors file", NULL},
        {"json", 0, ZI_OPTION_FLAG, &args->json, 0, 0, NULL, "print one JSON event per line", NULL},
        {"verbose", 'v', ZI_OPTION_FLAG, &args->verbose, 0, 0, NULL,
         "print a line per step and the time of each stage", NULL},
        {"quiet", 'q', ZI_OPTION_FLAG, &args->quiet, 0, 0, NULL, "no progress bar, no notes", NULL},
        {0},
    };
    _Static_assert(sizeof command_options / sizeof *command_options <= OWN_OPTIONS,
                   "room for all options");
    size_t count = zi_parameter_options(&args->generation, options, texts);
    for (size_t i = 0; i < count; i++)
        if (!strcmp(options[i].name, "count"))
            options[i].help = "images, with the seeds SEED, SEED+1, ... and, with -o NAME.png, the "
                              "files NAME-1.png, NAME-2.png, ... (1)";
    memcpy(options + count, command_options, sizeof command_options);
}

/* ---- checks and defaults ---- */

/* Sets the request's seed to a random number of 32 bits unless one was given. False, with *error
 * set and the seed unchanged: the system gives no random numbers. */
static bool choose_seed(zi_generation *generation, zi_error *error)
{
    uint32_t seed; /* 32 bits: easy to type, exact in every JSON reader */
    if (generation->seed_given) return true;
    if (getentropy(&seed, sizeof seed) != 0)
        return zi_error_set_in(error, ZI_ERROR_IO, NULL, "seed",
                               "cannot get random numbers from the system; give a seed");
    generation->request.seed = seed;
    return true;
}

/* Checks a job as far as it does not depend on the model: prompt, aspect, seeds, names and the
 * ranges of all parameters. images: of the whole run. False: *error is set. */
static bool check_job(const zi_generate_args *args, zi_generate_job *job, int images,
                      zi_error *error)
{
    double w, h;
    zi_generation *g = &job->generation, checked;
    zi_request *r = &g->request;
    if (!args->random && !r->prompt)
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "prompt", "is missing%s",
                            job->line ? "; add \"prompt\": \"TEXT\" to the JSON object"
                                      : "; give it with -p TEXT");
    if (job->aspect && (r->width || r->height))
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "aspect",
                            "cannot be used with --width or --height; keep only --aspect, or leave "
                            "--aspect out");
    if (job->aspect && !zi_parse_aspect(job->aspect, &w, &h, error)) return false;
    if (g->seed_given && r->seed > UINT64_MAX - (uint64_t)(g->count - 1))
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "count",
                            "%d images from seed %" PRIu64 " on need seeds above the largest one, "
                            "18446744073709551615; give a smaller seed",
                            g->count, r->seed);
    checked = *g;
    checked.model = NULL; /* it may be a path, and is checked by zi_find_model */
    return zi_generation_check(&checked, false, error) &&
           zi_check_output_options(args, job->output, images, error);
}

/* Whether two jobs name the same model, or none. */
static bool same_name(const zi_generate_job *a, const zi_generate_job *b)
{
    const char *x = a->generation.model, *y = b->generation.model;
    return x && y ? !strcmp(x, y) : !x && !y;
}

/* Sets *out to copies of the strings of a model. False: out of memory; the caller frees *out. */
static bool copy_found(const zi_resolved_model *from, zi_resolved_model *out, zi_error *error)
{
    *out = (zi_resolved_model){.as = from->as};
    out->name = strdup(from->name);
    out->path = strdup(from->path);
    if (from->passed_over) out->passed_over = strdup(from->passed_over);
    return (out->name && out->path && (out->passed_over || !from->passed_over)) ||
           zi_error_no_memory(error, strlen(from->path));
}

/* Sets job->found to the job's model: that of the job before (NULL: none) if both name the same.
 * False: *error is set; that of a JSON line's own model names the key. */
static bool find_model(const zi_generate_args *args, zi_generate_job *job,
                       const zi_generate_job *before, zi_error *error)
{
    zi_error why = {0};
    if (before && before->found.path && same_name(job, before))
        return copy_found(&before->found, &job->found, error);
    if (zi_find_model(&args->models, job->generation.model, &job->found, &why)) return true;
    if (cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(job->json, "model")))
        return zi_error_set_in(error, why.code, NULL, why.subject, "model: %s", why.text);
    *error = why;
    return false;
}

/* Checks the job, finds its model, chooses the seed, and checks that the first output can be
 * written. before: the job before it; NULL: none. False: *error is set. */
static bool prepare_job(const zi_generate_args *args, zi_generate_job *job,
                        const zi_generate_job *before, int images, zi_error *error)
{
    zi_used_names none = {0};
    zi_output_paths paths = {0};
    bool ok = check_job(args, job, images, error) && find_model(args, job, before, error) &&
              choose_seed(&job->generation, error) &&
              zi_choose_outputs(args, job, images, 0, &none, &paths, error);
    zi_output_paths_free(&paths);
    return ok;
}

/* ---- generation ---- */

/* All that a run keeps from image to image. */
typedef struct {
    const zi_generate_args *args;
    zi_generate_plan plan;
    zi_engine *engine;
    zi_prompt_expander expander;
    zi_model *model;
    char *model_path;               /* of the loaded model */
    char model_hash[ZI_MODEL_HASH]; /* of the loaded model; "": not known */
    zi_used_parts parts;            /* found for the loaded model */
    zi_used_names used;
    zi_progress_printer printer;
    bool any_generated, model_is_new;
} generate_run;

/* Loads the job's model, unless it is loaded. False: *error is set, and none is loaded. */
static bool load_model(generate_run *run, const zi_generate_job *job, zi_error *error)
{
    zi_model_options load = run->args->load;
    if (run->model && !strcmp(run->model_path, job->found.path)) return true;
    zi_model_free(run->model);
    free(run->model_path);
    zi_used_parts_free(&run->parts);
    run->model = NULL;
    run->model_is_new = true;
    run->model_path = strdup(job->found.path);
    if (!run->model_path) return zi_error_no_memory(error, strlen(job->found.path));
    double began = zi_monotonic_seconds();
    load.path = job->found.path;
    if (!zi_find_parts(&run->args->models, &load, &run->parts, error) ||
        !zi_model_load(run->engine, &load, &run->model, error))
        return false;
    zi_find_model_hash(&run->args->models, load.path, false, run->model_hash);
    if (run->args->verbose)
        zi_print_note(false, "model %s loaded in %.2f s", load.path,
                      zi_monotonic_seconds() - began);
    return true;
}

/* Prints, with --verbose, which device computed, unless that is the processor. */
static void print_device(const generate_run *run)
{
    char device[1024];
    zi_engine_device(run->engine, device, sizeof device);
    if (run->args->verbose && *device) zi_print_note(false, "%s", device);
}

/* Generates an image, erases the progress bar, saves the image to report->path with its infotext,
 * shows it, and prints the path or event. Once it is generated, width and height of
 * *request are the image's. False: *error is set; a file that was saved stays. */
static bool generate_and_save(generate_run *run, zi_image_report *report, zi_request *request,
                              zi_error *error)
{
    double began = zi_monotonic_seconds();
    zi_image *image = NULL;
    char *infotext = NULL;
    bool ok = false;
    bool generated =
        zi_image_report_start(report, error) && zi_generate(run->model, request, &image, error);
    zi_progress_printer_clear(&run->printer);
    if (!generated) goto out;
    zi_image_report_generated(report);
    request->width = image->width;
    request->height = image->height;
    if (!run->args->no_metadata) {
        infotext = zi_infotext_create(run->model, request);
        if (!infotext) {
            zi_error_no_memory(error, strlen(request->prompt));
            goto out;
        }
    }
    double saving = zi_monotonic_seconds();
    if (!zi_write_image(run->args, image, report->path, infotext, error)) goto out;
    report->timings.save = zi_monotonic_seconds() - saving;
    zi_show_image(run->args, image, !report->path);
    print_device(run);
    ok = zi_print_result(report, image, zi_monotonic_seconds() - began, error);
out:
    free(infotext);
    zi_image_free(image);
    return ok;
}

/* Generates image i (from 0) of a job, whose seed is the request's plus i, saves it and prints its
 * path or event; shows progress, and notes for the first image. After a signal it fails at once
 * with ZI_ERROR_CANCELLED. False: *error is set. */
static bool generate_image(generate_run *run, const zi_generate_job *job, int i, zi_error *error)
{
    zi_output_paths paths = {0};
    zi_request request = job->generation.request;
    zi_image_report report = {.args = run->args,
                              .job = job,
                              .model = run->model,
                              .parts_note = run->parts.found.note,
                              .request = &request,
                              .printer = &run->printer,
                              .first_of_run = !run->any_generated,
                              .first_of_model = run->model_is_new,
                              .first_of_job = i == 0};
    bool ok = false;
    if (zi_interrupted()) {
        zi_error_cancelled(error);
        goto out;
    }
    zi_progress_printer_next_image(&run->printer, job->first + i);
    if (!zi_choose_outputs(run->args, job, run->plan.images, i, &run->used, &paths, error))
        goto out;
    report.path = paths.image;
    request.seed += (uint64_t)i;
    request.model_hash = run->model_hash;
    request.trace_path = paths.trace;
    request.progress = zi_on_progress;
    if (run->args->json && run->args->show == ZI_SHOW_ON) request.preview = zi_on_preview;
    request.user = &report;
    ok = generate_and_save(run, &report, &request, error) &&
         zi_used_names_add(&run->used, &paths, error);
    run->any_generated |= report.begun;
    run->model_is_new &= !report.begun;
out:
    zi_output_paths_free(&paths);
    return ok;
}

/* Loads the job's model and generates its images. False: *error is set; images that were finished
 * stay. With --no-clobber, images whose file exists are reported, and the others generated. */
static bool run_job(generate_run *run, zi_generate_job *job, zi_error *error)
{
    if (!load_model(run, job, error) ||
        !zi_apply_aspect(job, zi_model_native_size(run->model), error))
        return false;
    for (int i = 0; i < job->generation.count; i++) {
        if (generate_image(run, job, i, error)) continue;
        if (!run->args->no_clobber || error->code != ZI_ERROR_EXISTS) return false;
        zi_plan_report(run->args, &run->plan, job, error);
        *error = (zi_error){0};
    }
    return true;
}

/* A step that is taken with every job, in turn. False: *error is set. */
typedef bool (*job_step)(generate_run *run, zi_generate_job *job, zi_error *error);

/* Prepares the job (a job_step). With --no-clobber, that its first file exists is left to the run.
 */
static bool step_prepare(generate_run *run, zi_generate_job *job, zi_error *error)
{
    const zi_generate_job *before = job > run->plan.jobs ? job - 1 : NULL;
    if (prepare_job(run->args, job, before, run->plan.images, error)) return true;
    if (!run->args->no_clobber || error->code != ZI_ERROR_EXISTS || run->plan.images == 1)
        return false;
    *error = (zi_error){0};
    return true;
}

/* Makes the job's random or enhanced prompt (a job_step). */
static bool step_prompt(generate_run *run, zi_generate_job *job, zi_error *error)
{
    return zi_prepare_prompt(&run->expander, run->args, job, run->engine, error);
}

/* Takes a step with all jobs that have not failed. A failure of the only job, or a cancellation,
 * ends the run: false, with *error set. Other failures, of lines, are reported. */
static bool for_each_job(generate_run *run, job_step step, zi_error *error)
{
    for (size_t i = 0; i < run->plan.count; i++) {
        zi_generate_job *job = &run->plan.jobs[i];
        zi_error why = {0};
        if (job->failed || step(run, job, &why)) continue;
        if (!job->line || why.code == ZI_ERROR_CANCELLED) {
            *error = why;
            return false;
        }
        zi_plan_report(run->args, &run->plan, job, &why);
    }
    return true;
}

/* Starts the display of progress for all images. */
static void start_progress(generate_run *run)
{
    const zi_generate_args *args = run->args;
    bool shown = !args->quiet && !args->json;
    run->printer = zi_progress_printer_start(shown && !args->verbose, args->json, run->plan.images);
    run->printer.lines = shown && (args->verbose || zi_stderr_wants_lines());
}

/* Finds out what to generate, checks that the first outputs can be written, chooses seeds and
 * prompts, loads the model, and generates all images. False: *error is set; images that were
 * finished stay. */
static bool run_generate(generate_run *run, zi_generate_args *args, zi_error *error)
{
    const char **prompt = &args->generation.request.prompt;
    if (args->random && *prompt && !**prompt) *prompt = NULL;
    if (!zi_check_exclusive(args->command, error) || !zi_read_prompt(args, error) ||
        !zi_user_registry_open(args->folder, &args->load, &args->models, error) ||
        !zi_take_settings(args, error) || !zi_plan_read(args, &run->plan, error) ||
        !zi_resolve_parts(&args->models, &args->load, &args->parts, error) ||
        !for_each_job(run, step_prepare, error))
        return false;
    zi_prepare_engine(&args->models, args->quiet, &args->engine);
    if (!zi_engine_create(&args->engine, &run->engine, error) ||
        !for_each_job(run, step_prompt, error))
        return false;
    zi_prompt_expander_free(&run->expander); /* before the image model needs the memory */
    start_progress(run);
    return for_each_job(run, run_job, error);
}

/* Frees all that the run and its arguments own. */
static void free_run(generate_run *run, zi_generate_args *args)
{
    zi_prompt_expander_free(&run->expander);
    zi_model_free(run->model);
    zi_engine_free(run->engine);
    free(run->model_path);
    zi_used_parts_free(&run->parts);
    zi_used_names_free(&run->used);
    zi_plan_free(&run->plan);
    free(args->prompt_text);
    free(args->image_storage);
    free(args->image_model);
    free(args->not_taken);
    zi_used_parts_free(&args->parts);
    zi_user_registry_close(&args->models);
}

int cmd_generate(int argc, char **argv)
{
    zi_generate_args args = {.engine.scratch = getenv("TMPDIR")};
    zi_option options[ZI_MAX_PARAMETERS + OWN_OPTIONS];
    zi_option_strings texts[ZI_MAX_PARAMETERS];
    fill_options(&args, options, texts);
    const zi_command command = {
        "generate",
        "Generates an image from a prompt and prints the file's name. A prompt @FILE is read from\n"
        "the file, - from standard input; @@ begins a prompt with @.",
        NULL, options};
    zi_error error = {0};
    int code;
    args.command = &command;
    if (!zi_options_parse(&command, argc, argv, NULL, &code)) return code;
    zi_interrupt_install();
    generate_run run = {.args = &args};
    bool ok = run_generate(&run, &args, &error);
    code = !ok ? zi_report_error(&command, &error) : run.plan.failures ? 1 : 0;
    free_run(&run, &args);
    return code;
}
