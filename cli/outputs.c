/* zimage generate: names of output files, and writing them. */
#include "generate.h"

#include "base/file.h"
#include "base/text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum { MAX_NAME = 1 << 16, MAX_WIDTH = 20 };

/* Formats by the index in the choices of --format. */
static const struct {
    zi_format format;
    const char *extension, *other;
} formats[] = {{ZI_FORMAT_PNG, ".png", ".png"},
               {ZI_FORMAT_JPEG, ".jpg", ".jpeg"},
               {ZI_FORMAT_WEBP, ".webp", ".webp"}};
enum { FORMATS = sizeof formats / sizeof *formats };

bool zi_output_is_stdout(const char *output)
{
    return output && !strcmp(output, "-");
}

/* ---- names ---- */

/* path with "-NUMBER" before the extension of its last component, or at its end if that has none
 * (".png" has none); in new memory. NULL: out of memory. */
static char *numbered_path(const char *path, uint64_t number)
{
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
    const char *dot = strrchr(base, '.');
    size_t stem = dot && dot != base ? (size_t)(dot - path) : strlen(path);
    zi_text name;
    zi_text_init(&name, strlen(path) + 32);
    zi_text_append(&name, path, stem);
    zi_text_printf(&name, "-%" PRIu64, number);
    zi_text_puts(&name, path + stem);
    return zi_text_take(&name);
}

/* One piece of a pattern: an ordinary character, or what stands for a value. */
typedef struct {
    char kind; /* 'd', 's', '%', 0: the character at the start, '?': an unknown letter */
    int width, size;
    bool zeros;
} pattern_piece;

/* The piece at the start of text, which is not empty. % and digits with no letter behind them are
 * ordinary characters. */
static pattern_piece next_piece(const char *text)
{
    pattern_piece piece = {.size = 1};
    if (text[0] != '%') return piece;
    size_t digits = strspn(text + 1, "0123456789");
    char letter = text[1 + digits];
    bool is_letter = (letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z');
    if (!digits && letter == '%') return (pattern_piece){.kind = '%', .size = 2};
    if (!is_letter) return piece;
    piece.kind = letter == 'd' || letter == 's' ? letter : '?';
    piece.size = (int)digits + 2;
    piece.zeros = text[1] == '0';
    piece.width = digits > 3 ? MAX_WIDTH + 1 : atoi(text + 1);
    if (piece.width > MAX_WIDTH) piece.kind = '?';
    return piece;
}

/* Whether text has a place for the image's number or seed. */
static bool is_pattern(const char *text)
{
    for (pattern_piece piece; *text; text += piece.size) {
        piece = next_piece(text);
        if (piece.kind == 'd' || piece.kind == 's') return true;
    }
    return false;
}

/* Fails for a % with a letter that means nothing. option: the one that has the text. */
static bool check_pattern(const char *option, const char *text, zi_error *error)
{
    for (pattern_piece piece; *text; text += piece.size) {
        piece = next_piece(text);
        if (piece.kind == '?')
            return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, option,
                                "'%.*s' is not possible in a file name; write %%d for the image's "
                                "number, %%04d for the number with 4 digits (at most 20), %%s for "
                                "the seed, %%%% for a percent sign",
                                piece.size, text);
    }
    return true;
}

/* The pattern with number and seed filled in, in new memory. NULL: out of memory. */
static char *fill_pattern(const char *pattern, uint64_t number, uint64_t seed)
{
    zi_text name;
    zi_text_init(&name, MAX_NAME);
    for (pattern_piece piece; *pattern; pattern += piece.size) {
        piece = next_piece(pattern);
        uint64_t value = piece.kind == 'd' ? number : seed;
        if (piece.kind == 0)
            zi_text_append(&name, pattern, (size_t)piece.size);
        else if (piece.kind == '%')
            zi_text_puts(&name, "%");
        else if (piece.zeros)
            zi_text_printf(&name, "%0*" PRIu64, piece.width, value);
        else
            zi_text_printf(&name, "%*" PRIu64, piece.width, value);
    }
    return zi_text_take(&name);
}

