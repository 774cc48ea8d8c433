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
                           "Seed: 42, Size: 1024x768, Model: z_image_turbo, Shift: 3, "
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

static void refuses_non_numbers(void)
{
    static const char *const settings[][2] = {
        {"Steps: many", "Steps"},
        {"Steps: 2147483648", "Steps"},
        {"Steps: -1", "Steps"},
        {"Steps: ", "Steps"},
        {"Seed: 18446744073709551616", "Seed"},
        {"Seed: 1.5", "Seed"},
        {"Size: 1024", "Size"},
        {"Size: 1024x", "Size"},
        {"Size: 1024x1024x3", "Size"},
        {"CFG scale: nan", "CFG scale"},
        {"CFG scale: 0x10", "CFG scale"},
        {"CFG scale: 1e999", "CFG scale"},
        {"Shift: 3 or so", "Shift"},
        {"Shift: 1.2.3", "Shift"},
        {"Shift: 00000000000000000000000000000000000000000000000000000000000000000001", "Shift"},
    };
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++) {
        zi_error error = {0};
        zi_infotext_fields f = {.steps = -7};
        char text[256], *storage = NULL;
        snprintf(text, sizeof text, "p\n%s, Aa: 1, Bb: 2", settings[i][0]);
        CHECK_MSG(!zi_infotext_parse(text, &f, &storage, &error), "%s is accepted", text);
        CHECK_MSG(strstr(error.text, settings[i][1]), "%s: %s", text, error.text);
        CHECK_ERROR(error, ZI_ERROR_BAD_FORMAT, "infotext");
        CHECK(f.steps == -7 && !storage);
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
            CHECK(strlen(f.prompt) <= size);
            if (size < 97) CHECK(zi_infotext_each(text, append, all));
            free(storage);
        }
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
    RUN(refuses_non_numbers);
    RUN(any_text);
    return zi_test_result();
}
