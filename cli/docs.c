/* zimage docs: the man page, and completions for shells, made from the tables of options. */
#include "cli.h"

#include <stdio.h>
#include <string.h>

/* ---- options ---- */

/* Whether the option's value is one of the words in its argument, "one|two": of a choice or a
 * level. */
static bool has_choices(const zi_option *option)
{
    return option->kind == ZI_OPTION_CHOICE || option->kind == ZI_OPTION_LEVEL;
}

/* Whether the option's value is a file or folder: a text whose name in help (option->argument)
 * contains FILE, DIR, PATH or MODEL. */
static bool takes_path(const zi_option *option)
{
    const char *a = option->argument;
    return option->kind == ZI_OPTION_TEXT && a &&
           (strstr(a, "FILE") || strstr(a, "DIR") || strstr(a, "PATH") || strstr(a, "MODEL"));
}

/* Prints text with a backslash before each character of `special`. */
static void print_escaped(const char *text, const char *special)
{
    for (; *text; text++) {
        if (strchr(special, *text)) putchar('\\');
        putchar(*text);
    }
}

/* Prints the words of a choice option, "auto|exact", as "auto exact". */
static void print_choices(const zi_option *option)
{
    for (const char *c = option->argument; *c; c++) putchar(*c == '|' ? ' ' : *c);
}

/* ---- man page ---- */

/* Prints text as roff source: escapes backslashes, hyphens, and a dot or apostrophe at the start of
 * a line, which would make it a request; lets lines be broken behind a bar. */
static void print_roff(const char *text)
{
    for (bool line_start = true; *text; line_start = *text++ == '\n') {
        if (line_start && strchr(".'", *text)) fputs("\\&", stdout);
        if (strchr("-\\", *text)) putchar('\\');
        putchar(*text);
        if (*text == '|') fputs("\\:", stdout); /* a long list of choices may be broken there */
    }
}

/* Prints an option as a tagged paragraph of the man page: its names and value in bold, then its
 * help. */
static void print_man_option(const zi_option *o)
{
    bool flag = o->kind == ZI_OPTION_FLAG;
    const char *begin = flag ? "" : o->kind == ZI_OPTION_LEVEL ? "[=" : " ";
    fputs(".TP\n.B ", stdout);
    if (o->letter) printf("\\-%c, ", o->letter);
    print_roff("--");
    print_roff(o->name);
    if (!flag) {
        fputs(begin, stdout);
        print_roff(o->argument);
        if (o->kind == ZI_OPTION_LEVEL) putchar(']');
    }
    putchar('\n');
    print_roff(o->help);
    putchar('\n');
}

/* A zi_command_visitor: prints the man page's subsection on a subcommand, with usage, description
 * and options. */
static void print_man_command(void *user, const char *summary, const zi_command *command)
{
    (void)user;
    (void)summary;
    printf(".SS zimage %s [OPTION...]", command->name);
    if (command->positional) {
        putchar(' ');
        print_roff(command->positional);
    }
    putchar('\n');
    print_roff(command->about);
    putchar('\n');
    for (const zi_option *o = command->options; o->name; o++) print_man_option(o);
}

/* A zi_command_visitor: prints a tagged paragraph of the man page, the name of a subcommand and its
 * summary. */
static void print_man_summary(void *user, const char *summary, const zi_command *command)
{
    (void)user;
    printf(".TP\n.B %s\n", command->name);
    print_roff(summary);
    putchar('\n');
}

