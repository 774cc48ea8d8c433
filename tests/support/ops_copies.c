/* Operations that move values and compute nothing: results have the same bits. */
#include "calls.h"
#include "ops.h"

#include <string.h>

/* ---- permute ---- */

/* Sets strides [dims] such that a box of these extents is laid out with its dimensions in a random
 * order, some with gaps between; returns how many elements it spans. */
static size_t lay_out(zi_rig *rig, int dims, const size_t *extents, size_t *strides)
{
    int order[ZI_PERMUTE_DIMS];
    size_t size = 1, last = 0;
    for (int i = 0; i < dims; i++) order[i] = i;
    for (int i = dims - 1; i > 0; i--) {
        int j = (int)zi_rig_below(rig, (size_t)i + 1), kept = order[i];
        order[i] = order[j];
        order[j] = kept;
    }
    for (int i = 0; i < dims; i++) {
        strides[order[i]] = size;
        last += (extents[order[i]] - 1) * size;
        size = size * extents[order[i]] + (zi_rig_below(rig, 3) ? 0 : zi_rig_below(rig, 4));
    }
    return last + 1;
}

/* The offsets of element number i of a box in both views, its last dimension running fastest. */
static void place(const zi_permute_args *args, size_t i, size_t *from, size_t *to)
{
    *from = *to = 0;
    for (int d = args->dims - 1; d >= 0; i /= args->extents[d], d--) {
        *from += i % args->extents[d] * args->from_strides[d];
        *to += i % args->extents[d] * args->to_strides[d];
    }
}

/* from [spans[0]] and to [spans[1]] are memory in which args' strides apply. */
static void run_permute(zi_rig *rig, zi_permute_args *args, const size_t *spans)
{
    size_t count = 1;
    float *x = zi_rig_values(rig, spans[0]);
    args->from = zi_rig_in(rig, x, 1, spans[0], 0);
    args->to = zi_rig_space(rig, 1, spans[1], 0);
    for (int d = 0; d < args->dims; d++) count *= args->extents[d];
    for (size_t i = 0; i < count; i++) {
        size_t from, to;
        place(args, i, &from, &to);
        zi_rig_may_change(rig, zi_view_columns(args->to, to, 1));
    }
    zi_rig_start(rig);
    zi_call_permute(rig->exec, args);
    if (!zi_rig_finish(rig)) return;
    const float *got = zi_rig_result(rig, args->to);
    for (size_t i = 0; i < count; i++) {
        size_t from, to;
        place(args, i, &from, &to);
        if (!CHECK_MSG(memcmp(&got[to], &x[from], sizeof *x) == 0, "%s: element %zu is %g, not %g",
                       rig->what, i, got[to], x[from]))
            return;
    }
}

/* Unused extents and strides hold what must not matter. */
static zi_permute_args box_of(int dims, const size_t *extents)
{
    zi_permute_args args = {.dims = dims};
    for (int d = 0; d < ZI_PERMUTE_DIMS; d++) {
        args.extents[d] = d < dims ? extents[d] : 77;
        args.from_strides[d] = args.to_strides[d] = 1000003;
    }
    return args;
}

void zi_ops_permute(zi_rig *rig)
{
    static const size_t boxes[][ZI_PERMUTE_DIMS] = {
        {1, 1},        {65, 129},       {1, 17},          {70001, 2},       {3, 3840},
        {16, 37},      {3, 17, 5},      {70, 3, 29},      {1, 63, 1},       {2, 3, 5, 7},
        {9, 1, 17, 4}, {4, 3, 2, 5, 7}, {16, 4, 2, 5, 2}, {1, 1, 65, 2, 2}, {2, 33, 2, 17, 3},
    };
    for (size_t i = 0; i < sizeof boxes / sizeof *boxes; i++)
        for (int trial = 0; trial < 5; trial++) {
            int dims = 2;
            while (dims < ZI_PERMUTE_DIMS && boxes[i][dims]) dims++;
            zi_rig_case(rig, false, "permute, box %zu of %d dimensions, trial %d", i, dims, trial);
            zi_permute_args args = box_of(dims, boxes[i]);
            size_t spans[] = {lay_out(rig, dims, args.extents, args.from_strides),
                              lay_out(rig, dims, args.extents, args.to_strides)};
            /* The values of one dimension may all be the same. */
            if (trial == 4) args.from_strides[zi_rig_below(rig, (size_t)dims)] = 0;
            run_permute(rig, &args, spans);
        }
}

