#include "scenes.h"
#include "base/text.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const uint8_t zi_colour_rgb[ZI_COLOURS][3] = {
    {220, 40, 40},   {40, 170, 70},  {45, 90, 220},   {245, 210, 50},
    {245, 140, 40},  {140, 60, 190}, {245, 140, 190}, {60, 200, 215},
    {245, 245, 245}, {25, 25, 30},   {130, 130, 135}, {125, 80, 45},
};

typedef enum { COLOUR, SHAPE, SIZE, POSITION, RELATION, BACKGROUND } word_kind;

/* All words that the parser accepts. Generated prompts use the first English and the first Chinese
 * word of each meaning. The value of a RELATION is the position of the object named first. */
static const struct word {
    const char *text;
    word_kind kind;
    int value;
} words[] = {
    {"red", COLOUR, 0},
    {"green", COLOUR, 1},
    {"blue", COLOUR, 2},
    {"yellow", COLOUR, 3},
    {"orange", COLOUR, 4},
    {"purple", COLOUR, 5},
    {"pink", COLOUR, 6},
    {"cyan", COLOUR, 7},
    {"white", COLOUR, 8},
    {"black", COLOUR, 9},
    {"gray", COLOUR, 10},
    {"grey", COLOUR, 10},
    {"brown", COLOUR, 11},
    {"红色", COLOUR, 0},
    {"绿色", COLOUR, 1},
    {"蓝色", COLOUR, 2},
    {"黄色", COLOUR, 3},
    {"橙色", COLOUR, 4},
    {"紫色", COLOUR, 5},
    {"粉色", COLOUR, 6},
    {"粉红色", COLOUR, 6},
    {"青色", COLOUR, 7},
    {"白色", COLOUR, 8},
    {"黑色", COLOUR, 9},
    {"灰色", COLOUR, 10},
    {"棕色", COLOUR, 11},
    {"褐色", COLOUR, 11},
    {"circle", SHAPE, ZI_CIRCLE},
    {"square", SHAPE, ZI_SQUARE},
    {"triangle", SHAPE, ZI_TRIANGLE},
    {"star", SHAPE, ZI_STAR},
    {"heart", SHAPE, ZI_HEART},
    {"ring", SHAPE, ZI_RING},
    {"cross", SHAPE, ZI_CROSS},
    {"diamond", SHAPE, ZI_DIAMOND},
    {"moon", SHAPE, ZI_MOON},
    {"hexagon", SHAPE, ZI_HEXAGON},
    {"圆形", SHAPE, ZI_CIRCLE},
    {"方形", SHAPE, ZI_SQUARE},
    {"正方形", SHAPE, ZI_SQUARE},
    {"三角形", SHAPE, ZI_TRIANGLE},
    {"星形", SHAPE, ZI_STAR},
    {"五角星", SHAPE, ZI_STAR},
    {"星星", SHAPE, ZI_STAR},
    {"心形", SHAPE, ZI_HEART},
    {"爱心", SHAPE, ZI_HEART},
    {"圆环", SHAPE, ZI_RING},
    {"环形", SHAPE, ZI_RING},
    {"十字", SHAPE, ZI_CROSS},
    {"十字形", SHAPE, ZI_CROSS},
    {"菱形", SHAPE, ZI_DIAMOND},
    {"月亮", SHAPE, ZI_MOON},
    {"月牙", SHAPE, ZI_MOON},
    {"六边形", SHAPE, ZI_HEXAGON},
    {"small", SIZE, ZI_SMALL},
    {"tiny", SIZE, ZI_SMALL},
    {"little", SIZE, ZI_SMALL},
    {"large", SIZE, ZI_LARGE},
    {"big", SIZE, ZI_LARGE},
    {"huge", SIZE, ZI_LARGE},
    {"小的", SIZE, ZI_SMALL},
    {"大的", SIZE, ZI_LARGE},
    {"in the top left", POSITION, 0},
    {"at the top", POSITION, 1},
    {"in the top right", POSITION, 2},
    {"on the left", POSITION, 3},
    {"in the centre", POSITION, 4},
    {"in the center", POSITION, 4},
    {"in the middle", POSITION, 4},
    {"on the right", POSITION, 5},
    {"in the bottom left", POSITION, 6},
    {"at the bottom", POSITION, 7},
    {"in the bottom right", POSITION, 8},
    {"左上角", POSITION, 0},
    {"上方", POSITION, 1},
    {"上面", POSITION, 1},
    {"右上角", POSITION, 2},
    {"左边", POSITION, 3},
    {"中间", POSITION, 4},
    {"右边", POSITION, 5},
    {"左下角", POSITION, 6},
    {"下方", POSITION, 7},
    {"下面", POSITION, 7},
    {"右下角", POSITION, 8},
    {"left of", RELATION, ZI_LEFT},
    {"right of", RELATION, ZI_RIGHT},
    {"above", RELATION, ZI_TOP},
    {"below", RELATION, ZI_BOTTOM},
    {"background", BACKGROUND, 0},
    {"背景", BACKGROUND, 0},
};

