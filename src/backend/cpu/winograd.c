/* Winograd's F(4x4, 3x3) (Lavin and Gray 2015, "Fast algorithms for convolutional neural
 * networks"): 4x4 results of a 3x3 convolution from 36 products instead of 144.
 *
 * Both the 6x6 input and the 3x3 weights are taken for polynomials in two variables and evaluated
 * at six points a side; products there, then back to coefficients. The points are 0, +-sqrt(1/2),
 * +-sqrt(2) and infinity: rounding errors are less than half of what the usual 0, +-1, +-2 give
 * (1.7 times those of plain sums, in a test with 256 channels). */
#include "backend/cpu/internal.h"

#define P 0.70710678118654752f /* p^2 = 1/2 */
#define Q 1.41421356237309505f /* q^2 = 2 */

/* The input transform in one dimension: six pixels to their values at six points. */
static inline void input_line(const quad x[6], quad y[6])
{
    quad even_p = x[4] - 2.0f * x[2], odd_p = P * x[3] - Q * x[1];
    quad even_q = x[4] - 0.5f * x[2], odd_q = Q * x[3] - P * x[1];
    y[0] = x[0] - 2.5f * x[2] + x[4];
    y[1] = even_p + odd_p;
    y[2] = even_p - odd_p;
    y[3] = even_q + odd_q;
    y[4] = even_q - odd_q;
    y[5] = x[1] - 2.5f * x[3] + x[5];
}

/* The weight transform in one dimension: three taps to their values at six points. */
static inline void weights_line(const quad w[3], quad y[6])
{
    quad even_p = (w[0] + 0.5f * w[2]) * (-2.0f / 3), odd_p = w[1] * (-2.0f / 3 * P);
    quad even_q = (w[0] + 2.0f * w[2]) * (1.0f / 6), odd_q = w[1] * (1.0f / 6 * Q);
    y[0] = w[0];
    y[1] = even_p + odd_p;
    y[2] = even_p - odd_p;
    y[3] = even_q + odd_q;
    y[4] = even_q - odd_q;
    y[5] = w[2];
}

/* The transform back in one dimension: products at six points to four results. */
static inline void output_line(const quad m[6], quad y[4])
{
    quad even_p = m[1] + m[2], odd_p = P * (m[1] - m[2]);
    quad even_q = m[3] + m[4], odd_q = Q * (m[3] - m[4]);
    y[0] = m[0] + even_p + even_q;
    y[1] = odd_p + odd_q;
    y[2] = 0.5f * even_p + 2.0f * even_q;
    y[3] = 0.5f * odd_p + 2.0f * odd_q + m[5];
}

void winograd_input(const float *x, size_t row, size_t pixel, size_t n, float *out, size_t step)
{
    for (size_t c = 0; c < n; c += 4) {
        quad column[6], line[6], half[6][6];
        for (size_t j = 0; j < 6; j++) {
            for (size_t i = 0; i < 6; i++) column[i] = quad_load(x + i * row + j * pixel + c);
            input_line(column, line);
            for (size_t i = 0; i < 6; i++) half[i][j] = line[i];
        }
        for (size_t i = 0; i < 6; i++) {
            input_line(half[i], line);
            for (size_t j = 0; j < 6; j++) quad_store(out + (i * 6 + j) * step + c, line[j]);
        }
    }
}

void winograd_weights(const float *w, size_t tap, size_t n, float *out, size_t step)
{
    for (size_t c = 0; c < n; c += 4) {
        quad column[3], line[6], half[6][3];
        for (size_t j = 0; j < 3; j++) {
            for (size_t i = 0; i < 3; i++) column[i] = quad_load(w + (i * 3 + j) * tap + c);
            weights_line(column, line);
            for (size_t i = 0; i < 6; i++) half[i][j] = line[i];
        }
        for (size_t i = 0; i < 6; i++) {
            weights_line(half[i], line);
            for (size_t j = 0; j < 6; j++) quad_store(out + (i * 6 + j) * step + c, line[j]);
        }
    }
}

void winograd_output(const float *m, size_t step, size_t n, float *out)
{
    for (size_t c = 0; c < n; c += 4) {
        quad column[6], line[6], half[4][6];
        for (size_t j = 0; j < 6; j++) {
            for (size_t i = 0; i < 6; i++) column[i] = quad_load(m + (i * 6 + j) * step + c);
            output_line(column, line);
            for (size_t i = 0; i < 4; i++) half[i][j] = line[i];
        }
        for (size_t i = 0; i < 4; i++) {
            output_line(half[i], line);
            for (size_t j = 0; j < 4; j++) quad_store(out + (i * 4 + j) * n + c, line[j]);
        }
    }
}