/* Whether this run has used the name. */
static bool is_used(const zi_used_names *used, const char *name)
{
    for (size_t i = 0; i < used->count; i++)
        if (!strcmp(used->names[i], name)) return true;
    return false;
}

void zi_used_names_free(zi_used_names *used)
{
    for (size_t i = 0; i < used->count; i++) free(used->names[i]);
    free(used->names);
    *used = (zi_used_names){0};
}

/* Adds a copy of the name; NULL is nothing. False: out of memory. */
static bool add_name(zi_used_names *used, const char *name, zi_error *error)
{
    if (!name) return true;
    if (used->count == used->capacity) {
        size_t capacity = used->capacity ? 2 * used->capacity : 16;
        char **grown = realloc(used->names, capacity * sizeof *grown);
        if (!grown) return zi_error_no_memory(error, capacity * sizeof *grown);
        used->names = grown;
        used->capacity = capacity;
    }
    used->names[used->count] = strdup(name);
    return used->names[used->count++] || zi_error_no_memory(error, strlen(name));
}

bool zi_used_names_add(zi_used_names *used, const zi_output_paths *paths, zi_error *error)
{
    return add_name(used, paths->image, error) && add_name(used, paths->trace, error);
}

/* name, or name-2, name-3, ..., the first one that this run has not used and, with `spare`, that
 * does not exist. Takes name over; returns new memory, or NULL: out of memory. */
static char *free_name(char *name, const zi_used_names *used, bool spare)
{
    char *path = name ? strdup(name) : NULL;
    for (uint64_t n = 2; path && (is_used(used, path) || (spare && access(path, F_OK) == 0)); n++) {
        free(path);
        path = numbered_path(name, n);
    }
    free(name);
    return path;
}

/* The name for image number `number` of `images` in new memory: of a pattern filled in; else name
 * itself, or NAME-1.png, NAME-2.png, ... when there are several. NULL: out of memory. */
static char *image_name(const char *name, int number, int images, uint64_t seed)
{
    if (is_pattern(name)) return fill_pattern(name, (uint64_t)number, seed);
    char *plain = fill_pattern(name, 0, 0); /* %% */
    if (images == 1 || !plain) return plain;
    char *numbered = numbered_path(plain, (uint64_t)number);
    free(plain);
    return numbered;
}

/* The output path of a job's image i (from 0) in new memory; NULL: out of memory. With -o it is the
 * name that image_name returns, else zimage-SEED in the current folder with the extension of
 * --format. -2, -3, ... is appended if this run has used the name or, without -o, such a file
 * exists, unless --overwrite (replaces it) or --no-clobber (refuses it later) is given. */
static char *image_path(const zi_generate_args *args, const zi_generate_job *job, int images, int i,
                        const zi_used_names *used)
{
    uint64_t seed = job->generation.request.seed + (uint64_t)i;
    int number = job->own_output ? i + 1 : job->first + i;
    int count = job->own_output ? job->generation.count : images;
    if (job->output) return free_name(image_name(job->output, number, count, seed), used, false);
    char name[64];
    snprintf(name, sizeof name, "zimage-%" PRIu64 "%s", seed, formats[args->format].extension);
    return free_name(strdup(name), used, !args->overwrite && !args->no_clobber);
}

/* ---- checks ---- */

/* The index of the format whose extension path has, in upper or lower case; FORMATS: of none. */
static int format_of_name(const char *path)
{
    const char *dot = strrchr(path, '.');
    int i = 0;
    while (i < FORMATS &&
           !(dot && (!strcasecmp(dot, formats[i].extension) || !strcasecmp(dot, formats[i].other))))
        i++;
    return i;
}

zi_format zi_output_format(const zi_generate_args *args, const char *path)
{
    int named = path ? format_of_name(path) : FORMATS;
    return formats[named < FORMATS ? named : args->format].format;
}

/* Checks that path ends in the extension of an image format, and of no other one than --format. The
 * library checks that only after generation. */
