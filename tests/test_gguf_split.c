/* GGUF models in several files: which files belong to one, and what is said when they do not fit.
 */
#include "harness.h"
#include "io/gguf.h"
#include "io/gguf_split.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { TENSORS = 6, NUMBERS = 8 };

/* Tensors of different values, not sorted by name. */
static const zi_tensor_out *make_tensors(void)
{
    static const char *const names[TENSORS] = {"z.weight", "a",        "q.weight",
                                               "h",        "b.weight", "norm"};
    static zi_tensor_out tensors[TENSORS];
    static float values[TENSORS][NUMBERS];
    for (int i = 0; i < TENSORS; i++) {
        for (int j = 0; j < NUMBERS; j++) values[i][j] = (float)(100 * i + j);
        tensors[i] = (zi_tensor_out){names[i], ZI_F32, 2, {2, NUMBERS / 2}, values[i]};
    }
    return tensors;
}

static void check_tensors(const zi_checkpoint *checkpoint, const zi_tensor_out *wanted)
{
    CHECK(checkpoint->tensor_count == TENSORS);
    for (size_t i = 0; i < TENSORS; i++) {
        const zi_tensor *got = zi_checkpoint_find(checkpoint, wanted[i].name);
        CHECK_MSG(got && got->bytes == NUMBERS * sizeof(float) &&
                      memcmp(got->data, wanted[i].data, got->bytes) == 0,
                  "%s", wanted[i].name);
    }
}

/* Writes shard `number` of `count`, named as such of `named`, with these tensors; total 0: without
 * split.tensors.count. The first one says where the model is from. */
static const char *write_shard(int number, int count, int named, const zi_tensor_out *tensors,
                               size_t tensor_count, int32_t total)
{
    static char path[300];
    uint16_t no = (uint16_t)(number - 1), n = (uint16_t)count;
    static const char *const arch = "lumina2";
    char file[64];
    zi_error error = {0};
    const zi_gguf_out split[] = {{"split.no", ZI_GGUF_U16, false, 1, &no},
                                 {"split.count", ZI_GGUF_U16, false, 1, &n},
                                 {"split.tensors.count", ZI_GGUF_I32, false, 1, &total},
                                 {"general.architecture", ZI_GGUF_STRING, false, 1, &arch}};
    size_t values_count = !total ? 2 : number == 1 ? 4 : 3;
    snprintf(file, sizeof file, "m-%05d-of-%05d.gguf", number, named);
    snprintf(path, sizeof path, "%s", zi_test_path(file));
    unlink(path);
    CHECK_OK(zi_gguf_write(path, split, values_count, tensors, tensor_count, NULL, NULL, &error),
             error);
    return path;
}

/* Three files with one, three and two of the tensors; `total` as in write_shard. */
static void write_three(const zi_tensor_out *tensors, int32_t total)
{
    write_shard(1, 3, 3, tensors, 1, total);
    write_shard(2, 3, 3, tensors + 1, 3, total);
    write_shard(3, 3, 3, tensors + 4, 2, total);
}

/* Whichever of the files is named, all tensors are there, and the first file's metadata. */
static void several_files(void)
{
    const zi_tensor_out *tensors = make_tensors();
    write_three(tensors, 6);
    for (int i = 1; i <= 3; i++) {
        char file[64];
        zi_checkpoint checkpoint;
        zi_error error = {0};
        snprintf(file, sizeof file, "m-%05d-of-00003.gguf", i);
        if (!CHECK_OK(zi_checkpoint_open(zi_test_path(file), &checkpoint, &error), error)) return;
        check_tensors(&checkpoint, tensors);
        CHECK(checkpoint.file_count == 3);
        CHECK(zi_gguf_find(checkpoint.gguf, "general.architecture") != NULL);
        const zi_tensor *last = zi_checkpoint_find(&checkpoint, "norm");
        CHECK(last && strstr(zi_tensor_file(&checkpoint, last), "m-00003-of-00003.gguf"));
        zi_checkpoint_close(&checkpoint);
    }
    write_three(tensors, 0);
    zi_checkpoint checkpoint;
    zi_error error = {0};
    CHECK_OK(zi_checkpoint_open(zi_test_path("m-00001-of-00003.gguf"), &checkpoint, &error), error);
    zi_checkpoint_close(&checkpoint);
}

