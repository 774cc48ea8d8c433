/* Messages of errors on the command line: fields are named by their options, and hints name options
 * or commands that help. */
#include "cli.h"

#include "base/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_HINT_OPTIONS = 2, MAX_LINE = 1400 };

/* Hints by code and subject of an error: options, named if the running command has them, and a
 * command or environment variable. */
static const struct {
    zi_error_code code;
    const char *subject;
    const char *options[MAX_HINT_OPTIONS];
    const char *other;
} hints[] = {
    {ZI_ERROR_INCOMPLETE, "transformer", {"model"}, NULL},
    {ZI_ERROR_INCOMPLETE, "text_encoder", {"text-encoder", "reference"}, NULL},
    {ZI_ERROR_INCOMPLETE, "vae", {"vae", "reference"}, NULL},
    {ZI_ERROR_INCOMPLETE, "tokenizer", {"reference"}, "`zimage download tokenizer`"},
    {ZI_ERROR_INCOMPLETE, "x_pad_token", {"reference"}, NULL},
    {ZI_ERROR_INCOMPLETE, "cap_pad_token", {"reference"}, NULL},
    {ZI_ERROR_INCOMPLETE, "scheduler", {"reference"}, NULL},
    {ZI_ERROR_INCOMPLETE, "config", {"reference"}, NULL},
    {ZI_ERROR_NOT_FOUND, "model", {"model"}, "`zimage download --help`"},
    {ZI_ERROR_NOT_FOUND, "name", {NULL}, "`zimage models`"},
    {ZI_ERROR_NOT_FOUND, "device", {NULL}, "`zimage devices`"},
    {ZI_ERROR_UNSUPPORTED, "device", {"device"}, "`zimage devices`"},
    {ZI_ERROR_IO, "device", {"device"}, "`zimage devices`"},
    {ZI_ERROR_NO_MEMORY, "device", {"device", "vram"}, NULL},
    {ZI_ERROR_NOT_FOUND, "default", {"model"}, "`zimage models default NAME`"},
    {ZI_ERROR_NOT_FOUND, "models", {"models"}, NULL},
    {ZI_ERROR_UNSUPPORTED, "conversion", {"to", "precision"}, NULL},
    {ZI_ERROR_NOT_FOUND, "image", {NULL}, "`zimage gallery`"},
    {ZI_ERROR_NOT_FOUND, "file", {"file"}, NULL},
    {ZI_ERROR_NOT_FOUND, "llm", {"llm"}, NULL},
    {ZI_ERROR_NOT_FOUND, "output", {"output"}, NULL},
    {ZI_ERROR_UNSUPPORTED, "encoder", {NULL}, "`zimage download prompt-enhancer`"},
    {ZI_ERROR_UNSUPPORTED, "text_encoder", {"text-encoder"}, NULL},
    {ZI_ERROR_UNSUPPORTED, "vae", {"vae"}, NULL},
    {ZI_ERROR_BAD_FORMAT, "text_encoder", {"text-encoder"}, NULL},
    {ZI_ERROR_BAD_FORMAT, "vae", {"vae"}, NULL},
    {ZI_ERROR_BAD_FORMAT, "tokenizer", {"reference"}, NULL},
    {ZI_ERROR_BAD_FORMAT, "shift", {"shift"}, NULL},
    {ZI_ERROR_EXISTS, "output", {"output"}, NULL},
    {ZI_ERROR_EXISTS, "name", {"name"}, NULL},
    {ZI_ERROR_EXISTS, "port", {"port"}, NULL},
    {ZI_ERROR_EXISTS, "prompt_enhancer", {NULL}, "`zimage models remove prompt_enhancer`"},
    {ZI_ERROR_INVALID_ARGUMENT, "host", {"api-key", "insecure"}, NULL},
    {ZI_ERROR_INVALID_ARGUMENT, "all_hosts", {"api-key", "insecure"}, NULL},
    {ZI_ERROR_INVALID_ARGUMENT, "all_origins", {"api-key", "insecure"}, NULL},
    {ZI_ERROR_IO, "host", {"host"}, NULL},
    {ZI_ERROR_IO, "threads", {"threads"}, NULL},
    {ZI_ERROR_IO, "seed", {"seed"}, NULL},
    {ZI_ERROR_IO, "scratch", {NULL}, "the environment variable TMPDIR"},
};

/* Fields whose options have other names, apart from hyphens. */
static const struct {
    const char *field, *option;
} renamed_fields[] = {
    {"layout", "to"},   {"shard_bytes", "shard-size"}, {"weights", "precision"},
    {"key", "api-key"}, {"all_hosts", "allow-host"},   {"all_origins", "allow-origin"}};

/* Writes to out, cut to size bytes, the name, without dashes, of the option that sets a field of
 * the library: the one in renamed_fields, else the field with hyphens for underscores. False: the
 * command has no such option; out is written all the same. */
static bool find_option_name(const zi_command *command, const char *field, char *out, size_t size)
{
    for (size_t i = 0; i < sizeof renamed_fields / sizeof *renamed_fields; i++)
        if (!strcmp(renamed_fields[i].field, field)) field = renamed_fields[i].option;
    snprintf(out, size, "%s", field);
    for (char *c = out; *c; c++)
        if (*c == '_') *c = '-';
    return zi_option_find(command->options, out) != NULL;
}

/* Appends a hint, dashes ("--", or "" for no option) followed by `what`, after "; see " or, if it
 * is not the first, ", ". Increments *count, the number of hints so far. */
static void append_hint(zi_text *line, size_t *count, const char *dashes, const char *what)
{
    zi_text_printf(line, "%s%s%s", (*count)++ ? ", " : "; see ", dashes, what);
}

void zi_append_error_hints(zi_text *line, const zi_command *command, const zi_error *error)
{
    size_t count = 0;
    for (size_t i = 0; i < sizeof hints / sizeof *hints; i++) {
        if (hints[i].code != error->code || strcmp(hints[i].subject, error->subject) != 0) continue;
        for (int k = 0; k < MAX_HINT_OPTIONS && hints[i].options[k]; k++)
            if (zi_option_find(command->options, hints[i].options[k]))
                append_hint(line, &count, "--", hints[i].options[k]);
        if (hints[i].other) append_hint(line, &count, "", hints[i].other);
    }
}

char *zi_format_error(const zi_command *command, const zi_error *error)
{
    char option[sizeof error->subject];
    zi_text line;
    zi_text_init(&line, MAX_LINE);
    if (command && error->code == ZI_ERROR_INVALID_ARGUMENT &&
        find_option_name(command, error->subject, option, sizeof option))
        zi_text_printf(&line, "--%s: %s", option, error->text + error->message);
    else
        zi_text_puts(&line, error->text);
    if (command) zi_append_error_hints(&line, command, error);
    return zi_text_take(&line);
}

int zi_report_error(const zi_command *command, const zi_error *error)
{
    char *line = zi_format_error(command, error);
    zi_print_failure(error, line ? line : error->text, 0);
    free(line);
    return error->code == ZI_ERROR_INVALID_ARGUMENT ? 2 : 1;
}
