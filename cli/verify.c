/* zimage verify: whether a model works, as a table of checks. */
#include "cli.h"

#include <cJSON.h>
#include <stdio.h>
#include <stdlib.h>

static bool go_on(void *user, const zi_progress *progress)
{
    (void)user;
    (void)progress;
    return !zi_interrupted();
}

static const char *text_of(const cJSON *row, const char *name)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(row, name);
    return cJSON_IsString(item) ? item->valuestring : "";
}

/* Names of files must not steer the terminal. */
static void print_row(const cJSON *row)
{
    bool passed = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(row, "passed"));
    printf("%s  %-22s", passed ? "pass" : "FAIL", text_of(row, "name"));
    for (const char *c = text_of(row, "says"); *c; c++)
        putchar((unsigned char)*c < 0x20 || *c == 0x7f ? '?' : *c);
    putchar('\n');
}

static bool print_table(const char *json, bool raw, bool *passed, zi_error *error)
{
    cJSON *root = cJSON_Parse(json);
    const cJSON *row;
    if (!root) return zi_error_no_memory(error, 1 << 16);
    *passed = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(root, "passed"));
    if (raw)
        puts(json);
    else
        cJSON_ArrayForEach(row, cJSON_GetObjectItemCaseSensitive(root, "checks")) print_row(row);
    cJSON_Delete(root);
    return true;
}

int cmd_verify(int argc, char **argv)
{
    const char *name = NULL, *against = NULL;
    zi_engine_options engine_options = {.scratch = getenv("TMPDIR")};
    zi_model_options load = {0};
    bool raw = false;
    const zi_option options[] = {
        {"against", 0, ZI_OPTION_TEXT, &against, 0, 0, "SOURCE",
         "the model that this one was made from, to draw the same picture", NULL},
        {"vae", 0, ZI_OPTION_TEXT, &load.vae, 0, 0, "FILE|DIR", "instead of PATH's", NULL},
        {"text-encoder", 0, ZI_OPTION_TEXT, &load.text_encoder, 0, 0, "FILE|DIR",
         "instead of PATH's", NULL},
        {"reference", 0, ZI_OPTION_TEXT, &load.reference, 0, 0, "DIR",
         "a folder that lends what PATH lacks", NULL},
        {"threads", 0, ZI_OPTION_INT, &engine_options.threads, 1, 1024, "N",
         "(all the machine has)", NULL},
        {"cpu", 0, ZI_OPTION_TEXT, &engine_options.cpu, 0, 0, "TIER", "kernels to use (the best)",
         NULL},
        {"json", 0, ZI_OPTION_FLAG, &raw, 0, 0, NULL, "as JSON", NULL},
        {0},
    };
    const zi_command command = {"verify",
                                "Checks the model at PATH: its weights, its stages, small pictures "
                                "of it. Exit code 1 when a check fails.",
                                "PATH", options};
    int code;
    if (!zi_options_parse(&command, argc, argv, &name, &code)) return code;

    zi_error error = {0};
    zi_engine *engine = NULL;
    char *path = NULL, *source = NULL, *json = NULL;
    bool passed = false;
    zi_interrupt_install();
    bool ok = zi_models_find(name, &path, NULL, &error) &&
              (!against || zi_models_find(against, &source, NULL, &error));
    load.path = path;
    ok = ok && zi_engine_create(&engine_options, &engine, &error) &&
         zi_verify(engine, &load, source, go_on, NULL, &json, &error) &&
         print_table(json, raw, &passed, &error);
    code = ok ? !passed : zi_report(&command, &error);
    zi_engine_free(engine);
    free(json);
    free(source);
    free(path);
    return code;
}
