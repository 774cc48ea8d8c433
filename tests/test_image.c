/* Image files: round trips, damaged files, no partial files after errors. */
#include "harness.h"
#include "io/image.h"

#include <errno.h>
#include <jpeglib.h>
#include <png.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <webp/encode.h>

static const char *const extensions[] = {"png", "jpg", "webp"};
enum { FORMATS = 3 };

/* A smooth image, so that lossy formats keep it. */
static zi_image *gradient(int width, int height)
{
    zi_error error;
    zi_image *image = NULL;
    if (!zi_image_new("gradient", (uint32_t)width, (uint32_t)height, &image, &error)) abort();
    uint8_t *p = image->pixels;
    for (int y = 0; y < height; y++) {
        for (int x = 0; x < width; x++) {
            *p++ = (uint8_t)(40 + 170 * x / width);
            *p++ = (uint8_t)(30 + 180 * y / height);
            *p++ = (uint8_t)(200 - 90 * (x + y) / (width + height));
        }
    }
    return image;
}

static void fill_noise(zi_image *image)
{
    uint32_t random = 1;
    for (size_t i = 0; i < (size_t)image->width * (size_t)image->height * 3; i++)
        image->pixels[i] = (uint8_t)((random = random * 1664525u + 1013904223u) >> 24);
}

static int worst_difference(const zi_image *a, const zi_image *b)
{
    if (a->width != b->width || a->height != b->height) return 256;
    int worst = 0;
    for (size_t i = 0; i < (size_t)a->width * (size_t)a->height * 3; i++) {
        int d = abs(a->pixels[i] - b->pixels[i]);
        if (d > worst) worst = d;
    }
    return worst;
}

static void pixels_come_back(void)
{
    static const int sizes[][2] = {{1, 1}, {1, 17}, {17, 1}, {33, 50}, {256, 192}};
    static const int tolerance[FORMATS] = {0, 4, 10};
    zi_error error = {0};
    for (int f = 0; f < FORMATS; f++) {
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            char name[32];
            snprintf(name, sizeof name, "p%zu.%s", i, extensions[f]);
            zi_image *image = gradient(sizes[i][0], sizes[i][1]), *back = NULL;
            char *infotext = (char *)image; /* to see that it is set */
            if (CHECK_OK(zi_image_save(image, zi_test_path(name), NULL, &error), error) &&
                CHECK_OK(zi_image_load(zi_test_path(name), &back, &infotext, &error), error)) {
                int worst = worst_difference(image, back);
                CHECK_MSG(worst <= tolerance[f], "%s is off by %d", name, worst);
                CHECK(infotext == NULL);
            }
            zi_image_free(back);
            zi_image_free(image);
        }
    }
}

static void png_is_exact(void)
{
    zi_error error = {0};
    zi_image *image = gradient(301, 77), *back = NULL;
    fill_noise(image);
    CHECK_OK(zi_image_save(image, zi_test_path("noise.png"), NULL, &error), error);
    if (CHECK_OK(zi_image_load(zi_test_path("noise.png"), &back, NULL, &error), error))
        CHECK(worst_difference(image, back) == 0);
    zi_image_free(back);
    zi_image_free(image);
}

/* A red line of one pixel on blue: with chroma subsampling it would be off by far more. */
static void jpeg_keeps_thin_colours(void)
{
    zi_error error = {0};
    zi_image *image = gradient(64, 64), *back = NULL;
    for (int i = 0; i < 64 * 64; i++)
        memcpy(image->pixels + (size_t)i * 3, i % 64 == 31 ? "\xe0\x10\x10" : "\x10\x10\xe0", 3);
    CHECK_OK(zi_image_save(image, zi_test_path("line.jpeg"), NULL, &error), error);
    if (CHECK_OK(zi_image_load(zi_test_path("line.jpeg"), &back, NULL, &error), error))
        CHECK_MSG(worst_difference(image, back) < 40, "off by %d", worst_difference(image, back));
    zi_image_free(back);
    zi_image_free(image);
}

