/* zimage tokenize: the ids of a text as one JSON array. */
#include "cli.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

int cmd_tokenize(int argc, char **argv)
{
    const char *model = NULL, *text = NULL;
    zi_model_options load = {0};
    bool chat = false;
    const zi_option options[] = {
        {"model", 'm', ZI_OPTION_TEXT, &model, 0, 0, "MODEL", "whose tokenizer (as in generate)",
         NULL},
        {"text-encoder", 0, ZI_OPTION_TEXT, &load.text_encoder, 0, 0, "FILE|DIR",
         "a GGUF with a tokenizer inside, or what has one beside it", NULL},
        {"reference", 0, ZI_OPTION_TEXT, &load.reference, 0, 0, "DIR",
         "lends the tokenizer that MODEL lacks", NULL},
        {"chat", 0, ZI_OPTION_FLAG, &chat, 0, 0, NULL, "in the chat form, cut at 512", NULL},
        {0},
    };
    const zi_command command = {"tokenize", "Prints the token ids of TEXT as one JSON array.",
                                "TEXT", options};
    int code;
    if (!zi_options_parse(&command, argc, argv, &text, &code)) return code;

    zi_error error = {0};
    zi_resolved_model found = {0};
    int32_t *ids = NULL;
    size_t count = 0;
    code = 1;
    bool ok = zi_find_model(model, &found, &error);
    load.path = found.path;
    if (!ok || !zi_tokenize(&load, text, chat, &ids, &count, &error)) {
        code = zi_report(&command, &error);
        goto out;
    }
    putchar('[');
    for (size_t i = 0; i < count; i++) printf("%s%" PRId32, i ? ", " : "", ids[i]);
    puts("]");
    code = 0;
out:
    free(ids);
    zi_resolved_model_free(&found);
    return code;
}
