/* zimage gallery: lists and removes images that the server has generated, with or without a running
 * server. */
#include "cli.h"

#include "base/text.h"
#include "server/history.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

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
 * path, ID, size and prompt, or a JSON object. words: as in zi_history_query; NULL: all images.
 * False: *error is set; lines may have been printed. */
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
        const char *id = json_text(image, "id");
        printf("%s/%s.png  %s  %4d x %-4d  ", args->folder, id, id, json_int(image, "width"),
               json_int(image, "height"));
        print_one_line(json_text(image, "prompt"));
    }
    cJSON_Delete(found);
    return ok;
}

/* Writes the ID that text is or names to id, cut to its array: text may also be an image's file
 * name or path, with any extension. */
static void read_id(const char *text, char id[64])
{
    const char *slash = strrchr(text, '/'), *name = slash ? slash + 1 : text;
    snprintf(id, 64, "%.*s", (int)strcspn(name, "."), name);
}

/* Removes the image of --remove, file and row, without asking, and prints its path. False, with
 * *error set: ZI_ERROR_NOT_FOUND when there is none or the id is malformed, or as
 * zi_history_delete, which may have removed the file alone. */
static bool remove_image(const gallery_args *args, zi_history *history, zi_error *error)
{
    char id[64];
    bool found = false;
    read_id(args->remove, id);
    if (zi_image_id_valid(id) && !zi_history_delete(history, id, &found, error)) return false;
    if (found) printf("removed %s/%s.png\n", args->folder, id);
    return found || zi_error_set_in(error, ZI_ERROR_NOT_FOUND, args->folder, "image",
                                    "the gallery has no image with the ID %s", args->remove);
}

/* Opens the history of args->folder. *history: NULL if the folder has none, and so no images. */
static bool open_history(const gallery_args *args, zi_history **history, zi_error *error)
{
    struct stat st;
    if (zi_history_open_shared(args->folder, history, error)) return true;
    *history = NULL;
    return error->code == ZI_ERROR_NOT_FOUND && !args->remove && stat(args->folder, &st) == 0 &&
           S_ISDIR(st.st_mode);
}

/* Joins words, NULL-terminated, with blanks, for free(). NULL: out of memory. */
static char *join_words(const char *const *words)
{
    zi_text text;
    zi_text_init(&text, 1 << 20);
    for (size_t i = 0; words[i]; i++) zi_text_printf(&text, "%s%s", i ? " " : "", words[i]);
    return zi_text_take(&text);
}

/* Lists images that have all of the words (NULL-terminated, perhaps none), or removes one. */
static bool run_gallery(const gallery_args *args, const char *const *words, zi_error *error)
{
    zi_history *history = NULL;
    char *joined = join_words(words);
    bool ok = joined || zi_error_no_memory(error, 1);
    if (ok && args->remove && *joined)
        ok = zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "remove",
                          "cannot be used with search words ('%s'), since it removes one image, by "
                          "its ID; leave the words out, or search without --remove",
                          joined);
    ok = ok && open_history(args, &history, error);
    if (ok && history)
        ok = args->remove ? remove_image(args, history, error)
                          : list_images(args, history, *joined ? joined : NULL, error);
    zi_history_close(history);
    free(joined);
    return ok;
}

int cmd_gallery(int argc, char **argv)
{
    gallery_args args = {.folder = "output", .count = 50};
    zi_error error = {0};
    int code;
    const zi_option options[] = {
        {"output", 'o', ZI_OPTION_TEXT, &args.folder, 0, 0, "DIR",
         "the server's output folder (output)", NULL},
        {"count", 'n', ZI_OPTION_INT, &args.count, 1, 1000000, "N", "list at most N images (50)",
         NULL},
        {"remove", 0, ZI_OPTION_TEXT, &args.remove, 0, 0, "ID",
         "remove this image and its file; ID: that of the list, or the file's name or path", NULL},
        {"json", 0, ZI_OPTION_FLAG, &args.json, 0, 0, NULL,
         "print one JSON object per image and line", NULL},
        {0},
    };
    const zi_command command = {"gallery",
                                "Lists the images that zimage serve has generated, newest first: "
                                "those with all of WORDS in\n"
                                "prompt, model or seed.",
                                "[WORDS...]", options};
    const char **words = calloc((size_t)argc + 1, sizeof *words);
    if (!words) {
        zi_error_no_memory(&error, (size_t)argc * sizeof *words);
        return zi_report_error(&command, &error);
    }
    if (zi_options_parse(&command, argc, argv, words, &code))
        code = run_gallery(&args, words, &error) ? 0 : zi_report_error(&command, &error);
    free(words);
    return code;
}
