/* Convolutions and group norms. */
#include "calls.h"
#include "conv_problem.h"
#include "ops.h"

#include <math.h>
#include <string.h>

static zi_view none;

/* Groups that divide a number of channels. */
static size_t groups_of(size_t channels)
{
    static const size_t groups[] = {32, 5, 4, 3, 2};
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++)
        if (channels % groups[i] == 0) return groups[i];
    return 1;
}

/* A group norm of a result, by the moments that the convolution made of it. */
typedef struct {
    zi_group_norm norm;
    const float *weight, *bias;
    zi_view z;
} result_norm;

static result_norm norm_of_result(zi_rig *rig, const zi_conv_shape *s)
{
    float *weight = zi_rig_values(rig, s->out), *bias = zi_rig_values(rig, s->out);
    result_norm n = {.weight = weight, .bias = bias};
    n.norm = (zi_group_norm){zi_rig_vector(rig, weight, s->out), zi_rig_vector(rig, bias, s->out),
                             groups_of(s->out), 1e-6f};
    n.z = zi_rig_out(rig, s->H * s->W, s->out, 0);
    return n;
}

static void name_case(zi_rig *rig, const zi_conv_shape *s, bool fast, const char *where)
{
    zi_rig_case(rig, fast, "%s conv3x3 %s, %s, %zux%zu, %zu to %zu, groups %zu%s%s%s%s",
                fast ? "fast" : "exact", where, zi_dtype_name(s->type), s->H, s->W, s->in, s->out,
                s->groups, s->doubled ? ", doubled" : "", s->add ? ", add" : "",
                s->shortcut ? ", shortcut" : "", s->nhwc ? ", nhwc" : "");
}

/* slot: as the VAE has it. measured: with moments of the result, which a group norm then uses. */
static void run(zi_rig *rig, const zi_conv_shape *s, bool fast, bool slot, bool measured)
{
    name_case(rig, s, fast, slot ? "in a slot" : "apart");
    zi_conv_problem p = zi_conv_make(rig, *s, 3);
    zi_conv_place place =
        slot ? zi_conv_in_slot(rig, &p) : zi_conv_apart(rig, &p, zi_rig_below(rig, 3));
    zi_view moments = measured || s->groups ? zi_rig_moments(rig) : none;
    zi_conv3x3_args args = zi_conv_args(rig, &p, &place, moments, 0);
    result_norm after = norm_of_result(rig, s);
    if (!moments.buffer) after.z = zi_rig_in(rig, p.before, 1, 1, 0);
    zi_rig_start(rig);
    if (s->groups) zi_call_moments(rig->exec, &place.x, moments);
    zi_call_conv3x3(rig->exec, &args);
    if (moments.buffer) zi_call_group_norm(rig->exec, &after.norm, moments, &place.y, after.z);
    if (!zi_rig_finish(rig)) return;
    const float *y = zi_rig_result(rig, place.y.view);
    zi_conv_check(rig, &p, y, s->shortcut ? zi_rig_result(rig, place.side.view) : NULL);
    if (moments.buffer)
        zi_conv_check_norm(rig, y, s->H * s->W, s->out, after.norm.groups, after.norm.eps,
                           after.weight, after.bias, zi_rig_result(rig, after.z));
}

/* Each in both places, with moments and without. */
static void run_all(zi_rig *rig, const zi_conv_shape *shapes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        for (int variant = 0; variant < 3; variant++) {
            /* Added to in a slot, x lies behind y in each row. */
            bool slot = variant == 1 && (!shapes[i].add || shapes[i].in == shapes[i].out);
            run(rig, &shapes[i], false, slot, variant != 2);
            if (rig->row->operand_error > 0) run(rig, &shapes[i], true, slot, variant != 2);
        }
}

