#include "preview.h"

#include "base/random.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Random latents for the initial fit: patches of a constant value, large enough for the decoder to
 * produce a uniform area. */
enum { PATCH = 4, PATCHES = 6, SIDE = PATCH * PATCHES };

/* Allocates the zeroed matrices of *p and sets channels. After a failure *p is zero, and there is
 * nothing to free. */
static bool allocate_preview(zi_preview *p, size_t channels, zi_error *error)
{
    size_t n = channels + 1;
    p->squares = calloc(n * n, sizeof *p->squares);
    p->products = calloc(n * 3, sizeof *p->products);
    p->map = calloc(n * 3, sizeof *p->map);
    if (p->squares && p->products && p->map) {
        p->channels = channels;
        return true;
    }
    zi_preview_free(p);
    return zi_error_no_memory(error, n * n * sizeof *p->squares);
}

void zi_preview_free(zi_preview *preview)
{
    free(preview->squares);
    free(preview->products);
    free(preview->map);
    *preview = (zi_preview){0};
}

/* Sets rgb to the mean colour of the 8 x 8 pixels of the latent pixel (y, x), whose values are
 * clipped to -1..1 before. image [3, 8 height, 8 width]; height, width: of the latents. */
static void mean_colour(const float *image, size_t height, size_t width, size_t y, size_t x,
                        double rgb[3])
{
    for (size_t c = 0; c < 3; c++) {
        double sum = 0;
        const float *plane = image + c * 64 * height * width;
        for (size_t i = 0; i < 8; i++)
            for (size_t k = 0; k < 8; k++) {
                float value = plane[(y * 8 + i) * 8 * width + x * 8 + k];
                sum += fminf(fmaxf(value, -1.0f), 1.0f);
            }
        rgb[c] = sum / 64;
    }
}

/* Adds one sample to the normal equations: latent x [channels + 1], the last element 1, and its
 * colour, -1..1. The map is not updated. */
static void add_sample(zi_preview *p, const double *x, const double rgb[3])
{
    size_t n = p->channels + 1;
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < n; k++) p->squares[i * n + k] += x[i] * x[k];
        for (size_t c = 0; c < 3; c++) p->products[i * 3 + c] += x[i] * rgb[c];
    }
}

/* Sets p->map to the solution of squares * map = products, which stay unchanged, by Cholesky
 * decomposition. A thousandth of the number of samples (1 or more) is added to the diagonal: this
 * ridge regularization makes few samples suffice and the matrix positive definite. */
static void solve_least_squares(zi_preview *p)
{
    size_t n = p->channels + 1;
    double a[(ZI_PREVIEW_CHANNELS + 1) * (ZI_PREVIEW_CHANNELS + 1)], b[ZI_PREVIEW_CHANNELS + 1];
    double ridge = 1e-3 * p->squares[n * n - 1]; /* the number of samples */
    memcpy(a, p->squares, n * n * sizeof *a);
    for (size_t i = 0; i < n; i++) {
        a[i * n + i] += ridge;
        for (size_t k = 0; k <= i; k++) {
            double sum = a[i * n + k];
            for (size_t m = 0; m < k; m++) sum -= a[i * n + m] * a[k * n + m];
            a[i * n + k] = k == i ? sqrt(sum) : sum / a[k * n + k];
        }
    }
    for (size_t c = 0; c < 3; c++) {
        for (size_t i = 0; i < n; i++) {
            b[i] = p->products[i * 3 + c];
            for (size_t k = 0; k < i; k++) b[i] -= a[i * n + k] * b[k];
            b[i] /= a[i * n + i];
        }
        for (size_t i = n; i-- > 0;) {
            for (size_t k = i + 1; k < n; k++) b[i] -= a[k * n + i] * b[k];
            b[i] /= a[i * n + i];
            p->map[i * 3 + c] = (float)b[i];
        }
    }
}

/* Adds the latent pixel (y, x) and the mean colour, clipped, of its 8 x 8 image pixels to the
 * normal equations. The map is not updated. height, width: of the latents. */
static void add_latent_sample(zi_preview *p, const float *latents, const float *image,
                              size_t height, size_t width, size_t y, size_t x)
{
    double values[ZI_PREVIEW_CHANNELS + 1], rgb[3];
    for (size_t c = 0; c < p->channels; c++) values[c] = latents[(c * height + y) * width + x];
    values[p->channels] = 1;
    mean_colour(image, height, width, y, x, rgb);
    add_sample(p, values, rgb);
}

void zi_preview_learn(zi_preview *preview, const float *latents, const float *image, size_t height,
                      size_t width)
{
    for (size_t y = 0; y < height; y++)
        for (size_t x = 0; x < width; x++)
            add_latent_sample(preview, latents, image, height, width, y, x);
    solve_least_squares(preview);
}