/* Prints the whole man page as roff source. */
static void print_man(void)
{
    printf(".TH ZIMAGE 1 \"\" \"zimage " ZI_VERSION "\" \"User Commands\"\n"
           ".SH NAME\nzimage \\- text to image with Z\\-Image\n"
           ".SH SYNOPSIS\n.B zimage\nSUBCOMMAND [OPTION...]\n"
           ".SH DESCRIPTION\nGenerates images from prompts with Z\\-Image models on the machine it "
           "runs on.\n");
    zi_visit_commands(print_man_summary, NULL);
    puts(".SH SUBCOMMANDS");
    zi_visit_commands(print_man_command, NULL);
    puts(".SH EXIT STATUS\n.TP\n0\ndone\n.TP\n1\nfailed; a line on standard error says why\n"
         ".TP\n2\nthe call is wrong\n"
         ".PP\nAfter SIGINT, SIGTERM or SIGHUP it dies of the signal.\n"
         ".SH FILES\n.TP\n.I ~/.config/zimage/config\ndefaults of options; see "
         "zimage config\n"
         ".SH ENVIRONMENT\n.TP\n.B ZIMAGE_OPTION, ZIMAGE_SUBCOMMAND_OPTION\ndefaults of "
         "options\n.TP\n.B ZIMAGE_CONFIG\nthe configuration file; empty: none\n"
         ".SH EXAMPLE\n.EX\nzimage generate \\-p \"a red circle on a blue background\" \\-o "
         "out.png\n"
         ".EE");
}

/* ---- bash ---- */

/* A zi_command_visitor: prints a blank and the name of the subcommand. */
static void print_bash_name(void *user, const char *summary, const zi_command *command)
{
    (void)user;
    (void)summary;
    printf(" %s", command->name);
}

/* A zi_command_visitor: prints branches of a bash `case` on "SUBCOMMAND,OPTION", which complete the
 * values of the options that take a choice or a path. */
static void print_bash_values(void *user, const char *summary, const zi_command *command)
{
    (void)user;
    (void)summary;
    for (const zi_option *o = command->options; o->name; o++) {
        if (!has_choices(o) && !takes_path(o)) continue;
        printf("    %s,--%s", command->name, o->name);
        if (o->letter) printf("|%s,-%c", command->name, o->letter);
        fputs(") ", stdout);
        if (has_choices(o)) {
            fputs("COMPREPLY=($(compgen -W \"", stdout);
            print_choices(o);
            fputs("\" -- \"$word\"))", stdout);
        } else {
            fputs("COMPREPLY=($(compgen -f -- \"$word\"))", stdout);
        }
        puts("; return ;;");
    }
}

/* A zi_command_visitor: prints a branch of a bash `case` that sets `options` to the long options of
 * the subcommand. */
static void print_bash_options(void *user, const char *summary, const zi_command *command)
{
    (void)user;
    (void)summary;
    printf("    %s) options=\"", command->name);
    for (const zi_option *o = command->options; o->name; o++) printf("--%s ", o->name);
    puts("--help\" ;;");
}

/* Prints the whole bash completion script. */
static void print_bash(void)
{
    fputs("# bash completion for zimage\n"
          "_zimage()\n{\n"
          "    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}\n"
          "    local command=${COMP_WORDS[1]} options=\n"
          "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n        COMPREPLY=($(compgen -W \"",
          stdout);
    zi_visit_commands(print_bash_name, NULL);
    puts("\" -- \"$word\"))\n        return\n    fi\n    case $command,$before in");
    zi_visit_commands(print_bash_values, NULL);
    puts("    esac\n    case $command in");
    zi_visit_commands(print_bash_options, NULL);
    puts("    esac\n"
         "    case $word in\n"
         "    -*) COMPREPLY=($(compgen -W \"$options\" -- \"$word\")) ;;\n"
         "    *) COMPREPLY=($(compgen -f -- \"$word\")) ;;\n"
         "    esac\n}\n"
         "complete -o filenames -F _zimage zimage");
}

/* ---- zsh ---- */

/* Prints text for use within a single-quoted word of zsh: apostrophes are escaped for the shell,
 * backslashes and the characters of `special` for the function that gets the word. */
static void print_zsh_text(const char *text, const char *special)
{
    for (; *text; text++) {
        if (*text == '\'')
            fputs("'\\''", stdout);
        else {
            if (*text == '\\' || strchr(special, *text)) putchar('\\');
            putchar(*text);
        }
    }
}

/* A zi_command_visitor: prints 'NAME:SUMMARY', an element of the array for zsh's _describe. */
static void print_zsh_name(void *user, const char *summary, const zi_command *command)
{
    (void)user;
    printf("        '%s:", command->name);
    print_zsh_text(summary, ":");
    puts("'");
}

/* Prints an option as an argument of zsh's _arguments, with completion of a choice or path, on a
 * line that ends with a backslash. */
