/* The table of generation parameters, checks made from it, and precisions of layouts. */
#include "harness.h"

#include "base/tables.h"

#include <math.h>
#include <string.h>

/* ---- the table ---- */

static bool is_number(const zi_parameter *p)
{
    return p->type == ZI_PARAMETER_INT || p->type == ZI_PARAMETER_REAL;
}

static bool is_default_in_range(const zi_parameter *p)
{
    double value = p->default_value, max = zi_parameter_max(p, true);
    return value ? value >= p->min && value <= max
                 : p->zero_off == (p->min == 0) || p->default_text;
}

static void rows_are_complete(void)
{
    for (const zi_parameter *p = zi_parameters; p->name; p++) {
        bool ok = p->help && p->label && p->offset < sizeof(zi_generation) &&
                  zi_parameter_find(p->name) == p && (p->argument || p->api_only || p->choices) &&
                  (p->type == ZI_PARAMETER_CHOICE) == (p->choices != NULL);
        CHECK_MSG(ok, "%s", p->name);
        CHECK_MSG(strlen(p->name) < 32 && strlen(p->help) <= 90, "%s", p->name);
        CHECK_MSG(!p->server_max || !p->max || p->server_max <= p->max, "%s", p->name);
        if (!is_number(p)) continue;
        CHECK_MSG(p->max > p->min && is_default_in_range(p), "%s", p->name);
        if (!p->high) continue;
        CHECK_MSG(p->low >= p->min && p->high <= zi_parameter_max(p, true), "%s", p->name);
        CHECK_MSG(p->default_value >= p->low && p->default_value <= p->high, "%s", p->name);
    }
    CHECK(!zi_parameter_find("colour"));
}

static void defaults_in_words(void)
{
    static const char *const rows[][2] = {{"steps", "9; Z-Image base: 28"},
                                          {"shift", "the model's: 3; Z-Image base: 6"},
                                          {"guidance", "0, off; Z-Image base: 4"},
                                          {"cfg_normalization", "0, off"},
                                          {"cfg_truncation", "1"},
                                          {"count", "1"},
                                          {"compute", "auto"},
                                          {"prompt", ""},
                                          {"seed", "random, and reported"}};
    char text[64];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        zi_parameter_print_default(zi_parameter_find(rows[i][0]), text);
        CHECK_MSG(!strcmp(text, rows[i][1]), "%s: %s", rows[i][0], text);
    }
}

static void defaults_are_filled_in(void)
{
    zi_generation g = {.request.width = 64};
    zi_generation_fill_defaults(&g);
    CHECK(g.request.cfg_truncation == 1 && g.count == 1 && g.request.width == 64);
    CHECK(g.request.height == 0 && g.request.shift == 0 && g.request.steps == 0); /* the model's */
    CHECK(g.request.guidance == 0 && !g.request.guidance_given);
    g.count = 4;
    zi_generation_fill_defaults(&g);
    CHECK(g.count == 4);
}

/* ---- checks ---- */

static void numbers(void)
{
    static const struct {
        const char *name, *says; /* NULL: it is taken */
        double value, max;
    } rows[] = {
        {"steps", NULL, 100, 100},
        {"steps", "101 is out of range; it must be from 1 to 100", 101, 100},
        {"steps", "1.5 is not a whole number; it must be one from 1 to 100", 1.5, 100},
        {"steps", "nan is not a whole number; it must be one from 1 to 100", NAN, 100},
        {"width", NULL, 4096, 4096},
        {"width", "100 is not a multiple of 16; the nearest that fit are 96 and 112", 100, 4096},
        {"width", "the nearest that fit are 96 and 96", 100, 100},
        {"shift", NULL, 0.01, 100},
        {"shift", "0.001 is out of range; it must be from 0.01 to 100", 0.001, 100},
        {"guidance", NULL, 0, 100},
        {"guidance", "0 (off) to 100", -1, 100},
        {"count", "1e+300 is out of range; it must be from 1 to 10000", 1e300, 10000},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        zi_error error = {0};
        bool ok =
            zi_parameter_check(zi_parameter_find(rows[i].name), rows[i].value, rows[i].max, &error);
        CHECK_MSG(ok == !rows[i].says, "row %zu", i);
        if (ok || !rows[i].says) continue;
        CHECK_ERROR(error, ZI_ERROR_INVALID_ARGUMENT, rows[i].name);
        CHECK_MSG(strstr(error.text, rows[i].says), "row %zu says: %s", i, error.text);
    }
}

