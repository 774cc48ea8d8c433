"""The latent space of the demo model, fixed before anything is trained.

The latent of an 8 x 8 x 3 block of pixels is a linear projection of it: 16
principal components of rendered scenes.  Each component is divided by the
square root of its standard deviation (half whitening), so that edges weigh more
than in the data, but less than flat colours.  The transformer is trained on
these latents; the autoencoder is trained to reproduce them.

Because the projection is linear, a scene's latent is a sum over its things of
mask latents, weighted by colour differences.  Mask latents are cached.

usage: latents.py OUT.npz
"""
import functools
import random
import sys

import numpy as np

import scenes

BLOCK = 8
CHANNELS = 16
# latents as the autoencoder stores them: z = sampler latent / SCALING + SHIFT
SCALING, SHIFT = 0.3611, 0.1159


def blocks(image):
    """[..., H, W, 3] -> [..., H/8, W/8, 192], a block's values in the order colour, row, column."""
    *lead, height, width, _ = image.shape
    x = image.reshape(*lead, height // BLOCK, BLOCK, width // BLOCK, BLOCK, 3)
    x = np.einsum("...hawbc->...hwcab", x)
    return x.reshape(*lead, height // BLOCK, width // BLOCK, 3 * BLOCK * BLOCK)


def fit(path, count=3000):
    """Writes the principal components of scenes of several sizes to an .npz file."""
    rng = random.Random(11)
    rows = []
    for i in range(count):
        side = (128, 128, 160, 192)[i % 4]
        rows.append(blocks(scenes.render(scenes.random_scene(rng), side, side)).reshape(-1, 192)[::3])
    rows = np.concatenate(rows).astype(np.float64)
    mean = rows.mean(0)
    values, vectors = np.linalg.eigh(np.cov((rows - mean).T))
    order = np.argsort(values)[::-1][:CHANNELS]
    values, vectors = values[order], vectors[:, order]
    vectors *= np.sign(vectors.sum(0) + 1e-9)
    std = np.sqrt(values)
    scale = std ** -0.5 / np.sqrt(np.mean(std))      # mean variance of the latents is 1
    np.savez(path, mean=mean.astype(np.float32), matrix=(vectors * scale).T.astype(np.float32))
    print("kept variance", values.sum() / np.trace(np.cov((rows - mean).T)))
    print("latent std", np.round(std * scale, 3))


class Latents:
    """Latents of images and scenes by the fitted projection."""

    def __init__(self, path):
        data = np.load(path)
        self.matrix = data["matrix"]                 # [16, 192]
        self.offset = -self.matrix @ data["mean"]    # [16]
        per_colour = self.matrix.reshape(CHANNELS, 3, BLOCK * BLOCK)
        self.flat = per_colour.sum(2)                # [16, 3]: a flat colour's latent
        self.per_colour = per_colour

    def of_image(self, image):
        """[..., H, W, 3] -> [..., 16, H/8, W/8]"""
        z = blocks(image) @ self.matrix.T + self.offset
        return np.moveaxis(z, -1, -3)

    @functools.lru_cache(maxsize=15000)
    def of_mask(self, thing_shape, size, place, width, height):
        """The latent of a thing's mask per colour channel. -> [16, 3, height/8, width/8]"""
        m = scenes.mask(scenes.Thing("red", thing_shape, size, place), width, height)
        x = m.reshape(height // BLOCK, BLOCK, width // BLOCK, BLOCK)
        x = x.transpose(0, 2, 1, 3).reshape(height // BLOCK, width // BLOCK, -1)
        return np.einsum("hwk,zck->zchw", x, self.per_colour).astype(np.float32)

    def of_scene(self, scene, width, height):
        """-> [16, height/8, width/8]"""
        ground = scenes.colour_value(scene.background)
        z = np.empty((CHANNELS, height // BLOCK, width // BLOCK), np.float32)
        z[:] = (self.offset + self.flat @ ground)[:, None, None]
        for t in scene.things:
            mask = self.of_mask(t.shape, t.size, t.place, width, height)
            z += np.tensordot(scenes.colour_value(t.colour) - ground, mask, ((0,), (1,)))
        return z


if __name__ == "__main__":
    fit(sys.argv[1])
