/* 3x3 convolution as nine matrix products: for a run of pixels in one row, the inputs of a tap are
 * rows of a matrix that lies in memory already (stride = channels), because the input carries its
 * border. No patches are ever copied. */
#include "ops/internal.h"

enum { TAPS = 9 };

typedef struct {
    const zi_ops *ops;
    const zi_conv *conv;
    const float *x; /* [H+2, W+2, in] */
    float *panels;  /* [out / nr, TAPS, in, nr] */
    float *y;       /* [H, W, out] */
    size_t W, row_stride;
} conv_job;

size_t zi_conv3x3_workspace(const zi_ops *ops, size_t in, size_t out)
{
    return TAPS * in * round_up(out, ops->kernels.nr);
}

/* One panel's worth of output channels: weights [out, in, 3, 3] to [tap, in, nr]. */
static void pack_panels(const void *context, size_t begin, size_t end)
{
    const conv_job *job = context;
    const zi_conv *conv = job->conv;
    size_t nr = job->ops->kernels.nr, in = conv->in, width = zi_dtype_size(conv->type);
    for (size_t block = begin; block < end; block++) {
        float *panel = job->panels + block * TAPS * in * nr;
        memset(panel, 0, TAPS * in * nr * sizeof *panel);
        for (size_t j = 0; j < nr && block * nr + j < conv->out; j++) {
            const char *source = (const char *)conv->data + (block * nr + j) * in * TAPS * width;
            for (size_t c = 0; c < in; c++) {
                float taps[TAPS];
                zi_widen(conv->type, source + c * TAPS * width, taps, TAPS);
                for (size_t tap = 0; tap < TAPS; tap++) panel[(tap * in + c) * nr + j] = taps[tap];
            }
        }
    }
}

static void conv_row(void *context, size_t h, size_t worker)
{
    const conv_job *job = context;
    const zi_kernels *kernels = &job->ops->kernels;
    size_t in = job->conv->in, out = job->conv->out, nr = kernels->nr, mr = kernels->mr;
    float *packed = worker_scratch(job->ops, worker), *y = job->y + h * job->W * out;
    for (size_t w = 0; w < job->W; w += mr) {
        size_t rows = smaller(mr, job->W - w);
        for (size_t tap = 0; tap < TAPS; tap++)
            kernels->pack_a(job->x + (h + tap / 3) * job->row_stride + (w + tap % 3) * in, in, rows,
                            in, packed + tap * in * mr);
        for (size_t n = 0; n < out; n += nr) {
            size_t columns = smaller(nr, out - n);
            part c;
            part_begin(&c, y + w * out + n, out, rows, columns, mr, nr, false);
            kernels->tile(TAPS * in, packed, job->panels + n * TAPS * in, c.c, c.ldc, false);
            part_end(&c);
            for (size_t i = 0; i < rows; i++)
                for (size_t j = 0; j < columns; j++)
                    y[(w + i) * out + n + j] += job->conv->bias[n + j];
        }
    }
}

void zi_conv3x3(zi_ops *ops, const zi_conv *conv, const float *x, size_t H, size_t W,
                float *workspace, float *y)
{
    conv_job job = {ops, conv, x, workspace, y, W, (W + 2) * conv->in};
    size_t nr = ops->kernels.nr;
    run_rows(ops, (conv->out + nr - 1) / nr, 1, pack_panels, &job);
    zi_pool_run(ops->pool, H, conv_row, &job);
}

/* ---- borders and enlarging ---- */

typedef struct {
    const float *x;
    float *y;
    size_t H, W, C; /* of the output without its border */
    size_t factor;  /* output pixels per input pixel */
} pad_job;

static void pad_rows(const void *context, size_t begin, size_t end)
{
    const pad_job *job = context;
    size_t C = job->C, stride = (job->W + 2) * C;
    for (size_t row = begin; row < end; row++) {
        float *y = job->y + row * stride;
        memset(y, 0, stride * sizeof *y);
        if (row == 0 || row == job->H + 1) continue;
        const float *x = job->x + (row - 1) / job->factor * (job->W / job->factor) * C;
        for (size_t w = 0; w < job->W; w++)
            memcpy(y + (w + 1) * C, x + w / job->factor * C, C * sizeof *y);
    }
}

void zi_pad(zi_ops *ops, const float *x, size_t H, size_t W, size_t C, float *y)
{
    pad_job job = {x, y, H, W, C, 1};
    run_rows(ops, H + 2, 1, pad_rows, &job);
}

void zi_upsample_pad(zi_ops *ops, const float *x, size_t H, size_t W, size_t C, float *y)
{
    pad_job job = {x, y, 2 * H, 2 * W, C, 2};
    run_rows(ops, 2 * H + 2, 1, pad_rows, &job);
}
