/* What the command line reads beside its arguments: a configuration file, and a file of prompts,
 * whose lines may be JSON objects. */
#include "../../cli/config_file.c" /* its state lives as long as a process; here, as long as a run */
#include "fuzz.h"
#include "generate.h"

void __wrap_zi_print_failure(const zi_error *error, const char *text, int line);
void __wrap_zi_print_failure(const zi_error *error, const char *text, int line)
{
    FUZZ_EXPECT(line > 0 && strchr(text, '\n') == NULL && zi_utf8_valid(text, strlen(text)));
    fuzz_ok(false, error);
}

/* A zi_command_visitor: sets the command's options by the file. */
static void apply(void *user, const char *summary, const zi_command *command)
{
    static const bool given[ZI_MAX_OPTIONS];
    zi_error error = {0};
    (void)user;
    (void)summary;
    fuzz_ok(zi_settings_apply(command, given, &error), &error);
}

static void read_config(void)
{
    zi_error error = {0};
    if (fuzz_ok(zi_config_load(&error), &error)) zi_visit_commands(apply, NULL);
    free(config.path);
    free(config.text);
    for (size_t i = 0; i < config.count; i++) free(config.settings[i].expanded);
    free(config.settings);
    memset(&config, 0, sizeof config);
}

static void read_prompts(void)
{
    zi_generate_args args = {.prompts = "prompts"};
    zi_generate_plan plan = {0};
    zi_error error = {0};
    if (fuzz_ok(zi_plan_read(&args, &plan, &error), &error))
        for (size_t i = 0; i < plan.count; i++) {
            const zi_generate_job *job = &plan.jobs[i];
            const char *prompt = job->generation.request.prompt;
            FUZZ_EXPECT(job->line > 0 && job->first > 0);
            FUZZ_EXPECT(job->failed || !prompt || zi_utf8_valid(prompt, strlen(prompt)));
        }
    zi_plan_free(&plan);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    setenv("ZIMAGE_CONFIG", "config", 1);
    fuzz_begin();
    fuzz_file("config", data, size);
    fuzz_file("prompts", data, size);
    read_config();
    read_prompts();
    fuzz_end();
    return 0;
}
