/* zimage verify: checks that a model works, and prints a table of checks. */
#include "cli.h"

#include <stdio.h>
#include <stdlib.h>

/* A zi_progress_fn. Shows nothing; returns false, to cancel, after a signal. */
static bool should_continue(void *user, const zi_progress *progress)
{
    (void)user;
    (void)progress;
    return !zi_interrupted();
}

/* Prints a check as a line: pass or FAIL, name and text, which may have names of files. */
static void print_check(const zi_verification_check *check)
{
    printf("%s  %-22s", check->passed ? "pass" : "FAIL", check->name);
    zi_print_text(check->text);
    putchar('\n');
}

/* Prints the verification as JSON (raw, for --json), or a line for each check. False: out of
 * memory; *error is set. Whether checks passed does not count. */
static bool print_result(const zi_verification *v, bool raw, zi_error *error)
{
    if (!raw) {
        for (size_t i = 0; i < v->check_count; i++) print_check(&v->checks[i]);
        return true;
    }
    char *json = zi_verification_json(v);
    if (json) puts(json);
    free(json);
    return json || zi_error_no_memory(error, 1 << 16);
}

int cmd_verify(int argc, char **argv)
{
    const char *name = NULL, *against = NULL, *folder = NULL;
    zi_engine_options engine_options = {.scratch = getenv("TMPDIR")};
    zi_model_options load = {0};
    bool raw = false;
    const zi_option options[] = {
        {"against", 0, ZI_OPTION_TEXT, &against, 0, 0, "SOURCE",
         "the model that this one was converted from; compares their images", NULL},
        zi_models_option(&folder),
        {"vae", 0, ZI_OPTION_TEXT, &load.vae, 0, 0, "MODEL", "VAE to use instead of PATH's", NULL},
        {"text-encoder", 0, ZI_OPTION_TEXT, &load.text_encoder, 0, 0, "MODEL",
         "text encoder to use instead of PATH's", NULL},
        {"reference", 0, ZI_OPTION_TEXT, &load.reference, 0, 0, "MODEL",
         "model, or folder of a tokenizer, to take missing components from", NULL},
        {"threads", 0, ZI_OPTION_INT, &engine_options.threads, 1, 1024, "N",
         "number of threads (all processors)", NULL},
        zi_cpu_option(&engine_options.cpu),
        zi_device_option(&engine_options.device),
        zi_vram_option(&engine_options.vram),
        {"json", 0, ZI_OPTION_FLAG, &raw, 0, 0, NULL, "print JSON", NULL},
        {0},
    };
    const zi_command command = {"verify",
                                "Checks the model at PATH: its weights, its stages, small images "
                                "of it. Exit code 1 when a check fails.",
                                "PATH", options};
    int code;
    if (!zi_options_parse(&command, argc, argv, &name, &code)) return code;

    zi_error error = {0};
    zi_engine *engine = NULL;
    zi_verification *verification = NULL;
    zi_resolved_model found = {0}, source = {0};
    char hash[ZI_MODEL_HASH]; /* only stored */
    zi_used_parts parts = {0};
    zi_user_registry models;
    zi_interrupt_install();
    bool ok = zi_user_registry_open(folder, NULL, &models, &error) &&
              zi_resolve_parts(&models, &load, &parts, &error) &&
              zi_find_model(&models, name, &found, &error) &&
              (!against || zi_find_model(&models, against, &source, &error));
    load.path = found.path;
    ok = ok && zi_find_parts(&models, &load, &parts, &error);
    if (ok && parts.found.note) zi_print_note(false, "%s", parts.found.note);
    zi_prepare_engine(&models, false, &engine_options);
    ok = ok && zi_engine_create(&engine_options, &engine, &error) &&
         zi_verify(engine, &load, source.path, should_continue, NULL, &verification, &error) &&
         print_result(verification, raw, &error);
    if (ok && verification->passed) zi_find_model_hash(&models, found.path, true, hash);
    code = ok ? !verification->passed : zi_report_error(&command, &error);
    zi_verification_free(verification);
    zi_engine_free(engine);
    zi_resolved_model_free(&source);
    zi_resolved_model_free(&found);
    zi_used_parts_free(&parts);
    zi_user_registry_close(&models);
    return code;
}
