/* GGUF files: malformed files are refused with the right error; metadata; what is written can be
 * read. */
#include "golden.h"
#include "io/gguf.h"
#include "io/source.h"
#include "io/values.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* "GGUF" and what words say: 1:N, 4:N and 8:N a number of so many bytes, s:TEXT a text with its
 * length, z:N zero bytes, p zeros up to a multiple of 32. Returns the size. */
static size_t compose(const char *words, unsigned char *out)
{
    size_t size = 4;
    memcpy(out, "GGUF", 4);
    for (const char *w = words; *w; w += strcspn(w, " "), w += strspn(w, " ")) {
        size_t length = strcspn(w, " "), text = length > 2 ? length - 2 : 0;
        uint64_t number = text ? strtoull(w + 2, NULL, 10) : 0;
        if (w[0] == 's') {
            memcpy(out + size, &(uint64_t){text}, 8);
            memcpy(out + size + 8, w + 2, text);
            size += 8 + text;
        } else if (w[0] == 'z' || w[0] == 'p') {
            size_t zeros = w[0] == 'z' ? number : (32 - size % 32) % 32;
            memset(out + size, 0, zeros);
            size += zeros;
        } else {
            size_t bytes = (size_t)(w[0] - '0');
            memcpy(out + size, &number, bytes);
            size += bytes;
        }
    }
    return size;
}

static bool open_words(const char *words, zi_checkpoint *checkpoint, zi_error *error)
{
    unsigned char bytes[4096];
    const char *path = zi_test_path("words.gguf");
    zi_test_write_file(path, bytes, compose(words, bytes));
    return zi_checkpoint_open(path, checkpoint, error);
}

/* One value, and one tensor t [4, 2] of F32. */
#define GOOD_VALUE "s:k 4:4 4:7 "
#define GOOD_TENSOR "s:t 4:2 8:2 8:4 4:0 8:0 "
#define HEADER "4:3 8:1 8:1 "

static void good_files(void)
{
    static const char *const rows[] = {
        HEADER GOOD_VALUE GOOD_TENSOR "p z:32",
        "4:2 8:1 8:1 " GOOD_VALUE GOOD_TENSOR "p z:32",
        "4:3 8:1 8:1 s:general.alignment 4:4 4:64 " GOOD_TENSOR "p p z:32 z:32 z:32",
        "4:3 8:2 8:0 s:u 4:1 8:4 4:0 8:32 " GOOD_TENSOR "p z:64", /* in another order */
        "4:3 8:1 8:1 s:split.count 4:2 1:1 1:0 " GOOD_TENSOR "p z:32",
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        zi_checkpoint checkpoint;
        zi_error error = {0};
        if (!CHECK_MSG(open_words(rows[i], &checkpoint, &error), "row %zu: %s", i, error.text))
            continue;
        const zi_tensor *t = zi_checkpoint_find(&checkpoint, "t");
        CHECK(t && t->dims == 2 && t->shape[0] == 4 && t->shape[1] == 2 && t->bytes == 32);
        CHECK(checkpoint.gguf != NULL);
        zi_checkpoint_close(&checkpoint);
    }
}

