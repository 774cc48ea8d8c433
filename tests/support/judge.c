/* Checks whether images show what their prompts say; the images may come from any program.
 *
 *     judge LIST.json    prints the result for each image, and the totals
 *     judge --heldout    prints the LIST.json of the held-out prompts, to generate from
 *
 * LIST.json is an array of {"prompt": ..., "file": ...}; files are relative to the list's folder.
 * The fields width, height and seed (see zi_heldout_list) are for the generating program. Exit
 * code: 0 if every image could be checked, right or wrong; 1 otherwise. */
#include "checker.h"
#include "base/file.h"
#include "io/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int print_heldout(void)
{
    static zi_heldout heldout[ZI_HELDOUT];
    zi_heldout_prompts(heldout);
    char *list = zi_heldout_list(heldout, ZI_HELDOUT);
    bool ok = list && fputs(list, stdout) >= 0 && fflush(stdout) == 0;
    if (!ok) fprintf(stderr, "judge: cannot write the list\n");
    free(list);
    return !ok;
}

/* The directory part of path, "." if it has none; the caller frees it. */
static char *folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    size_t size = slash ? (size_t)(slash - path) + 1 : 1;
    char *folder = calloc(size + 1, 1);
    if (folder) memcpy(folder, slash ? path : ".", size);
    return folder;
}

/* Checks the image of one row and prints the result. *count: objects in the prompt; *right: whether
 * the image shows them. False: prompt or image could not be read. */
static bool judge_row(const char *list, const char *folder, const cJSON *row, int *count,
                      bool *right, zi_error *error)
{
    const char *prompt, *file;
    char *path = NULL;
    zi_image *image = NULL;
    zi_scene scene;
    zi_scene_report report;
    bool ok = false;
    if (!zi_json_string(list, row, "prompt", &prompt, error)) goto out;
    if (!zi_json_string(list, row, "file", &file, error)) goto out;
    if (!zi_scene_parse(prompt, &scene)) {
        zi_error_set(error, ZI_ERROR_BAD_FORMAT, list,
                     "\"%s\" does not describe a scene of the demo model", prompt);
        goto out;
    }
    path = zi_path_join(folder, file);
    if (!path) {
        zi_error_no_memory(error, strlen(folder) + strlen(file) + 2);
        goto out;
    }
    if (!zi_image_load(path, &image, NULL, error)) goto out;
    if (!zi_scene_check(image, &scene, &report, error)) goto out;
    *count = scene.count;
    *right = report.faults == 0;
    printf("%s %s: %s%s%s\n", *right ? "right" : "WRONG", file, prompt, *right ? "" : ": ",
           report.text);
    ok = true;
out:
    zi_image_free(image);
    free(path);
    return ok;
}

static int judge_list(const char *list)
{
    zi_error error = {0};
    cJSON *rows = NULL;
    const cJSON *row;
    char *folder = folder_of(list);
    int asked[3] = {0}, rights[3] = {0};
    bool ok = folder && zi_json_read(list, 1 << 24, &rows, &error);
    if (ok && !cJSON_IsArray(rows))
        ok = zi_error_set(&error, ZI_ERROR_BAD_FORMAT, list, "not a JSON array of rows");
    if (!ok) fprintf(stderr, "judge: %s\n", error.text);
    cJSON_ArrayForEach(row, rows)
    {
        int count = 0;
        bool right = false;
        if (!ok) break;
        if (!judge_row(list, folder, row, &count, &right, &error)) {
            fprintf(stderr, "judge: %s\n", error.text);
            ok = false;
        }
        asked[count]++;
        rights[count] += right;
    }
    if (ok)
        printf("one object: %d of %d right\ntwo objects: %d of %d right\n", rights[1], asked[1],
               rights[2], asked[2]);
    cJSON_Delete(rows);
    free(folder);
    return !ok;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: judge LIST.json | judge --heldout\n");
        return 2;
    }
    return strcmp(argv[1], "--heldout") == 0 ? print_heldout() : judge_list(argv[1]);
}
