/* The little world of the demo model: flat shapes on a flat background, what is said of them, and
 * the true image. */
#ifndef ZI_TEST_SCENES_H
#define ZI_TEST_SCENES_H

#include "zimage.h"

enum { ZI_COLOURS = 12, ZI_SHAPES = 10, ZI_POSITIONS = 9 };

typedef enum {
    ZI_MEDIUM,
    ZI_SMALL,
    ZI_LARGE,
    ZI_PAIR
} zi_object_size; /* ZI_PAIR: one of two objects */

/* Shapes the checker treats by name; the others are found in the table of words. */
enum {
    ZI_CIRCLE,
    ZI_SQUARE,
    ZI_TRIANGLE,
    ZI_STAR,
    ZI_HEART,
    ZI_RING,
    ZI_CROSS,
    ZI_DIAMOND,
    ZI_MOON,
    ZI_HEXAGON
};

/* Places are the cells of a 3 x 3 grid, row by row. */
enum { ZI_TOP = 1, ZI_LEFT = 3, ZI_CENTRE = 4, ZI_RIGHT = 5, ZI_BOTTOM = 7 };

typedef struct {
    int shape, colour, position;
    zi_object_size size;
} zi_scene_object;

typedef struct {
    int background; /* a colour; -1 when the prompt leaves it open */
    int count;      /* 1 or 2 objects; two stand left and right or at the top and bottom */
    zi_scene_object objects[2];
} zi_scene;

extern const uint8_t zi_colour_rgb[ZI_COLOURS][3];

const char *zi_colour_name(int colour);
const char *zi_shape_name(int shape);

/* Radius in pixels and centre of a object in a image. */
double zi_object_radius(zi_object_size size, int width, int height);
void zi_object_centre(const zi_scene_object *object, int width, int height, double *x, double *y);

/* Whether a point belongs to a shape of radius 1 around (0, 0), y down. */
bool zi_shape_covers(int shape, double x, double y);

/* The true image with smooth edges; NULL when memory is short. A background left open is white.
 */
zi_image *zi_scene_render(const zi_scene *scene, int width, int height);

/* What a prompt asks for, in English or Chinese; false when it is not of this world. */
bool zi_scene_parse(const char *prompt, zi_scene *out) ZI_CHECKED;

/* Prompts for scenes that the trainer of the demo model holds out, in every wording: one scene in
 * fifty, see held_out in tools/demo-model/scenes.py. They must not change while a model is in use.
 */
enum { ZI_HELDOUT_SINGLE = 100, ZI_HELDOUT_DOUBLE = 100, ZI_HELDOUT = 200 };

typedef struct {
    char prompt[192];
    zi_scene scene;
    int width, height;
    uint64_t seed;
} zi_heldout;

/* Fills all ZI_HELDOUT: those with one object first. */
void zi_heldout_prompts(zi_heldout *out);

/* The prompts as a JSON array of {prompt, file, width, height, seed}, the LIST.json that judge
 * reads: whoever draws the same prompts elsewhere draws each row with 9 steps, guidance 0 and its
 * width, height and seed into file, a PNG beside the list. free() it; NULL when memory is short. */
char *zi_heldout_list(const zi_heldout *heldout, int count);

#endif
