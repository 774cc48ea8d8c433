/* Infotext (A1111's generation parameters): round trips, and texts of other programs. */
#include "harness.h"
#include "io/infotext.h"

#include <locale.h>
#include <stdlib.h>
#include <string.h>

static zi_infotext_fields sample(void)
{
    return (zi_infotext_fields){.prompt = "a cat, sleeping",
                                .negative = "",
                                .model = "z_image_turbo",
                                .model_hash = "0123456789",
                                .schedule = "diffusers",
                                .steps = 9,
                                .width = 1024,
                                .height = 768,
                                .seed = 42,
                                .cfg = 1,
                                .shift = 3};
}

static void comes_back(zi_infotext_fields f)
{
    zi_error error = {0};
    zi_infotext_fields back;
    char *storage = NULL, *text = zi_infotext_format(&f);
    if (!CHECK(text) || !CHECK_OK(zi_infotext_parse(text, &back, &storage, &error), error)) {
        printf("%s\n", text ? text : "");
        free(text);
        return;
    }
    CHECK_MSG(!strcmp(back.prompt, f.prompt), "prompt in %s", text);
    CHECK_MSG(!strcmp(back.negative, f.negative), "negative in %s", text);
    CHECK_MSG(!strcmp(back.original, f.original ? f.original : ""), "original in %s", text);
    CHECK_MSG(!strcmp(back.model, f.model), "model in %s", text);
    CHECK_MSG(!strcmp(back.model_hash, f.model_hash) && !*back.unread, "model hash in %s", text);
    CHECK_MSG(!strcmp(back.schedule, f.schedule), "schedule in %s", text);
    CHECK_MSG(back.steps == f.steps && back.width == f.width && back.height == f.height &&
                  back.seed == f.seed && back.cfg == f.cfg && back.shift == f.shift &&
                  back.max_tokens == f.max_tokens,
              "numbers in %s", text);
    free(storage);
    free(text);
}

static void writes_the_known_form(void)
{
    zi_infotext_fields f = sample();
    char *text = zi_infotext_format(&f);
    const char *settings = "Steps: 9, Sampler: Euler, Schedule type: diffusers, CFG scale: 1, "
                           "Seed: 42, Size: 1024x768, Model hash: 0123456789, "
                           "Model: z_image_turbo, Shift: 3, "
                           "Version: zimage " ZI_VERSION;
    char expected[512];
    snprintf(expected, sizeof expected, "a cat, sleeping\n%s", settings);
    CHECK_MSG(text && !strcmp(text, expected), "%s", text ? text : "(none)");
    free(text);
    f.negative = "dogs";
    text = zi_infotext_format(&f);
    snprintf(expected, sizeof expected, "a cat, sleeping\nNegative prompt: dogs\n%s", settings);
    CHECK_MSG(text && !strcmp(text, expected), "%s", text ? text : "(none)");
    free(text);
    f.original = "cat: \"Tom\"";
    text = zi_infotext_format(&f);
    CHECK_MSG(text && strstr(text, ", Original prompt: \"cat: \\\"Tom\\\"\", Version"), "%s", text);
    free(text);
    f.max_tokens = 1504;
    text = zi_infotext_format(&f);
    CHECK_MSG(text && strstr(text, ", Shift: 3, Max tokens: 1504, Original"), "%s", text);
    free(text);
    comes_back(f);
}

static void round_trips(void)
{
    static const char *const texts[] = {
        "",
        " ",
        "\n",
        "\n\n two \n lines \n\n",
        "Steps: 1, Seed: 2, Size: 3x4, Model: none",
        "\xe4\xb8\x80\xe5\x8f\xaa\xe7\x8c\xab\xef\xbc\x9a\n\xf0\x9f\x90\xb1",
        "\"quoted\", back\\slash: \\\"",
        "Negative: prompt, negative prompt: not at the start; Negative prompt",
        "windows\r\nlines\r\n",
    };
    const size_t count = sizeof texts / sizeof texts[0];
    for (size_t i = 0; i < count * count; i++) {
        zi_infotext_fields f = sample();
        f.prompt = texts[i / count];
        f.negative = texts[i % count];
        comes_back(f);
    }
    static const char *const values[] = {"",
                                         "plain name",
                                         "comma, colon: and \"quotes\"",
                                         "\"",
                                         "\\",
                                         " edges ",
                                         "new\nline\ttab\r",
                                         "control \x01\x1f",
                                         "\xe6\xa8\xa1\xe5\x9e\x8b, \xf0\x9f\x90\xb1",
                                         "C:\\models\\a,b"};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        zi_infotext_fields f = sample();
        f.model = values[i];
        f.schedule = values[sizeof values / sizeof values[0] - 1 - i];
        comes_back(f);
    }
}

