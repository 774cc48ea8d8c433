/* The VAE's decoder against diffusers' AutoencoderKL. */
#include "golden.h"
#include "model/vae.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_ABS 1e-4

static const char *const cases[] = {"z8x8", "z6x10", "z12x4"};
enum { CASES = sizeof cases / sizeof *cases };

static zi_vae vae;
static zi_checkpoint golden;

static void load(void)
{
    zi_weights weights;
    zi_error error = {0};
    zi_config config = zi_golden_component("model", ZI_COMPONENT_VAE, &weights);
    CHECK_OK(zi_vae_bind(&weights, &config.vae, &vae, &error), error);
}

static const float *decode(zi_fixture *fixture, const char *name, size_t *count)
{
    const zi_tensor *latents = zi_golden_tensor(&golden, "dec.%s.latents", name);
    size_t height = latents->shape[2], width = latents->shape[3], pixels = height * width;
    zi_view in = zi_fixture_view(fixture, latents->data, 16, pixels);
    zi_view image = zi_fixture_view(fixture, NULL, 3, 64 * pixels);
    zi_error error = {0};
    CHECK_OK(zi_vae_decode(&fixture->run, &vae, in, height, width, image, &error), error);
    *count = 3 * 64 * pixels;
    return zi_fixture_read(fixture, image);
}

static void pictures(void)
{
    zi_fixture fixture;
    zi_fixture_start(&fixture, 1, NULL, false);
    for (int i = 0; i < CASES; i++) {
        char name[32];
        size_t count;
        const float *image = decode(&fixture, cases[i], &count);
        snprintf(name, sizeof name, "dec.%s.image", cases[i]);
        zi_golden_compare(&golden, name, image, count, 0, MAX_ABS);
    }
    zi_fixture_stop(&fixture);
}

static int taps_seen;

/* Ours are [pixels, channels], the golden ones [channels, pixels]. */
static void tap(void *user, const char *name, const float *data, size_t rows, size_t columns)
{
    (void)user;
    char reference[64];
    snprintf(reference, sizeof reference, "dec.z8x8.trace.%s", name);
    if (!zi_checkpoint_find(&golden, reference)) return;
    taps_seen++;
    float *turned = malloc(rows * columns * sizeof *turned);
    for (size_t p = 0; p < rows; p++)
        for (size_t c = 0; c < columns; c++) turned[c * rows + p] = data[p * columns + c];
    zi_golden_compare(&golden, reference, turned, rows * columns, 2e-5, 0);
    free(turned);
}

static void every_stage(void)
{
    zi_fixture fixture;
    zi_fixture_start(&fixture, 2, NULL, false);
    fixture.run.tap = tap;
    size_t count;
    decode(&fixture, "z8x8", &count);
    CHECK_MSG(taps_seen == 5, "%d stages were compared", taps_seen);
    zi_fixture_stop(&fixture);
}

static void same_bits_with_more_threads(void)
{
    zi_fixture one, eight;
    zi_fixture_start(&one, 1, NULL, false);
    zi_fixture_start(&eight, 8, NULL, false);
    for (int i = 0; i < CASES; i++) {
        size_t count;
        const float *a = decode(&one, cases[i], &count), *b = decode(&eight, cases[i], &count);
        CHECK_MSG(memcmp(a, b, count * sizeof *a) == 0, "%s differs", cases[i]);
    }
    zi_fixture_stop(&one);
    zi_fixture_stop(&eight);
}

/* Working memory in a file holds the same values. */
static void same_bits_in_a_file(void)
{
    enum { SIZE = 64 << 20 };
    zi_fixture fixture;
    zi_memory memory;
    zi_buffer *buffer = NULL;
    zi_error error = {0};
    size_t count;
    if (!zi_memory_take_in_file(&memory, SIZE, ".", &error) &&
        !zi_memory_take_in_file(&memory, SIZE, "/var/tmp", &error)) {
        printf("SKIP: %s\n", error.text);
        return;
    }
    zi_fixture_start(&fixture, 2, NULL, false);
    CHECK_OK(zi_buffer_import(fixture.backend, memory.base, SIZE, &buffer, &error), error);
    for (int i = 0; i < CASES; i++) {
        zi_arena usual = fixture.arena;
        const float *a = decode(&fixture, cases[i], &count);
        fixture.arena = zi_arena_in(buffer);
        const float *b = decode(&fixture, cases[i], &count);
        fixture.arena = usual;
        CHECK_MSG(memcmp(a, b, count * sizeof *a) == 0, "%s differs", cases[i]);
    }
    zi_buffer_release(buffer);
    zi_fixture_stop(&fixture);
    zi_memory_release(&memory);
}

/* What a decoding takes beside its weights, with the scratch memory of eight threads. */
static double megabytes(size_t side)
{
    zi_fixture fixture;
    zi_fixture_start(&fixture, 8, NULL, false);
    zi_config config = zi_config_z_image_turbo();
    zi_vae real = {.config = config.vae};
    zi_arena arena = zi_arena_measure();
    fixture.backend->ops->plan(fixture.exec, &arena,
                               (zi_exec_limits){.head_dim = 512, .depth = 1024});
    zi_vae_reserve(fixture.exec, &real, side / 8, side / 8, &arena);
    zi_fixture_stop(&fixture);
    double taken = (double)arena.peak * 1e-6;
    printf("     %zux%zu: %.0f MB\n", side, side, taken);
    return arena.overflow ? INFINITY : taken;
}

/* The largest image has 256 channels: 268 MB at 512x512. */
static void memory(void)
{
    CHECK(megabytes(512) < 330);
    CHECK(megabytes(1024) < 1150);
    CHECK(megabytes(2048) < 4500);
}

int main(void)
{
    golden = zi_golden_open("vae.safetensors");
    RUN(load);
    RUN(pictures);
    RUN(every_stage);
    RUN(same_bits_with_more_threads);
    if (!zi_test_gpu()) { /* these are about the CPU backend's memory */
        RUN(same_bits_in_a_file);
        RUN(memory);
    }
    zi_vae_free(&vae);
    zi_checkpoint_close(&golden);
    return zi_test_result();
}
