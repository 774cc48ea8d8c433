/* Judges images made anywhere, for instance by another program with the same model.
 *
 *     judge LIST.json     the verdict on each image, and how many are right
 *     judge --heldout      prints the LIST.json of the heldout prompts, to be drawn elsewhere
 *
 * LIST.json is an array of {"prompt": ..., "file": ...}; a file is looked for beside the list.
 * Other fields (width, height, seed: see zi_heldout_list) tell how to draw and are not read here.
 * Exit code: 0 when every image could be judged, however the verdicts are; 1 otherwise. */
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

/* The folder that path lies in, "." when it names none. */
static char *folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    size_t size = slash ? (size_t)(slash - path) + 1 : 1;
    char *folder = calloc(size + 1, 1);
    if (folder) memcpy(folder, slash ? path : ".", size);
    return folder;
}

/* count: objects asked for, 0 when the row could not be judged; right: whether the verdict is. */
static bool judge_row(const char *list, const char *folder, const cJSON *row, int *count,
                      bool *right, zi_error *error)
{
    const char *prompt, *file;
    char *path = NULL;
    zi_image *image = NULL;
    zi_scene scene;
    zi_scene_report verdict;
    bool ok = false;
    if (!zi_json_string(list, row, "prompt", &prompt, error)) goto out;
    if (!zi_json_string(list, row, "file", &file, error)) goto out;
    if (!zi_scene_parse(prompt, &scene)) {
        zi_error_set(error, ZI_ERROR_BAD_FORMAT, list,
                     "\"%s\" is no prompt of the demo model's world", prompt);
        goto out;
    }
    path = zi_path_join(folder, file);
    if (!path) {
        zi_error_no_memory(error, strlen(folder) + strlen(file) + 2);
        goto out;
    }
    if (!zi_image_load(path, &image, NULL, error)) goto out;
    if (!zi_scene_check(image, &scene, &verdict, error)) goto out;
    *count = scene.count;
    *right = verdict.faults == 0;
    printf("%s %s: %s%s%s\n", *right ? "right" : "WRONG", file, prompt, *right ? "" : ": ",
           verdict.text);
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
        fprintf(stderr, "usage: judge LIST.json | judge --unseen\n");
        return 2;
    }
    return strcmp(argv[1], "--unseen") == 0 ? print_heldout() : judge_list(argv[1]);
}
