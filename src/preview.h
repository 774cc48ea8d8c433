/* Fast low-resolution previews: one linear map from a latent pixel's channels to an RGB colour,
 * fitted by least squares to images that the VAE decoded. */
#ifndef ZI_PREVIEW_H
#define ZI_PREVIEW_H

#include "model/vae.h"
#include "session.h"

enum { ZI_PREVIEW_CHANNELS = 64 }; /* limit of latent channels */

typedef struct {
    size_t channels; /* of latents; 0: not fitted yet */
    /* Normal equations: sums over samples of x x^T and x y^T, for latents x (with a 1 appended) and
     * colours y. */
    double *squares;  /* [channels + 1, channels + 1] */
    double *products; /* [channels + 1, 3] */
    float *map;       /* [channels + 1, 3] */
} zi_preview;

/* Fits an initial map to random latents, which are decoded in a session of their own. watch (not
 * NULL): its layer_done receives progress and may cancel; of its exec only `fast` is used. The
 * caller calls zi_preview_free. False, with *error set and *out zero: cancelled
 * (ZI_ERROR_CANCELLED), too many latent channels (ZI_ERROR_UNSUPPORTED), or a failure. */
bool zi_preview_fit(zi_engine *engine, const zi_vae *vae, zi_exec_limits limits,
                    const zi_run *watch, zi_preview *out, zi_error *error) ZI_CHECKED;

/* Adds all pixels of a decoded image to the samples so far and computes the map anew. The preview
 * must be fitted and must not be used by other threads meanwhile. latents [channels, height,
 * width], image [3, 8 height, 8 width], whose values are clipped here to -1..1. */
void zi_preview_learn(zi_preview *preview, const float *latents, const float *image, size_t height,
                      size_t width);

/* Maps latents [channels, n] to 8-bit rgb [n, 3], rounded and clipped. The preview must be fitted
 * and must not change meanwhile. */
void zi_preview_render(const zi_preview *preview, const float *latents, size_t n, uint8_t *rgb);

/* Frees what *preview has, not the struct, which becomes zero: not fitted. A zeroed struct is
 * allowed, NULL is not. */
void zi_preview_free(zi_preview *preview);

#endif
