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

/* Fits an initial map to random latents, which are decoded in a session of their own. watch: its
 * layer_done receives progress and may cancel; its exec says whether arithmetic is fast. On success
 * the caller calls zi_preview_free; after a failure *out is zero. */
bool zi_preview_fit(zi_engine *engine, const zi_vae *vae, zi_exec_limits limits,
                    const zi_run *watch, zi_preview *out, zi_error *error) ZI_CHECKED;

/* Adds all pixels of a decoded image to the samples so far and computes the map anew. The preview
 * must be fitted. latents [channels, height, width], image [3, 8 height, 8 width] in -1..1,
 * clipped. */
void zi_preview_learn(zi_preview *preview, const float *latents, const float *image, size_t height,
                      size_t width);

/* Maps latents [channels, n] to 8-bit rgb [n, 3]. The preview must be fitted. */
void zi_preview_render(const zi_preview *preview, const float *latents, size_t n, uint8_t *rgb);

/* Frees what *preview has, not the struct, which becomes zero: not fitted. */
void zi_preview_free(zi_preview *preview);

#endif
