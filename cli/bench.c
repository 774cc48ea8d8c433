/* zimage bench: measures the speed of this machine at the shapes of the real model. */
#include "cli.h"
#include "zimage_bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    const char *name;
    const zi_bench_stage *stage;
    const char *note; /* " (why the share can exceed 100 %)", or "" */
} named_stage;

enum { STAGES = 4, STEPS = 9 };

/* The speed of one run of a stage in FLOP per second, by the median time. */
static double flop_per_second(const zi_bench_stage *stage)
{
    return stage->flop / stage->seconds;
}

/* The share of the peak of a GPU's matrix units that a stage reaches. */
static double matrix_share(const zi_bench_result *r, const zi_bench_stage *stage)
{
    return flop_per_second(stage) / r->peak_integer;
}

/* The time in seconds that an image takes with STEPS steps, by the medians of its stages. */
static double image_seconds(const zi_bench_result *r)
{
    return r->encode.seconds + STEPS * r->step.seconds + r->decode.seconds;
}

/* Prints the time of an image in seconds below 1 minute, else in minutes, as a line. */
static void print_image_time(const zi_bench_result *r)
{
    double seconds = image_seconds(r);
    printf("image (%d steps): ", STEPS);
    printf(seconds < 60 ? "%.1f seconds\n" : "%.1f minutes\n",
           seconds < 60 ? seconds : seconds / 60);
}

/* Prints the line on the device, or the kernel tier and the threads, and their peaks. */
static void print_machine(const zi_bench_result *r)
{
    printf("%s, %s", *r->device ? r->device : r->tier, r->fast ? "fast" : "exact");
    if (!*r->device) printf(", %d threads", r->threads);
    printf("; peak of this run %.1f GFLOP/s in f32", r->peak_f32 * 1e-9);
    if (!*r->device)
        printf(", %.1f GOP/s in integers", r->peak_integer * 1e-9);
    else if (r->peak_integer > 0)
        printf(", %.1f GFLOP/s of matrix units", r->peak_integer * 1e-9);
    putchar('\n');
}

/* Prints a result of zi_bench for people: a line on the machine, one for each of stages [STAGES]
 * with seconds, GFLOP/s and share of the f32 peak, or of that of the GPU's matrix units, one on
 * working memory in MB (10^6 bytes) and, if all layers were timed, one on a whole image. */
static void print_text(const zi_bench_result *r, const named_stage *stages, bool all_layers)
{
    bool matrices = *r->device && r->fast && r->peak_integer > 0;
    print_machine(r);
    for (int i = 0; i < STAGES; i++)
        printf("%-8s %9.3f s %9.1f GFLOP/s %6.0f %% of the %s peak%s\n", stages[i].name,
               stages[i].stage->seconds, flop_per_second(stages[i].stage) * 1e-9,
               100 * (matrices ? matrix_share(r, stages[i].stage) : stages[i].stage->share),
               matrices ? "matrix" : "f32", stages[i].note);
    printf("%.0f MB of working memory, beside the weights%s\n", (double)r->memory * 1e-6,
           r->memory_in_file ? ", in a file" : "");
    if (all_layers) print_image_time(r);
}

/* Prints a result of zi_bench, with the image size and the precision of `o`, as a JSON object on
 * one line. stages has STAGES elements. "image" is null unless all layers were timed. */
static void print_json(const zi_bench_result *r, const named_stage *stages,
                       const zi_bench_options *o)
{
    printf("{\"tier\": \"%s\", \"threads\": %d, \"width\": %d, \"height\": %d, "
           "\"precision\": \"%s\", \"compute\": \"%s\", \"peak_f32_gflops\": %.3f, "
           "\"peak_int_gops\": %.3f, \"memory_bytes\": %zu, \"memory_in_file\": %s, \"stages\": [",
           r->tier, r->threads, o->width, o->height, o->weights, r->fast ? "fast" : "exact",
           r->peak_f32 * 1e-9, r->peak_integer * 1e-9, r->memory,
           r->memory_in_file ? "true" : "false");
    for (int i = 0; i < STAGES; i++)
        printf("%s{\"name\": \"%s\", \"seconds\": %.6f, \"gflops\": %.3f, \"share\": %.4f}",
               i ? ", " : "", stages[i].name, stages[i].stage->seconds,
               flop_per_second(stages[i].stage) * 1e-9, stages[i].stage->share);
    if (o->layers)
        puts("], \"image\": null}");
    else
        printf("], \"image\": {\"steps\": %d, \"seconds\": %.6f}}\n", STEPS, image_seconds(r));
}

/* Parses "512x768", at most five digits each. False, without an error set: another form, or a side
 * that is not positive; *width and *height may be changed then. The library checks the range. */
