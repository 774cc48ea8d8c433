/* Errors: code, subject and a line of valid UTF-8, however the text was built or truncated. */
#include "base/error.h"
#include "base/text.h"
#include "harness.h"

#include <errno.h>
#include <string.h>

enum { TEXT = sizeof((zi_error *)0)->text, SUBJECT = sizeof((zi_error *)0)->subject };

/* count bytes of e with an acute, the last one cut when that is odd. */
static const char *accents(char *out, size_t count)
{
    for (size_t i = 0; i < count; i++) out[i] = i % 2 ? '\xa9' : '\xc3';
    out[count] = 0;
    return out;
}

static bool is_line(const char *text)
{
    for (const char *c = text; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f) return false;
    return zi_utf8_valid(text, strlen(text));
}

static void subject_and_message(void)
{
    zi_error error = {0};
    CHECK(!zi_error_set(&error, ZI_ERROR_INVALID_ARGUMENT, "width", "%d is too %s", 7, "small"));
    CHECK_ERROR(error, ZI_ERROR_INVALID_ARGUMENT, "width");
    CHECK(!strcmp(error.text, "width: 7 is too small"));
    CHECK(!strcmp(error.text + error.message, "7 is too small"));
}

static void without_a_subject(void)
{
    zi_error error = {.subject = "old", .message = 5};
    CHECK(!zi_error_set(&error, ZI_ERROR_IO, NULL, "no random numbers"));
    CHECK_ERROR(error, ZI_ERROR_IO, "");
    CHECK(!strcmp(error.text, "no random numbers") && error.message == 0);
}

static void subjects_in_files(void)
{
    zi_error error = {0};
    CHECK(!zi_error_set_in(&error, ZI_ERROR_BAD_FORMAT, "a/b", "t", "tensor %s is odd", "t"));
    CHECK_ERROR(error, ZI_ERROR_BAD_FORMAT, "t");
    CHECK(!strcmp(error.text, "a/b: tensor t is odd"));
    CHECK(!strcmp(error.text + error.message, "tensor t is odd"));
    CHECK(!zi_error_set_in(&error, ZI_ERROR_INCOMPLETE, NULL, "vae", "no VAE"));
    CHECK_ERROR(error, ZI_ERROR_INCOMPLETE, "vae");
    CHECK(!strcmp(error.text, "no VAE") && error.message == 0);
    CHECK(!zi_error_set_in(&error, ZI_ERROR_IO, "a/b", NULL, "cannot be read"));
    CHECK_ERROR(error, ZI_ERROR_IO, "");
}

static void nobody_listens(void)
{
    CHECK(!zi_error_set(NULL, ZI_ERROR_IO, "x", "%s", "y"));
    CHECK(!zi_error_set_in(NULL, ZI_ERROR_IO, "x", "y", "%s", "z"));
    CHECK(!zi_error_no_memory(NULL, 1) && !zi_error_cancelled(NULL));
}

static void control_characters(void)
{
    zi_error error = {0};
    CHECK(!zi_error_set(&error, ZI_ERROR_BAD_FORMAT, "a\nb\x1b[1m\x7f", "%.3s is\todd",
                        "\xc3\xa9\xc3\xa9"));
    CHECK_MSG(!strcmp(error.text, "a b [1m : \xc3\xa9? is odd"), "%s", error.text);
    CHECK_ERROR(error, ZI_ERROR_BAD_FORMAT, "a b [1m ");
    CHECK(!strcmp(error.text + error.message, "\xc3\xa9? is odd"));
}

/* The text is full at every place of a character. */
static void long_messages(void)
{
    zi_error error = {0};
    static const char word[] = "abc";
    char text[TEXT + 8];
    for (size_t size = TEXT - 6; size < TEXT + 6; size++)
        for (size_t before = 0; before < 4; before++) {
            CHECK(!zi_error_set(&error, ZI_ERROR_IO, word + 3 - before, "%s", accents(text, size)));
            CHECK_MSG(is_line(error.text), "%zu behind %zu", size, before);
            size_t whole = size + before + 2;
            CHECK(strlen(error.text) == (whole < TEXT ? whole : TEXT - 1));
        }
    CHECK(!zi_error_set(&error, ZI_ERROR_IO, NULL, "%s", accents(text, TEXT + 2)));
    CHECK(error.text[TEXT - 2] == '?');
}

static void long_subjects(void)
{
    zi_error error = {0};
    char text[TEXT + 8];
    for (size_t size = SUBJECT - 4; size < SUBJECT + 4; size++) {
        CHECK(!zi_error_set(&error, ZI_ERROR_NOT_FOUND, accents(text, size), "is not there"));
        CHECK(is_line(error.subject));
        CHECK(strlen(error.subject) == (size < SUBJECT ? size : SUBJECT - 1));
        CHECK(!strcmp(error.text + error.message, "is not there"));
    }
    /* One that leaves no room for a message. */
    CHECK(!zi_error_set(&error, ZI_ERROR_NOT_FOUND, accents(text, TEXT + 3), "is not there"));
    CHECK(is_line(error.text) && is_line(error.subject));
    CHECK(strlen(error.text) == TEXT - 1 && error.message == TEXT - 1);
}

/* What an error says may become part of what it says next. */
static void words_of_its_own(void)
{
    zi_error error = {0};
    CHECK(!zi_error_set(&error, ZI_ERROR_NOT_FOUND, "a", "is not there"));
    CHECK(!zi_error_set(&error, ZI_ERROR_IO, error.subject, "%s, %s", error.text, "really"));
    CHECK_ERROR(error, ZI_ERROR_IO, "a");
    CHECK_MSG(!strcmp(error.text, "a: a: is not there, really"), "%s", error.text);
    CHECK(!zi_error_set_in(&error, error.code, error.text, error.text + 3, "%s", error.subject));
    CHECK_MSG(!strcmp(error.text, "a: a: is not there, really: a"), "%s", error.text);
    CHECK_ERROR(error, ZI_ERROR_IO, "a: is not there, really");
}

static void usual_ones(void)
{
    zi_error error = {0};
    CHECK(!zi_error_no_memory(&error, 4096) && strstr(error.text, "4.1 kB"));
    CHECK_ERROR(error, ZI_ERROR_NO_MEMORY, "");
    CHECK(!zi_error_cancelled(&error));
    CHECK_ERROR(error, ZI_ERROR_CANCELLED, "");
}

static void reasons_of_the_system(void)
{
    static const struct {
        int number;
        zi_error_code code;
    } rows[] = {{ENOENT, ZI_ERROR_NOT_FOUND},
                {ENOTDIR, ZI_ERROR_NOT_FOUND},
                {EACCES, ZI_ERROR_IO},
                {EIO, ZI_ERROR_IO}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        errno = rows[i].number;
        CHECK(zi_error_code_of_errno() == rows[i].code);
    }
}

int main(void)
{
    RUN(subject_and_message);
    RUN(without_a_subject);
    RUN(subjects_in_files);
    RUN(nobody_listens);
    RUN(control_characters);
    RUN(long_messages);
    RUN(long_subjects);
    RUN(words_of_its_own);
    RUN(usual_ones);
    RUN(reasons_of_the_system);
    return zi_test_result();
}
