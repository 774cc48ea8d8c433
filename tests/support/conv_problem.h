/* Convolutions with random inputs: where their feature maps lie, and what is right. */
#ifndef ZI_TEST_CONV_PROBLEM_H
#define ZI_TEST_CONV_PROBLEM_H

#include "rig.h"

/* All that a 3x3 convolution may have. */
typedef struct {
    zi_dtype type;
    size_t H, W, in, out; /* of the result */
    size_t groups;        /* of the norm; 0: none */
    bool doubled, add, shortcut, nhwc;
} zi_conv_shape;

/* A convolution's weights in the backend's memory, its inputs in the host's. */
typedef struct {
    zi_conv_shape s;
    size_t height, width; /* of x */
    float *x, *before;    /* before: what y holds if it is added to */
    float *w, *w1;        /* what the weights mean: [out, in, 9], [out, in] */
    float *bias, *bias1;  /* of the convolution, of the shortcut */
    float *norm_w, *norm_b;
    zi_weight *weight, *shortcut, *bias_vector, *bias1_vector;
    zi_group_norm norm;
} zi_conv_problem;

/* Makes a problem for the time of the case; x is around `mean`. */
zi_conv_problem zi_conv_make(zi_rig *rig, zi_conv_shape shape, float mean);

/* Where a convolution's feature maps lie. */
typedef struct {
    zi_feature_map x, y, side;
} zi_conv_place;

/* x, y and side apart from each other, with gaps of so many elements between rows. */
zi_conv_place zi_conv_apart(zi_rig *rig, const zi_conv_problem *p, size_t gap);

/* As the VAE has them, in the rows of one slot: side and y where x was; without a shortcut y in
 * place of x, or, if it is added to, in front of it in each row; of a doubled convolution, x at the
 * end of what becomes y. */
zi_conv_place zi_conv_in_slot(zi_rig *rig, const zi_conv_problem *p);

/* The arguments of a problem in a place; the workspace is taken from the rig. moments: a view for
 * them, or one without buffer. */
zi_conv3x3_args zi_conv_args(zi_rig *rig, const zi_conv_problem *p, const zi_conv_place *place,
                             zi_view moments, size_t band);

/* Checks results y [H, W, out] and side (if there is a shortcut) against double precision. */
void zi_conv_check(zi_rig *rig, const zi_conv_problem *p, const float *y, const float *side);

/* Checks z [pixels, channels] = group_norm(x), in double precision. */
void zi_conv_check_norm(zi_rig *rig, const float *x, size_t pixels, size_t channels, size_t groups,
                        double eps, const float *weight, const float *bias, const float *z);

#endif