static void texts_and_choices(void)
{
    int index = -1;
    zi_error error = {0};
    const zi_parameter *prompt = zi_parameter_find("prompt");
    const zi_parameter *schedule = zi_parameter_find("schedule");
    CHECK(zi_parameter_check_text(prompt, "abc", 3, &error));
    CHECK(zi_parameter_check_text(prompt, "abc", 0, &error));
    CHECK(!zi_parameter_check_text(prompt, "abcd", 3, &error));
    CHECK(!strcmp(error.text, "prompt: has 4 bytes, but at most 3 are possible; shorten it"));
    CHECK(!zi_parameter_check_text(prompt, "", 3, &error));
    CHECK_ERROR(error, ZI_ERROR_INVALID_ARGUMENT, "prompt");
    CHECK(!zi_parameter_check_text(prompt, "\xff", 3, &error));
    CHECK(zi_parameter_choose(schedule, "mlx", &index, &error) && index == ZI_SCHEDULE_MLX);
    CHECK(!zi_parameter_choose(schedule, "ml", &index, &error) && index == ZI_SCHEDULE_MLX);
    CHECK(!strcmp(error.text, "schedule: 'ml' is unknown; choose one of auto, mlx, "
                              "diffusers, karras, exponential, beta"));
}

static void servers_take_less(void)
{
    static const zi_generation rows[] = {
        {.request.steps = 151}, {.request.width = 4112}, {.count = 17}};
    static const char *const names[] = {"steps", "width", "count"};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        zi_error error = {0};
        CHECK_OK(zi_generation_check(&rows[i], false, &error), error);
        CHECK(!zi_generation_check(&rows[i], true, &error));
        CHECK_ERROR(error, ZI_ERROR_INVALID_ARGUMENT, names[i]);
    }
}

/* ---- layouts and precisions ---- */

static void layouts_have_precisions(void)
{
    static const struct {
        zi_layout_kind layout;
        const char *precisions;
    } rows[] = {{ZI_LAYOUT_SAME, "original fp16 bf16 fp8 q8 q4 fp32 fp8_e4m3fn q2_k q3_k q4_k q5_k "
                                 "q6_k q4_1 q5_0 q5_1 iq4_nl iq4_xs "},
                {ZI_LAYOUT_MLX, "original fp16 bf16 fp8 q8 q4 fp32 "},
                {ZI_LAYOUT_DIFFUSERS, "original fp16 bf16 fp8 fp32 fp8_e4m3fn "},
                {ZI_LAYOUT_COMFYUI, "original fp16 bf16 fp8 fp32 fp8_e4m3fn "},
                {ZI_LAYOUT_GGUF, "original fp16 bf16 q8 q4 fp32 q2_k q3_k q4_k q5_k q6_k q4_1 q5_0 "
                                 "q5_1 iq4_nl iq4_xs "}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char possible[160] = "";
        zi_error error = {0};
        CHECK(rows[i].layout == (zi_layout_kind)i && zi_layout_names[i]);
        for (int p = 0; zi_precision_names[p]; p++)
            if (zi_layout_check(rows[i].layout, (zi_precision)p, &error))
                strcat(strcat(possible, zi_precision_names[p]), " ");
        CHECK_MSG(!strcmp(possible, rows[i].precisions), "%s: %s", zi_layout_names[i], possible);
    }
    zi_error error = {0};
    CHECK(!zi_layout_check(ZI_LAYOUT_GGUF, ZI_PRECISION_FP8, &error));
    CHECK_ERROR(error, ZI_ERROR_INVALID_ARGUMENT, "precision");
    CHECK_MSG(
        strstr(
            error.text,
            "fp8 is not possible in the layout GGUF; choose one of original, fp16, bf16, q8, q4"),
        "%s", error.text);
}

int main(void)
{
    RUN(rows_are_complete);
    RUN(defaults_in_words);
    RUN(defaults_are_filled_in);
    RUN(numbers);
    RUN(texts_and_choices);
    RUN(servers_take_less);
    RUN(layouts_have_precisions);
    return zi_test_result();
}