/* Fills latents [channels, SIDE, SIDE] with patches of PATCH x PATCH equal values, each a normal
 * random number, independent in each channel; always the same ones. */
static void make_test_latents(float *latents, size_t channels)
{
    zi_random random;
    zi_random_seed(&random, 1);
    for (size_t c = 0; c < channels; c++) {
        float values[PATCHES * PATCHES];
        zi_random_normal(&random, values, PATCHES * PATCHES);
        for (size_t y = 0; y < SIDE; y++)
            for (size_t x = 0; x < SIDE; x++)
                latents[(c * SIDE + y) * SIDE + x] = values[y / PATCH * PATCHES + x / PATCH];
    }
}

/* The session that decodes random latents. */
typedef struct {
    const zi_vae *vae;
    zi_view latents; /* [channels, SIDE * SIDE] */
    zi_view image;   /* [3, 64 * SIDE * SIDE] */
} fit_session;

/* Takes latents and image from the arena, stores them in the fit_session `user`, and reserves the
 * decoder's temporary memory; called twice, first with a measuring arena. */
static void plan_memory(void *user, const zi_exec *exec, zi_arena *arena)
{
    fit_session *f = user;
    f->latents = zi_arena_floats(arena, (size_t)f->vae->config.latent, SIDE * SIDE);
    f->image = zi_arena_floats(arena, 3, 64 * SIDE * SIDE);
    zi_vae_reserve(exec, f->vae, SIDE, SIDE, arena);
}

/* Adds the middle pixel of each patch to the normal equations and solves them for the map. */
static void learn_patches(zi_preview *p, const float *latents, const float *image)
{
    for (size_t y = PATCH / 2; y < SIDE; y += PATCH)
        for (size_t x = PATCH / 2; x < SIDE; x += PATCH)
            add_latent_sample(p, latents, image, SIDE, SIDE, y, x);
    solve_least_squares(p);
}

/* Decodes random latents in the open session, then allocates *preview and fits its map. After a
 * failure *preview has nothing to free. */
static bool fit_to_random_latents(zi_preview *preview, zi_session *session, const fit_session *f,
                                  zi_error *error)
{
    size_t channels = (size_t)f->vae->config.latent;
    zi_fetched_values image = {0};
    float *latents = malloc(channels * SIDE * SIDE * sizeof *latents);
    bool ok = latents || zi_error_no_memory(error, channels * SIDE * SIDE * sizeof *latents);
    if (ok) make_test_latents(latents, channels);
    if (ok) zi_write(session->exec, f->latents, latents);
    ok = ok && zi_vae_decode(&session->run, f->vae, f->latents, SIDE, SIDE, f->image, error) &&
         zi_fetch_values(session->exec, f->image, &image, error) &&
         allocate_preview(preview, channels, error);
    if (ok) learn_patches(preview, latents, image.values);
    zi_fetched_values_free(&image);
    free(latents);
    return ok;
}

bool zi_preview_fit(zi_engine *engine, const zi_vae *vae, zi_exec_limits limits,
                    const zi_run *watch, zi_preview *out, zi_error *error)
{
    fit_session f = {.vae = vae};
    zi_session session;
    limits.layer = zi_vae_layer_bytes(vae);
    *out = (zi_preview){0};
    if (vae->config.latent > ZI_PREVIEW_CHANNELS)
        return zi_error_set(error, ZI_ERROR_UNSUPPORTED, NULL,
                            "previews are possible for VAEs of at most %d latent channels, but "
                            "that of this model has %d; turn previews off",
                            ZI_PREVIEW_CHANNELS, vae->config.latent);
    if (!zi_session_open(engine, watch->exec->fast, limits, plan_memory, &f, &session, error))
        return false;
    session.run.layer_done = watch->layer_done;
    session.run.user = watch->user;
    bool ok = fit_to_random_latents(out, &session, &f, error);
    zi_session_close(&session);
    return ok;
}

void zi_preview_render(const zi_preview *preview, const float *latents, size_t n, uint8_t *rgb)
{
    const float *bias = preview->map + preview->channels * 3;
    for (size_t i = 0; i < n; i++)
        for (size_t c = 0; c < 3; c++) {
            float value = bias[c];
            for (size_t k = 0; k < preview->channels; k++)
                value += latents[k * n + i] * preview->map[k * 3 + c];
            value = fminf(fmaxf(value * 0.5f + 0.5f, 0.0f), 1.0f);
            rgb[i * 3 + c] = (uint8_t)rintf(value * 255.0f);
        }
}