void zi_ops_conv3x3(zi_rig *rig)
{
    static const zi_conv_shape shapes[] = {
        {ZI_F32, 1, 1, 1, 1, 0, false, false, false, false},
        {ZI_BF16, 2, 3, 4, 3, 0, false, false, false, false},
        {ZI_F16, 5, 9, 3, 20, 0, false, false, false, true},
        {ZI_F32, 7, 13, 33, 17, 0, false, false, false, false},
        {ZI_BF16, 16, 16, 16, 64, 0, false, true, false, false},
        {ZI_F32, 4, 70, 63, 65, 0, false, false, false, true},
        {ZI_F32, 65, 3, 5, 129, 0, false, false, false, false},
        {ZI_F32, 1, 1, 4, 4, 2, false, false, false, false},
        {ZI_F32, 5, 9, 12, 20, 3, false, true, false, false},
        {ZI_BF16, 13, 66, 66, 34, 33, false, true, false, true},
        {ZI_F16, 17, 17, 12, 12, 4, false, true, false, false},
        {ZI_F32, 2, 2, 1, 1, 0, true, false, false, false},
        {ZI_F16, 6, 10, 7, 5, 0, true, false, false, true},
        {ZI_BF16, 34, 70, 65, 33, 0, true, false, false, false},
        {ZI_BF16, 10, 6, 8, 8, 4, true, false, false, false},
        {ZI_F32, 1, 1, 2, 1, 1, false, false, true, false},
        {ZI_BF16, 7, 13, 34, 17, 2, false, false, true, true},
        {ZI_F16, 26, 70, 8, 70, 4, false, false, true, false},
        {ZI_F32, 9, 5, 24, 12, 8, false, false, true, false},
        {ZI_F32, 17, 3, 6, 6, 0, false, false, true, false},
    };
    run_all(rig, shapes, sizeof shapes / sizeof *shapes);
}

/* Channels of the real VAE. */
void zi_ops_conv3x3_model(zi_rig *rig)
{
    static const zi_conv_shape shapes[] = {
        {ZI_BF16, 4, 6, 16, 512, 0, false, false, false, false},
        {ZI_BF16, 5, 9, 512, 512, 32, false, true, false, false},
        {ZI_F16, 6, 8, 512, 512, 0, true, false, false, false},
        {ZI_BF16, 5, 5, 512, 256, 32, false, false, true, true},
        {ZI_F32, 6, 10, 256, 128, 32, false, false, true, false},
        {ZI_BF16, 9, 13, 128, 3, 32, false, false, false, false},
    };
    run_all(rig, shapes, sizeof shapes / sizeof *shapes);
}

/* ---- bands ---- */

/* Whether two runs gave the same bits. */
static bool same(zi_rig *rig, const zi_conv_shape *s, const zi_conv_place *a,
                 const zi_conv_place *b)
{
    size_t bytes = s->H * s->W * s->out * sizeof(float);
    return memcmp(zi_rig_result(rig, a->y.view), zi_rig_result(rig, b->y.view), bytes) == 0 &&
           (!s->shortcut ||
            memcmp(zi_rig_result(rig, a->side.view), zi_rig_result(rig, b->side.view), bytes) == 0);
}

/* In bands of any height, in place or not, results and norms by their moments have the same
 * bits. */
static void run_bands(zi_rig *rig, const zi_conv_shape *s, bool fast)
{
    enum { RUNS = 6 };
    static const size_t bands[RUNS] = {0, 1, 2, 3, 1000, 1};
    name_case(rig, s, fast, "in bands");
    zi_conv_problem p = zi_conv_make(rig, *s, 3);
    zi_conv_place places[RUNS];
    zi_conv3x3_args args[RUNS];
    result_norm after = norm_of_result(rig, s);
    zi_view z[RUNS];
    for (size_t i = 0; i < RUNS; i++) {
        places[i] = i == 1 && (!s->add || s->in == s->out) ? zi_conv_in_slot(rig, &p)
                                                           : zi_conv_apart(rig, &p, i);
        args[i] = zi_conv_args(rig, &p, &places[i], zi_rig_moments(rig), bands[i]);
        z[i] = zi_rig_out(rig, s->H * s->W, s->out, 0);
    }
    zi_rig_may_change(rig, after.z);
    zi_rig_start(rig);
    for (size_t i = 0; i < RUNS; i++) {
        if (s->groups) zi_call_moments(rig->exec, &places[i].x, args[i].moments);
        zi_call_conv3x3(rig->exec, &args[i]);
        zi_call_group_norm(rig->exec, &after.norm, args[i].moments, &places[i].y, z[i]);
    }
    if (!zi_rig_finish(rig)) return;
    const float *normed = zi_rig_result(rig, z[0]);
    for (size_t i = 1; i < RUNS; i++) {
        CHECK_MSG(same(rig, s, &places[0], &places[i]), "%s: other results in bands of %zu",
                  rig->what, bands[i]);
        CHECK_MSG(memcmp(normed, zi_rig_result(rig, z[i]), s->H * s->W * s->out * 4) == 0,
                  "%s: other moments in bands of %zu", rig->what, bands[i]);
    }
}