static size_t encoded_size(const zi_image *image, const char *name, int quality)
{
    zi_error error = {0};
    zi_text out;
    zi_text_init(&out, ZI_IMAGE_BYTES_MAX);
    zi_save_options options = {.quality = quality};
    CHECK_OK(zi_image_encode_named(image, name, &options, &out, &error), error);
    size_t size = out.size;
    zi_text_free(&out);
    return size;
}

static void quality_counts(void)
{
    zi_image *image = gradient(128, 128);
    fill_noise(image);
    for (int f = 1; f < FORMATS; f++) {
        char name[16];
        snprintf(name, sizeof name, "q.%s", extensions[f]);
        size_t low = encoded_size(image, name, 20), high = encoded_size(image, name, 95);
        CHECK_MSG(low < high / 2, "%s: %zu bytes at 20, %zu at 95", name, low, high);
        CHECK(encoded_size(image, name, 0) == high);
    }
    zi_image_free(image);
}

/* Encodes with a infotext, decodes, compares; tells whether all went well. */
static bool infotext_survives(const char *extension, const char *infotext, zi_error *error)
{
    char name[32];
    snprintf(name, sizeof name, "recipe.%s", extension);
    zi_image *image = gradient(24, 17), *back = NULL;
    char *found = NULL;
    zi_save_options options = {.infotext = infotext};
    bool ok = zi_image_save(image, zi_test_path(name), &options, error) &&
              zi_image_load(zi_test_path(name), &back, &found, error);
    if (ok) {
        CHECK_MSG(found && strcmp(found, infotext) == 0, "%s: \"%.80s\" became \"%.80s\"", name,
                  infotext, found ? found : "(none)");
        CHECK(worst_difference(image, back) <= 12);
    }
    free(found);
    zi_image_free(back);
    zi_image_free(image);
    return ok;
}

static void infotexts_come_back(void)
{
    static const char *const infotexts[] = {
        "a cat\nSteps: 9, Sampler: Euler, CFG scale: 1, Seed: 42, Size: 16x16",
        "",
        "x",
        " spaces, \"quotes\", back\\slash, tab\t, trailing newlines\r\n\n",
        "caf\xc3\xa9 \xc3\xbf \xc2\x80 Latin-1 is enough",
        "\xe4\xb8\x80\xe5\x8f\xaa\xe7\x8c\xab\n\xe5\x9c\xa8\xe7\x9d\xa1\xe8\xa7\x89",
        "an emoji \xf0\x9f\x90\xb1 and the last character \xf4\x8f\xbf\xbf",
        "\xef\xbb\xbf"
        "a byte order mark at the start",
        "\xc4\x80\xe0\xac\x80\xe4\xb8\x80!", /* U+xx00: UTF-16 with zeros on the other side */
    };
    for (int f = 0; f < FORMATS; f++) {
        for (size_t i = 0; i < sizeof infotexts / sizeof infotexts[0]; i++) {
            zi_error error = {0};
            CHECK_OK(infotext_survives(extensions[f], infotexts[i], &error), error);
        }
    }
}

/* 60 KB: beyond what UTF-16 could hold in a JPEG marker when it is ASCII, and enough of others. */
static void long_infotexts(void)
{
    static char text[60 * 1024 + 1];
    zi_error error = {0};
    for (size_t i = 0; i + 1 < sizeof text; i++) text[i] = (char)('a' + i * i % 25);
    for (int f = 0; f < FORMATS; f++)
        CHECK_OK(infotext_survives(extensions[f], text, &error), error);
    text[100] = '\xc3'; /* one character beyond ASCII: too long for JPEG, not for the others */
    text[101] = '\xa9';
    CHECK(!infotext_survives("jpg", text, &error));
    CHECK_ERROR(error, ZI_ERROR_UNSUPPORTED, "infotext");
    CHECK(strstr(error.text, "recipe.jpg") && strstr(error.text, ".png"));
    CHECK_OK(infotext_survives("png", text, &error), error);
    CHECK_OK(infotext_survives("webp", text, &error), error);
    for (size_t i = 0; i + 3 < sizeof text; i += 3) memcpy(text + i, "\xe7\x8c\xab", 3);
    for (int f = 0; f < FORMATS; f++)
        CHECK_OK(infotext_survives(extensions[f], text, &error), error);
}