static const struct {
    const char *words, *says;
    zi_error_code code;
    const char *subject; /* NULL: the file */
} damaged[] = {
    {"", "cut off inside its header", ZI_ERROR_BAD_FORMAT, NULL},
    {"4:3", "cut off inside its header", ZI_ERROR_BAD_FORMAT, NULL},
    {"4:1 8:0 8:0", "version 1 is not supported", ZI_ERROR_UNSUPPORTED, NULL},
    {"4:4 8:0 8:0", "version 4 is not supported", ZI_ERROR_UNSUPPORTED, NULL},
    {"4:0 8:0 8:0", "version 0 is not supported", ZI_ERROR_UNSUPPORTED, NULL},
    {"4:50331648 8:0 8:0", "big-endian", ZI_ERROR_UNSUPPORTED, NULL},
    {"4:3 8:1000 8:0 z:64", "0 metadata values and 1000 tensors, which do not fit into a file of",
     ZI_ERROR_BAD_FORMAT, NULL},
    {"4:3 8:0 8:18446744073709551615 z:64",
     "its header announces 18446744073709551615 metadata values", ZI_ERROR_BAD_FORMAT, NULL},
    {"4:3 8:0 8:2 " GOOD_VALUE "8:5 z:3", "a text of 5 bytes in value 2", ZI_ERROR_BAD_FORMAT,
     NULL},
    {"4:3 8:0 8:2 " GOOD_VALUE GOOD_VALUE, "key k is there twice", ZI_ERROR_BAD_FORMAT, "k"},
    {"4:3 8:0 8:1 8:999 z:64", "a text of 999 bytes in value 1", ZI_ERROR_BAD_FORMAT, NULL},
    {"4:3 8:0 8:1 8:18446744073709551615 z:64", "goes beyond the end", ZI_ERROR_BAD_FORMAT, NULL},
    {"4:3 8:0 8:1 8:0 z:64", "the name of value 1 is not text", ZI_ERROR_BAD_FORMAT, NULL},
    {"4:3 8:0 8:1 8:1 1:0 z:64", "the name of value 1 is not text", ZI_ERROR_BAD_FORMAT, NULL},
    {"4:3 8:0 8:1 8:1 1:255 z:64", "the name of value 1 is not text", ZI_ERROR_BAD_FORMAT, NULL},
    {"4:3 8:0 8:1 s:k 4:13 z:64", "key k is of type number 13", ZI_ERROR_BAD_FORMAT, "k"},
    {"4:3 8:0 8:1 s:k 4:9 4:13 8:1 z:64", "key k is of type number 13", ZI_ERROR_BAD_FORMAT, "k"},
    {"4:3 8:0 8:1 s:k 4:9 4:9 8:1 4:4 8:1 z:64", "array of arrays", ZI_ERROR_UNSUPPORTED, "k"},
    {"4:3 8:0 8:1 s:k 4:9 4:4 8:17 z:64", "cut off inside key k", ZI_ERROR_BAD_FORMAT, NULL},
    {"4:3 8:0 8:1 s:k 4:9 4:12 8:2305843009213693953 z:64", "cut off inside key k",
     ZI_ERROR_BAD_FORMAT, NULL},
    {"4:3 8:0 8:1 s:k 4:9 4:8 8:9 z:64", "cut off inside key k", ZI_ERROR_BAD_FORMAT, NULL},
    {"4:3 8:0 8:1 s:k 4:9 4:8 8:2 s:a 8:100 z:32", "a text of 100 bytes in key k",
     ZI_ERROR_BAD_FORMAT, NULL},
    {"4:3 8:0 8:1 s:k 4:8 8:77 z:32", "a text of 77 bytes in key k", ZI_ERROR_BAD_FORMAT, NULL},
    {"4:3 8:0 8:1 s:k 4:10 z:5", "cut off inside key k", ZI_ERROR_BAD_FORMAT, NULL},
    {"4:3 8:1 8:1 s:split.count 4:2 1:3 1:0 " GOOD_TENSOR "p z:32", "one of 3 files",
     ZI_ERROR_UNSUPPORTED, "split.count"},
    {"4:3 8:1 8:1 s:split.count 4:8 s:x " GOOD_TENSOR "p z:32", "split.count must be a whole",
     ZI_ERROR_BAD_FORMAT, "split.count"},
    {"4:3 8:1 8:1 s:general.alignment 4:4 4:48 " GOOD_TENSOR "p z:64", "no power of two",
     ZI_ERROR_BAD_FORMAT, "general.alignment"},
    {"4:3 8:1 8:1 s:general.alignment 4:4 4:0 " GOOD_TENSOR "p z:64", "must be from 1 to",
     ZI_ERROR_BAD_FORMAT, "general.alignment"},
    {"4:3 8:1 8:1 s:general.alignment 4:6 4:0 " GOOD_TENSOR "p z:64", "must be a whole number",
     ZI_ERROR_BAD_FORMAT, "general.alignment"},
    {"4:3 8:1 8:0 8:99 z:64", "a text of 99 bytes in tensor 1", ZI_ERROR_BAD_FORMAT, NULL},
    {"4:3 8:1 8:0 s:t 4:9 z:96", "tensor t has 9 dimensions", ZI_ERROR_UNSUPPORTED, "t"},
    {"4:3 8:1 8:0 s:t 4:8 z:32", "cut off inside tensor t", ZI_ERROR_BAD_FORMAT, NULL},
    {"4:3 8:1 8:0 s:t 4:2 8:4294967296 8:4294967296 4:0 8:0 p z:64", "impossible shape",
     ZI_ERROR_BAD_FORMAT, "t"},
    {"4:3 8:1 8:0 s:t 4:1 8:4611686018427387904 4:0 8:0 p z:64", "impossible shape",
     ZI_ERROR_BAD_FORMAT, "t"},
    {"4:3 8:1 8:0 s:t 4:1 8:32 4:2 8:0 p z:17", "goes beyond the end", ZI_ERROR_BAD_FORMAT, "t"},
    {"4:3 8:1 8:0 s:t 4:2 8:48 8:2 4:2 8:0 p z:99", "in blocks of 32, but its rows have 48",
     ZI_ERROR_BAD_FORMAT, "t"},
    {"4:3 8:1 8:0 s:t 4:1 8:256 4:21 8:0 p z:64", "tensor t is IQ3_S, which is not supported",
     ZI_ERROR_UNSUPPORTED, "t"},
    {"4:3 8:1 8:0 s:t 4:1 8:32 4:39 8:0 p z:64", "tensor t is MXFP4, which is not supported",
     ZI_ERROR_UNSUPPORTED, "t"},
    {"4:3 8:1 8:0 s:t 4:1 8:32 4:34 8:0 p z:64", "tensor t is TQ1_0, which is not supported",
     ZI_ERROR_UNSUPPORTED, "t"},
    {"4:3 8:1 8:0 s:t 4:1 8:32 4:4 8:0 p z:64", "type number 4", ZI_ERROR_UNSUPPORTED, "t"},
    {"4:3 8:1 8:0 s:t 4:1 8:2 4:0 8:8 p z:64", "not a multiple of general.alignment",
     ZI_ERROR_BAD_FORMAT, "t"},
    {"4:3 8:1 8:0 s:t 4:1 8:2 4:0 8:64 p z:64", "tensor t goes beyond the end", ZI_ERROR_BAD_FORMAT,
     "t"},
    {"4:3 8:1 8:0 s:t 4:1 8:2 4:0 8:18446744073709551584 p z:64", "cut off", ZI_ERROR_BAD_FORMAT,
     "t"},
    {"4:3 8:2 8:0 s:t 4:1 8:16 4:0 8:0 s:u 4:1 8:8 4:0 8:32 p z:64", "tensors t and u overlap",
     ZI_ERROR_BAD_FORMAT, "u"},
    {"4:3 8:2 8:0 s:t 4:1 8:8 4:0 8:0 s:t 4:1 8:8 4:0 8:32 p z:64", "tensor t is there twice",
     ZI_ERROR_BAD_FORMAT, "t"},
};

