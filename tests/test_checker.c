/* The checker of images: rendered scenes must pass, also slightly noisy or blurred, and each kind
 * of fault must be reported. The short form leaves out most combinations of shape, size, position
 * and image size. */
#include "checker.h"
#include "harness.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const int sizes[][2] = {{128, 128}, {192, 128}, {128, 256}, {256, 256}};

enum { IMAGE_SIZES = sizeof sizes / sizeof sizes[0] };
enum { RED, GREEN, BLUE, YELLOW, ORANGE, PURPLE, PINK, CYAN, WHITE, BLACK, GRAY, BROWN };

static zi_scene one(int shape, int colour, int background, zi_object_size size, int position)
{
    return (zi_scene){background, 1, {{shape, colour, position, size}}};
}

static zi_scene two(int first_shape, int first_colour, int position, int shape, int colour,
                    int background)
{
    return (zi_scene){background,
                      2,
                      {{first_shape, first_colour, position, ZI_PAIR},
                       {shape, colour, ZI_POSITIONS - 1 - position, ZI_PAIR}}};
}

/* ---- degrading images ---- */

static size_t bytes_of(const zi_image *image)
{
    return (size_t)image->width * (size_t)image->height * 3;
}

static uint32_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 33);
}

/* Adds uniform noise in [-amount, amount] to every value. */
static void add_noise(zi_image *image, int amount)
{
    uint64_t random = 1;
    for (size_t i = 0; i < bytes_of(image); i++) {
        int value =
            image->pixels[i] + (int)(next_random(&random) % (2u * (unsigned)amount + 1)) - amount;
        image->pixels[i] = (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
    }
}

/* Filters a line of n pixels, stride bytes apart, with the kernel 1 2 1. */
static void soften_line(uint8_t *line, int n, size_t stride)
{
    int before = line[0];
    for (int i = 0; i < n; i++) {
        uint8_t *at = line + (size_t)i * stride;
        int here = *at, after = i + 1 < n ? at[stride] : here;
        *at = (uint8_t)((before + 2 * here + after + 2) / 4);
        before = here;
    }
}

/* A Gaussian blur of variance: each pass adds half a square pixel. */
static void blur(zi_image *image, double variance)
{
    size_t row = (size_t)image->width * 3;
    for (int pass = 0; pass < (int)(variance * 2); pass++)
        for (size_t c = 0; c < 3; c++) {
            for (int y = 0; y < image->height; y++)
                soften_line(image->pixels + (size_t)y * row + c, image->width, 3);
            for (int x = 0; x < image->width; x++)
                soften_line(image->pixels + (size_t)x * 3 + c, image->height, row);
        }
}

static void mirror(zi_image *image)
{
    for (int y = 0; y < image->height; y++)
        for (int x = 0; x < image->width / 2; x++) {
            uint8_t *a = image->pixels + ((size_t)y * (size_t)image->width + (size_t)x) * 3,
                    kept[3];
            uint8_t *b = a + (size_t)(image->width - 1 - 2 * x) * 3;
            memcpy(kept, a, 3);
            memcpy(a, b, 3);
            memcpy(b, kept, 3);
        }
}

/* Blends all pixels of exactly this colour with grey; share 1: grey. */
static void wash_out(zi_image *image, int colour, double share)
{
    for (size_t i = 0; i < bytes_of(image); i += 3) {
        if (memcmp(image->pixels + i, zi_colour_rgb[colour], 3) != 0) continue;
        for (size_t c = 0; c < 3; c++)
            image->pixels[i + c] = (uint8_t)(image->pixels[i + c] * (1 - share) + 160 * share);
    }
}

static void fill(zi_image *image, int left, int top, int side, int colour)
{
    for (int y = top; y < top + side; y++)
        for (int x = left; x < left + side; x++)
            memcpy(image->pixels + ((size_t)y * (size_t)image->width + (size_t)x) * 3,
                   zi_colour_rgb[colour], 3);
}

/* Renders `drawn`, degrades it with `spoil` (may be NULL) and checks it against `asked`. expected:
 * the exact ZI_FAULT_ bits, or, negative, bits that must be among those found. */
typedef void (*spoil_fn)(zi_image *image);

static void expect_at(const zi_scene *drawn, const zi_scene *asked, int width, int height,
                      spoil_fn spoil, int expected)
{
    zi_error error = {0};
    zi_scene_report report = {0};
    zi_image *image = zi_scene_render(drawn, width, height);
    if (!CHECK(image)) return;
    if (spoil) spoil(image);
    bool checked = zi_scene_check(image, asked, &report, &error);
    free(image->pixels);
    free(image);
    if (!CHECK_OK(checked, error)) return;
    unsigned wanted = (unsigned)abs(expected);
    bool right = expected < 0 ? (report.faults & wanted) == wanted : report.faults == wanted;
    CHECK_MSG(right, "%s %s on %s, size %d, place %d, %dx%d: faults %u, expected %d: %s",
              zi_colour_name(asked->objects[0].colour), zi_shape_name(asked->objects[0].shape),
              zi_colour_name(asked->background), (int)asked->objects[0].size,
              asked->objects[0].position, width, height, report.faults, expected, report.text);
}

static void expect(const zi_scene *drawn, const zi_scene *asked, spoil_fn spoil, int expected)
{
    expect_at(drawn, asked, 128, 128, spoil, expected);
}

/* ---- images that must pass ---- */

static void accepts_rendered_scenes(void)
{
    int n = 0;
    for (int shape = 0; shape < ZI_SHAPES; shape++)
        for (int size = ZI_MEDIUM; size <= ZI_LARGE; size++)
            for (int position = 0; position < ZI_POSITIONS; position++)
                for (int p = 0; p < IMAGE_SIZES; p++, n++) {
                    if (!zi_test_long() && n % 5) continue;
                    int colour = n % 12, background = (colour + 1 + n / 12 % 11) % 12;
                    zi_scene s = one(shape, colour, background, (zi_object_size)size, position);
                    expect_at(&s, &s, sizes[p][0], sizes[p][1], NULL, 0);
                }
}

static void accepts_all_colour_pairs(void)
{
    for (int colour = 0; colour < ZI_COLOURS; colour++)
        for (int background = 0; background < ZI_COLOURS; background++) {
            zi_scene s = one((colour + background) % 10, colour, background, ZI_SMALL, ZI_CENTRE);
            if (colour != background) expect(&s, &s, NULL, 0);
        }
}

static void slightly_both(zi_image *image)
{
    blur(image, 1);
    add_noise(image, 12);
}

static void accepts_heldout_scenes(void)
{
    static zi_heldout heldout[ZI_HELDOUT];
    zi_heldout_prompts(heldout);
    for (int i = 0; i < ZI_HELDOUT; i += zi_test_long() ? 1 : 5) {
        const zi_heldout *u = &heldout[i];
        expect_at(&u->scene, &u->scene, u->width, u->height, NULL, 0);
        expect_at(&u->scene, &u->scene, u->width, u->height, slightly_both, 0);
    }
}

static void accepts_small_imperfect_shapes(void)
{
    for (int shape = 0; shape < ZI_SHAPES; shape++)
        for (int position = 0; position < ZI_POSITIONS; position++) {
            int colour = (shape + 3 * position) % 12, background = (colour + 1 + position) % 12;
            zi_scene s = one(shape, colour, background, ZI_SMALL, position);
            expect(&s, &s, slightly_both, 0);
        }
}

/* Deviations that a prompt permits. */
static void accepts_near_misses(void)
{
    zi_scene open = one(ZI_STAR, RED, -1, ZI_MEDIUM, ZI_CENTRE);
    zi_scene blue = one(ZI_STAR, RED, BLUE, ZI_MEDIUM, ZI_CENTRE);
    expect(&blue, &open, NULL, 0);
    /* Radii 0.19 and 0.26 both count as medium. */
    zi_scene slim = blue;
    slim.objects[0].size = ZI_PAIR;
    expect(&slim, &blue, NULL, 0);
}

/* ---- faults that must be reported ---- */

static void refuses_other_colours(void)
{
    for (int asked = 0; asked < ZI_COLOURS; asked++)
        for (int drawn = 0; drawn < ZI_COLOURS; drawn++) {
            if (drawn == asked) continue;
            int third = 0;
            while (third == asked || third == drawn) third++;
            zi_scene a = one(ZI_HEART, asked, third, ZI_MEDIUM, ZI_LEFT), b = a;
            b.objects[0].colour = drawn;
            expect(&b, &a, NULL, ZI_FAULT_COLOUR);
            b = a = one(ZI_HEART, third, asked, ZI_MEDIUM, ZI_LEFT);
            b.background = drawn;
            expect(&b, &a, NULL, ZI_FAULT_BACKGROUND);
        }
}

static void refuses_other_shapes(void)
{
    for (int asked = 0; asked < ZI_SHAPES; asked++)
        for (int drawn = 0; drawn < ZI_SHAPES; drawn++)
            for (int size = ZI_MEDIUM; size <= ZI_LARGE; size++) {
                bool left_out = !zi_test_long() && size != (asked + drawn) % 3;
                if (drawn == asked || left_out) continue;
                zi_scene a = one(asked, YELLOW, BLACK, (zi_object_size)size, ZI_RIGHT), b = a;
                b.objects[0].shape = drawn;
                expect(&b, &a, NULL, ZI_FAULT_SHAPE);
                expect(&b, &a, slightly_both, ZI_FAULT_SHAPE);
            }
}

static void refuses_mirrored_moon(void)
{
    for (int size = ZI_MEDIUM; size <= ZI_LARGE; size++) {
        zi_scene s = one(ZI_MOON, WHITE, PURPLE, (zi_object_size)size, ZI_CENTRE);
        expect(&s, &s, mirror, -ZI_FAULT_SHAPE);
    }
}

static void refuses_other_positions(void)
{
    for (int asked = 0; asked < ZI_POSITIONS; asked++)
        for (int drawn = 0; drawn < ZI_POSITIONS; drawn++)
            for (int p = 0; p < IMAGE_SIZES; p++) {
                bool left_out = !zi_test_long() && p != (asked + drawn) % IMAGE_SIZES;
                if (drawn == asked || left_out) continue;
                zi_scene a = one(drawn % 5 * 2, GRAY, BLACK, ZI_SMALL, asked), b = a;
                b.objects[0].position = drawn;
                expect_at(&b, &a, sizes[p][0], sizes[p][1], NULL, ZI_FAULT_POSITION);
            }
}

static void refuses_other_sizes(void)
{
    for (int shape = 0; shape < ZI_SHAPES; shape++)
        for (int asked = ZI_MEDIUM; asked <= ZI_LARGE; asked++)
            for (int drawn = ZI_MEDIUM; drawn <= ZI_LARGE; drawn++) {
                if (drawn == asked) continue;
                zi_scene a = one(shape, PINK, WHITE, (zi_object_size)asked, ZI_CENTRE), b = a;
                b.objects[0].size = (zi_object_size)drawn;
                expect(&b, &a, NULL, ZI_FAULT_SIZE);
            }
}

static void third_object(zi_image *image)
{
    fill(image, 58, 5, 12, CYAN);
}

static void refuses_wrong_counts(void)
{
    zi_scene pair = two(ZI_STAR, RED, ZI_LEFT, ZI_RING, GREEN, WHITE);
    zi_scene single = one(ZI_STAR, RED, WHITE, ZI_MEDIUM, ZI_BOTTOM), none = single;
    none.count = 0;
    expect(&pair, &pair, third_object, ZI_FAULT_COUNT);
    expect(&single, &single, third_object, ZI_FAULT_COUNT);
    expect(&single, &pair, NULL, ZI_FAULT_COUNT);
    expect(&pair, &single, NULL, ZI_FAULT_COUNT);
    expect(&none, &single, NULL, ZI_FAULT_COUNT);
    expect(&none, &pair, NULL, ZI_FAULT_COUNT);
}

static void refuses_wrong_pairs(void)
{
    zi_scene asked = two(ZI_STAR, RED, ZI_LEFT, ZI_RING, GREEN, WHITE);
    const struct {
        zi_scene drawn;
        int faults;
    } rows[] = {
        {two(ZI_STAR, RED, ZI_RIGHT, ZI_RING, GREEN, WHITE), ZI_FAULT_POSITION},
        {two(ZI_STAR, RED, ZI_TOP, ZI_RING, GREEN, WHITE), ZI_FAULT_POSITION},
        {two(ZI_STAR, GREEN, ZI_LEFT, ZI_RING, RED, WHITE), ZI_FAULT_COLOUR},
        {two(ZI_RING, RED, ZI_LEFT, ZI_STAR, GREEN, WHITE), ZI_FAULT_SHAPE},
        {two(ZI_STAR, RED, ZI_LEFT, ZI_CIRCLE, GREEN, WHITE), ZI_FAULT_SHAPE},
        {two(ZI_STAR, RED, ZI_LEFT, ZI_RING, CYAN, WHITE), ZI_FAULT_COLOUR},
        {two(ZI_STAR, RED, ZI_LEFT, ZI_RING, GREEN, GRAY), ZI_FAULT_BACKGROUND},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        expect_at(&rows[i].drawn, &asked, 192, 128, NULL, -rows[i].faults);
}

static void wash_background(zi_image *image)
{
    wash_out(image, RED, 0.45);
}

static void wash_object(zi_image *image)
{
    wash_out(image, BLUE, 0.6);
}

static void blur_heavily(zi_image *image)
{
    blur(image, 9);
}

static void blur_heavily_with_noise(zi_image *image)
{
    blur(image, 9);
    add_noise(image, 12);
}

static void spot(zi_image *image)
{
    fill(image, 52, 54, 24, YELLOW);
}

static void sprinkle(zi_image *image)
{
    for (int i = 0; i < 18; i++) fill(image, 4 + 7 * (i % 18), i % 2 ? 4 : 118, 4, GREEN);
}

static void refuses_bad_drawing(void)
{
    zi_scene s = one(ZI_SQUARE, BLUE, RED, ZI_MEDIUM, ZI_CENTRE);
    expect(&s, &s, wash_background, -ZI_FAULT_BACKGROUND);
    expect(&s, &s, wash_object, -ZI_FAULT_COLOUR);
    expect(&s, &s, blur_heavily, -ZI_FAULT_BLUR);
    expect(&s, &s, spot, -ZI_FAULT_COLOUR);
    expect(&s, &s, sprinkle, ZI_FAULT_BACKGROUND);
    for (int shape = 0; shape < ZI_SHAPES; shape++) {
        zi_scene large = one(shape, BROWN, YELLOW, ZI_LARGE, ZI_CENTRE);
        expect(&large, &large, blur_heavily, -ZI_FAULT_BLUR);
        expect(&large, &large, blur_heavily_with_noise, -ZI_FAULT_BLUR);
    }
}

/* ---- shapes and prompts ---- */

/* Renderer and checker share zi_shape_covers, so it is compared with areas and points given here.
 */
static void shapes_are_as_described(void)
{
    const struct {
        double area, inside[2], outside[2];
    } rows[ZI_SHAPES] = {
        [ZI_CIRCLE] = {3.1416, {0.70, 0.70}, {0.72, -0.72}},
        [ZI_SQUARE] = {2.8900, {0.84, 0.84}, {0.00, -0.86}},
        [ZI_TRIANGLE] = {1.2990, {0.00, -0.95}, {0.00, 0.55}},
        [ZI_STAR] = {1.2344, {0.00, -0.95}, {0.00, 0.45}},
        [ZI_HEART] = {2.0086, {0.00, 0.80}, {0.00, -0.75}},
        [ZI_RING] = {2.2255, {-0.60, 0.00}, {0.50, 0.00}},
        [ZI_CROSS] = {2.1504, {0.30, 0.95}, {0.40, 0.40}},
        [ZI_DIAMOND] = {2.0000, {0.00, 0.98}, {0.55, 0.55}},
        [ZI_MOON] = {1.5644, {-0.80, 0.30}, {0.50, -0.50}},
        [ZI_HEXAGON] = {2.5981, {0.98, 0.00}, {0.00, 0.90}},
    };
    for (int shape = 0; shape < ZI_SHAPES; shape++) {
        double area = 0, step = 0.01;
        for (double y = -1 + step / 2; y < 1; y += step)
            for (double x = -1 + step / 2; x < 1; x += step)
                area += zi_shape_covers(shape, x, y) ? step * step : 0;
        CHECK_MSG(fabs(area - rows[shape].area) < 0.02, "%s: area %f", zi_shape_name(shape), area);
        CHECK_MSG(zi_shape_covers(shape, rows[shape].inside[0], rows[shape].inside[1]), "%s",
                  zi_shape_name(shape));
        CHECK_MSG(!zi_shape_covers(shape, rows[shape].outside[0], rows[shape].outside[1]), "%s",
                  zi_shape_name(shape));
    }
}

static void reads_prompts(void)
{
    const struct {
        const char *prompt;
        zi_scene scene;
    } rows[] = {
        {"a red circle on a blue background", one(ZI_CIRCLE, RED, BLUE, ZI_MEDIUM, ZI_CENTRE)},
        {"An orange ring in the middle", one(ZI_RING, ORANGE, -1, ZI_MEDIUM, ZI_CENTRE)},
        {"Grey background, a tiny black moon in the top left.",
         one(ZI_MOON, BLACK, GRAY, ZI_SMALL, 0)},
        {"a picture of a big white star at the bottom on pink",
         one(ZI_STAR, WHITE, PINK, ZI_LARGE, ZI_BOTTOM)},
        {"a red cross to the left of a cyan heart on white",
         two(ZI_CROSS, RED, ZI_LEFT, ZI_HEART, CYAN, WHITE)},
        {"a brown hexagon above a brown diamond on a green background",
         two(ZI_HEXAGON, BROWN, ZI_TOP, ZI_DIAMOND, BROWN, GREEN)},
        {"蓝色背景上一个大的红色圆形", one(ZI_CIRCLE, RED, BLUE, ZI_LARGE, ZI_CENTRE)},
        {"紫色背景上，右上角有一个小的粉红色正方形", one(ZI_SQUARE, PINK, PURPLE, ZI_SMALL, 2)},
        {"红色背景上，蓝色圆形在绿色方形的左边",
         two(ZI_CIRCLE, BLUE, ZI_LEFT, ZI_SQUARE, GREEN, RED)},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        zi_scene scene = {0};
        CHECK_MSG(zi_scene_parse(rows[i].prompt, &scene), "not read: %s", rows[i].prompt);
        CHECK_MSG(memcmp(&scene, &rows[i].scene, sizeof scene) == 0, "misread: %s", rows[i].prompt);
    }
    const char *strange[] = {"", "a cat on a mat", "a red octagon on a blue background",
                             "a circle on a blue background",
                             "a red circle and a green square on a blue background"};
    for (size_t i = 0; i < sizeof strange / sizeof strange[0]; i++) {
        zi_scene scene;
        CHECK_MSG(!zi_scene_parse(strange[i], &scene), "read: %s", strange[i]);
    }
}

static void heldout_prompts_are_fixed(void)
{
    static zi_heldout heldout[ZI_HELDOUT];
    zi_heldout_prompts(heldout);
    uint32_t hash = 2166136261u; /* FNV-1a over all prompts and their closing zeros */
    int shapes[ZI_SHAPES] = {0}, colours[ZI_COLOURS] = {0}, chinese = 0, square = 0;
    for (int i = 0; i < ZI_HELDOUT; i++) {
        const zi_heldout *u = &heldout[i];
        for (size_t k = 0; k <= strlen(u->prompt); k++)
            hash = (hash ^ (uint8_t)u->prompt[k]) * 16777619u;
        zi_scene scene = {0};
        CHECK_MSG(zi_scene_parse(u->prompt, &scene), "not read: %s", u->prompt);
        CHECK_MSG(memcmp(&scene, &u->scene, sizeof scene) == 0, "misread: %s", u->prompt);
        for (int k = 0; k < i; k++) CHECK(strcmp(u->prompt, heldout[k].prompt) != 0);
        for (int k = 0; k < scene.count; k++) {
            shapes[scene.objects[k].shape]++;
            colours[scene.objects[k].colour]++;
        }
        chinese += (uint8_t)u->prompt[0] >= 0x80;
        square += u->width == u->height && u->width < 256;
    }
    CHECK_MSG(hash == 2769980238u, "the held-out prompts have changed: hash %u", (unsigned)hash);
    for (int i = 0; i < ZI_SHAPES; i++) CHECK(shapes[i] >= 25 && shapes[i] <= 35);
    for (int i = 0; i < ZI_COLOURS; i++) CHECK(colours[i] >= 15 && colours[i] <= 35);
    CHECK(chinese >= 20 && chinese <= 28);
    CHECK(square >= 128 && square <= 138);
}

int main(void)
{
    RUN(accepts_rendered_scenes);
    RUN(accepts_all_colour_pairs);
    RUN(accepts_heldout_scenes);
    RUN(accepts_small_imperfect_shapes);
    RUN(accepts_near_misses);
    RUN(refuses_other_colours);
    RUN(refuses_other_shapes);
    RUN(refuses_mirrored_moon);
    RUN(refuses_other_positions);
    RUN(refuses_other_sizes);
    RUN(refuses_wrong_counts);
    RUN(refuses_wrong_pairs);
    RUN(refuses_bad_drawing);
    RUN(shapes_are_as_described);
    RUN(reads_prompts);
    RUN(heldout_prompts_are_fixed);
    return zi_test_result();
}
