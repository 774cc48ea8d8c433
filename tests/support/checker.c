#include "checker.h"
#include "base/error.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Limits. Colour distances are CIELAB's (CIE 1976); the two most similar colours,
 * blue and purple, are 29 apart. */
static const double max_colour_distance = 22;     /* from the named colour */
static const double max_background_distance = 12; /* beyond: the pixel belongs to an object */
static const double max_uneven_share = 0.15;      /* of an object's inner pixels */
static const double max_speck_share = 0.01;  /* of the image; specks are smaller than objects */
static const double min_object = 0.003;      /* of the image */
static const double min_overlap = 0.80;      /* intersection over union with the shape */
static const double max_displacement = 0.10; /* of the width and of the height */
static const double max_edge_width = 4.5;    /* pixels, about 2 of them from the smoothing */

/* Accepted radius as a share of the shorter side; prompts mean 0.26, 0.16, 0.37 and 0.19. */
static const double radius_range[][2] = {[ZI_MEDIUM] = {0.19, 0.33},
                                         [ZI_SMALL] = {0.10, 0.21},
                                         [ZI_LARGE] = {0.31, 0.46},
                                         [ZI_PAIR] = {0.13, 0.26}};

enum { MAX_OBJECTS = 2, CLEARANCE = 3, GRID = 40 };

typedef struct {
    double cx, cy, radius; /* pixels */
    double overlap;        /* intersection over union */
} fit;

typedef struct {
    uint8_t colour[3];
    double uneven;     /* share of the inside that has another colour */
    double edge_width; /* pixels */
    int shape;         /* the best of the fits */
    fit fits[ZI_SHAPES];
} found_object;

typedef struct {
    int label, left, top, right, bottom; /* bounds inclusive */
    int pixels;
} region;

/* A template's area and centroid at radius 1. */
typedef struct {
    double area, x, y;
} outline;

typedef struct {
    const zi_image *image;
    int width, height;
    uint8_t *smooth; /* [height, width, 3], each pixel the mean of 3 x 3 */
    int *labels;     /* [height, width]: 0 background, else which region */
    int *stack;      /* [height * width] */
    float *cover;    /* [height, width]: how much of a pixel is the object looked at, 0 to 1 */
    double linear[256];
    double palette[ZI_COLOURS][3]; /* Lab */
    outline outlines[ZI_SHAPES];
    uint8_t background[3];
    double specks; /* share of the image */
    int count;     /* objects seen, also beyond those described */
    region regions[MAX_OBJECTS];
    found_object found[MAX_OBJECTS];
} analysis;

static void add_fault(zi_scene_report *report, unsigned fault, const char *format, ...)
    ZI_PRINTF(3, 4);

static void add_fault(zi_scene_report *report, unsigned fault, const char *format, ...)
{
    size_t used = strlen(report->text), room = sizeof report->text - used;
    report->faults |= fault;
    int written = used ? snprintf(report->text + used, room, "; ") : 0;
    if (written < 0 || (size_t)written >= room) return;
    va_list args;
    va_start(args, format);
    vsnprintf(report->text + used + written, room - (size_t)written, format, args);
    va_end(args);
}

/* ---- colours ---- */

static double lab_curve(double t)
{
    return t > 216.0 / 24389 ? cbrt(t) : (24389.0 / 27 * t + 16) / 116;
}

/* sRGB to CIELAB under D65. */
static void to_lab(const analysis *v, const uint8_t rgb[3], double lab[3])
{
    double r = v->linear[rgb[0]], g = v->linear[rgb[1]], b = v->linear[rgb[2]];
    double x = lab_curve((0.4124564 * r + 0.3575761 * g + 0.1804375 * b) / 0.95047);
    double y = lab_curve(0.2126729 * r + 0.7151522 * g + 0.0721750 * b);
    double z = lab_curve((0.0193339 * r + 0.1191920 * g + 0.9503041 * b) / 1.08883);
    lab[0] = 116 * y - 16;
    lab[1] = 500 * (x - y);
    lab[2] = 200 * (y - z);
}

static double lab_distance(const double a[3], const double b[3])
{
    return sqrt((a[0] - b[0]) * (a[0] - b[0]) + (a[1] - b[1]) * (a[1] - b[1]) +
                (a[2] - b[2]) * (a[2] - b[2]));
}

static int nearest_colour(const analysis *v, const uint8_t rgb[3], double *distance)
{
    double lab[3];
    to_lab(v, rgb, lab);
    int best = 0;
    *distance = INFINITY;
    for (int c = 0; c < ZI_COLOURS; c++) {
        double d = lab_distance(lab, v->palette[c]);
        if (d >= *distance) continue;
        *distance = d;
        best = c;
    }
    return best;
}

