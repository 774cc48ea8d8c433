/* The judge of the demo model's images. It reads a image as a person would, without comparing
 * it with a true one: which colour is the background, how many objects stand on it, what colour,
 * shape, size and position has each, and is it cleanly drawn? */
#ifndef ZI_TEST_CHECKER_H
#define ZI_TEST_CHECKER_H

#include "scenes.h"

enum {
    ZI_FAULT_BACKGROUND = 1, /* another colour, or dirty */
    ZI_FAULT_COUNT = 2,      /* too few or too many objects */
    ZI_FAULT_COLOUR = 4,     /* of a object: another one, none of the twelve, or uneven */
    ZI_FAULT_SHAPE = 8,      /* looks more like another one, or like none */
    ZI_FAULT_POSITION = 16,  /* more than a tenth of the width or height off */
    ZI_FAULT_SIZE = 32,
    ZI_FAULT_BLUR = 64 /* soft edges */
};

typedef struct {
    unsigned faults; /* ZI_FAULT_ bits; 0: the image shows what was asked */
    char text[512];  /* the faults in words, on one line */
} zi_scene_report;

/* Fails only when memory is short. */
bool zi_scene_check(const zi_image *image, const zi_scene *asked, zi_scene_report *out,
                    zi_error *error) ZI_CHECKED;

#endif
