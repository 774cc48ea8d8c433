/* The program's entry point: runs the subcommand. */
#include "cli.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

typedef struct {
    const char *name, *about;
    int (*run)(int argc, char **argv);
} subcommand;

static const subcommand subcommands[] = {
    {"generate", "generate an image from a prompt", cmd_generate},
    {"serve", "run a web page and HTTP API", cmd_serve},
    {"gallery", "list and remove images of the server", cmd_gallery},
    {"enhance", "expand a short prompt", cmd_enhance},
    {"convert", "write a model in another layout", cmd_convert},
    {"quantize", "write a model in another precision", cmd_quantize},
    {"download", "download a model from Hugging Face's hub", cmd_download},
    {"import", "add a model to the models folder", cmd_import},
    {"models", "list, choose and remove models", cmd_models},
    {"inspect", "describe a model's folder or file", cmd_inspect},
    {"verify", "check that a model works", cmd_verify},
    {"tokenize", "print the token ids of a text", cmd_tokenize},
    {"bench", "measure the speed of this machine", cmd_bench},
    {"docs", "print the man page or shell completions", cmd_docs},
};
enum { SUBCOMMANDS = sizeof subcommands / sizeof *subcommands };

int zi_print_text(const char *text)
{
    for (const char *c = text; *c; c++) putchar((unsigned char)*c < 0x20 || *c == 0x7f ? '?' : *c);
    return (int)strlen(text);
}

static int write_failure; /* errno of the first failed flush of standard output; 0: none failed */

void zi_flush_output(void)
{
    if (fflush(stdout) != 0 && !write_failure) write_failure = errno;
}

void zi_print_note(bool quiet, const char *format, ...)
{
    if (quiet) return;
    va_list args;
    va_start(args, format);
    fputs("zimage: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
}

/* Prints usage, version and the list of subcommands. */
static void print_help(FILE *stream)
{
    fprintf(stream,
            "zimage %s: generates images with Z-Image-Turbo\n\n"
            "usage: zimage SUBCOMMAND [OPTION...]\n\n",
            ZI_VERSION);
    for (int i = 0; i < SUBCOMMANDS; i++)
        fprintf(stream, "  %-10s %s\n", subcommands[i].name, subcommands[i].about);
    fputs("\n`zimage SUBCOMMAND --help` lists its options. To begin with:\n\n"
          "  zimage generate -p \"a red circle on a blue background\" -o out.png\n",
          stream);
}

typedef struct {
    zi_command_visitor visit;
    void *user;
    const char *summary;
} visitor;

/* The callback for zi_options_intercept in zi_visit_commands; user is a visitor, whose function
 * gets its own `user`, the summary and the command. */
static void visit_command(void *user, const zi_command *command)
{
    const visitor *v = user;
    v->visit(v->user, v->summary, command);
}

void zi_visit_commands(zi_command_visitor visit, void *user)
{
    visitor v = {visit, user, NULL};
    zi_options_intercept(visit_command, &v);
    for (int i = 0; i < SUBCOMMANDS; i++) {
        char *argv[] = {(char *)subcommands[i].name, NULL};
        v.summary = subcommands[i].about;
        (void)subcommands[i].run(1, argv);
    }
    zi_options_intercept(NULL, NULL);
}

/* Prints an error that lists all subcommands to standard error. Returns the exit code, 2. */
static int report_unknown_subcommand(const char *name)
{
    zi_error error;
    char names[200] = "";
    for (int i = 0; i < SUBCOMMANDS; i++) {
        size_t size = strlen(names);
        snprintf(names + size, sizeof names - size, "%s%s", i ? ", " : "", subcommands[i].name);
    }
    zi_error_set(&error, ZI_ERROR_INVALID_ARGUMENT, name,
                 "no such subcommand; the subcommands are: %s", names);
    return zi_report_error(NULL, &error);
}

/* Runs the subcommand argv[1], or prints the program's help (--help, -h, help) or version
 * (--version). Without one it prints help to standard error. Returns the program's exit code: 2 if
 * there is no such subcommand, or none. */
static int run_subcommand(int argc, char **argv)
{
    if (argc < 2) {
        print_help(stderr);
        return 2;
    }
    const char *name = argv[1];
    if (!strcmp(name, "--help") || !strcmp(name, "-h") || !strcmp(name, "help")) {
        print_help(stdout);
        return 0;
    }
    if (!strcmp(name, "--version")) {
        printf("zimage %s\n", ZI_VERSION);
        return 0;
    }
    for (int i = 0; i < SUBCOMMANDS; i++)
        if (!strcmp(name, subcommands[i].name)) return subcommands[i].run(argc - 1, argv + 1);
    return report_unknown_subcommand(name);
}

/* Whether standard output is a pipe that nobody reads any more, as when `head` has its lines. */
static bool is_reader_gone(void)
{
    struct pollfd output = {.fd = STDOUT_FILENO, .events = POLLOUT};
    return write_failure == EPIPE ||
           (poll(&output, 1, 0) == 1 && output.revents & (POLLERR | POLLHUP));
}

/* Writes what is left of standard output. False: it, or an earlier write, failed, which a note says
 * unless the reader has gone. */
static bool finish_output(void)
{
    zi_flush_output();
    if (!ferror(stdout) && !write_failure) return true;
    if (!is_reader_gone())
        zi_print_note(false,
                      "standard output: cannot write%s%s; what was written there is not complete",
                      write_failure ? ": " : "", write_failure ? strerror(write_failure) : "");
    return false;
}

/* Runs the subcommand. An exit code of 0 becomes 1 when standard output could not be written.
 * SIGPIPE and SIGXFSZ are ignored. */
int main(int argc, char **argv)
{
    /* Let writes to a closed pipe or beyond the file size limit fail with an error, instead of
     * killing the program before temporary files are removed. */
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    int code = run_subcommand(argc, argv);
    if (!finish_output() && !code) code = 1;
    return code;
}