static bool parse_size(const char *text, int *width, int *height)
{
    char end;
    return sscanf(text, "%5dx%5d%c", width, height, &end) == 2 && *width > 0 && *height > 0;
}

/* Prints a result of zi_bench_memory: a line on memory bandwidth and one for each type of weights;
 * or, if json, all of it as a JSON object on one line. */
static void print_memory(const zi_bench_memory_result *r, bool json)
{
    printf(json ? "{\"tier\": \"%s\", \"threads\": %d, \"memory_gb_per_second\": %.3f, "
                  "\"products\": ["
                : "%s, %d threads; memory is read at %.2f GB/s\n",
           r->tier, r->threads, r->bytes_per_second * 1e-9);
    for (int i = 0; i < ZI_BENCH_TYPES; i++) {
        const zi_bench_products *p = &r->products[i];
        if (json)
            printf("%s{\"type\": \"%s\", \"gb_per_second\": %.3f, \"share\": %.4f}", i ? ", " : "",
                   p->type, p->bytes_per_second * 1e-9, p->share);
        else
            printf("%-8s %9.2f GB/s %6.0f %% of it, products of one row\n", p->type,
                   p->bytes_per_second * 1e-9, 100 * p->share);
    }
    if (json) puts("]}");
}

int cmd_bench(int argc, char **argv)
{
    zi_bench_options o = {
        .weights = "bf16", .scratch = getenv("TMPDIR"), .remark = zi_print_remark};
    int compute = ZI_COMPUTE_AUTO;
    const char *size = "512x512";
    bool json = false, memory = false;
    char computes[64];
    zi_join_choices(zi_parameter_find("compute")->choices, computes, sizeof computes);
    const zi_option options[] = {
        {"size", 0, ZI_OPTION_TEXT, &size, 0, 0, "WxH", "image size (512x512)", NULL},
        {"layers", 0, ZI_OPTION_INT, &o.layers, 1, 1e6, "N",
         "number of transformer layers, of 30 (all)", NULL},
        {"precision", 0, ZI_OPTION_TEXT, &o.weights, 0, 0, "P",
         "precision of the transformer's weights: original, fp32, fp16, bf16, fp8, q8, q2 to q6, "
         "mxfp4, mxfp8, nvfp4, int8, convrot, iq4_nl, iq4_xs (bf16)",
         NULL},
        {"compute", 0, ZI_OPTION_CHOICE, &compute, 0, 0, computes,
         "arithmetic (auto: fast for quantized weights, on a GPU for all)", NULL},
        {"repeat", 0, ZI_OPTION_INT, &o.repeat, 1, 1000, "N", "repetitions, for a median (1)",
         NULL},
        {"threads", 0, ZI_OPTION_INT, &o.threads, 1, 1024, "N",
         "number of threads (all processors)", NULL},
        zi_cpu_option(&o.cpu),
        zi_device_option(&o.device),
        zi_vram_option(&o.vram),
        {"memory", 0, ZI_OPTION_FLAG, &memory, 0, 0, NULL,
         "measure memory bandwidth and matrix-vector products instead", NULL},
        {"json", 0, ZI_OPTION_FLAG, &json, 0, 0, NULL, "print JSON", NULL},
        {0},
    };
    const zi_command command = {
        "bench", "Times the stages at the shapes of Z-Image-Turbo, with random weights.", NULL,
        options};
    int code;
    if (!zi_options_parse(&command, argc, argv, NULL, &code)) return code;

    zi_error error = {0};
    zi_bench_result result;
    if (!parse_size(size, &o.width, &o.height)) {
        zi_error_set(&error, ZI_ERROR_INVALID_ARGUMENT, "size",
                     "'%s' is not an image size; write WIDTHxHEIGHT in pixels, such as 512x512",
                     size);
        return zi_report_error(&command, &error);
    }
    o.compute = (zi_compute)compute;
    zi_interrupt_install();
    if (memory) {
        zi_bench_memory_result read;
        if (!zi_bench_memory(&o, &read, &error)) return zi_report_error(&command, &error);
        print_memory(&read, json);
        return 0;
    }
    if (!zi_bench(&o, &result, &error)) return zi_report_error(&command, &error);
    const char *integers = result.fast ? " (integer arithmetic, which has a higher one)" : "";
    const named_stage stages[STAGES] = {
        {"encode", &result.encode, ""},
        {"step", &result.step, integers},
        {"block", &result.block, integers},
        {"decode", &result.decode, " (counted as plain convolutions, which have more operations)"}};
    if (json)
        print_json(&result, stages, &o);
    else
        print_text(&result, stages, !o.layers);
    return 0;
}