/* ---- images of other programs ---- */

static void expect_pixels(const void *data, size_t size, const char *name, const uint8_t *rgb,
                          size_t count)
{
    zi_error error = {0};
    zi_image *image = NULL;
    if (!CHECK_OK(zi_image_decode_named(data, size, name, &image, NULL, &error), error)) return;
    for (size_t i = 0; i < count * 3; i++)
        CHECK_MSG(image->pixels[i] == rgb[i], "%s: value %zu is %d, not %d", name, i,
                  image->pixels[i], rgb[i]);
    zi_image_free(image);
}

static void expect_png(png_uint_32 format, const void *pixels, const void *map, unsigned entries,
                       const uint8_t *rgb)
{
    uint8_t file[4096];
    png_alloc_size_t size = sizeof file;
    png_image image = {.version = PNG_IMAGE_VERSION,
                       .width = 2,
                       .height = 1,
                       .format = format,
                       .colormap_entries = entries};
    if (CHECK(png_image_write_to_memory(&image, file, &size, 0, pixels, 0, map)))
        expect_pixels(file, size, "kind.png", rgb, 2);
}

static void png_kinds(void)
{
    const uint8_t gray[] = {7, 200}, gray_rgb[] = {7, 7, 7, 200, 200, 200};
    expect_png(PNG_FORMAT_GRAY, gray, NULL, 0, gray_rgb);
    const uint8_t rgba[] = {255, 100, 0, 255, 255, 100, 40, 51}, over[] = {255, 100, 0, 51, 20, 8};
    expect_png(PNG_FORMAT_RGBA, rgba, NULL, 0, over);
    const uint8_t ga[] = {50, 255, 200, 0}, ga_over[] = {50, 50, 50, 0, 0, 0};
    expect_png(PNG_FORMAT_GA, ga, NULL, 0, ga_over);
    const uint8_t index[] = {1, 0}, map[] = {1, 2, 3, 250, 150, 50},
                  mapped[] = {250, 150, 50, 1, 2, 3};
    expect_png(PNG_FORMAT_RGB_COLORMAP, index, map, 2, mapped);
    const uint8_t clear[] = {10, 20, 30, 0, 90, 80, 70, 255}, shown[] = {90, 80, 70, 0, 0, 0};
    expect_png(PNG_FORMAT_RGBA_COLORMAP, index, clear, 2, shown);
    /* 16 bits a channel (written as linear light): white and black stay white and black */
    const uint16_t deep[] = {65535, 65535, 65535, 0, 0, 0};
    const uint8_t deep_rgb[] = {255, 255, 255, 0, 0, 0};
    expect_png(PNG_FORMAT_LINEAR_RGB, deep, NULL, 0, deep_rgb);
}

static void webp_with_alpha(void)
{
    const uint8_t rgba[] = {255, 100, 0, 255, 255, 100, 40, 51}, over[] = {255, 100, 0, 51, 20, 8};
    uint8_t *file = NULL;
    size_t size = WebPEncodeLosslessRGBA(rgba, 2, 1, 8, &file);
    if (CHECK(size > 0)) expect_pixels(file, size, "alpha.webp", over, 2);
    WebPFree(file);
}