static void print_zsh_option(const zi_option *o)
{
    if (o->letter)
        printf("            '(-%c --%s)'{-%c,--%s}'[", o->letter, o->name, o->letter, o->name);
    else
        printf("            '%s--%s%s[", o->kind == ZI_OPTION_LIST ? "*" : "", o->name,
               o->kind == ZI_OPTION_LEVEL ? "=-" : "");
    print_zsh_text(o->help, "[]:"); /* _arguments */
    putchar(']');
    if (o->kind != ZI_OPTION_FLAG) {
        printf("%s%s:", o->kind == ZI_OPTION_LEVEL ? "::" : ":", o->name);
        if (has_choices(o)) {
            putchar('(');
            print_choices(o);
            putchar(')');
        } else if (takes_path(o)) {
            fputs("_files", stdout);
        }
    }
    puts("' \\");
}

/* A zi_command_visitor: prints a branch of a zsh `case` that completes the options of a subcommand,
 * and files. */
static void print_zsh_command(void *user, const char *summary, const zi_command *command)
{
    (void)user;
    (void)summary;
    printf("    %s)\n        _arguments \\\n", command->name);
    for (const zi_option *o = command->options; o->name; o++) print_zsh_option(o);
    puts("            '(-h --help)'{-h,--help}'[show the options]' \\\n"
         "            '*:file:_files' ;;");
}

/* Prints the whole zsh completion script. */
static void print_zsh(void)
{
    puts("#compdef zimage\n_zimage() {\n    local -a commands\n    commands=(");
    zi_visit_commands(print_zsh_name, NULL);
    puts("    )\n    if (( CURRENT == 2 )); then\n        _describe subcommand commands\n        "
         "return\n"
         "    fi\n    local command=$words[2]\n    shift words\n    (( CURRENT-- ))\n"
         "    case $command in");
    zi_visit_commands(print_zsh_command, NULL);
    puts("    esac\n}\n_zimage \"$@\"");
}

/* ---- fish ---- */

/* Prints text as a single-quoted string of fish. */
static void print_fish_text(const char *text)
{
    putchar('\'');
    print_escaped(text, "'\\");
    putchar('\'');
}

/* A zi_command_visitor: prints fish's `complete` commands for a subcommand's name and each of its
 * options. */
static void print_fish_command(void *user, const char *summary, const zi_command *command)
{
    (void)user;
    printf("complete -c zimage -n __fish_use_subcommand -f -a %s -d ", command->name);
    print_fish_text(summary);
    putchar('\n');
    for (const zi_option *o = command->options; o->name; o++) {
        printf("complete -c zimage -n '__fish_seen_subcommand_from %s' -l %s", command->name,
               o->name);
        if (o->letter) printf(" -s %c", o->letter);
        if (o->kind != ZI_OPTION_FLAG && o->kind != ZI_OPTION_LEVEL)
            fputs(takes_path(o) ? " -r -F" : " -x", stdout);
        if (has_choices(o)) {
            fputs(" -a '", stdout);
            print_choices(o);
            putchar('\'');
        }
        fputs(" -d ", stdout);
        print_fish_text(o->help);
        putchar('\n');
    }
}

/* Prints the whole fish completion script. */
static void print_fish(void)
{
    puts("# fish completion for zimage");
    zi_visit_commands(print_fish_command, NULL);
}

/* ---- the subcommand ---- */

int cmd_docs(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*print)(void);
    } formats[] = {
        {"man", print_man}, {"bash", print_bash}, {"zsh", print_zsh}, {"fish", print_fish}};
    const char *format = NULL;
    zi_error error = {0};
    int code;
    const zi_option options[] = {{0}};
    const zi_command command = {
        "docs", "Prints the man page, or completions for a shell: man, bash, zsh or fish.",
        "FORMAT", options};
    if (!zi_options_parse(&command, argc, argv, &format, &code)) return code;
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        if (!strcmp(format, formats[i].name)) {
            formats[i].print();
            return 0;
        }
    zi_error_set(&error, ZI_ERROR_INVALID_ARGUMENT, NULL,
                 "docs: '%s' is no format; the formats are man, bash, zsh and fish", format);
    return zi_report_error(&command, &error);
}