static const uint8_t *smooth_at(const analysis *v, int x, int y)
{
    return v->smooth + ((size_t)y * (size_t)v->width + (size_t)x) * 3;
}

static void smooth_image(analysis *v)
{
    for (int y = 0; y < v->height; y++)
        for (int x = 0; x < v->width; x++) {
            int sum[3] = {0}, n = 0;
            for (int j = y > 0 ? y - 1 : 0; j <= y + 1 && j < v->height; j++)
                for (int i = x > 0 ? x - 1 : 0; i <= x + 1 && i < v->width; i++, n++)
                    for (int c = 0; c < 3; c++)
                        sum[c] += v->image->pixels[((size_t)j * (size_t)v->width + (size_t)i) * 3 +
                                                   (size_t)c];
            uint8_t *to = v->smooth + ((size_t)y * (size_t)v->width + (size_t)x) * 3;
            for (int c = 0; c < 3; c++) to[c] = (uint8_t)((sum[c] + n / 2) / n);
        }
}

/* Medians of red, green and blue from counts of each value. */
static void median_colour(int counts[3][256], uint8_t out[3])
{
    for (int c = 0; c < 3; c++) {
        int total = 0, seen = 0, value = 0;
        for (int i = 0; i < 256; i++) total += counts[c][i];
        while (value < 255 && (seen += counts[c][value]) * 2 < total) value++;
        out[c] = (uint8_t)value;
    }
}

static void count_colour(int counts[3][256], const uint8_t rgb[3])
{
    for (int c = 0; c < 3; c++) counts[c][rgb[c]]++;
}

/* Sets the background colour: the most frequent colour along the four edges. */
static void find_background(analysis *v)
{
    int votes[ZI_COLOURS] = {0}, counts[ZI_COLOURS][3][256] = {{{0}}};
    for (int y = 0; y < v->height; y++) {
        bool edge_row = y == 0 || y == v->height - 1;
        for (int x = 0; x < v->width; x += edge_row || v->width == 1 ? 1 : v->width - 1) {
            double distance;
            const uint8_t *rgb = smooth_at(v, x, y);
            int colour = nearest_colour(v, rgb, &distance);
            votes[colour]++;
            count_colour(counts[colour], rgb);
        }
    }
    int best = 0;
    for (int c = 1; c < ZI_COLOURS; c++)
        if (votes[c] > votes[best]) best = c;
    median_colour(counts[best], v->background);
}

/* ---- objects ---- */

/* Flood fill: labels the connected pixels (8 neighbours) marked -1, from start on. */
static region flood(analysis *v, int start, int label)
{
    region b = {label, v->width, v->height, -1, -1, 0};
    int depth = 0;
    v->stack[depth++] = start;
    v->labels[start] = label;
    while (depth > 0) {
        int at = v->stack[--depth], x = at % v->width, y = at / v->width;
        b.pixels++;
        if (x < b.left) b.left = x;
        if (x > b.right) b.right = x;
        if (y < b.top) b.top = y;
        if (y > b.bottom) b.bottom = y;
        for (int j = y - 1; j <= y + 1; j++)
            for (int i = x - 1; i <= x + 1; i++) {
                if (i < 0 || j < 0 || i >= v->width || j >= v->height) continue;
                int next = j * v->width + i;
                if (v->labels[next] != -1) continue;
                v->labels[next] = label;
                v->stack[depth++] = next;
            }
    }
    return b;
}

static void find_regions(analysis *v)
{
    int n = v->width * v->height, labels = 0, specks = 0;
    double background[3], lab[3];
    to_lab(v, v->background, background);
    for (int i = 0; i < n; i++) {
        const uint8_t *rgb = v->smooth + 3 * (size_t)i;
        v->labels[i] = 0;
        if (memcmp(rgb, v->background, 3) == 0) continue; /* most pixels: spare them the roots */
        to_lab(v, rgb, lab);
        v->labels[i] = lab_distance(lab, background) > max_background_distance ? -1 : 0;
    }
    for (int i = 0; i < n; i++) {
        if (v->labels[i] != -1) continue;
        region b = flood(v, i, ++labels);
        if (b.pixels < min_object * n)
            specks += b.pixels;
        else if (v->count++ < MAX_OBJECTS)
            v->regions[v->count - 1] = b;
    }
    v->specks = (double)specks / n;
}