/* A JPEG of one 8x8 block in the given colours, all samples 128; free() it. */
static unsigned char *flat_jpeg(J_COLOR_SPACE space, int components, bool progressive,
                                unsigned long *size)
{
    unsigned char *file = NULL;
    struct jpeg_error_mgr errors;
    struct jpeg_compress_struct jpeg;
    jpeg.err = jpeg_std_error(&errors);
    jpeg_create_compress(&jpeg);
    jpeg_mem_dest(&jpeg, &file, size);
    jpeg.image_width = jpeg.image_height = 8;
    jpeg.input_components = components;
    jpeg.in_color_space = space;
    jpeg_set_defaults(&jpeg);
    if (progressive) jpeg_simple_progression(&jpeg);
    jpeg_start_compress(&jpeg, TRUE);
    JSAMPLE row[8 * 4];
    memset(row, 128, sizeof row);
    for (int y = 0; y < 8; y++) {
        JSAMPROW rows[] = {row};
        jpeg_write_scanlines(&jpeg, rows, 1);
    }
    jpeg_finish_compress(&jpeg);
    jpeg_destroy_compress(&jpeg);
    return file;
}

static void jpeg_kinds(void)
{
    unsigned long size = 0;
    zi_error error = {0};
    uint8_t middle[8 * 3];
    memset(middle, 128, sizeof middle);
    unsigned char *file = flat_jpeg(JCS_GRAYSCALE, 1, false, &size);
    expect_pixels(file, size, "gray.jpg", middle, 8);
    free(file);
    file = flat_jpeg(JCS_CMYK, 4, false, &size);
    zi_image *image = NULL;
    CHECK(!zi_image_decode_named(file, size, "print.jpg", &image, NULL, &error));
    CHECK_ERROR(error, ZI_ERROR_UNSUPPORTED, "print.jpg");
    free(file);
}

/* EXIF of other writers: either byte order, UTF-16 of either, other character sets. */
static void exif_of_others(void)
{
#define LITTLE                                                                                     \
    "II*\0\10\0\0\0"                                                                               \
    "\1\0\x69\x87\4\0\1\0\0\0\x1a\0\0\0\0\0\0\0"
#define BIG                                                                                        \
    "MM\0*\0\0\0\10"                                                                               \
    "\0\1\x87\x69\0\4\0\0\0\1\0\0\0\x1a\0\0\0\0"                                                   \
    "\0\1\x92\x86\0\7\0\0\0\14\0\0\0\x2c\0\0\0\0"
#define BIG20                                                                                      \
    "MM\0*\0\0\0\10"                                                                               \
    "\0\1\x87\x69\0\4\0\0\0\1\0\0\0\x1a\0\0\0\0"                                                   \
    "\0\1\x92\x86\0\7\0\0\0\20\0\0\0\x2c\0\0\0\0"
#define COMMENT(size) "\1\0\x86\x92\7\0" size "\0\0\0\x2c\0\0\0\0\0\0\0"
    static const struct {
        const char *data;
        size_t size;
        const char *text;
    } rows[] = {
#define ROW(text, data) {data, sizeof data - 1, text}
        ROW("hi", LITTLE COMMENT("\14") "UNICODE\0h\0i\0"),
        ROW("hi", LITTLE COMMENT("\14") "UNICODE\0\0h\0i"),
        ROW("hi", BIG "UNICODE\0\0h\0i"),
        ROW("hi", BIG "UNICODE\0h\0i\0"),
        ROW("\xef\xbb\xbf!", BIG "UNICODE\0\xfe\xff\0!"),
        ROW("hi", LITTLE COMMENT("\16") "UNICODE\0\xfe\xff\0h\0i"),
        ROW("hi", LITTLE COMMENT("\16") "UNICODE\0\xff\xfeh\0i\0"),
        ROW("\xe7\x8c\xab", LITTLE COMMENT("\12") "UNICODE\0\x2b\x73"),
        ROW("\xef\xbf\xbd!", LITTLE COMMENT("\14") "UNICODE\0\1\xd8!\0"),
        ROW("hi", LITTLE COMMENT("\14") "ASCII\0\0\0hi\0\0"),
        ROW("", LITTLE COMMENT("\10") "\0\0\0\0\0\0\0\0"),
        ROW("hi", "Exif\0\0" LITTLE COMMENT("\12") "\0\0\0\0\0\0\0\0hi"),
        ROW(NULL, LITTLE COMMENT("\12") "JIS\0\0\0\0\0hi"),
        ROW("caf\xc3\xa9", LITTLE COMMENT("\14") "ASCII\0\0\0caf\xe9"),
        ROW("caf\xc3\xa9", LITTLE COMMENT("\15") "ASCII\0\0\0caf\xc3\xa9"),
        /* Characters whose low byte is 0 look like ASCII in the other order; ": " does not. */
        ROW("\xe4\xb8\x80: x", LITTLE COMMENT("\20") "UNICODE\0N\0\0:\0 \0x"),
        ROW("\xe4\xb8\x80: x", LITTLE COMMENT("\20") "UNICODE\0\0N:\0 \0x\0"),
        ROW("\xe4\xb8\x80: x", BIG20 "UNICODE\0\0N:\0 \0x\0"),
        ROW("\xe4\xb8\x80: x", BIG20 "UNICODE\0N\0\0:\0 \0x"),
        ROW("{\"a\": 1}", LITTLE COMMENT("\10") "{\"a\": 1}"),
        /* In the first directory, as text (Fooocus). */
        ROW("{\"a\":1}", "II*\0\10\0\0\0\1\0\x86\x92\2\0\10\0\0\0\x1a\0\0\0\0\0\0\0{\"a\":1}\0"),
        ROW(NULL, LITTLE COMMENT("\15") "UNICODE\0h\0i\0"), /* longer than the block */
        ROW(NULL, LITTLE COMMENT("\3") "UNICODE\0h\0i\0"),
        ROW(NULL, LITTLE),
        ROW(NULL, "II*\0\xff\xff\xff\xff"),
        ROW(NULL, "MM\0*"),
#undef ROW
    };
#undef COMMENT
#undef LITTLE
#undef BIG
#undef BIG20
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        zi_image_metadata metadata = {0};
        /* A copy of just that size, so that a sanitizer sees a read behind it. */
        uint8_t *copy = malloc(rows[i].size);
        if (!CHECK(copy)) continue;
        memcpy(copy, rows[i].data, rows[i].size);
        zi_image_metadata_add_exif(&metadata, copy, rows[i].size);
        const char *text = zi_image_metadata_find(&metadata, "UserComment");
        CHECK(!metadata.failed);
        CHECK_MSG(rows[i].text ? text && !strcmp(text, rows[i].text) : !text, "row %zu: \"%s\"", i,
                  text ? text : "(none)");
        zi_image_metadata_free(&metadata);
        free(copy);
    }
}