enum { WORDS = sizeof words / sizeof words[0] };

static bool is_chinese(const char *text)
{
    return (unsigned char)text[0] >= 0x80;
}

static const char *word_for(word_kind kind, int value, bool chinese)
{
    for (int i = 0; i < WORDS; i++) {
        const struct word *w = &words[i];
        if (w->kind == kind && w->value == value && is_chinese(w->text) == chinese) return w->text;
    }
    return "";
}

const char *zi_colour_name(int colour)
{
    return word_for(COLOUR, colour, false);
}

const char *zi_shape_name(int shape)
{
    return word_for(SHAPE, shape, false);
}

/* ---- from a prompt ---- */

/* The longest word that stands at text[at], or NULL. */
static const struct word *word_at(const char *text, size_t at)
{
    const struct word *best = NULL;
    size_t longest = 0;
    for (int i = 0; i < WORDS; i++) {
        size_t size = strlen(words[i].text);
        if (size <= longest || strncmp(text + at, words[i].text, size) != 0) continue;
        if (!is_chinese(words[i].text) && ((at > 0 && isalpha((unsigned char)text[at - 1])) ||
                                           isalpha((unsigned char)text[at + size])))
            continue;
        best = &words[i];
        longest = size;
    }
    return best;
}

bool zi_scene_parse(const char *prompt, zi_scene *out)
{
    char text[512];
    size_t size = strlen(prompt);
    if (size >= sizeof text) return false;
    for (size_t i = 0; i <= size; i++) text[i] = (char)tolower((unsigned char)prompt[i]);

    zi_scene scene = {.background = -1};
    int colour = -1, position = ZI_CENTRE;
    zi_object_size thing_size = ZI_MEDIUM;
    for (size_t at = 0; at < size;) {
        const struct word *w = word_at(text, at);
        at += w ? strlen(w->text) : 1;
        if (!w) continue;
        if (w->kind == COLOUR) {
            if (colour >= 0) scene.background = colour;
            colour = w->value;
        } else if (w->kind == SHAPE) {
            if (colour < 0 || scene.count == 2) return false;
            scene.objects[scene.count++] =
                (zi_scene_object){w->value, colour, ZI_CENTRE, thing_size};
            colour = -1;
        } else if (w->kind == SIZE) {
            thing_size = (zi_object_size)w->value;
        } else if (w->kind == BACKGROUND) {
            scene.background = colour;
            colour = -1;
        } else {
            position = w->value;
        }
    }
    if (colour >= 0) scene.background = colour; /* "... on blue" */
    if (scene.count == 0) return false;
    scene.objects[0].position = position;
    if (scene.count == 2) {
        if (position % 2 == 0) return false; /* a corner or the middle is no relation */
        scene.objects[1].position = ZI_POSITIONS - 1 - position;
        scene.objects[0].size = scene.objects[1].size = ZI_PAIR;
    }
    *out = scene;
    return true;
}