static bool check_extension(const zi_generate_args *args, const char *path, zi_error *error)
{
    int format = format_of_name(path);
    if (format == FORMATS && !args->format_given)
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "output",
                            "'%s' must end in .png, .jpg, .jpeg or .webp", path);
    if (format < FORMATS && args->format_given && format != args->format)
        return zi_error_set(
            error, ZI_ERROR_INVALID_ARGUMENT, "format",
            "does not fit the extension of '%s'; leave --format out, or change the extension",
            path);
    return true;
}

bool zi_check_output_options(const zi_generate_args *args, const char *output, int images,
                             zi_error *error)
{
    if (args->trace && !check_pattern("trace", args->trace, error)) return false;
    if (!output) return true;
    if (!zi_output_is_stdout(output)) return check_pattern("output", output, error);
    if (images > 1)
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "output",
                            "standard output (-) takes one image, and there would be %d; name a "
                            "file such as out-%%04d.png",
                            images);
    if (args->json)
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "output",
                            "standard output (-) cannot be used with --json, whose events go "
                            "there; name a file");
    return !isatty(STDOUT_FILENO) ||
           zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "output",
                        "standard output (-) is a terminal, which cannot take an image file; add > "
                        "FILE.png, or name the file with -o FILE.png");
}

/* Fails if something is at path although --no-clobber was given. */
static bool check_clobber(const zi_generate_args *args, const char *path, zi_error *error)
{
    if (!args->no_clobber || access(path, F_OK) != 0) return true;
    return zi_error_set_in(error, ZI_ERROR_EXISTS, path, "clobber",
                           "exists already and is kept, because of --no-clobber; choose another "
                           "name, or leave --no-clobber out");
}

bool zi_choose_outputs(const zi_generate_args *args, const zi_generate_job *job, int images, int i,
                       const zi_used_names *used, zi_output_paths *paths, zi_error *error)
{
    uint64_t seed = job->generation.request.seed + (uint64_t)i;
    bool to_stdout = zi_output_is_stdout(job->output);
    *paths = (zi_output_paths){0};
    if (!to_stdout) paths->image = image_path(args, job, images, i, used);
    if (args->trace)
        paths->trace =
            free_name(image_name(args->trace, job->first + i, images, seed), used, false);
    if ((!to_stdout && !paths->image) || (args->trace && !paths->trace))
        return zi_error_no_memory(error, 64);
    if (paths->image &&
        (!check_extension(args, paths->image, error) || !check_clobber(args, paths->image, error) ||
         !zi_output_check_writable(paths->image, error)))
        return false;
    return !paths->trace || (check_clobber(args, paths->trace, error) &&
                             zi_output_check_writable(paths->trace, error));
}

void zi_output_paths_free(zi_output_paths *paths)
{
    free(paths->image);
    free(paths->trace);
}

/* ---- writing ---- */

/* Writes the bytes to a new file. False: *error is set; ZI_ERROR_EXISTS if one came meanwhile. */
static bool write_new(const char *path, const uint8_t *data, size_t size, zi_error *error)
{
    zi_output output = {0};
    bool ok = zi_output_open(&output, path, error) && zi_output_write(&output, data, size, error) &&
              zi_output_commit_new(&output, error);
    zi_output_discard(&output);
    return ok;
}

/* Writes the bytes to standard output. */
static bool write_stdout(const uint8_t *data, size_t size, zi_error *error)
{
    if (fwrite(data, 1, size, stdout) == size && fflush(stdout) == 0) return true;
    int why = errno;
    clearerr(stdout); /* so that it is reported once */
    return zi_error_set(error, ZI_ERROR_IO, "standard output",
                        "cannot write: %s; the image that was written there is not complete",
                        strerror(why));
}

bool zi_write_image(const zi_generate_args *args, const zi_image *image, const char *path,
                    const char *infotext, zi_error *error)
{
    zi_save_options save = {
        .format = zi_output_format(args, path), .quality = args->quality, .infotext = infotext};
    if (path && !args->no_clobber) return zi_image_save(image, path, &save, error);
    uint8_t *data = NULL;
    size_t size;
    if (!zi_image_encode(image, &save, &data, &size, error)) return false;
    bool ok = path ? write_new(path, data, size, error) : write_stdout(data, size, error);
    zi_free(data);
    return ok;
}