static void damaged_files(void)
{
    for (size_t i = 0; i < sizeof damaged / sizeof *damaged; i++) {
        zi_checkpoint checkpoint;
        zi_error error = {0};
        if (!CHECK_MSG(!open_words(damaged[i].words, &checkpoint, &error), "row %zu was accepted",
                       i))
            zi_checkpoint_close(&checkpoint);
        CHECK_MSG(strstr(error.text, damaged[i].says) && strstr(error.text, "words.gguf"),
                  "row %zu says: %s", i, error.text);
        CHECK_ERROR(error, damaged[i].code,
                    damaged[i].subject ? damaged[i].subject : zi_test_path("words.gguf"));
    }
}

/* Every way of cutting a good file short is noticed, and of changing a byte survived. */
static void damage_everywhere(void)
{
    unsigned char bytes[4096];
    size_t size =
        compose("4:3 8:2 8:3 " GOOD_VALUE "s:words 4:9 4:8 8:2 s:one s:two "
                "s:general.alignment 4:4 4:32 s:b 4:1 8:32 4:8 8:32 " GOOD_TENSOR "p z:32 z:34",
                bytes);
    const char *path = zi_test_path("cut.gguf");
    zi_checkpoint checkpoint;
    zi_error error = {0};
    for (size_t n = 0; n < size; n++) {
        zi_test_write_file(path, bytes, n);
        if (!CHECK_MSG(!zi_checkpoint_open(path, &checkpoint, &error), "%zu of %zu bytes", n, size))
            zi_checkpoint_close(&checkpoint);
    }
    size_t accepted = 0;
    for (size_t n = 0; n < size; n++)
        for (int bit = 0; bit < 8; bit++) {
            bytes[n] ^= (unsigned char)(1 << bit);
            zi_test_write_file(path, bytes, size);
            if (zi_checkpoint_open(path, &checkpoint, &error)) {
                accepted++;
                zi_checkpoint_close(&checkpoint);
            }
            bytes[n] ^= (unsigned char)(1 << bit);
        }
    CHECK_MSG(accepted > 66 * 8 && accepted < size * 8 / 2 + 66 * 8, "%zu accepted", accepted);
}