/* ---- damage ---- */

static void encode_sample(const char *name, const zi_image *image, zi_text *out)
{
    zi_error error = {0};
    zi_save_options options = {.infotext = "a \xe7\x8c\xab\nSteps: 9, Seed: 1, Size: 24x17"};
    zi_text_init(out, ZI_IMAGE_BYTES_MAX);
    CHECK_OK(zi_image_encode_named(image, name, &options, out, &error), error);
}

/* Decodes a copy of just that size; tells whether it was accepted. */
static bool accepts(const char *data, size_t size, const char *name)
{
    zi_error error = {0};
    zi_image *image = NULL;
    char *infotext = NULL;
    uint8_t *copy = malloc(size + !size);
    if (!copy) abort();
    memcpy(copy, data, size);
    bool ok = zi_image_decode_named(copy, size, name, &image, &infotext, &error);
    if (ok)
        CHECK(image && image->width >= 1 && image->width <= ZI_IMAGE_SIDE_MAX);
    else
        CHECK_MSG(!image && !infotext && !strcmp(error.subject, name), "\"%s\"", error.text);
    free(copy);
    free(infotext);
    zi_image_free(image);
    return ok;
}

static void truncated_files(void)
{
    zi_image *image = gradient(24, 17);
    for (int f = 0; f < FORMATS; f++) {
        char name[16];
        zi_text whole;
        snprintf(name, sizeof name, "cut.%s", extensions[f]);
        encode_sample(name, image, &whole);
        CHECK(accepts(whole.data, whole.size, name));
        for (size_t size = 0; size < whole.size; size++)
            CHECK_MSG(!accepts(whole.data, size, name), "%s: %zu of %zu bytes are accepted", name,
                      size, whole.size);
        zi_text_free(&whole);
    }
    zi_image_free(image);
}