/* ---- held-out prompts ---- */

static uint32_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 33);
}

/* Random draws without replacement; reshuffled when empty, so that all values are equally frequent.
 */
typedef struct {
    int cards[32], count, left;
} deck;

static int deck_deal(deck *d, uint64_t *random)
{
    if (d->left == 0) d->left = d->count;
    int i = (int)(next_random(random) % (uint32_t)d->left--);
    int card = d->cards[i];
    d->cards[i] = d->cards[d->left];
    d->cards[d->left] = card;
    return card;
}

/* Deals a card other than a and b. */
static int deck_deal_other(deck *d, uint64_t *random, int a, int b)
{
    int card;
    do card = deck_deal(d, random);
    while (card == a || card == b);
    return card;
}

/* ---- held-out scenes ---- */

/* CRC-32 as in zlib. */
static uint32_t crc32_of(const char *text)
{
    uint32_t crc = ~0u;
    for (; *text; text++) {
        crc ^= (unsigned char)*text;
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
    }
    return ~crc;
}

static void describe_object(const zi_scene_object *t, zi_text *out)
{
    static const char *const sizes[] = {
        [ZI_MEDIUM] = "", [ZI_SMALL] = "small", [ZI_LARGE] = "large", [ZI_PAIR] = "pair"};
    static const char *const positions[ZI_POSITIONS] = {"top left",    "top",    "top right",
                                                        "left",        "",       "right",
                                                        "bottom left", "bottom", "bottom right"};
    zi_text_printf(out, "Thing(colour='%s', shape='%s', size='%s', place='%s')",
                   zi_colour_name(t->colour), zi_shape_name(t->shape), sizes[t->size],
                   positions[t->position]);
}

/* Whether training leaves this scene out (held_out of tools/demo-model/scenes.py): one scene in
 * fifty, by CRC-32 of its Python repr with the left or upper object first. */
static bool held_out(const zi_scene *scene)
{
    const zi_scene_object *first = &scene->objects[0], *second = &scene->objects[1];
    bool swapped = scene->count == 2 && first->position > second->position;
    zi_text text;
    zi_text_init(&text, 512);
    zi_text_printf(&text, "Scene(background='%s', things=(", zi_colour_name(scene->background));
    describe_object(swapped ? second : first, &text);
    zi_text_puts(&text, scene->count == 2 ? ", " : ",");
    if (scene->count == 2) describe_object(swapped ? first : second, &text);
    zi_text_puts(&text, "))");
    bool held = !text.failed && crc32_of(text.data) % 50 == 0;
    zi_text_free(&text);
    return held;
}

typedef struct {
    uint64_t random;
    deck shapes, colours, backgrounds, sizes, positions, relations, forms, images;
} decks;

enum { NO_POSITION = -1, CHINESE = 3, CHINESE_COMMA = 4 }; /* forms 0 to 2 are English */

static const int image_sizes[6][2] = {{128, 128}, {192, 192}, {192, 128},
                                      {128, 192}, {256, 256}, {256, 192}};

static decks decks_new(uint64_t random)
{
    decks d = {
        .random = random,
        .sizes = {{ZI_MEDIUM, ZI_MEDIUM, ZI_SMALL, ZI_LARGE}, 4, 0},
        .positions = {{NO_POSITION, NO_POSITION, NO_POSITION, NO_POSITION, 0, 1, 2, 3, 4, 5, 6, 7,
                       8},
                      13,
                      0},
        .relations = {{ZI_LEFT, ZI_RIGHT, ZI_TOP, ZI_BOTTOM}, 4, 0},
        .images = {{0, 0, 0, 0, 1, 1, 1, 1, 2, 3, 4, 5}, 12, 0},
        .forms = {{0}, 25, 0},
    };
    d.shapes.count = ZI_SHAPES;
    d.colours.count = d.backgrounds.count = ZI_COLOURS;
    for (int i = 0; i < ZI_COLOURS; i++)
        d.shapes.cards[i] = d.colours.cards[i] = d.backgrounds.cards[i] = i;
    /* 22 English ones, 3 Chinese ones */
    for (int i = 0; i < 22; i++) d.forms.cards[i] = i % 3;
    d.forms.cards[22] = d.forms.cards[23] = CHINESE;
    d.forms.cards[24] = CHINESE_COMMA;
    return d;
}