/* A shard that an index of safetensors names is no GGUF file. */
static void no_shards(void)
{
    static const char index[] = "{\"weight_map\":{\"t\":\"words.gguf\"}}";
    zi_checkpoint checkpoint;
    zi_error error = {0};
    CHECK_OK(open_words(HEADER GOOD_VALUE GOOD_TENSOR "p z:32", &checkpoint, &error), error);
    zi_checkpoint_close(&checkpoint);
    zi_test_write_file(zi_test_path("m.safetensors.index.json"), index, sizeof index - 1);
    CHECK(!zi_checkpoint_open_dir(zi_test_folder(), "m", &checkpoint, &error));
    CHECK_ERROR(error, ZI_ERROR_BAD_FORMAT, zi_test_path("words.gguf"));
}

/* ---- metadata ---- */

static const int8_t signs[3] = {-1, 0, 1};
static const uint64_t huge = UINT64_MAX;
static const float singles[2] = {0.5f, -2};
static const double wide = 1e300;
static const char *const words[3] = {"first", "", "\xe9\x9b\xaa"};
static const char *const name = "lumina2";
static const char *const broken = "\xff\xfe";
static const bool yes = true;
static const uint8_t odd = 7;
static const float not_finite = 1.0f / 0.0f;

static const zi_gguf_out values[] = {
    {"general.architecture", ZI_GGUF_STRING, false, 1, &name},
    {"broken", ZI_GGUF_STRING, false, 1, &broken},
    {"signs", ZI_GGUF_I8, true, 3, signs},
    {"huge", ZI_GGUF_U64, false, 1, &huge},
    {"wide", ZI_GGUF_F64, false, 1, &wide},
    {"singles", ZI_GGUF_F32, true, 2, singles},
    {"single", ZI_GGUF_F32, false, 1, singles},
    {"infinite", ZI_GGUF_F32, false, 1, &not_finite},
    {"words", ZI_GGUF_STRING, true, 3, words},
    {"none", ZI_GGUF_STRING, true, 0, NULL},
    {"yes", ZI_GGUF_BOOL, false, 1, &yes},
    {"odd", ZI_GGUF_BOOL, false, 1, &odd},
    {"byte", ZI_GGUF_U8, false, 1, &odd},
    {"sign", ZI_GGUF_I8, false, 1, signs},
};