static void flipped_bytes(void)
{
    zi_image *image = gradient(24, 17);
    uint32_t random = 20240607;
    for (int f = 0; f < FORMATS; f++) {
        char name[16];
        zi_text whole;
        snprintf(name, sizeof name, "flip.%s", extensions[f]);
        encode_sample(name, image, &whole);
        int accepted = 0;
        for (int i = 0; i < 2000; i++) {
            size_t at[3];
            char was[3];
            for (int k = 0; k < 3; k++) { /* up to three bytes at a time */
                at[k] = (random = random * 1664525u + 1013904223u) % whole.size;
                was[k] = whole.data[at[k]];
                if (k <= i % 3) whole.data[at[k]] ^= (char)(1 + (random >> 16) % 255);
            }
            accepted += accepts(whole.data, whole.size, name);
            for (int k = 2; k >= 0; k--) whole.data[at[k]] = was[k];
        }
        CHECK_MSG(f > 0 || accepted == 0, "%d damaged PNG files are accepted", accepted);
        CHECK(accepts(whole.data, whole.size, name));
        zi_text_free(&whole);
    }
    zi_image_free(image);
}

/* Refused by the header alone, before memory for the pixels is asked for. */
static void too_large(void)
{
    /* signature, header of 16385 x 1 pixels with its checksum, an empty IDAT, IEND */
    static const uint8_t png[] = "\x89PNG\r\n\x1a\n\0\0\0\15IHDR\0\0\x40\1\0\0\0\1\x8\2\0\0\0CRC1"
                                 "\0\0\0\0IDAT\x35\xaf\x06\x1e\0\0\0\0IEND\xae\x42\x60\x82";
    zi_error error = {0};
    zi_image *image = NULL;
    uint8_t fixed[sizeof png - 1];
    memcpy(fixed, png, sizeof fixed);
    uint32_t crc = 0xffffffff;
    for (int i = 12; i < 29; i++) {
        crc ^= png[i];
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
    }
    for (int i = 0; i < 4; i++) fixed[29 + i] = (uint8_t)(~crc >> (24 - 8 * i));
    CHECK(!zi_image_decode_named(fixed, sizeof fixed, "big.png", &image, NULL, &error));
    CHECK_ERROR(error, ZI_ERROR_UNSUPPORTED, "big.png");
    CHECK_MSG(strstr(error.text, "16385 x 1"), "%s", error.text);

    zi_text jpeg;
    zi_image *small = gradient(8, 8);
    encode_sample("big.jpg", small, &jpeg);
    size_t at = 0; /* of the frame header SOF0: length, precision, height, width */
    while (at + 9 < jpeg.size && memcmp(jpeg.data + at, "\xff\xc0\0\x11", 4) != 0) at++;
    if (CHECK(at + 9 < jpeg.size)) memcpy(jpeg.data + at + 5, "\x40\1", 2);
    CHECK(!zi_image_decode_named((uint8_t *)jpeg.data, jpeg.size, "big.jpg", &image, NULL, &error));
    CHECK_ERROR(error, ZI_ERROR_UNSUPPORTED, "big.jpg");
    CHECK_MSG(strstr(error.text, "8 x 16385"), "%s", error.text);
    zi_text_free(&jpeg);
    zi_image_free(small);
}