void zi_ops_conv3x3_bands(zi_rig *rig)
{
    static const zi_conv_shape shapes[] = {
        {ZI_F32, 1, 1, 4, 4, 2, false, false, false, false},
        {ZI_F32, 5, 9, 12, 20, 3, false, true, false, false},
        {ZI_BF16, 50, 67, 30, 15, 15, false, false, true, false},
        {ZI_F32, 54, 134, 6, 40, 0, true, false, false, false},
        {ZI_F16, 130, 30, 8, 8, 8, false, true, false, true},
        {ZI_F32, 70, 70, 5, 5, 0, false, false, false, false},
    };
    static const zi_conv_shape wide[] = {
        {ZI_BF16, 21, 19, 32, 40, 4, false, false, true, false},
        {ZI_F32, 18, 22, 64, 10, 0, true, true, false, true},
    };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) run_bands(rig, &shapes[i], false);
    for (size_t i = 0; rig->row->operand_error > 0 && i < 2; i++) run_bands(rig, &wide[i], true);
}

/* ---- group norm by itself ---- */

/* x is around a mean that may be far larger than its deviation. */
static void run_group_norm(zi_rig *rig, size_t H, size_t W, size_t C, size_t groups, size_t gap,
                           float mean)
{
    zi_rig_case(rig, false, "group norm, %zux%zu, %zu channels in %zu groups around %g", H, W, C,
                groups, mean);
    float *x = zi_rig_values(rig, H * W * C);
    float *weight = zi_rig_values(rig, C), *bias = zi_rig_values(rig, C);
    for (size_t i = 0; i < H * W * C; i++) x[i] += mean * (i % C % 3 ? 1.0f : -0.5f);
    zi_feature_map map = {zi_rig_in(rig, x, H, W * C, gap), W, C};
    zi_view moments = zi_rig_moments(rig), z = zi_rig_out(rig, H * W, C, 0);
    zi_group_norm norm = {zi_rig_vector(rig, weight, C), zi_rig_vector(rig, bias, C), groups,
                          1e-6f};
    zi_rig_start(rig);
    zi_call_moments(rig->exec, &map, moments);
    zi_call_group_norm(rig->exec, &norm, moments, &map, z);
    if (zi_rig_finish(rig))
        zi_conv_check_norm(rig, x, H * W, C, groups, 1e-6f, weight, bias, zi_rig_result(rig, z));
}

void zi_ops_group_norm(zi_rig *rig)
{
    static const struct {
        size_t H, W, C, groups, gap;
    } shapes[] = {{1, 1, 1, 1, 0},     {1, 1, 4, 2, 0},
                  {3, 17, 3, 1, 5},    {70, 11, 12, 3, 5},
                  {9, 7, 512, 32, 0},  {9, 7, 512, 32, 512},
                  {129, 1, 65, 5, 1},  {1, 129, 17, 17, 2},
                  {65, 63, 32, 32, 0}, {2, 3, ZI_MAX_CHANNELS, 32, 3},
                  {200, 40, 8, 4, 8}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (float mean = 0; mean <= 300; mean += 300)
            run_group_norm(rig, shapes[i].H, shapes[i].W, shapes[i].C, shapes[i].groups,
                           shapes[i].gap, mean);
}
