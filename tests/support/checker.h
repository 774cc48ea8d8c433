/* Checks by image analysis whether an image of the demo model shows a scene. The image is segmented
 * into background and objects, whose colour, shape, size, position and edge width are measured; it
 * is not compared with a reference image. */
#ifndef ZI_TEST_CHECKER_H
#define ZI_TEST_CHECKER_H

#include "scenes.h"

enum {
    ZI_FAULT_BACKGROUND = 1, /* another colour, or with specks */
    ZI_FAULT_COUNT = 2,      /* too few or too many objects */
    ZI_FAULT_COLOUR = 4,     /* of an object: another, none of the twelve, or uneven */
    ZI_FAULT_SHAPE = 8,      /* another shape fits better, or none fits */
    ZI_FAULT_POSITION = 16,  /* more than a tenth of the width or height off */
    ZI_FAULT_SIZE = 32,
    ZI_FAULT_BLUR = 64 /* soft edges */
};

typedef struct {
    unsigned faults; /* ZI_FAULT_ bits; 0: the image shows the scene */
    char text[512];  /* describes the faults, on one line */
} zi_scene_report;

/* False only when out of memory. */
bool zi_scene_check(const zi_image *image, const zi_scene *asked, zi_scene_report *out,
                    zi_error *error) ZI_CHECKED;

#endif
