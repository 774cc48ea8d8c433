/* zimage gallery: the pictures that the server has drawn, without it. */
#include "cli.h"

#include "server/history.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    const char *folder, *remove;
    int count;
    bool json;
} call;

/* On a line, whatever is in it. */
static void print_line(const char *text)
{
    for (; *text; text++) putchar((unsigned char)*text < 0x20 || *text == 0x7f ? ' ' : *text);
    putchar('\n');
}

static const char *text_of(const cJSON *image, const char *name)
{
    const cJSON *item = cJSON_GetObjectItem(image, name);
    return cJSON_IsString(item) ? item->valuestring : "";
}

static int number_of(const cJSON *image, const char *name)
{
    const cJSON *item = cJSON_GetObjectItem(image, name);
    return cJSON_IsNumber(item) ? item->valueint : 0;
}

static bool list(const call *c, zi_history *history, const char *words, zi_error *error)
{
    zi_history_query query = {.limit = c->count, .words = words};
    cJSON *found = zi_history_list(history, &query, error);
    if (!found) return false;
    bool ok = true;
    const cJSON *image;
    cJSON_ArrayForEach(image, cJSON_GetObjectItem(found, "images"))
    {
        if (c->json) {
            cJSON *copy = cJSON_Duplicate(image, true);
            ok = copy ? zi_print_event(copy, error) : zi_error_no_memory(error, 1);
            if (!ok) break;
            continue;
        }
        printf("%s/%s.png  %4d x %-4d  ", c->folder, text_of(image, "id"),
               number_of(image, "width"), number_of(image, "height"));
        print_line(text_of(image, "prompt"));
    }
    cJSON_Delete(found);
    return ok;
}

static bool remove_picture(const call *c, zi_history *history, zi_error *error)
{
    bool found = false;
    if (zi_image_id_valid(c->remove) && !zi_history_delete(history, c->remove, &found, error))
        return false;
    return found || zi_error_set_in(error, ZI_ERROR_NOT_FOUND, c->folder, "image",
                                    "the gallery has no image %s", c->remove);
}

int cmd_gallery(int argc, char **argv)
{
    call c = {.folder = "output", .count = 50};
    const char *words = NULL;
    zi_history *history = NULL;
    zi_error error = {0};
    int code;
    const zi_option options[] = {
        {"output", 'o', ZI_OPTION_TEXT, &c.folder, 0, 0, "DIR", "the server's folder (output)",
         NULL},
        {"count", 'n', ZI_OPTION_INT, &c.count, 1, 1000000, "N", "the latest N (50)", NULL},
        {"remove", 0, ZI_OPTION_TEXT, &c.remove, 0, 0, "ID", "remove this one, file and all", NULL},
        {"json", 0, ZI_OPTION_FLAG, &c.json, 0, 0, NULL, "one picture a line, as JSON", NULL},
        {0},
    };
    const zi_command command = {
        "gallery",
        "Lists the pictures that zimage serve has drawn, latest first: those with all of WORDS in\n"
        "prompt, model or seed.",
        "[WORDS]", options};
    if (!zi_options_parse(&command, argc, argv, &words, &code)) return code;
    bool ok = zi_history_open_shared(c.folder, &history, &error) &&
              (c.remove ? remove_picture(&c, history, &error) : list(&c, history, words, &error));
    zi_history_close(history);
    return ok ? 0 : zi_report(&command, &error);
}
