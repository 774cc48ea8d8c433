/* Small images straight from latents: one linear map from a latent's channels to a colour, found
 * by least squares on what the decoder makes of latents. */
#ifndef ZI_PREVIEW_H
#define ZI_PREVIEW_H

#include "model/vae.h"
#include "session.h"

enum { ZI_PREVIEW_CHANNELS = 64 }; /* of latents, at most */

typedef struct {
    size_t channels; /* 0: nothing is known yet */
    /* Sums over pairs of latents x (with a 1 behind them) and colours y: x x^T and x y^T. */
    double *squares;  /* [channels + 1, channels + 1] */
    double *products; /* [channels + 1, 3] */
    float *map;       /* [channels + 1, 3] */
} zi_preview;

/* Makes one, to begin with from a few made-up latents, which it decodes in a session of its own.
 * watch: its progress is reported there, and it stops when asked to. */
bool zi_preview_fit(zi_engine *engine, const zi_vae *vae, zi_exec_limits limits,
                    const zi_run *watch, zi_preview *out, zi_error *error) ZI_CHECKED;

/* Learns from an image: latents [channels, height, width], image [3, 8 height, 8 width]. */
void zi_preview_learn(zi_preview *preview, const float *latents, const float *image, size_t height,
                      size_t width);

/* latents [channels, n] -> rgb [n, 3] */
void zi_preview_render(const zi_preview *preview, const float *latents, size_t n, uint8_t *rgb);

void zi_preview_free(zi_preview *preview);

#endif