static bool is_inside(const analysis *v, const region *b, int x, int y)
{
    for (int j = y - CLEARANCE; j <= y + CLEARANCE; j++)
        for (int i = x - CLEARANCE; i <= x + CLEARANCE; i++) {
            if (i < 0 || j < 0 || i >= v->width || j >= v->height) continue;
            if (v->labels[j * v->width + i] != b->label) return false;
        }
    return true;
}

/* Sets colour and unevenness of an object from pixels away from its edge. */
static void read_colour(const analysis *v, const region *b, found_object *object)
{
    int counts[3][256] = {{0}}, inside = 0, other = 0;
    double lab[3], mean[3];
    for (int y = b->top; y <= b->bottom; y++)
        for (int x = b->left; x <= b->right; x++)
            if (is_inside(v, b, x, y)) count_colour(counts, smooth_at(v, x, y));
    median_colour(counts, object->colour);
    to_lab(v, object->colour, mean);
    for (int y = b->top; y <= b->bottom; y++)
        for (int x = b->left; x <= b->right; x++) {
            if (!is_inside(v, b, x, y)) continue;
            to_lab(v, smooth_at(v, x, y), lab);
            inside++;
            other += lab_distance(lab, mean) > max_colour_distance;
        }
    object->uneven = inside ? (double)other / inside : 1;
}

static region widened(const analysis *v, const region *b, int by_x, int by_y)
{
    region wide = *b;
    wide.left = b->left > by_x ? b->left - by_x : 0;
    wide.top = b->top > by_y ? b->top - by_y : 0;
    wide.right = b->right + by_x < v->width ? b->right + by_x : v->width - 1;
    wide.bottom = b->bottom + by_y < v->height ? b->bottom + by_y : v->height - 1;
    return wide;
}

/* How far each pixel has gone from the background's colour to the object's: 0.5 is the true edge,
 * as edge pixels are mixtures. */
static void read_cover(analysis *v, const region *b, const uint8_t colour[3])
{
    double way[3], length = 0;
    for (int c = 0; c < 3; c++) {
        way[c] = (double)colour[c] - v->background[c];
        length += way[c] * way[c];
    }
    memset(v->cover, 0, (size_t)v->width * (size_t)v->height * sizeof *v->cover);
    region wide = widened(v, b, CLEARANCE, CLEARANCE);
    for (int y = wide.top; y <= wide.bottom; y++)
        for (int x = wide.left; x <= wide.right; x++) {
            size_t at = (size_t)y * (size_t)v->width + (size_t)x;
            if (v->labels[at] != 0 && v->labels[at] != b->label) continue;
            double gone = 0;
            for (int c = 0; c < 3; c++)
                gone += way[c] * ((double)smooth_at(v, x, y)[c] - v->background[c]);
            v->cover[at] = (float)fmin(fmax(gone / fmax(length, 1), 0), 1);
        }
}

/* Cover, with values near 0 and 1 rounded to these, so that noise does not count as an edge. */
static double clear_cover(float cover)
{
    return fmin(fmax((cover - 0.15) / 0.7, 0), 1);
}

/* Edge width in pixels: partly covered pixels per pixel of outline. The length of the outline is
 * the sum of the cover's gradient, which does not depend on the edge's width. */
static double read_edge_width(const analysis *v, const region *b)
{
    double between = 0, outline_length = 0;
    region wide = widened(v, b, CLEARANCE, CLEARANCE);
    for (int y = wide.top; y < wide.bottom; y++)
        for (int x = wide.left; x < wide.right; x++) {
            const float *at = v->cover + (size_t)y * (size_t)v->width + (size_t)x;
            double here = clear_cover(at[0]);
            between += here > 0 && here < 1;
            outline_length += hypot(clear_cover(at[1]) - here, clear_cover(at[v->width]) - here);
        }
    return between / fmax(outline_length, 1);
}

/* ---- shapes ---- */

/* Sample points over an object's bounding box and a margin. */
typedef struct {
    int columns, rows;
    double left, top, step; /* pixels */
    bool covered[GRID][GRID];
} grid;

static grid grid_over(const analysis *v, const region *b)
{
    int by_x = (b->right - b->left + 1) / 7 + 1, by_y = (b->bottom - b->top + 1) / 7 + 1;
    region wide = widened(v, b, by_x, by_y);
    int width = wide.right - wide.left + 1, height = wide.bottom - wide.top + 1;
    grid g = {.left = wide.left, .top = wide.top};
    g.step = fmax((double)(width > height ? width : height) / GRID, 1);
    g.columns = (int)(width / g.step);
    g.rows = (int)(height / g.step);
    for (int j = 0; j < g.rows; j++)
        for (int i = 0; i < g.columns; i++) {
            int x = (int)(g.left + (i + 0.5) * g.step), y = (int)(g.top + (j + 0.5) * g.step);
            g.covered[j][i] = v->cover[(size_t)y * (size_t)v->width + (size_t)x] >= 0.5F;
        }
    return g;
}