/* A chunk that says that it has 1.9 GB, in a file of a few hundred bytes, must not take memory. */
static void png_chunk_beyond_the_file(void)
{
    zi_text png;
    zi_image *small = gradient(8, 8);
    encode_sample("chunk.png", small, &png);
    struct rusage before, after;
    getrusage(RUSAGE_SELF, &before);
    if (CHECK(memcmp(png.data + 37, "iTXt", 4) == 0)) png.data[33] = 0x70;
    CHECK(!accepts(png.data, png.size, "chunk.png"));
    getrusage(RUSAGE_SELF, &after);
    CHECK_MSG(after.ru_maxrss < 4 * before.ru_maxrss, "%ld memory at most before, %ld after",
              before.ru_maxrss, after.ru_maxrss);
    zi_text_free(&png);
    zi_image_free(small);
}

/* A progressive JPEG whose last scan stands there again and again. */
static void jpeg_of_endless_scans(void)
{
    unsigned long size = 0;
    unsigned char *file = flat_jpeg(JCS_GRAYSCALE, 1, true, &size);
    unsigned long scan =
        size - 2; /* the end marker is cut off, the last start of scan looked for */
    while (scan && memcmp(file + scan, "\xff\xda", 2) != 0) scan--;
    for (int scans = 100; scans <= 1000; scans += 900) {
        zi_text many;
        zi_text_init(&many, ZI_IMAGE_BYTES_MAX);
        zi_text_append(&many, file, scan);
        for (int i = 0; i < scans; i++) zi_text_append(&many, file + scan, size - 2 - scan);
        zi_text_append(&many, "\xff\xd9", 2);
        CHECK(accepts(many.data, many.size, "scans.jpg") == (scans == 100));
        zi_text_free(&many);
    }
    free(file);
}

/* ---- refusals and failures of saving ---- */

static void expect_misuse(const zi_image *image, const char *name, const zi_save_options *options,
                          const char *subject, const char *part)
{
    zi_error error = {0};
    CHECK(!zi_image_save(image, zi_test_path(name), options, &error));
    CHECK_ERROR(error, ZI_ERROR_INVALID_ARGUMENT, subject);
    CHECK_MSG(strstr(error.text, name) && strstr(error.text, part), "%s: \"%s\"", name, error.text);
}