/* The first file of three does not open, for this reason; the three are whole again afterwards. */
static void check_split_error(const zi_tensor_out *tensors, zi_error_code code, const char *subject,
                              const char *says, const char *file)
{
    zi_checkpoint checkpoint;
    zi_error error = {0};
    if (!CHECK_MSG(!zi_checkpoint_open(zi_test_path("m-00001-of-00003.gguf"), &checkpoint, &error),
                   "no error: %s", says))
        zi_checkpoint_close(&checkpoint);
    CHECK_MSG(strstr(error.text, says) && strstr(error.text, file), "%s: %s", says, error.text);
    CHECK_ERROR(error, code, subject);
    write_three(tensors, 6);
}

static void several_files_that_do_not_fit(void)
{
    static const char second[] = "m-00002-of-00003.gguf";
    const zi_tensor_out *t = make_tensors();
    write_three(t, 6);
    unlink(zi_test_path(second));
    check_split_error(t, ZI_ERROR_NOT_FOUND, zi_test_path(second), "is missing: it is file 2 of",
                      second);
    zi_test_write_file(zi_test_path(second), "GGUf and more", 13);
    check_split_error(t, ZI_ERROR_BAD_FORMAT, zi_test_path(second), "is no GGUF file", second);
    zi_test_write_file(zi_test_path(second), "", 0);
    check_split_error(t, ZI_ERROR_BAD_FORMAT, zi_test_path(second), "is no GGUF file", second);
    zi_test_write_file(zi_test_path(second), "GGUF\3\0\0", 7);
    check_split_error(t, ZI_ERROR_BAD_FORMAT, zi_test_path(second), "cut off", second);
    rename(write_shard(2, 3, 4, t + 1, 3, 6), zi_test_path(second));
    check_split_error(t, ZI_ERROR_BAD_FORMAT, "split.tensors.count", "should have 7 tensors",
                      (write_shard(1, 3, 3, t, 1, 7), "m-00001-of-00003.gguf"));
    rename(write_shard(2, 4, 4, t + 1, 3, 6), zi_test_path(second));
    check_split_error(t, ZI_ERROR_BAD_FORMAT, "split.count",
                      "its metadata (split.count) say that there are 4", second);
    rename(write_shard(3, 3, 3, t + 1, 3, 6), zi_test_path(second));
    write_shard(3, 3, 3, t + 4, 2, 6);
    check_split_error(t, ZI_ERROR_BAD_FORMAT, "split.no",
                      "file 2 of 3, but its metadata (split.no 2) say that it is file 3", second);
    write_shard(2, 3, 3, t, 3, 6); /* with the first file's tensor */
    check_split_error(t, ZI_ERROR_BAD_FORMAT, "z.weight", "is there twice", second);
    zi_checkpoint checkpoint;
    zi_error error = {0};
    rename(write_shard(1, 3, 3, t, 1, 6), zi_test_path("renamed.gguf"));
    CHECK(!zi_checkpoint_open(zi_test_path("renamed.gguf"), &checkpoint, &error));
    CHECK_ERROR(error, ZI_ERROR_UNSUPPORTED, "split.count");
    CHECK_MSG(strstr(error.text, "-00001-of-00003.gguf"), "%s", error.text);
}

static void names_of_several_files(void)
{
    static const struct {
        const char *name;
        int number, count; /* 0: no such name */
    } rows[] = {
        {"m-00001-of-00003.gguf", 1, 3},       {"a/b-00065-of-00065.gguf", 65, 65},
        {"-00001-of-00001.gguf", 1, 1},        {"m-00004-of-00003.gguf", 0, 0},
        {"m-00000-of-00003.gguf", 0, 0},       {"m-0001-of-0003.gguf", 0, 0},
        {"m-00001-of-00003.GGUF", 0, 0},       {"m-00001-of-00003.safetensors", 0, 0},
        {"m-+0001-of-00003.gguf", 0, 0},       {"m-    1-of-    3.gguf", 0, 0},
        {"m_00001-of-00003.gguf", 0, 0},       {"m-00001-of-00003.gguf.part", 0, 0},
        {"m-00001-of-000003.gguf", 0, 0},      {"00001-of-00003.gguf", 0, 0},
        {"m-00001-of-00003.gguf2.gguf", 0, 0}, {"", 0, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int number = 0, count = 0;
        bool is = zi_gguf_shard_parse(rows[i].name, &number, &count);
        CHECK_MSG(is == (rows[i].count > 0) && number == rows[i].number && count == rows[i].count,
                  "%s: %d of %d", rows[i].name, number, count);
    }
}

int main(void)
{
    RUN(names_of_several_files);
    RUN(several_files);
    RUN(several_files_that_do_not_fit);
    return zi_test_result();
}