enum { VALUES = sizeof values / sizeof *values };

static void check_refusals(const zi_gguf *gguf)
{
    zi_error error = {0};
    zi_gguf_text text;
    int64_t whole = 5;
    double number;
    bool flag;
    const zi_gguf_value *array;
    CHECK(!zi_gguf_string(gguf, "absent", &text, &error));
    CHECK_ERROR(error, ZI_ERROR_BAD_FORMAT, "absent");
    CHECK(!zi_gguf_string(gguf, "byte", &text, &error));
    CHECK_ERROR(error, ZI_ERROR_BAD_FORMAT, "byte");
    CHECK(!zi_gguf_string(gguf, "words", &text, &error));
    CHECK(!zi_gguf_string(gguf, "broken", &text, &error));
    CHECK_ERROR(error, ZI_ERROR_BAD_FORMAT, "broken");
    CHECK(!zi_gguf_integer(gguf, "single", 0, 9, &whole, &error));
    CHECK(!zi_gguf_integer(gguf, "huge", INT64_MIN, INT64_MAX, &whole, &error));
    CHECK(!zi_gguf_integer(gguf, "byte", 0, 6, &whole, &error));
    CHECK(strstr(error.text, "key byte is 7, but it must be from 0 to 6") && whole == 5);
    CHECK(!zi_gguf_number(gguf, "infinite", &number, &error));
    CHECK_ERROR(error, ZI_ERROR_BAD_FORMAT, "infinite");
    CHECK(!zi_gguf_number(gguf, "yes", &number, &error));
    CHECK(!zi_gguf_bool(gguf, "odd", &flag, &error));
    CHECK_ERROR(error, ZI_ERROR_BAD_FORMAT, "odd");
    CHECK(!zi_gguf_bool(gguf, "byte", &flag, &error));
    CHECK(!zi_gguf_strings(gguf, "signs", &array, &error));
    CHECK(!zi_gguf_integers(gguf, "singles", &array, &error));
    CHECK(!zi_gguf_numbers(gguf, "words", &array, &error));
    CHECK(!zi_gguf_numbers(gguf, "single", &array, &error));
}

static void check_values(const zi_gguf *gguf)
{
    zi_error error = {0};
    zi_gguf_text text;
    int64_t whole;
    double number;
    bool flag;
    size_t at = 0;
    const zi_gguf_value *array;
    CHECK(gguf->count == VALUES);
    for (size_t i = 0; i < VALUES; i++) CHECK(zi_gguf_find(gguf, values[i].key) != NULL);
    CHECK(!zi_gguf_find(gguf, "sing") && !zi_gguf_find(gguf, "singles2") &&
          !zi_gguf_find(gguf, ""));
    CHECK_OK(zi_gguf_string(gguf, "general.architecture", &text, &error), error);
    CHECK(zi_gguf_text_equals(text, "lumina2") && !zi_gguf_text_equals(text, "lumina"));
    CHECK_OK(zi_gguf_integer(gguf, "byte", 0, 7, &whole, &error), error);
    CHECK(whole == 7);
    CHECK_OK(zi_gguf_integer(gguf, "sign", -1, 0, &whole, &error), error);
    CHECK(whole == -1);
    CHECK(zi_gguf_number(gguf, "wide", &number, &error) && number == 1e300);
    CHECK(zi_gguf_number(gguf, "single", &number, &error) && number == 0.5);
    CHECK(zi_gguf_number(gguf, "byte", &number, &error) && number == 7);
    CHECK(zi_gguf_number(gguf, "huge", &number, &error) && number == (double)huge);
    CHECK(zi_gguf_bool(gguf, "yes", &flag, &error) && flag);
    if (CHECK_OK(zi_gguf_integers(gguf, "signs", &array, &error), error))
        for (size_t i = 0; i < 3; i++) CHECK(zi_gguf_integer_at(array, i) == signs[i]);
    if (CHECK_OK(zi_gguf_numbers(gguf, "singles", &array, &error), error))
        for (size_t i = 0; i < 2; i++) CHECK(zi_gguf_number_at(array, i) == singles[i]);
    if (CHECK_OK(zi_gguf_strings(gguf, "words", &array, &error), error) && CHECK(array->count == 3))
        for (size_t i = 0; i < 3; i++)
            CHECK(zi_gguf_text_equals(zi_gguf_next_string(array, &at), words[i]));
    CHECK(zi_gguf_strings(gguf, "none", &array, &error) && array->count == 0);
}