static void misuse(void)
{
    zi_image *image = gradient(4, 4);
    int before = zi_test_folder_count();
    static const char *const names[] = {"a.gif", "noextension", "a.png.txt", "png", "a.", "a.pn"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        expect_misuse(image, names[i], NULL, "path", ".png, .jpg or .webp");
    expect_misuse(image, "a.jpg", &(zi_save_options){.quality = 101}, "quality", "101");
    expect_misuse(image, "a.jpg", &(zi_save_options){.quality = -1}, "quality", "-1");
    expect_misuse(image, "a.jpg", &(zi_save_options){.format = (zi_format)9}, "format", "9");
    expect_misuse(image, "a.png", &(zi_save_options){.infotext = "\xff"}, "infotext", "UTF-8");
    expect_misuse(&(zi_image){0, 4, image->pixels}, "a.png", NULL, "image", "0 x 4");
    expect_misuse(&(zi_image){4, 16385, image->pixels}, "a.png", NULL, "image", "4 x 16385");
    expect_misuse(&(zi_image){16384, 1, image->pixels}, "a.webp", NULL, "image", "16383");
    CHECK(zi_test_folder_count() == before);
    zi_image_free(image);
}

static void names_and_formats(void)
{
    zi_error error = {0};
    zi_image *image = gradient(4, 4);
    const struct {
        const char *name;
        zi_format format;
        const char *magic;
    } rows[] = {{"UPPER.PNG", 0, "\x89PNG"},
                {"a.b.JpEg", 0, "\xff\xd8\xff"},
                {"x.webp", 0, "RIFF"},
                {"odd.png", ZI_FORMAT_WEBP, "RIFF"},
                {"bare", ZI_FORMAT_JPEG, "\xff\xd8\xff"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        zi_text out;
        zi_text_init(&out, ZI_IMAGE_BYTES_MAX);
        zi_save_options options = {.format = rows[i].format};
        if (CHECK_OK(zi_image_encode_named(image, rows[i].name, &options, &out, &error), error)) {
            CHECK(!memcmp(out.data, rows[i].magic, strlen(rows[i].magic)));
            CHECK(accepts(out.data, out.size, rows[i].name)); /* by content, whatever the name */
        }
        zi_text_free(&out);
    }
    zi_image_free(image);
}

static void unwritable_places(void)
{
    zi_error error = {0};
    zi_image *image = gradient(4, 4), *back = NULL;
    CHECK(!zi_image_save(image, zi_test_path("missing/a.png"), NULL, &error));
    CHECK_ERROR(error, ZI_ERROR_IO, zi_test_path("missing/a.png"));
    CHECK_OK(zi_image_save(image, zi_test_path("file.png"), NULL, &error), error);
    CHECK(!zi_image_save(image, zi_test_path("file.png/a.png"), NULL, &error));
    CHECK_ERROR(error, ZI_ERROR_IO, zi_test_path("file.png/a.png"));
    if (geteuid() != 0) { /* who is root may write everywhere */
        CHECK(mkdir(zi_test_path("closed"), 0500) == 0);
        CHECK(!zi_image_save(image, zi_test_path("closed/a.png"), NULL, &error));
        rmdir(zi_test_path("closed"));
    }
    CHECK(!zi_image_load(zi_test_path("absent.png"), &back, NULL, &error));
    CHECK_ERROR(error, ZI_ERROR_NOT_FOUND, zi_test_path("absent.png"));
    CHECK(!back);
    zi_image_free(image);
}

/* Saves while no file may grow beyond so many bytes, as on a full disk. */
static bool save_on_full_disk(const zi_image *image, const char *path, rlim_t bytes,
                              zi_error *error)
{
    struct rlimit before, small;
    getrlimit(RLIMIT_FSIZE, &before);
    small = before;
    small.rlim_cur = bytes;
    setrlimit(RLIMIT_FSIZE, &small);
    bool ok = zi_image_save(image, path, NULL, error);
    setrlimit(RLIMIT_FSIZE, &before);
    return ok;
}

static void full_disk(void)
{
    zi_error error = {0};
    zi_image *image = gradient(200, 200), *old = gradient(5, 6), *back = NULL;
    fill_noise(image);
    signal(SIGXFSZ, SIG_IGN);
    for (int f = 0; f < FORMATS; f++) {
        char name[16];
        snprintf(name, sizeof name, "full.%s", extensions[f]);
        const char *path = zi_test_path(name);
        int before = zi_test_folder_count();
        for (rlim_t bytes = 0; bytes <= 16384; bytes = bytes ? bytes * 8 : 4) {
            CHECK(!save_on_full_disk(image, path, bytes, &error));
            CHECK_ERROR(error, ZI_ERROR_IO, path);
            CHECK_MSG(zi_test_folder_count() == before, "%s: something is left behind", name);
        }
        CHECK_OK(zi_image_save(old, path, NULL, &error), error);
        CHECK(!save_on_full_disk(image, path, 1000, &error));
        CHECK(zi_test_folder_count() == before + 1);
        if (CHECK_OK(zi_image_load(path, &back, NULL, &error), error))
            CHECK(back->width == 5 && back->height == 6);
        zi_image_free(back);
        back = NULL;
    }
    zi_image_free(image);
    zi_image_free(old);
}

int main(void)
{
    RUN(png_chunk_beyond_the_file); /* first: it looks at the most memory ever in use */
    RUN(pixels_come_back);
    RUN(png_is_exact);
    RUN(jpeg_keeps_thin_colours);
    RUN(quality_counts);
    RUN(infotexts_come_back);
    RUN(long_infotexts);
    RUN(png_kinds);
    RUN(webp_with_alpha);
    RUN(jpeg_kinds);
    RUN(exif_of_others);
    RUN(truncated_files);
    RUN(flipped_bytes);
    RUN(too_large);
    RUN(jpeg_of_endless_scans);
    RUN(misuse);
    RUN(names_and_formats);
    RUN(unwritable_places);
    RUN(full_disk);
    return zi_test_result();
}
