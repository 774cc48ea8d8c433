/* zimage tokenize: prints the token ids of a text as a JSON array. */
#include "cli.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

int cmd_tokenize(int argc, char **argv)
{
    const char *model = NULL, *text = NULL, *folder = NULL;
    zi_model_options load = {0};
    bool chat = false;
    const zi_option options[] = {
        {"model", 'm', ZI_OPTION_TEXT, &model, 0, 0, "MODEL",
         "model whose tokenizer is used (the default model)", NULL},
        zi_models_option(&folder),
        {"text-encoder", 0, ZI_OPTION_TEXT, &load.text_encoder, 0, 0, "MODEL",
         "text encoder with a tokenizer in it (GGUF) or beside it", NULL},
        {"reference", 0, ZI_OPTION_TEXT, &load.reference, 0, 0, "MODEL",
         "model, or folder of a tokenizer, to take a missing tokenizer from", NULL},
        {"chat", 0, ZI_OPTION_FLAG, &chat, 0, 0, NULL,
         "apply the chat template and truncate to 512 tokens", NULL},
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
    zi_used_parts parts = {0};
    zi_user_registry models;
    bool ok = zi_user_registry_open(folder, &load, &models, &error) &&
              zi_resolve_parts(&models, &load, &parts, &error) &&
              zi_find_model(&models, model, &found, &error);
    load.path = found.path;
    ok = ok && zi_find_parts(&models, &load, &parts, &error);
    if (!ok || !zi_tokenize(&load, text, chat, &ids, &count, &error)) {
        code = zi_report_error(&command, &error);
        goto out;
    }
    putchar('[');
    for (size_t i = 0; i < count; i++) printf("%s%" PRId32, i ? ", " : "", ids[i]);
    puts("]");
    code = 0;
out:
    free(ids);
    zi_resolved_model_free(&found);
    zi_user_registry_close(&models);
    zi_used_parts_free(&parts);
    return code;
}