/* ---- writing ---- */

enum { ROWS = 3, COLUMNS = 64, NUMBERS = ROWS * COLUMNS };

typedef struct {
    float x[NUMBERS];
    uint8_t half[2 * NUMBERS], brain[2 * NUMBERS], blocks[34 * NUMBERS / 32];
    int64_t ids[3];
} payload;

static const zi_tensor_out *make_tensors(payload *p)
{
    static zi_tensor_out tensors[6];
    uint32_t state = 3;
    for (size_t i = 0; i < NUMBERS; i++) {
        state = state * 1664525u + 1013904223u;
        p->x[i] = (float)(state >> 8) * 0x1p-23f - 1;
    }
    for (int i = 0; i < 3; i++) p->ids[i] = i - 1;
    zi_narrow(ZI_F16, p->x, p->half, NUMBERS);
    zi_narrow(ZI_BF16, p->x, p->brain, NUMBERS);
    zi_narrow(ZI_Q8_0, p->x, p->blocks, NUMBERS);
    const zi_tensor_out made[6] = {
        {"z.weight", ZI_F32, 2, {ROWS, COLUMNS}, p->x},
        {"ids", ZI_I64, 1, {3}, p->ids}, /* 24 bytes: leaves what follows unaligned */
        {"q.weight", ZI_Q8_0, 2, {ROWS, COLUMNS}, p->blocks},
        {"h.weight", ZI_F16, 3, {1, ROWS, COLUMNS}, p->half},
        {"b.weight", ZI_BF16, 2, {ROWS, COLUMNS}, p->brain},
        {"norm", ZI_F32, 1, {5}, p->x},
    };
    memcpy(tensors, made, sizeof made);
    return tensors;
}

/* Gives a tensor in pieces; `wrong` tensors are a byte short. */
typedef struct {
    const zi_tensor_out *tensors;
    size_t wrong, calls;
} source;

static bool fill(void *context, size_t tensor, zi_output *output, zi_error *error)
{
    source *s = context;
    const zi_tensor_out *t = &s->tensors[tensor];
    size_t count = 1;
    CHECK(tensor == s->calls++);
    for (int i = 0; i < t->dims; i++) count *= t->shape[i];
    size_t bytes = zi_dtype_bytes(t->type, count) - (tensor == s->wrong), half = bytes / 2;
    return zi_output_write(output, t->data, half, error) &&
           zi_output_write(output, (const char *)t->data + half, bytes - half, error);
}

static void check_tensors(const zi_checkpoint *checkpoint, const zi_tensor_out *wanted)
{
    CHECK(checkpoint->tensor_count == 6);
    for (size_t i = 0; i < 6; i++) {
        const zi_tensor *got = zi_checkpoint_find(checkpoint, wanted[i].name);
        if (!CHECK_MSG(got && got->type == wanted[i].type && got->dims == wanted[i].dims, "%s",
                       wanted[i].name))
            continue;
        for (int d = 0; d < got->dims; d++) CHECK(got->shape[d] == wanted[i].shape[d]);
        CHECK(memcmp(got->data, wanted[i].data, got->bytes) == 0);
        CHECK(((uintptr_t)got->data & 31) == 0);
    }
}