static double overlap(const grid *g, int shape, const fit *f)
{
    int both = 0, either = 0;
    for (int j = 0; j < g->rows; j++)
        for (int i = 0; i < g->columns; i++) {
            bool a = g->covered[j][i];
            bool b = zi_shape_covers(shape, (g->left + (i + 0.5) * g->step - f->cx) / f->radius,
                                     (g->top + (j + 0.5) * g->step - f->cy) / f->radius);
            both += a && b;
            either += a || b;
        }
    return either ? (double)both / either : 0;
}

/* Hill climbing: moves and scales a shape while its overlap grows. If the first guess (by area and
 * centroid) overlaps by less than 0.55, the object has another shape and the guess is kept. */
static void improve_fit(const grid *g, int shape, fit *f)
{
    f->overlap = overlap(g, shape, f);
    if (f->overlap < 0.55) return;
    for (double step = 0.12 * f->radius; step > 0.01 * f->radius; step /= 2) {
        for (bool better = true; better;) {
            better = false;
            for (int i = 0; i < 6; i++) {
                fit next = *f;
                double by = i % 2 ? step : -step;
                *(i < 2 ? &next.cx : i < 4 ? &next.cy : &next.radius) += by;
                next.overlap = overlap(g, shape, &next);
                if (next.overlap <= f->overlap) continue;
                *f = next;
                better = true;
            }
        }
    }
}

static void measure_outlines(analysis *v)
{
    enum { FINE = 64 };
    for (int shape = 0; shape < ZI_SHAPES; shape++) {
        outline *o = &v->outlines[shape];
        for (int j = 0; j < FINE; j++)
            for (int i = 0; i < FINE; i++) {
                double x = (i + 0.5) * 2 / FINE - 1, y = (j + 0.5) * 2 / FINE - 1;
                if (!zi_shape_covers(shape, x, y)) continue;
                o->area++;
                o->x += x;
                o->y += y;
            }
        o->x /= o->area;
        o->y /= o->area;
        o->area *= 4.0 / (FINE * FINE);
    }
}

static void read_shape(const analysis *v, const region *b, found_object *object)
{
    grid g = grid_over(v, b);
    double area = 0, x = 0, y = 0;
    for (int j = 0; j < g.rows; j++)
        for (int i = 0; i < g.columns; i++)
            if (g.covered[j][i]) {
                area++;
                x += g.left + (i + 0.5) * g.step;
                y += g.top + (j + 0.5) * g.step;
            }
    if (area == 0) return;
    for (int shape = 0; shape < ZI_SHAPES; shape++) {
        const outline *o = &v->outlines[shape];
        fit *f = &object->fits[shape];
        f->radius = g.step * sqrt(area / o->area);
        f->cx = x / area - o->x * f->radius;
        f->cy = y / area - o->y * f->radius;
        improve_fit(&g, shape, f);
        if (f->overlap > object->fits[object->shape].overlap) object->shape = shape;
    }
}

/* ---- comparison with the scene ---- */

static bool analysis_create(const zi_image *image, analysis *v, zi_error *error)
{
    size_t n = (size_t)image->width * (size_t)image->height;
    *v = (analysis){.image = image, .width = image->width, .height = image->height};
    v->smooth = malloc(n * 3);
    v->labels = malloc(n * sizeof *v->labels);
    v->stack = malloc(n * sizeof *v->stack);
    v->cover = malloc(n * sizeof *v->cover);
    if (!v->smooth || !v->labels || !v->stack || !v->cover)
        return zi_error_no_memory(error, n * (3 + 2 * sizeof(int) + sizeof(float)));
    for (int i = 0; i < 256; i++) {
        double s = i / 255.0;
        v->linear[i] = s > 0.04045 ? pow((s + 0.055) / 1.055, 2.4) : s / 12.92;
    }
    for (int c = 0; c < ZI_COLOURS; c++) to_lab(v, zi_colour_rgb[c], v->palette[c]);
    measure_outlines(v);
    return true;
}

static void analysis_free(analysis *v)
{
    free(v->smooth);
    free(v->labels);
    free(v->stack);
    free(v->cover);
}

static void find_and_measure_objects(analysis *v)
{
    smooth_image(v);
    find_background(v);
    find_regions(v);
    for (int i = 0; i < v->count && i < MAX_OBJECTS; i++) {
        const region *b = &v->regions[i];
        found_object *object = &v->found[i];
        read_colour(v, b, object);
        read_cover(v, b, object->colour);
        object->edge_width = read_edge_width(v, b);
        read_shape(v, b, object);
    }
}

