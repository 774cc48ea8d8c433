/* Scenes that the demo model was trained on: one or two flat shapes on a plain background. Prompts
 * are parsed into scenes, scenes are rendered as reference images, and the held-out prompts of the
 * evaluation are generated. */
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

/* Values of zi_scene_object.shape. */
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

/* Values of zi_scene_object.position: cells of a 3 x 3 grid, row by row. */
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

/* The English word, as in prompts. */
const char *zi_colour_name(int colour);
const char *zi_shape_name(int shape);

/* Radius and centre, in pixels, of an object in an image of this size. */
double zi_object_radius(zi_object_size size, int width, int height);
void zi_object_centre(const zi_scene_object *object, int width, int height, double *x, double *y);

/* Whether a point belongs to a shape of radius 1 around (0, 0), y down. */
bool zi_shape_covers(int shape, double x, double y);

/* Renders the scene with antialiased edges, on white if the background is open. The caller frees
 * the image with zi_image_free; NULL: out of memory. */
zi_image *zi_scene_render(const zi_scene *scene, int width, int height);

/* Parses an English or Chinese prompt. False: it does not describe such a scene. */
bool zi_scene_parse(const char *prompt, zi_scene *out) ZI_CHECKED;

/* Prompts of held-out scenes. The trainer never shows these scenes, in no wording: one scene in
 * fifty, see held_out in tools/demo-model/scenes.py. The list is fixed, so that scores of models
 * can be compared. */
enum { ZI_HELDOUT_SINGLE = 100, ZI_HELDOUT_DOUBLE = 100, ZI_HELDOUT = 200 };

typedef struct {
    char prompt[192];
    zi_scene scene;
    int width, height;
    uint64_t seed;
} zi_heldout;

/* Fills out[ZI_HELDOUT], prompts with one object first. */
void zi_heldout_prompts(zi_heldout *out);

/* The first count prompts as a JSON array of {prompt, file, width, height, seed}, the LIST.json
 * that the program judge reads. To evaluate another program, let it generate each row with 9 steps
 * and guidance 0, and save it as file (a PNG) beside the list. The caller frees the text; NULL: out
 * of memory. */
char *zi_heldout_list(const zi_heldout *heldout, int count);

#endif