static void write_and_read(void)
{
    static payload p;
    const zi_tensor_out *tensors = make_tensors(&p);
    for (int streamed = 0; streamed < 2; streamed++) {
        const char *path = zi_test_path(streamed ? "streamed.gguf" : "written.gguf");
        source s = {tensors, SIZE_MAX, 0};
        zi_checkpoint checkpoint;
        zi_error error = {0};
        if (!CHECK_OK(
                zi_gguf_write(path, values, VALUES, tensors, 6, streamed ? fill : NULL, &s, &error),
                error) ||
            !CHECK_OK(zi_checkpoint_open(path, &checkpoint, &error), error))
            return;
        check_tensors(&checkpoint, tensors);
        check_values(checkpoint.gguf);
        check_refusals(checkpoint.gguf);
        zi_checkpoint_close(&checkpoint);
    }
}

/* What cannot be written leaves no file. */
static void refused_writing(void)
{
    static payload p;
    const zi_tensor_out *tensors = make_tensors(&p);
    const char *path = zi_test_path("refused.gguf");
    const zi_tensor_out fp8 = {"f", ZI_F8_E4M3, 1, {4}, p.x};
    const zi_tensor_out ragged = {"r", ZI_Q8_0, 2, {2, 48}, p.blocks};
    zi_error error = {0};
    CHECK(!zi_gguf_write(path, NULL, 0, &fp8, 1, NULL, NULL, &error));
    CHECK_ERROR(error, ZI_ERROR_UNSUPPORTED, "f");
    CHECK(!zi_gguf_write(path, NULL, 0, &ragged, 1, NULL, NULL, &error));
    CHECK_ERROR(error, ZI_ERROR_UNSUPPORTED, "r");
    source s = {tensors, 2, 0};
    CHECK(!zi_gguf_write(path, NULL, 0, tensors, 6, fill, &s, &error));
    CHECK_ERROR(error, ZI_ERROR_BAD_FORMAT, "q.weight");
    CHECK_MSG(strstr(error.text, "written with 203 bytes instead of 204"), "%s", error.text);
    CHECK(!zi_gguf_write(zi_test_path("none/x.gguf"), NULL, 0, tensors, 6, NULL, NULL, &error));
    CHECK(access(path, F_OK) != 0);
}

/* More names than a file may have are no lack of memory. */
static void too_many_names(void)
{
    enum { SIZE = (256 << 20) + 1 };
    char *long_name = malloc(SIZE + 1);
    const float x = 1;
    zi_error error = {0};
    if (!CHECK(long_name)) return;
    memset(long_name, 'a', SIZE);
    long_name[SIZE] = 0;
    const zi_tensor_out tensor = {long_name, ZI_F32, 1, {1}, &x};
    const char *path = zi_test_path("long.gguf");
    CHECK(!zi_gguf_write(path, NULL, 0, &tensor, 1, NULL, NULL, &error));
    CHECK_ERROR(error, ZI_ERROR_UNSUPPORTED, path);
    CHECK_MSG(strstr(error.text, "256 MiB"), "%s", error.text);
    CHECK(!zi_safetensors_write(path, &tensor, 1, &error));
    CHECK(error.code == ZI_ERROR_UNSUPPORTED);
    CHECK_MSG(strstr(error.text, "100 MiB"), "%s", error.text);
    CHECK(access(path, F_OK) != 0);
    free(long_name);
}

/* A vector in blocks of 32 values is one row of them. */
static void vector_in_blocks(void)
{
    static const char text[] =
        "4:3 8:1 8:0 s:layers.0.attention_norm1.weight 4:1 8:64 4:8 8:0 p 2:15360 "
        "8:72340172838076673 8:72340172838076673 8:72340172838076673 8:72340172838076673 "
        "2:15360 8:0 8:0 8:0 8:0";
    zi_checkpoint checkpoint;
    zi_error error = {0};
    if (!CHECK_OK(open_words(text, &checkpoint, &error), error)) return;
    const zi_checkpoint *one = &checkpoint;
    zi_source vectors;
    if (CHECK_OK(zi_source_create(&one, 1, ZI_COMPONENT_TRANSFORMER, 0, &vectors, &error), error))
        CHECK_OK(zi_source_check_values(&vectors, &error), error);
    zi_source_free(&vectors);
    zi_checkpoint_close(&checkpoint);
}