static void check_background(const analysis *v, int asked, zi_scene_report *out)
{
    double off;
    int colour = nearest_colour(v, v->background, &off);
    const uint8_t *g = v->background;
    if (asked >= 0 && colour != asked)
        add_fault(out, ZI_FAULT_BACKGROUND, "background %s, asked %s", zi_colour_name(colour),
                  zi_colour_name(asked));
    else if (off > max_colour_distance)
        add_fault(out, ZI_FAULT_BACKGROUND, "background %d %d %d is no clear %s", g[0], g[1], g[2],
                  zi_colour_name(colour));
    if (v->specks > max_speck_share)
        add_fault(out, ZI_FAULT_BACKGROUND, "background dirty: %.1f %% specks", 100 * v->specks);
}

static void check_colour(const analysis *v, const found_object *found, int asked,
                         zi_scene_report *out)
{
    double off;
    int colour = nearest_colour(v, found->colour, &off);
    const uint8_t *c = found->colour;
    if (colour != asked)
        add_fault(out, ZI_FAULT_COLOUR, "colour %s, asked %s", zi_colour_name(colour),
                  zi_colour_name(asked));
    else if (off > max_colour_distance)
        add_fault(out, ZI_FAULT_COLOUR, "colour %d %d %d is no clear %s", c[0], c[1], c[2],
                  zi_colour_name(colour));
    if (found->uneven > max_uneven_share)
        add_fault(out, ZI_FAULT_COLOUR, "colour patchy: %.0f %%", 100 * found->uneven);
}

static void check_object(const analysis *v, const found_object *found, const zi_scene_object *asked,
                         zi_scene_report *out)
{
    check_colour(v, found, asked->colour, out);
    const fit *f = &found->fits[found->shape];
    if (found->shape != asked->shape || f->overlap < min_overlap)
        add_fault(out, ZI_FAULT_SHAPE, "shape like %s (%.2f), asked %s (%.2f)",
                  zi_shape_name(found->shape), f->overlap, zi_shape_name(asked->shape),
                  found->fits[asked->shape].overlap);

    double x, y, dx, dy;
    zi_object_centre(asked, v->width, v->height, &x, &y);
    dx = (f->cx - x) / v->width;
    dy = (f->cy - y) / v->height;
    if (fabs(dx) > max_displacement || fabs(dy) > max_displacement)
        add_fault(out, ZI_FAULT_POSITION, "%s off by %+.2f of the width, %+.2f of the height",
                  zi_shape_name(asked->shape), dx, dy);

    double share = f->radius / (v->width < v->height ? v->width : v->height);
    const double *range = radius_range[asked->size];
    if (share < range[0] || share > range[1])
        add_fault(out, ZI_FAULT_SIZE, "radius %.2f of the shorter side, asked %.2f to %.2f", share,
                  range[0], range[1]);
    if (found->edge_width > max_edge_width)
        add_fault(out, ZI_FAULT_BLUR, "edges %.1f pixels wide", found->edge_width);
}

static int count_bits(unsigned bits)
{
    int n = 0;
    for (; bits; bits &= bits - 1) n++;
    return n;
}

/* Matches found objects with those of the scene, in the order that gives fewer faults. */
static void check_objects(const analysis *v, const zi_scene *asked, zi_scene_report *out)
{
    zi_scene_report best = {0};
    int min_faults = 0;
    for (int swap = 0; swap < asked->count; swap++) {
        zi_scene_report total = *out;
        int faults = 0;
        for (int i = 0; i < asked->count; i++) {
            zi_scene_report one = {0};
            check_object(v, &v->found[i ^ swap], &asked->objects[i], &one);
            faults += count_bits(one.faults);
            if (one.faults) add_fault(&total, one.faults, "%s", one.text);
        }
        if (swap && faults >= min_faults) continue;
        best = total;
        min_faults = faults;
    }
    *out = best;
}

bool zi_scene_check(const zi_image *image, const zi_scene *asked, zi_scene_report *out,
                    zi_error *error)
{
    analysis v;
    zi_scene_report report = {0};
    bool ok = analysis_create(image, &v, error);
    if (!ok) goto out;
    find_and_measure_objects(&v);
    check_background(&v, asked->background, &report);
    if (v.count != asked->count)
        add_fault(&report, ZI_FAULT_COUNT, "%d objects, asked %d", v.count, asked->count);
    else
        check_objects(&v, asked, &report);
    *out = report;
out:
    analysis_free(&v);
    return ok;
}
