/* Images as sixels: each character shows six pixels of a column, in one colour of a palette. */
#include "generate.h"

#include <stdlib.h>
#include <string.h>

/* Levels of red, green and blue in the palette: 6 x 7 x 6 colours. */
enum { REDS = 6, GREENS = 7, BLUES = 6, COLOURS = REDS * GREENS * BLUES, BAND = 6 };
static const int levels[3] = {REDS, GREENS, BLUES};

/* The level, of `count`, nearest to a value, which is clipped to 0 to 255. */
static int nearest_level(int value, int count)
{
    if (value < 0) value = 0;
    if (value > 255) value = 255;
    return (value * (count - 1) + 127) / 255;
}

/* Sets indices [height, width] to the palette's colours of the image. What a pixel's colour is off
 * goes to its neighbours (error diffusion by Floyd and Steinberg). errors: [2, width + 2, 3], in
 * sixteenths. */
static void quantize(const zi_image *image, uint8_t *indices, int *errors)
{
    size_t row = ((size_t)image->width + 2) * 3;
    int *here = errors, *below = errors + row;
    memset(errors, 0, 2 * row * sizeof *errors);
    for (int y = 0; y < image->height; y++) {
        for (int x = 0; x < image->width; x++) {
            const uint8_t *pixel =
                image->pixels + ((size_t)y * (size_t)image->width + (size_t)x) * 3;
            int index = 0;
            for (int c = 0; c < 3; c++) {
                int *at = here + (x + 1) * 3 + c, *next = below + (x + 1) * 3 + c;
                int value = pixel[c] + *at / 16, level = nearest_level(value, levels[c]);
                int off = value - level * 255 / (levels[c] - 1);
                if (off > 64) off = 64;
                if (off < -64) off = -64;
                at[3] += 7 * off;
                next[-3] += 3 * off;
                next[0] += 5 * off;
                next[3] += off;
                index = index * levels[c] + level;
            }
            indices[(size_t)y * (size_t)image->width + (size_t)x] = (uint8_t)index;
        }
        int *swap = here;
        here = below;
        below = swap;
        memset(below, 0, row * sizeof *below);
    }
}

/* Prints `count` equal sixels, shortened where that pays. */
static void print_run(char sixel, int count, FILE *stream)
{
    if (count > 3)
        fprintf(stream, "!%d%c", count, sixel);
    else
        while (count-- > 0) fputc(sixel, stream);
}

/* Prints the pixels of one colour in a band of six rows that begins at row y. */
static void print_colour(const uint8_t *indices, int width, int height, int y, int colour,
                         FILE *stream)
{
    int rows = height - y < BAND ? height - y : BAND, count = 0;
    char last = 0;
    fprintf(stream, "#%d", colour);
    for (int x = 0; x < width; x++) {
        int bits = 0;
        for (int i = 0; i < rows; i++)
            if (indices[(size_t)(y + i) * (size_t)width + (size_t)x] == colour) bits |= 1 << i;
        char sixel = (char)(63 + bits);
        if (sixel != last && count) {
            print_run(last, count, stream);
            count = 0;
        }
        last = sixel;
        count++;
    }
    if (last != 63) print_run(last, count, stream); /* blank ends need not be printed */
    fputc('$', stream);
}

/* Prints the definitions of the colours, in percent. */
static void print_palette(FILE *stream)
{
    for (int i = 0; i < COLOURS; i++)
        fprintf(stream, "#%d;2;%d;%d;%d", i, i / (GREENS * BLUES) * 100 / (REDS - 1),
                i / BLUES % GREENS * 100 / (GREENS - 1), i % BLUES * 100 / (BLUES - 1));
}

void zi_print_sixels(const zi_image *image, FILE *stream)
{
    int width = image->width, height = image->height;
    uint8_t *indices = malloc((size_t)width * (size_t)height);
    int *errors = malloc(((size_t)width + 2) * 6 * sizeof *errors);
    if (indices && errors) {
        quantize(image, indices, errors);
        fprintf(stream, "\033Pq\"1;1;%d;%d", width, height);
        print_palette(stream);
        for (int y = 0; y < height; y += BAND) {
            bool used[COLOURS] = {false};
            int rows = height - y < BAND ? height - y : BAND;
            for (size_t i = 0; i < (size_t)rows * (size_t)width; i++)
                used[indices[(size_t)y * (size_t)width + i]] = true;
            for (int c = 0; c < COLOURS; c++)
                if (used[c]) print_colour(indices, width, height, y, c, stream);
            fputc('-', stream);
        }
        fputs("\033\\\n", stream);
    }
    free(indices);
    free(errors);
}