static const char *article(const char *word)
{
    return strchr("aeiou", word[0]) ? "an" : "a";
}

static void write_english(const zi_scene *scene, bool position_named, int form, zi_text *out)
{
    const zi_scene_object *t = scene->objects;
    const char *background = zi_colour_name(scene->background);
    if (form == 1) zi_text_printf(out, "%s background, ", background);
    if (form == 2) zi_text_puts(out, "a picture of ");
    for (int i = 0; i < scene->count; i++) {
        const char *size = word_for(SIZE, (int)t[i].size, false);
        const char *colour = zi_colour_name(t[i].colour);
        if (i) zi_text_printf(out, " %s ", word_for(RELATION, t[0].position, false));
        zi_text_printf(out, "%s %s%s%s %s", article(size[0] ? size : colour), size,
                       size[0] ? " " : "", colour, zi_shape_name(t[i].shape));
    }
    if (position_named) zi_text_printf(out, " %s", word_for(POSITION, t[0].position, false));
    if (form == 0) zi_text_printf(out, " on %s %s background", article(background), background);
    if (form == 2) zi_text_printf(out, " on %s", background);
}

static void write_chinese(const zi_scene *scene, bool position_named, int form, zi_text *out)
{
    const zi_scene_object *t = scene->objects;
    zi_text_printf(out, "%s背景%s", word_for(COLOUR, scene->background, true),
                   form == CHINESE_COMMA ? "，"
                   : scene->count == 2   ? "上，"
                                         : "上");
    if (scene->count == 1)
        zi_text_printf(out, "%s一个%s%s%s",
                       position_named ? word_for(POSITION, t->position, true) : "",
                       word_for(SIZE, (int)t->size, true), word_for(COLOUR, t->colour, true),
                       word_for(SHAPE, t->shape, true));
    else
        zi_text_printf(out, "%s%s在%s%s的%s", word_for(COLOUR, t[0].colour, true),
                       word_for(SHAPE, t[0].shape, true), word_for(COLOUR, t[1].colour, true),
                       word_for(SHAPE, t[1].shape, true), word_for(POSITION, t[0].position, true));
}

/* Gives the first object size and position; returns the position that the prompt names, if any. */
static int deal_single(decks *d, zi_scene_object *object)
{
    int position = deck_deal(&d->positions, &d->random);
    object->size = (zi_object_size)deck_deal(&d->sizes, &d->random);
    object->position = position == NO_POSITION ? ZI_CENTRE : position;
    return position;
}

/* Gives the second object its colour, and both their positions. */
static void deal_pair(decks *d, zi_scene_object *a, zi_scene_object *b)
{
    do b->colour = deck_deal(&d->colours, &d->random);
    while (b->shape == a->shape && b->colour == a->colour);
    a->size = b->size = ZI_PAIR;
    a->position = deck_deal(&d->relations, &d->random);
    b->position = ZI_POSITIONS - 1 - a->position;
}

/* Whether one of the prompts [first, u) has the same scene as u. */
static bool is_repeated(const zi_heldout *first, const zi_heldout *u)
{
    for (; first < u; first++)
        if (memcmp(&first->scene, &u->scene, sizeof u->scene) == 0) return true;
    return false;
}

