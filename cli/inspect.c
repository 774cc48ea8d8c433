/* zimage inspect: describes a model's folder or file, or an image file. */
#include "cli.h"

#include "base/text.h"

#include <cJSON.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Prints text from untrusted files: control characters (ASCII's) but newlines become '?'. Lines
 * after the first are indented by `column` blanks. Adds no newline. */
static void print_text(const char *text, int column)
{
    for (; *text; text++) {
        if (*text == '\n')
            printf("\n%*s", column, "");
        else
            putchar((unsigned char)*text < 0x20 || *text == 0x7f ? '?' : *text);
    }
}

/* Prints a key with blanks for control characters and, unless it has a capital letter, as types
 * have (Q8_0), also for underscores. Returns its length in bytes. */
static int print_key(const char *key)
{
    bool words = !key[strcspn(key, "ABCDEFGHIJKLMNOPQRSTUVWXYZ")];
    for (const char *c = key; *c; c++)
        putchar((words && *c == '_') || (unsigned char)*c < 0x20 ? ' ' : *c);
    return (int)strlen(key);
}

/* Prints a size in decimal units, as "1.50 GB" or, below 1000, "512 bytes"; no newline. */
static void print_bytes(double bytes)
{
    static const char *const units[] = {"bytes", "kB", "MB", "GB", "TB"};
    int unit = 0;
    for (; bytes >= 1000 && unit < 4; unit++) bytes /= 1000;
    printf(unit ? "%.2f %s" : "%.0f %s", bytes, units[unit]);
}

/* Prints a number without newline: as a size when its key ends with "bytes", else in full if it is
 * whole (below 10^15), else with six significant digits. key NULL: an array's element. */
static void print_number(const char *key, double number)
{
    size_t length = key ? strlen(key) : 0;
    if (length >= 5 && !strcmp(key + length - 5, "bytes"))
        print_bytes(number);
    else if (number == floor(number) && fabs(number) < 1e15)
        printf("%.0f", number);
    else
        printf("%g", number);
}

/* Prints a text, number, boolean ("yes", "no") or null ("-") without a newline; nothing for arrays
 * and objects. column: indentation of a text's further lines. */
static void print_scalar(const cJSON *item, int column)
{
    if (cJSON_IsString(item)) print_text(item->valuestring, column);
    if (cJSON_IsNumber(item)) print_number(item->string, item->valuedouble);
    if (cJSON_IsBool(item)) fputs(cJSON_IsTrue(item) ? "yes" : "no", stdout);
    if (cJSON_IsNull(item)) fputs("-", stdout);
}

/* Whether the value is printed below its key: an object, or an array whose first element is an
 * object or array. */
static bool is_nested(const cJSON *item)
{
    return cJSON_IsObject(item) ||
           (cJSON_IsArray(item) && (cJSON_IsObject(item->child) || cJSON_IsArray(item->child)));
}

/* Prints the elements of an array of scalars, "none" if there are none: separated by commas or,
 * after a text with blanks, by a new line indented by `column`. Prints no newline at the end. */
static void print_list(const cJSON *list, int column)
{
    if (!list->child) fputs("none", stdout);
    for (const cJSON *item = list->child; item; item = item->next) {
        bool sentence = cJSON_IsString(item) && strchr(item->valuestring, ' ');
        print_scalar(item, column);
        if (!item->next) break;
        if (sentence)
            printf("\n%*s", column, "");
        else
            fputs(", ", stdout);
    }
}

/* Prints the members of an object or the elements of an array (each with "-" as key), one per line,
 * indented by 2 * depth blanks, values aligned. Nested values follow below their keys, one level
 * deeper; the JSON parser limits the depth. */
static void print_members(const cJSON *parent, int depth)
{
    int widest = 0;
    for (const cJSON *item = parent->child; item; item = item->next)
        if (item->string && !is_nested(item) && (int)strlen(item->string) > widest)
            widest = (int)strlen(item->string);
    for (const cJSON *item = parent->child; item; item = item->next) {
        printf("%*s", 2 * depth, "");
        int used = item->string ? print_key(item->string) : printf("-");
        if (is_nested(item)) {
            putchar('\n');
            print_members(item, depth + 1);
            continue;
        }
        printf("%*s", widest > used ? widest - used + 2 : 2, "");
        int column = 2 * depth + widest + 2;
        if (cJSON_IsArray(item))
            print_list(item, column);
        else
            print_scalar(item, column);
        putchar('\n');
    }
}

/* Describes the image at path, if the file begins like one, or else the model there, as JSON text
 * in *json, for free(). False: *error is set, and *json is unchanged or NULL. */
static bool inspect_json(const char *path, char **json, zi_error *error)
{
    zi_inspection *inspection = NULL;
    if (zi_image_probe(path)) return zi_image_inspect(path, json, error);
    bool ok = zi_inspect(path, &inspection, error);
    if (ok) *json = zi_inspection_json(inspection);
    zi_inspection_free(inspection);
    return ok && (*json || zi_error_no_memory(error, 1 << 16));
}

/* Replaces long texts of an image file, such as ComfyUI's workflow, by their sizes. */
static void shorten_texts(cJSON *root)
{
    enum { SHOWN = 300 };
    char size[32];
    cJSON *text;
    cJSON_ArrayForEach(text, cJSON_GetObjectItemCaseSensitive(root, "texts"))
    {
        size_t length = cJSON_IsString(text) ? strlen(text->valuestring) : 0;
        if (length > SHOWN) cJSON_SetValuestring(text, zi_format_bytes(length, size));
    }
}

/* Prints JSON text as it is (raw) or as a table. False: the text is not valid JSON or memory is
 * short, which are not told apart; *error is set to ZI_ERROR_NO_MEMORY. */
static bool print_json(const char *json, bool raw, zi_error *error)
{
    if (raw) {
        puts(json);
        return true;
    }
    cJSON *root = cJSON_Parse(json);
    if (!root) return zi_error_no_memory(error, strlen(json));
    shorten_texts(root);
    print_members(root, 0);
    cJSON_Delete(root);
    return true;
}

int cmd_inspect(int argc, char **argv)
{
    const char *name = NULL, *folder = NULL;
    bool raw = false;
    const zi_option options[] = {
        zi_models_option(&folder),
        {"json", 0, ZI_OPTION_FLAG, &raw, 0, 0, NULL, "print JSON", NULL},
        {0},
    };
    const zi_command command = {
        "inspect",
        "Describes what is at PATH: a model's layout, architecture, precision, "
        "components and sizes, or\n"
        "an image's generation parameters. Of the weights it reads vectors and the first and last "
        "rows\n"
        "of matrices; `zimage verify` reads all.",
        "PATH", options};
    int code;
    if (!zi_options_parse(&command, argc, argv, &name, &code)) return code;

    zi_error error = {0};
    zi_resolved_model found = {0};
    char *json = NULL;
    zi_user_registry models;
    bool ok = zi_user_registry_open(folder, NULL, &models, &error) &&
              zi_find_model(&models, name, &found, &error) &&
              inspect_json(found.path, &json, &error) && print_json(json, raw, &error);
    free(json);
    zi_resolved_model_free(&found);
    zi_user_registry_close(&models);
    return ok ? 0 : zi_report_error(&command, &error);
}