/* A matrix without rows has no values to check, however long its rows are said to be. */
static void no_rows(void)
{
    static const char text[] = "4:3 8:1 8:0 s:layers.0.attention.to_q.weight "
                               "4:2 8:1152921504606846976 8:0 4:0 8:0 p";
    zi_checkpoint checkpoint;
    zi_error error = {0};
    if (!CHECK_OK(open_words(text, &checkpoint, &error), error)) return;
    const zi_checkpoint *one = &checkpoint;
    zi_source matrices;
    if (CHECK_OK(zi_source_create(&one, 1, ZI_COMPONENT_TRANSFORMER, 0, &matrices, &error),
                 error)) {
        CHECK(matrices.count == 1);
        CHECK_OK(zi_source_check_values(&matrices, &error), error);
    }
    zi_source_free(&matrices);
    zi_checkpoint_close(&checkpoint);
}

/* ---- files made by gguf-py ---- */

static void golden_files(void)
{
    zi_checkpoint halves = zi_golden_open("enhancer/gguf/f16.gguf");
    zi_checkpoint eights = zi_golden_open("enhancer/gguf/q8_0.gguf");
    zi_checkpoint mixed = zi_golden_open("enhancer/gguf/q4_k_m.gguf");
    zi_error error = {0};
    int64_t blocks;
    double eps;
    CHECK_OK(zi_gguf_integer(halves.gguf, "qwen2.block_count", 0, 100, &blocks, &error), error);
    CHECK(blocks == 2);
    CHECK(zi_gguf_number(halves.gguf, "qwen2.attention.layer_norm_rms_epsilon", &eps, &error));
    CHECK((float)eps == 1e-6f);
    const zi_tensor *a = zi_golden_tensor(&halves, "blk.0.ffn_gate.weight");
    const zi_tensor *b = zi_golden_tensor(&eights, "blk.0.ffn_gate.weight");
    CHECK(a->type == ZI_F16 && b->type == ZI_Q8_0 && a->count == b->count);
    CHECK(a->dims == 2 && a->shape[0] == 160 && a->shape[1] == 96);
    float *x = malloc(a->count * sizeof *x), *y = malloc(a->count * sizeof *y);
    zi_widen(a->type, a->data, x, a->count);
    zi_widen(b->type, b->data, y, a->count);
    CHECK_MSG(zi_rel_l2(y, x, a->count) < 0.01, "%g", zi_rel_l2(y, x, a->count));
    free(x);
    free(y);
    CHECK(zi_golden_tensor(&mixed, "blk.0.ffn_down.weight")->type == ZI_Q6_K);
    CHECK(zi_golden_tensor(&mixed, "blk.0.ffn_up.weight")->type == ZI_Q4_K);
    zi_checkpoint_close(&halves);
    zi_checkpoint_close(&eights);
    zi_checkpoint_close(&mixed);
}

/* With a path, only writes a file there, for others to read (tests/interop). */
int main(int argc, char **argv)
{
    static payload p;
    zi_error error = {0};
    if (argc > 1) {
        CHECK_OK(zi_gguf_write(argv[1], values, VALUES, make_tensors(&p), 6, NULL, NULL, &error),
                 error);
        return error.text[0] != 0;
    }
    RUN(good_files);
    RUN(damaged_files);
    RUN(damage_everywhere);
    RUN(no_shards);
    RUN(write_and_read);
    RUN(refused_writing);
    RUN(too_many_names);
    RUN(vector_in_blocks);
    RUN(no_rows);
    RUN(golden_files);
    return zi_test_result();
}