static void deal_prompt(decks *d, int count, const zi_heldout *first, zi_heldout *out)
{
    zi_scene *scene = &out->scene;
    zi_scene_object *a = &scene->objects[0], *b = &scene->objects[1];
    int position = NO_POSITION;
    scene->count = count;
    *a = (zi_scene_object){.shape = deck_deal(&d->shapes, &d->random),
                           .colour = deck_deal(&d->colours, &d->random)};
    if (count == 2) b->shape = deck_deal(&d->shapes, &d->random);
    do { /* everything else until training has never seen it */
        if (count == 1)
            position = deal_single(d, a);
        else
            deal_pair(d, a, b);
        scene->background = deck_deal_other(&d->backgrounds, &d->random, a->colour,
                                            count == 2 ? b->colour : a->colour);
    } while (!held_out(scene) || is_repeated(first, out));
    int image = deck_deal(&d->images, &d->random), form = deck_deal(&d->forms, &d->random);
    out->width = image_sizes[image][0];
    out->height = image_sizes[image][1];
    zi_text text;
    zi_text_init(&text, sizeof out->prompt);
    (form < CHINESE ? write_english : write_chinese)(scene, position != NO_POSITION, form, &text);
    snprintf(out->prompt, sizeof out->prompt, "%s", text.failed ? "" : text.data);
    zi_text_free(&text);
}

void zi_heldout_prompts(zi_heldout *out)
{
    memset(out, 0, ZI_HELDOUT * sizeof *out);
    decks d = decks_new(20251123);
    for (int i = 0; i < ZI_HELDOUT; i++) {
        out[i].seed = (uint64_t)i;
        deal_prompt(&d, i < ZI_HELDOUT_SINGLE ? 1 : 2, out, &out[i]);
    }
}

static void write_string(zi_text *out, const char *string)
{
    zi_text_puts(out, "\"");
    for (; *string; string++) {
        if (*string == '"' || *string == '\\') zi_text_puts(out, "\\");
        zi_text_append(out, string, 1);
    }
    zi_text_puts(out, "\"");
}

char *zi_heldout_list(const zi_heldout *heldout, int count)
{
    zi_text text;
    zi_text_init(&text, 1 << 20);
    zi_text_puts(&text, "[");
    for (int i = 0; i < count; i++) {
        const zi_heldout *u = &heldout[i];
        zi_text_puts(&text, i ? ",\n {\"prompt\": " : "\n {\"prompt\": ");
        write_string(&text, u->prompt);
        zi_text_printf(&text,
                       ", \"file\": \"%03d.png\", \"width\": %d, \"height\": %d, \"seed\": %d}", i,
                       u->width, u->height, (int)u->seed);
    }
    zi_text_puts(&text, "\n]\n");
    char *list = zi_text_take(&text);
    zi_text_free(&text);
    return list;
}

/* ---- rendering ---- */

double zi_object_radius(zi_object_size size, int width, int height)
{
    static const double shares[] = {
        [ZI_MEDIUM] = 0.26, [ZI_SMALL] = 0.16, [ZI_LARGE] = 0.37, [ZI_PAIR] = 0.19};
    return shares[size] * (width < height ? width : height);
}

/* step: 0 near the left or upper edge, 1 in the middle, 2 near the far edge. */
static double position_along(int step, int side, int shorter, const zi_scene_object *object,
                             double radius)
{
    double edge = 0.27 * side;
    if (object->size == ZI_LARGE) edge = fmax(edge, radius - 0.05 * shorter);
    return step == 0 ? edge : step == 1 ? 0.5 * side : side - edge;
}

void zi_object_centre(const zi_scene_object *object, int width, int height, double *x, double *y)
{
    int shorter = width < height ? width : height;
    double radius = zi_object_radius(object->size, width, height);
    *x = position_along(object->position % 3, width, shorter, object, radius);
    *y = position_along(object->position / 3, height, shorter, object, radius);
}

/* Reflects (x, y) onto the side of the line through (0, 0) that its normal (nx, ny) leaves. */
static void fold(double *x, double *y, double nx, double ny)
{
    double beyond = fmax(*x * nx + *y * ny, 0);
    *x -= 2 * beyond * nx;
    *y -= 2 * beyond * ny;
}