static void numbers_come_back(void)
{
    static const double values[] = {0,    1,       1.5,       3,    10,   100,           0.01, 0.1,
                                    7.25, 1.0 / 3, 0.1 + 0.2, -2.5, 1e-7, 123456789.125, 1e22};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        zi_infotext_fields f = sample();
        f.cfg = values[i];
        f.shift = 1 + values[i];
        f.seed = UINT64_MAX - i;
        f.steps = 2147483647;
        comes_back(f);
    }
}

/* A host program may have called setlocale. */
static void any_locale(void)
{
    static const char *const names[] = {"de_DE.UTF-8", "de_DE.utf8",  "fr_FR.UTF-8", "ru_RU.UTF-8",
                                        "es_ES.UTF-8", "pt_BR.UTF-8", "ps_AF.UTF-8"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (!setlocale(LC_ALL, names[i])) continue;
        zi_infotext_fields f = sample();
        f.cfg = 2.5;
        char *text = zi_infotext_format(&f);
        CHECK_MSG(text && strstr(text, "CFG scale: 2.5,"), "%s: %s", names[i], text ? text : "");
        free(text);
        comes_back(f);
        numbers_come_back();
    }
    setlocale(LC_ALL, "C");
}

static void reads_others(void)
{
    zi_error error = {0};
    zi_infotext_fields f;
    char *storage = NULL;
    const char *a1111 =
        "masterpiece, (a castle:1.2), <lora:detail:0.8>\nsecond line\n"
        "Negative prompt: lowres, bad hands,\nblurry\n"
        "Steps: 20, Sampler: DPM++ 2M Karras, CFG scale: 7.5, Seed: 965400086, Size: 512x768, "
        "Model hash: 45dee52b9e, Model: v1-5-pruned, Denoising strength: 0.7, Clip skip: 2, "
        "Hires upscale: 2, Lora hashes: \"detail: 7c6bad76eb54, b: \\\"c\\\"\", Version: v1.6.0";
    if (CHECK_OK(zi_infotext_parse(a1111, &f, &storage, &error), error)) {
        CHECK(!strcmp(f.prompt, "masterpiece, (a castle:1.2), <lora:detail:0.8>\nsecond line"));
        CHECK(!strcmp(f.negative, "lowres, bad hands,\nblurry"));
        CHECK(!strcmp(f.model, "v1-5-pruned") && !strcmp(f.schedule, ""));
        CHECK(f.steps == 20 && f.cfg == 7.5 && f.seed == 965400086);
        CHECK(f.width == 512 && f.height == 768 && f.shift == 0);
        free(storage);
    }
    /* Forge: a module list, times with dots, no negative prompt, a newline at the end. */
    const char *forge =
        "a street in the rain\n"
        "Steps: 8, Sampler: Euler, Schedule type: Simple, CFG scale: 1, Distilled CFG Scale: 3.5, "
        "Shift: 9, Seed: 4294967295, Size: 1024x1024, Model hash: 2f1a, Model: \"z, turbo\", "
        "RNG: CPU, Module 1: ae, Module 2: qwen_3_4b, Time taken: 1 min. 2.5 sec., "
        "Version: f2.0.1v1.10.1-previous-659-gc055f2d4\r\n";
    if (CHECK_OK(zi_infotext_parse(forge, &f, &storage, &error), error)) {
        CHECK(!strcmp(f.prompt, "a street in the rain") && !strcmp(f.negative, ""));
        CHECK(!strcmp(f.model, "z, turbo") && !strcmp(f.schedule, "Simple"));
        CHECK(f.steps == 8 && f.cfg == 1 && f.shift == 9 && f.seed == 4294967295u);
        free(storage);
    }
}