/* ---- copy_rows ---- */

static void run_copy_rows(zi_rig *rig, size_t rows, size_t columns, size_t gap_from, size_t gap_to,
                          bool repeated)
{
    zi_rig_case(rig, false, "copy_rows, %zux%zu, gaps of %zu and %zu%s", rows, columns, gap_from,
                gap_to, repeated ? ", one row" : "");
    size_t rows_from = repeated ? 1 : rows;
    float *x = zi_rig_values(rig, rows_from * columns);
    zi_view from = zi_rig_in(rig, x, rows_from, columns, gap_from);
    zi_view to = zi_rig_out(rig, rows, columns, gap_to);
    if (repeated) from.stride = 0;
    zi_rig_start(rig);
    zi_copy_rows(rig->exec, from, to);
    if (!zi_rig_finish(rig)) return;
    const float *got = zi_rig_result(rig, to);
    for (size_t i = 0; i < rows; i++)
        if (!CHECK_MSG(memcmp(got + i * columns, x + (repeated ? 0 : i * columns),
                              columns * sizeof *x) == 0,
                       "%s: row %zu differs", rig->what, i))
            return;
}

void zi_ops_copy_rows(zi_rig *rig)
{
    static const struct {
        size_t rows, columns;
    } shapes[] = {{1, 1}, {3, 17}, {65, 129}, {257, 1}, {1, 65}, {6, 3840}, {40000, 3}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int variant = 0; variant < 5; variant++)
            run_copy_rows(rig, shapes[i].rows, shapes[i].columns, variant & 1 ? 7 : 0,
                          variant & 2 ? 2 : 0, variant == 4);
}

/* ---- write and read ---- */

/* Writes n bytes to the view, reads them back, and checks both against the rig's memory. */
static void run_write(zi_rig *rig, zi_view view)
{
    zi_error error = {0};
    size_t bytes = view.rows * view.columns * zi_dtype_size(view.type);
    unsigned char *data = zi_rig_alloc(rig, bytes, 1), *back = zi_rig_alloc(rig, bytes, 1);
    for (size_t i = 0; i < bytes; i++) data[i] = (unsigned char)zi_rig_bits(rig);
    memset(back, 0, bytes);
    zi_rig_may_change(rig, view);
    zi_rig_start(rig);
    zi_call_write(rig->exec, view, data);
    CHECK_OK(zi_read(rig->exec, view, back, &error), error);
    CHECK_MSG(memcmp(data, back, bytes) == 0, "%s: other bytes are read", rig->what);
    if (!zi_rig_finish(rig)) return;
    size_t row = bytes / view.rows;
    for (size_t i = 0; i < view.rows; i++)
        if (!CHECK_MSG(memcmp((char *)rig->after + zi_view_rows(view, i, 1).offset, data + i * row,
                              row) == 0,
                       "%s: row %zu is elsewhere", rig->what, i))
            return;
}

void zi_ops_write_and_read(zi_rig *rig)
{
    static const struct {
        size_t rows, columns, gap;
    } shapes[] = {{1, 1, 0},   {3, 17, 0},  {3, 17, 1},   {65, 129, 5},  {1, 65, 3},
                  {257, 1, 1}, {257, 1, 0}, {5, 3840, 0}, {700, 33, 16}, {2, 300000, 4}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        size_t rows = shapes[i].rows, columns = shapes[i].columns, gap = shapes[i].gap;
        zi_rig_case(rig, i % 2, "write and read F32, %zux%zu, gaps of %zu", rows, columns, gap);
        run_write(rig, zi_rig_space(rig, rows, columns, gap));
        zi_rig_case(rig, i % 2, "write and read F64, %zux%zu, gaps of %zu", rows, columns, gap);
        double *zeros = zi_rig_alloc(rig, rows * columns, sizeof *zeros);
        memset(zeros, 0, rows * columns * sizeof *zeros);
        run_write(rig, zi_rig_doubles(rig, zeros, rows, columns, gap));
    }
    zi_rig_case(rig, false, "write and read bytes");
    zi_view bytes = zi_rig_space(rig, 9, 6, 2);
    bytes.type = ZI_U8;
    bytes.columns *= 4;
    bytes.stride *= 4;
    run_write(rig, bytes);
}
