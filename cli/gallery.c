/* zimage gallery: lists and removes images that the server has generated, with or without a running
 * server. */
#include "cli.h"

#include "server/history.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    const char *folder, *remove;
    int count;
    bool json;
} gallery_args;

/* Prints text and a newline; control characters in it, newlines too, become spaces. */
static void print_one_line(const char *text)
{
    for (; *text; text++) putchar((unsigned char)*text < 0x20 || *text == 0x7f ? ' ' : *text);
    putchar('\n');
}

/* A text member of an image, borrowed from it; "" when it is missing or no text. */
static const char *json_text(const cJSON *image, const char *name)
{
    const cJSON *item = cJSON_GetObjectItem(image, name);
    return cJSON_IsString(item) ? item->valuestring : "";
}

/* A number member of an image as an int, truncated and limited to the range of int; 0 when it is
 * missing or no number. */
static int json_int(const cJSON *image, const char *name)
{
    const cJSON *item = cJSON_GetObjectItem(image, name);
    return cJSON_IsNumber(item) ? item->valueint : 0;
}

/* Prints the newest images, at most args->count, that match words, newest first, one per line:
 * path, size and prompt, or a JSON object. words: as in zi_history_query; NULL: all images. False:
 * *error is set; lines may have been printed. */
static bool list_images(const gallery_args *args, zi_history *history, const char *words,
                        zi_error *error)
{
    zi_history_query query = {.limit = args->count, .words = words};
    cJSON *found = zi_history_list(history, &query, error);
    if (!found) return false;
    bool ok = true;
    const cJSON *image;
    cJSON_ArrayForEach(image, cJSON_GetObjectItem(found, "images"))
    {
        if (args->json) {
            cJSON *copy = cJSON_Duplicate(image, true);
            ok = copy ? zi_print_json_event(copy, error) : zi_error_no_memory(error, 1);
            if (!ok) break;
            continue;
        }
        printf("%s/%s.png  %4d x %-4d  ", args->folder, json_text(image, "id"),
               json_int(image, "width"), json_int(image, "height"));
        print_one_line(json_text(image, "prompt"));
    }
    cJSON_Delete(found);
    return ok;
}

/* Removes the image of --remove, file and row, without asking. False, with *error set:
 * ZI_ERROR_NOT_FOUND when there is none or the id is malformed, or as zi_history_delete. */
static bool remove_image(const gallery_args *args, zi_history *history, zi_error *error)
{
    bool found = false;
    if (zi_image_id_valid(args->remove) && !zi_history_delete(history, args->remove, &found, error))
        return false;
    return found || zi_error_set_in(error, ZI_ERROR_NOT_FOUND, args->folder, "image",
                                    "the gallery has no image with the ID %s", args->remove);
}

int cmd_gallery(int argc, char **argv)
{
    gallery_args args = {.folder = "output", .count = 50};
    const char *words = NULL;
    zi_history *history = NULL;
    zi_error error = {0};
    int code;
    const zi_option options[] = {
        {"output", 'o', ZI_OPTION_TEXT, &args.folder, 0, 0, "DIR",
         "the server's output folder (output)", NULL},
        {"count", 'n', ZI_OPTION_INT, &args.count, 1, 1000000, "N", "list at most N images (50)",
         NULL},
        {"remove", 0, ZI_OPTION_TEXT, &args.remove, 0, 0, "ID", "remove this image and its file",
         NULL},
        {"json", 0, ZI_OPTION_FLAG, &args.json, 0, 0, NULL,
         "print one JSON object per image and line", NULL},
        {0},
    };
    const zi_command command = {"gallery",
                                "Lists the images that zimage serve has generated, newest first: "
                                "those with all of WORDS in\n"
                                "prompt, model or seed.",
                                "[WORDS]", options};
    if (!zi_options_parse(&command, argc, argv, &words, &code)) return code;
    if (args.remove && words) {
        zi_error_set(&error, ZI_ERROR_INVALID_ARGUMENT, "remove",
                     "cannot be used with WORDS ('%s'): it removes one image, by its ID", words);
        return zi_report_error(&command, &error);
    }
    bool ok = zi_history_open_shared(args.folder, &history, &error) &&
              (args.remove ? remove_image(&args, history, &error)
                           : list_images(&args, history, words, &error));
    zi_history_close(history);
    return ok ? 0 : zi_report_error(&command, &error);
}