static void reads_parts(void)
{
    static const struct {
        const char *text, *prompt, *negative;
        int steps;
    } rows[] = {
        {"", "", "", 0},
        {"just words", "just words", "", 0},
        {"words\nSteps: 5, Seed: 1", "words\nSteps: 5, Seed: 1", "", 0}, /* two pairs are prose */
        {"Steps: 5, Seed: 1, Size: 8x8", "", "", 5},
        {"Negative prompt: n\nSteps: 5, Seed: 1, Size: 8x8", "", "n", 5},
        {"Negative prompt:n", "", "n", 0},
        {"p\nNegative prompt:", "p", "", 0},
        {"p\nSteps: 5, Steps: 6, Seed: 1,,, Size: 8x8,", "p", "", 6},
        {"p\n: x, -: y, Steps: 7, AB: \"open, CD: \"shut\" no, Empty: , Seed: 3", "p", "", 7},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        zi_error error = {0};
        zi_infotext_fields f;
        char *storage = NULL;
        if (!CHECK_OK(zi_infotext_parse(rows[i].text, &f, &storage, &error), error)) continue;
        CHECK_MSG(!strcmp(f.prompt, rows[i].prompt) && !strcmp(f.negative, rows[i].negative) &&
                      f.steps == rows[i].steps,
                  "row %zu: \"%s\", \"%s\", %d steps", i, f.prompt, f.negative, f.steps);
        free(storage);
    }
}

static void append(void *user, const char *key, const char *value)
{
    char *text = user;
    snprintf(text + strlen(text), 400 - strlen(text), "[%s=%s]", key, value);
}

static void settings_as_they_stand(void)
{
    char all[400] = "";
    CHECK(zi_infotext_each("a cat: sleeping, 1\nNegative prompt: no: dogs\n"
                           "Steps: 20, Sampler: DPM++ 2M, Size: 512x768, Model hash: 0123abcd, "
                           "Lora hashes: \"a: 1, b: \\\"2\", Version: v1.10.1",
                           append, all));
    CHECK_MSG(!strcmp(all, "[Steps=20][Sampler=DPM++ 2M][Size=512x768][Model hash=0123abcd]"
                           "[Lora hashes=a: 1, b: \"2][Version=v1.10.1]"),
              "%s", all);
    all[0] = 0;
    CHECK(zi_infotext_each("Steps: 20, Size: 512x512", append, all) && !all[0]);
    CHECK(zi_infotext_each("", append, all) && !all[0]);
}

/* One odd value does not spoil the others: they are read, and the odd one is named. */
static void odd_values_stay_text(void)
{
    static const char *const settings[] = {
        "Steps: many",
        "Steps: 2147483648",
        "Steps: -1",
        "Steps: ",
        "Seed: 18446744073709551616",
        "Seed: 1.5",
        "Seed: -1",
        "Size: 1024",
        "Size: 1024x",
        "Size: 1024x1024x3",
        "CFG scale: nan",
        "CFG scale: None",
        "CFG scale: 0x10",
        "CFG scale: 1e999",
        "Shift: 3 or so",
        "Shift: 1.2.3",
        "Shift: 00000000000000000000000000000000000000000000000000000000000000000001",
    };
    static const char *const good[] = {"Steps: 5", "Seed: 7", "Size: 16x32", "CFG scale: 2",
                                       "Shift: 4"};
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++) {
        zi_error error = {0};
        zi_infotext_fields f = {.steps = -7};
        char text[512], *storage = NULL;
        size_t key = strcspn(settings[i], ":") + 1;
        snprintf(text, sizeof text, "p\nNegative prompt: n\n%s, Model hash: 0123456789, Model: m",
                 settings[i]);
        for (size_t k = 0; k < sizeof good / sizeof good[0]; k++) {
            if (!strncmp(good[k], settings[i], key)) continue;
            strcat(strcat(text, ", "), good[k]);
        }
        if (!CHECK_OK(zi_infotext_parse(text, &f, &storage, &error), error)) continue;
        CHECK_MSG(!strcmp(f.unread, settings[i]), "%s: unread is \"%s\"", text, f.unread);
        CHECK_MSG(f.steps == (!strncmp("Steps", settings[i], 5) ? 0 : 5), "%s", text);
        CHECK_MSG(f.seed == (!strncmp("Seed", settings[i], 4) ? 0 : 7), "%s", text);
        CHECK_MSG(f.has_seed == !!strncmp("Seed", settings[i], 4), "%s", text);
        CHECK_MSG(f.width == (!strncmp("Size", settings[i], 4) ? 0 : 16), "%s", text);
        CHECK_MSG(f.height == (!strncmp("Size", settings[i], 4) ? 0 : 32), "%s", text);
        CHECK_MSG(f.cfg == (!strncmp("CFG", settings[i], 3) ? 0 : 2), "%s", text);
        CHECK_MSG(f.has_cfg == !!strncmp("CFG", settings[i], 3), "%s", text);
        CHECK_MSG(f.shift == (!strncmp("Shift", settings[i], 5) ? 0 : 4), "%s", text);
        CHECK(!strcmp(f.prompt, "p") && !strcmp(f.negative, "n") && !strcmp(f.model, "m"));
        CHECK(!strcmp(f.model_hash, "0123456789"));
        free(storage);
    }
    zi_error error = {0};
    zi_infotext_fields f;
    char *storage = NULL;
    if (CHECK_OK(zi_infotext_parse("p\nSteps: x, Seed: \"a\\nb\", Steps: 5, Size: ?", &f, &storage,
                                   &error),
                 error)) {
        CHECK_MSG(!strcmp(f.unread, "Steps: x\nSeed: a b\nSize: ?"), "\"%s\"", f.unread);
        CHECK(f.steps == 5 && !f.has_seed);
        free(storage);
    }
}