/* A star of five points: folded up until one half of the upper tip is left, whose edge runs from
 * the tip (0, 1), y up, to the notch at radius 0.42, a tenth of a turn further. */
static bool star_covers(double x, double y)
{
    const double cosine = 0.80901699437494742, sine = 0.58778525229247313; /* of a tenth turn */
    x = fabs(x);
    y = -y;
    fold(&x, &y, cosine, -sine);
    fold(&x, &y, -cosine, -sine);
    x = fabs(x);
    return x * (1 - 0.42 * cosine) <= 0.42 * sine * (1 - y);
}

static double square(double a)
{
    return a * a;
}

/* A square on its corner with two half discs on its upper sides. */
static bool heart_covers(double x, double y)
{
    double u = fabs(x) / 1.5, v = 0.55 - y / 1.5; /* the tip is at (0, 0), v up */
    if (u + v > 1) return square(u - 0.25) + square(v - 0.75) <= 0.125;
    return u <= v;
}

bool zi_shape_covers(int shape, double x, double y)
{
    double ax = fabs(x), ay = fabs(y), squared = x * x + y * y;
    switch (shape) {
    case ZI_CIRCLE:
        return squared <= 1;
    case ZI_SQUARE:
        return ax <= 0.85 && ay <= 0.85;
    case ZI_TRIANGLE:
        return y <= 0.5 && ax * sqrt(3) <= y + 1;
    case ZI_STAR:
        return star_covers(x, y);
    case ZI_HEART:
        return heart_covers(x, y);
    case ZI_RING:
        return squared <= 1 && squared >= 0.54 * 0.54;
    case ZI_CROSS:
        return (ax <= 0.32 && ay <= 1) || (ay <= 0.32 && ax <= 1);
    case ZI_DIAMOND:
        return ax + ay <= 1;
    case ZI_MOON:
        return squared <= 1 && square(x - 0.5) + square(y + 0.15) >= 0.8 * 0.8;
    case ZI_HEXAGON:
        return ay <= sqrt(3) / 2 && ay <= sqrt(3) * (1 - ax);
    default:
        return false;
    }
}

/* Mixes an object into an image; edge pixels by the share that 4 x 4 points of them say. */
static void render_object(const zi_scene_object *object, zi_image *image)
{
    double cx, cy, radius = zi_object_radius(object->size, image->width, image->height);
    zi_object_centre(object, image->width, image->height, &cx, &cy);
    for (int y = 0; y < image->height; y++)
        for (int x = 0; x < image->width; x++) {
            int covered = 0;
            if (fabs(x + 0.5 - cx) > radius + 1 || fabs(y + 0.5 - cy) > radius + 1) continue;
            for (int i = 0; i < 16; i++)
                covered += zi_shape_covers(object->shape, (x + (i % 4 + 0.5) / 4 - cx) / radius,
                                           (y + (i / 4 + 0.5) / 4 - cy) / radius);
            uint8_t *pixel = image->pixels + ((size_t)y * (size_t)image->width + (size_t)x) * 3;
            for (int c = 0; c < 3; c++)
                pixel[c] = (uint8_t)((pixel[c] * (16 - covered) +
                                      zi_colour_rgb[object->colour][c] * covered + 8) /
                                     16);
        }
}

zi_image *zi_scene_render(const zi_scene *scene, int width, int height)
{
    size_t pixels = (size_t)width * (size_t)height;
    zi_image *image = malloc(sizeof *image);
    uint8_t *data = malloc(pixels * 3);
    if (!image || !data) {
        free(image);
        free(data);
        return NULL;
    }
    *image = (zi_image){width, height, data};
    const uint8_t white[3] = {255, 255, 255};
    const uint8_t *background = scene->background >= 0 ? zi_colour_rgb[scene->background] : white;
    for (size_t i = 0; i < pixels; i++) memcpy(data + 3 * i, background, 3);
    for (int i = 0; i < scene->count; i++) render_object(&scene->objects[i], image);
    return image;
}
