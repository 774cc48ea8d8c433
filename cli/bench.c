/* zimage bench: how fast this machine runs the real model's shapes. */
#include "cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void print_stage(const char *name, const zi_bench_stage *stage)
{
    printf("%-8s %9.3f s %9.1f GFLOP/s\n", name, stage->seconds,
           stage->flop / stage->seconds * 1e-9);
}

static void print_text(const zi_bench_result *r)
{
    print_stage("encode", &r->encode);
    print_stage("step", &r->step);
    print_stage("decode", &r->decode);
    printf("%d threads, %.0f MB beside the weights\n", r->threads, (double)r->memory * 1e-6);
}

static void print_json(const zi_bench_result *r)
{
    const struct {
        const char *name;
        const zi_bench_stage *stage;
    } stages[] = {{"encode", &r->encode}, {"step", &r->step}, {"decode", &r->decode}};
    putchar('{');
    for (int i = 0; i < 3; i++)
        printf("\"%s\": {\"seconds\": %.6f, \"gflops\": %.3f}, ", stages[i].name,
               stages[i].stage->seconds, stages[i].stage->flop / stages[i].stage->seconds * 1e-9);
    printf("\"threads\": %d, \"memory_bytes\": %zu}\n", r->threads, r->memory);
}

/* "512x768" -> 512 and 768; what they may be is the library's affair. */
static bool parse_size(const char *text, int *width, int *height)
{
    char end;
    return sscanf(text, "%5dx%5d%c", width, height, &end) == 2 && *width > 0 && *height > 0;
}

int cmd_bench(int argc, char **argv)
{
    zi_bench_options o = {0};
    const char *size = "512x512";
    bool json = false;
    const zi_option options[] = {
        {"size", 0, ZI_OPTION_TEXT, &size, 0, 0, "WxH", "picture size (512x512)", NULL},
        {"layers", 0, ZI_OPTION_INT, &o.layers, 1, 1e6, "N", "of the 30 layers (all)", NULL},
        {"precision", 0, ZI_OPTION_TEXT, &o.weights, 0, 0, "P", "of weights: f32, f16, bf16 (bf16)",
         NULL},
        {"threads", 0, ZI_OPTION_INT, &o.threads, 1, 1024, "N", "threads (all processors)", NULL},
        {"cpu", 0, ZI_OPTION_TEXT, &o.cpu, 0, 0, "TIER", "kernel tier (the best there is)", NULL},
        {"json", 0, ZI_OPTION_FLAG, &json, 0, 0, NULL, "as JSON", NULL},
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
        zi_misuse(&error, "--size: \"%s\" is not of the form 512x512", size);
        return zi_report(&error);
    }
    zi_interrupt_install();
    if (!zi_bench(&o, &result, &error)) return zi_report(&error);
    if (json)
        print_json(&result);
    else
        print_text(&result);
    return 0;
}