/* Random cuts and mixtures of the characters that mean something; for sanitizers, and for time:
 * 60 KB of anything must not take quadratic time. */
static void any_text(void)
{
    static const char alphabet[] = "ab: ,\"\\\n\r/-x10.N";
    static char text[60001];
    uint32_t random = 7;
    for (int round = 0; round < 3000; round++) {
        size_t size = round < 2990 ? (size_t)round % 97 : sizeof text - 1;
        for (size_t i = 0; i < size; i++) {
            random = random * 1664525u + 1013904223u;
            text[i] = round == 2999 ? 'a' : alphabet[(random >> 16) % (sizeof alphabet - 1)];
        }
        text[size] = 0;
        zi_error error = {0};
        zi_infotext_fields f;
        char *storage = NULL;
        if (zi_infotext_parse(text, &f, &storage, &error)) {
            char all[400] = "";
            CHECK(strlen(f.prompt) <= size && strlen(f.unread) <= 2 * size + 4);
            if (size < 97) CHECK(zi_infotext_each(text, append, all));
            free(storage);
        }
    }
}

/* A1111's names of samplers and schedules are the parameters' choices; others stay. */
static void samplers_and_schedules(void)
{
    static const struct {
        const char *sampler, *schedule, *text, *read_sampler, *read_schedule;
    } rows[] = {
        {"euler", "diffusers", "Sampler: Euler, Schedule type: diffusers,", "euler", "diffusers"},
        {"heun", "karras", "Sampler: Heun, Schedule type: Karras,", "heun", "karras"},
        {"lcm", "exponential", "Sampler: LCM, Schedule type: Exponential,", "lcm", "exponential"},
        {NULL, "beta", "Sampler: Euler, Schedule type: Beta,", "euler", "beta"},
        {"DPM++ 2M", "SGM Uniform", "Sampler: DPM++ 2M, Schedule type: SGM Uniform,", "DPM++ 2M",
         "SGM Uniform"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        zi_infotext_fields back, f = {.prompt = "a",
                                      .steps = 3,
                                      .sampler = rows[i].sampler,
                                      .schedule = rows[i].schedule,
                                      .cfg = 4,
                                      .cfg_normalization = i * 0.25,
                                      .cfg_truncation = i * 0.2};
        char *storage = NULL, *text = zi_infotext_format(&f);
        CHECK_MSG(strstr(text, rows[i].text), "%s", text);
        CHECK((strstr(text, "CFG normalization") != NULL) == (i > 0));
        CHECK(zi_infotext_parse(text, &back, &storage, NULL));
        CHECK_MSG(!strcmp(back.sampler, rows[i].read_sampler) &&
                      !strcmp(back.schedule, rows[i].read_schedule),
                  "%s, %s", back.sampler, back.schedule);
        CHECK(back.cfg_normalization == f.cfg_normalization &&
              back.cfg_truncation == f.cfg_truncation);
        free(storage);
        free(text);
    }
}

int main(void)
{
    RUN(writes_the_known_form);
    RUN(round_trips);
    RUN(numbers_come_back);
    RUN(any_locale);
    RUN(reads_others);
    RUN(reads_parts);
    RUN(settings_as_they_stand);
    RUN(odd_values_stay_text);
    RUN(any_text);
    RUN(samplers_and_schedules);
    return zi_test_result();
}
