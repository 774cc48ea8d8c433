/* zimage: benchmarks. See zimage.h for errors and compatibility. */
#ifndef ZIMAGE_BENCH_H
#define ZIMAGE_BENCH_H

#include "zimage.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    int width, height;   /* pixels; 0: 512 */
    int layers;          /* of 30 in the transformer and 35 in the text encoder; 0: all */
    const char *weights; /* storage of the transformer's random weights: "bf16" (NULL), "fp16",
                            "fp32", "original" (fp32, as published), "fp8" or "q8" (8 bits in MLX's
                            groups of 64), "q2" to "q6" (fewer bits in such groups), "mxfp4",
                            "mxfp8", "nvfp4", "int8", "convrot", or, in blocks of GGUF, "iq4_nl"
                            or "iq4_xs" */
    int threads;         /* threads, cpu and scratch: as in zi_engine_options */
    const char *cpu, *scratch;
    zi_compute compute;
    int repeat;         /* runs of each stage, 1 to 1000; 0: 1 */
    const char *device; /* device and vram: as in zi_engine_options */
    uint64_t vram;
    void (*remark)(void *user, const char *text); /* remark and user: as in zi_engine_options */
    void *user;
    void *reserved[4];
} zi_bench_options;

typedef struct {
    double seconds; /* wall-clock time, median of the runs */
    double flop;    /* multiplications and additions of all matrix products */
    double share;   /* achieved fraction of peak_f32, which is measured before and after each run;
                       median */
} zi_bench_stage;

typedef struct {
    zi_bench_stage encode; /* text encoder, 64 tokens */
    zi_bench_stage step;   /* one evaluation of the transformer */
    zi_bench_stage block;  /* one layer of it */
    zi_bench_stage decode; /* VAE decoder */
    double peak_f32;       /* f32 multiplications and additions per second in registers, all threads
                              (of a GPU: all of it), the highest that was measured */
    double peak_integer;   /* as peak_f32, for the integer instructions of the fast arithmetic (of a
                              GPU: for its matrix units; without any, 0) */
    size_t memory;         /* bytes of working memory, without weights */
    bool memory_in_file;   /* the working memory was a file, see zi_engine_options.scratch */
    int threads;
    const char *tier; /* kernel tier, of a GPU "vulkan"; a constant */
    bool fast;        /* integer arithmetic was used */
    char device[256]; /* its name; of the CPU, empty */
    void *reserved[4];
} zi_bench_result;

/* Times the stages of Z-Image-Turbo at its real shapes, with random weights in memory, which takes
 * seconds to minutes and cannot be cancelled. No model files are read. options must not be NULL.
 * False, with *error set and *out unchanged: an option is out of range (the subject, "size" for
 * width and height), or a failure. */
ZI_API bool zi_bench(const zi_bench_options *options, zi_bench_result *out,
                     zi_error *error) ZI_CHECKED;

typedef struct {
    const char *type;        /* name of the weights' type in files; a constant */
    double bytes_per_second; /* of weights, median of the runs */
    double share;            /* of the memory bandwidth, measured before and after; median */
} zi_bench_products;

enum { ZI_BENCH_TYPES = 3 };

typedef struct {
    double bytes_per_second; /* sequential reads from memory, all threads, the highest measured */
    zi_bench_products products[ZI_BENCH_TYPES]; /* matrix times vector, as in token generation */
    int threads;
    const char *tier; /* kernel tier; a constant */
    void *reserved[4];
} zi_bench_memory_result;

/* Measures memory bandwidth, and how much of it matrix-vector products reach at the shapes of
 * Qwen2.5-1.5B, with 320 MiB of memory. Uses threads, cpu and repeat of options (not NULL) and
 * ignores the others; device must be "cpu" or NULL. Only one thread may call it at a time. False:
 * *error is set, *out is unchanged. */
ZI_API bool zi_bench_memory(const zi_bench_options *options, zi_bench_memory_result *out,
                            zi_error *error) ZI_CHECKED;

#ifdef __cplusplus
}
#endif

#endif
