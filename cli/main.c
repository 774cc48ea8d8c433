/* The program's entry point: runs the subcommand. */
#include "cli.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
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
    {"devices", "list the processor and GPUs that could compute", cmd_devices},
    {"bench", "measure the speed of this machine", cmd_bench},
    {"config", "show the defaults that are configured", cmd_config},
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

/* Prints usage, version and the list of subcommands. */
static void print_help(FILE *stream)
{
    fprintf(stream,
            "zimage %s: generates images with Z-Image-Turbo\n\n"
            "usage: zimage SUBCOMMAND [OPTION...]\n\n",
            ZI_VERSION);
    for (int i = 0; i < SUBCOMMANDS; i++)
        fprintf(stream, "  %-10s %s\n", subcommands[i].name, subcommands[i].about);
    fputs("\n`zimage help SUBCOMMAND` lists its options. To begin with:\n\n"
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
    char names[400] = "";
    for (int i = 0; i < SUBCOMMANDS; i++) {
        size_t size = strlen(names);
        snprintf(names + size, sizeof names - size, "%s%s", i ? ", " : "", subcommands[i].name);
    }
    zi_error_set(&error, ZI_ERROR_INVALID_ARGUMENT, name,
                 "no such subcommand; the subcommands are: %s", names);
    return zi_report_error(NULL, &error);
}

/* Runs the subcommand argv[0]. Returns the exit code, 2 if there is none of this name. */
static int run_named(int argc, char **argv)
{
    for (int i = 0; i < SUBCOMMANDS; i++)
        if (!strcmp(argv[0], subcommands[i].name)) return subcommands[i].run(argc, argv);
    return report_unknown_subcommand(argv[0]);
}

/* Whether word is one of words, which end with NULL. */
static bool is_one_of(const char *word, const char *const words[])
{
    while (*words && strcmp(*words, word) != 0) words++;
    return *words != NULL;
}

/* Runs the subcommand argv[1], or prints help (--help, -h, help, help SUBCOMMAND) or the version
 * (--version, -V, version). Without one it prints help to standard error. Returns the program's
 * exit code: 2 if there is no such subcommand, or none. */
static int run_subcommand(int argc, char **argv)
{
    static const char *const help[] = {"--help", "-h", "help", NULL};
    static const char *const version[] = {"--version", "-V", "version", NULL};
    if (argc < 2) {
        print_help(stderr);
        return 2;
    }
    if (is_one_of(argv[1], help) && argc > 2 && argv[2][0] != '-') {
        char *words[] = {argv[2], (char *)"--help", NULL};
        return run_named(2, words);
    }
    if (is_one_of(argv[1], help)) {
        print_help(stdout);
        return 0;
    }
    if (is_one_of(argv[1], version)) {
        printf("zimage %s\n", ZI_VERSION);
        return 0;
    }
    return run_named(argc - 1, argv + 1);
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

/* Runs the subcommand. An exit code of 0 becomes 1 when standard output could not be written. After
 * a signal that the subcommand handled by stopping, the program dies of it.
 * SIGPIPE and SIGXFSZ are ignored. */
int main(int argc, char **argv)
{
    /* Let writes to a closed pipe or beyond the file size limit fail with an error, instead of
     * killing the program before temporary files are removed. */
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    int code = run_subcommand(argc, argv);
    if (!finish_output() && !code) code = 1;
    zi_interrupt_finish();
    return code;
}
