/* Parses options and prints help by tables, for all subcommands. */
#include "cli.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

zi_option zi_cpu_option(const char **tier)
{
    static char help[160];
    const char *name;
    snprintf(help, sizeof help, "kernel tier: ");
    for (size_t i = 0; (name = zi_cpu_tier(i, NULL)); i++) {
        size_t length = strlen(help);
        snprintf(help + length, sizeof help - length, "%s%s", i ? ", " : "", name);
    }
    size_t length = strlen(help);
    snprintf(help + length, sizeof help - length, " (the best of this machine)");
    return (zi_option){"cpu", 0, ZI_OPTION_TEXT, tier, 0, 0, "TIER", help, NULL};
}

zi_option zi_device_option(const char **device)
{
    *device = "auto";
    return (zi_option){"device",
                       0,
                       ZI_OPTION_TEXT,
                       device,
                       0,
                       0,
                       "auto|cpu|vulkan[:N]",
                       "device that computes; auto: the fastest, see `zimage devices` (auto)",
                       NULL};
}

zi_option zi_vram_option(uint64_t *vram)
{
    return (zi_option){
        "vram", 0, ZI_OPTION_SIZE, vram,
        0,      0, "SIZE",         "memory of the GPU to use at most, such as 4GB (what is free)",
        NULL};
}

/* Parses text that is nothing but decimal digits. False: other text, an empty one, or a number
 * above 2^64-1; *out is unchanged, and no error is set. */
static bool parse_uint64(const char *text, uint64_t *out)
{
    if (!*text || text[strspn(text, "0123456789")]) return false;
    errno = 0;
    unsigned long long value = strtoull(text, NULL, 10);
    if (errno || value > UINT64_MAX) return false;
    *out = value;
    return true;
}

/* Parses a whole number in digits from option->min to option->max, both possible, into *(int
 * *)option->value. Negative ones are out of range. False: *error is set, the value unchanged. */
static bool set_int(const zi_option *option, const char *text, zi_error *error)
{
    uint64_t value;
    const char *digits = text + (*text == '-');
    bool is_number = *digits && !digits[strspn(digits, "0123456789")];
    if (!is_number)
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, option->name,
                            "'%s' is not a whole number; it must be one from %.0f to %.0f", text,
                            option->min, option->max);
    if (digits != text || !parse_uint64(text, &value) || (double)value < option->min ||
        (double)value > option->max)
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, option->name,
                            "%s is out of range; it must be from %.0f to %.0f", text, option->min,
                            option->max);
    *(int *)option->value = (int)value;
    return true;
}

/* Parses a size such as "5GB", "4G", "500MB" or "5000000000" (units of 1000) into *(uint64_t
 * *)option->value. False: *error is set, the value unchanged. */
static bool set_size(const zi_option *option, const char *text, zi_error *error)
{
    static const char *const units[][2] = {
        {"", ""}, {"K", "KB"}, {"M", "MB"}, {"G", "GB"}, {"T", "TB"}};
    char *end;
    double number = strtod(text, &end), unit = 1;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++, unit *= 1000)
        if (end != text && (!strcasecmp(end, units[i][0]) || !strcasecmp(end, units[i][1])) &&
            number * unit >= 1 && number * unit < 1e18) {
            *(uint64_t *)option->value = (uint64_t)(number * unit);
            return true;
        }
    return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, option->name,
                        "'%s' is not a size; give one such as 5GB or 500MB", text);
}

/* Parses a whole number from 0 to 2^64-1 into *(uint64_t *)option->value. -1 means a random seed,
 * where option->given is not NULL: it becomes false, and the value stays. False: *error is set, the
 * value unchanged. */
static bool set_seed(const zi_option *option, const char *text, zi_error *error)
{
    if (option->given && !strcmp(text, "-1")) {
        *option->given = false;
        return true;
    }
    if (parse_uint64(text, option->value)) return true;
    return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, option->name,
                        "'%s' is not a seed; give a whole number from 0 to 18446744073709551615%s",
                        text, option->given ? ", or -1 for a random seed" : "");
}

/* Parses a decimal number (1e3 too, but no hexadecimal, inf or nan) from option->min to
 * option->max, both possible, into *(double *)option->value. False: *error is set, the value
 * unchanged. */
static bool set_real(const zi_option *option, const char *text, zi_error *error)
{
    char *end;
    double value = strtod(text, &end);
    if (!*text || *end || text[strspn(text, "+-.0123456789eE")])
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, option->name,
                            "'%s' is not a number; it must be one from %g to %g", text, option->min,
                            option->max);
    if (!(value >= option->min && value <= option->max))
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, option->name,
                            "%s is out of range; it must be from %g to %g", text, option->min,
                            option->max);
    *(double *)option->value = value;
    return true;
}

/* Sets *(int *)option->value to the index, from 0, of text among the words of option->argument,
 * "a|b|c"; case matters. False: it is none; *error is set, the value unchanged. */
static bool set_choice(const zi_option *option, const char *text, zi_error *error)
{
    const char *word = option->argument;
    for (int i = 0;; i++) {
        size_t length = strcspn(word, "|");
        if (strlen(text) == length && !memcmp(text, word, length)) {
            *(int *)option->value = i;
            return true;
        }
        if (!word[length]) break;
        word += length + 1;
    }
    if (!*text)
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, option->name,
                            "is empty; it must be one of %s", option->argument);
    return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, option->name,
                        "'%s' is unknown; it can be %s", text, option->argument);
}

/* Sets *(int *)option->value: to 1 for text NULL (the option without a word), else to 2 plus the
 * word's index, from 0, in option->argument. False: no such word; *error is set, the value
 * unchanged. */
static bool set_level(const zi_option *option, const char *text, zi_error *error)
{
    int *level = option->value;
    if (text && !set_choice(option, text, NULL))
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, option->name,
                            "'%s' is unknown; write --%s alone, or --%s=%s", text, option->name,
                            option->name, option->argument);
    *level = text ? *level + 2 : 1;
    return true;
}

/* Appends the values in text, with commas between them, to *(zi_option_list *)option->value. False:
 * too many, or out of memory; *error is set, and some may be appended. */
static bool add_to_list(const zi_option *option, const char *text, zi_error *error)
{
    zi_option_list *list = option->value;
    for (const char *end; text; text = *end ? end + 1 : NULL) {
        end = text + strcspn(text, ",");
        if (list->count == ZI_MAX_LIST)
            return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, option->name,
                                "has more than %d values; leave some out", ZI_MAX_LIST);
        list->items[list->count] = strndup(text, (size_t)(end - text));
        if (!list->items[list->count]) return zi_error_no_memory(error, strlen(text));
        list->count++;
    }
    return true;
}

void zi_option_list_free(zi_option_list *list)
{
    for (size_t i = 0; i < list->count; i++) free(list->items[i]);
    *list = (zi_option_list){.count = 0};
}

/* Sets *option->given (unless given is NULL), also before a failure, and parses text by the
 * option's kind into *option->value, which borrows the text of a ZI_OPTION_TEXT. text may be NULL
 * for a level; a flag ignores it. False: *error is set, the value unchanged. */
static bool set_option(const zi_option *option, const char *text, zi_error *error)
{
    if (option->given) *option->given = true;
    switch (option->kind) {
    case ZI_OPTION_FLAG:
        *(bool *)option->value = true;
        return true;
    case ZI_OPTION_TEXT:
        *(const char **)option->value = text;
        return true;
    case ZI_OPTION_INT:
        return set_int(option, text, error);
    case ZI_OPTION_REAL:
        return set_real(option, text, error);
    case ZI_OPTION_SIZE:
        return set_size(option, text, error);
    case ZI_OPTION_SEED:
        return set_seed(option, text, error);
    case ZI_OPTION_CHOICE:
        return set_choice(option, text, error);
    case ZI_OPTION_LEVEL:
        return set_level(option, text, error);
    case ZI_OPTION_LIST:
        return add_to_list(option, text, error);
    }
    return true;
}

const zi_option *zi_option_find(const zi_option *options, const char *name)
{
    while (options->name && strcmp(options->name, name) != 0) options++;
    return options->name ? options : NULL;
}

bool zi_option_set(const zi_option *option, const char *text, zi_error *error)
{
    static const char *const yes[] = {"true", "yes", "on", "1"};
    static const char *const no[] = {"false", "no", "off", "0"};
    bool flag = option->kind == ZI_OPTION_FLAG;
    if (!flag && option->kind != ZI_OPTION_LEVEL) return set_option(option, text, error);
    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++) {
        if (!strcasecmp(text, no[i])) return true;
        if (!strcasecmp(text, yes[i])) return set_option(option, NULL, error);
    }
    if (!flag && set_option(option, text, NULL)) return true;
    return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, option->name,
                        "'%s' is not possible; write yes%s%s", text, flag ? " or no" : ", no or ",
                        flag ? "" : option->argument);
}

/* The option of that letter; NULL: none. */
static const zi_option *find_letter(const zi_option *options, char letter)
{
    while (options->name && (!options->letter || options->letter != letter)) options++;
    return options->name ? options : NULL;
}

/* The option that an argument ("--name", "--name=value") names in full; NULL: none. *attached: the
 * value in the same argument, within word, "" after a final "="; NULL: it has none, or there is no
 * such option. */
static const zi_option *find_long(const zi_option *options, const char *word, const char **attached)
{
    size_t length = strcspn(word + 2, "=");
    *attached = NULL;
    for (const zi_option *option = options; option->name; option++)
        if (strlen(option->name) == length && !strncmp(option->name, word + 2, length)) {
            if (word[2 + length]) *attached = word + 2 + length + 1;
            return option;
        }
    return NULL;
}

/* The options that the last zi_options_parse found on the command line, by index in its table. */
static struct {
    const zi_option *options;
    bool given[ZI_MAX_OPTIONS];
} parsed;

bool zi_option_on_command_line(const char *name)
{
    const zi_option *option = parsed.options ? zi_option_find(parsed.options, name) : NULL;
    return option && parsed.given[option - parsed.options];
}

/* Fails because the option that word, the last argument, names (its last letter, in a group) has no
 * value. */
static bool fail_no_value(const zi_option *option, const char *word, zi_error *error)
{
    if (word[1] == '-')
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, option->name,
                            "needs a value; write --%s %s", option->name, option->argument);
    return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, option->name,
                        "needs a value behind %s, the last argument; write %s %s", word, word,
                        option->argument);
}

/* Sets the option that argv[*i] names (its last letter, in a group) to `value`, or, when that is
 * NULL, to the next argument, if the option takes one; *i becomes the last argument used. False:
 * *error is set, and *i may have grown; the value is missing or wrong, or a flag has one. */
static bool parse_value(const zi_option *option, const char *value, int argc, char **argv, int *i,
                        zi_error *error)
{
    const char *word = argv[*i];
    parsed.given[option - parsed.options] = true;
    if (option->kind == ZI_OPTION_FLAG) {
        if (value)
            return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, option->name,
                                "takes no value; write --%s instead of %s", option->name, word);
    } else if (!value && option->kind != ZI_OPTION_LEVEL) {
        if (*i + 1 >= argc) return fail_no_value(option, word, error);
        value = argv[++*i];
    }
    return set_option(option, value, error);
}

/* Fails because argv's word is no option. */
static bool fail_unknown(const zi_command *command, const char *word, zi_error *error)
{
    return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, word,
                        "unknown option; `zimage %s --help` lists them", command->name);
}

/* Parses the options of argv[*i], a long one, a short one or several flags with one more ("-qp"),
 * with the value of the last; *i becomes the last argument used. False: *error is set, and *i may
 * have grown; an option is unknown, or as parse_value. */
static bool parse_option(const zi_command *command, int argc, char **argv, int *i, zi_error *error)
{
    const char *word = argv[*i], *value;
    const zi_option *option;
    if (word[1] == '-') {
        option = find_long(command->options, word, &value);
        return option ? parse_value(option, value, argc, argv, i, error)
                      : fail_unknown(command, word, error);
    }
    for (const char *letter = word + 1;; letter++) {
        option = find_letter(command->options, *letter);
        if (!option) return fail_unknown(command, word, error);
        bool goes_on =
            option->kind == ZI_OPTION_FLAG && letter[1] && find_letter(command->options, letter[1]);
        if (option->kind == ZI_OPTION_FLAG && !goes_on && isalpha((unsigned char)letter[1]))
            return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, word,
                                "%c is no option; `zimage %s --help` lists the options", letter[1],
                                command->name);
        value = letter[1] && !goes_on ? letter + 1 : NULL;
        if (!parse_value(option, value, argc, argv, i, error)) return false;
        if (!goes_on) return true;
    }
}

/* Whether --json makes the command print events while it runs, not one result at its end. */
static bool prints_events(const zi_command *command)
{
    return !strcmp(command->name, "generate") || !strcmp(command->name, "download");
}

/* Whether the command prints events and the arguments have --json: then errors in them are events,
 * too. Looks at whole arguments only, up to "--". */
static bool wants_events(const zi_command *command, int argc, char **argv)
{
    if (!prints_events(command)) return false;
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        const char *value;
        const zi_option *option = NULL;
        if (!strcmp(argv[i], "--json")) return true;
        if (!strncmp(argv[i], "--", 2)) {
            option = find_long(command->options, argv[i], &value);
        } else if (argv[i][0] == '-' && argv[i][1] && !argv[i][2]) {
            option = find_letter(command->options, argv[i][1]);
            value = NULL;
        }
        bool has_value =
            option && option->kind != ZI_OPTION_FLAG && option->kind != ZI_OPTION_LEVEL;
        if (has_value && !value) i++;
    }
    return false;
}

/* Makes messages events if --json was given, on the command line or by a setting. */
static void use_json_option(const zi_command *command)
{
    const zi_option *json = zi_option_find(command->options, "json");
    if (prints_events(command) && json) zi_set_json_messages(*(const bool *)json->value);
}

/* Prints names of an option that are too long for their column on lines of their own. A line that
 * is too long for a terminal is broken after one of the option's values, which "|" separates. */
static void print_long_names(const char *names)
{
    enum { WIDTH = 72 };
    for (const char *rest = names; *rest;) {
        size_t length = strlen(rest), end = length > WIDTH ? WIDTH : length;
        while (end < length && end && rest[end - 1] != '|') end--;
        if (!end) end = length;
        printf("%s%.*s\n", rest == names ? "  " : "        ", (int)end, rest);
        rest += end;
    }
}

/* Prints names and help of an option in two columns; names that are too long for theirs get lines
 * of their own. */
static void print_help_row(const char *names, const char *help)
{
    enum { COLUMN = 32 };
    bool is_long = strlen(names) > COLUMN;
    if (is_long) print_long_names(names);
    printf("  %-*s %s\n", COLUMN, is_long ? "" : names, help);
}

/* Prints usage, description and the table of options to standard output. */
static void print_help(const zi_command *command)
{
    printf("usage: zimage %s [OPTION...]%s%s\n\n%s\n\n", command->name,
           command->positional ? " " : "", command->positional ? command->positional : "",
           command->about);
    for (const zi_option *option = command->options; option->name; option++) {
        bool flag = option->kind == ZI_OPTION_FLAG, level = option->kind == ZI_OPTION_LEVEL;
        zi_text names;
        zi_text_init(&names, 1 << 10);
        zi_text_printf(&names, "%c%c%s --%s%s%s%s", option->letter ? '-' : ' ',
                       option->letter ? option->letter : ' ', option->letter ? "," : " ",
                       option->name,
                       flag    ? ""
                       : level ? "[="
                               : " ",
                       flag ? "" : option->argument, level ? "]" : "");
        char *text = zi_text_take(&names);
        print_help_row(text ? text : option->name, option->help);
        free(text);
    }
    print_help_row("-h, --help", "print this help");
}

/* The number of names in command->positional, which blanks separate; 0 for NULL, INT_MAX with dots.
 * *needed: how many of them are not in brackets, that is required. */
static int count_positionals(const zi_command *command, int *needed)
{
    int count = command->positional ? 1 : 0;
    bool any = command->positional && strstr(command->positional, "...");
    *needed = command->positional && command->positional[0] != '[';
    for (const char *c = command->positional; c && *c; c++) {
        count += *c == ' ';
        *needed += *c == ' ' && c[1] != '[';
    }
    return any ? INT_MAX : count;
}

/* What zi_options_parse calls instead of parsing; visit is NULL when it parses. */
static struct {
    void (*visit)(void *user, const zi_command *command);
    void *user;
} intercepted;

void zi_options_intercept(void (*visit)(void *user, const zi_command *command), void *user)
{
    intercepted.visit = visit;
    intercepted.user = user;
}

bool zi_options_parse(const zi_command *command, int argc, char **argv, const char **positional,
                      int *code)
{
    zi_error error = {0};
    int found = 0, needed, wanted = count_positionals(command, &needed);
    bool options_ended = false;
    if (intercepted.visit) {
        intercepted.visit(intercepted.user, command);
        *code = 0;
        return false;
    }
    parsed.options = command->options;
    memset(parsed.given, 0, sizeof parsed.given);
    zi_set_json_messages(wants_events(command, argc, argv));
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i];
        if (options_ended || word[0] != '-' || !word[1]) {
            if (!command->positional)
                zi_error_set(
                    &error, ZI_ERROR_INVALID_ARGUMENT, NULL,
                    "'%s' is not an option, and %s takes only options; %s in quotes if it has "
                    "spaces, or see `zimage %s --help`",
                    word, command->name,
                    zi_option_find(command->options, "prompt") ? "give a prompt with -p,"
                                                               : "put a text",
                    command->name);
            else if (found == wanted)
                zi_error_set(&error, ZI_ERROR_INVALID_ARGUMENT, NULL,
                             "'%s' is one argument too many: %s takes only %s%s; put a text with "
                             "spaces in quotes",
                             word, command->name, wanted == 1 ? "one " : "", command->positional);
            else if (positional)
                positional[found++] = word;
        } else if (!strcmp(word, "--")) {
            options_ended = true;
        } else if (!strcmp(word, "--help") || !strcmp(word, "-h")) {
            print_help(command);
            *code = 0;
            return false;
        } else if (!parse_option(command, argc, argv, &i, &error)) {
            break;
        }
        if (error.code) break;
    }
    if (!error.code && found < needed)
        zi_error_set_in(&error, ZI_ERROR_INVALID_ARGUMENT, command->name, NULL,
                        "%s is missing; write `zimage %s %s`, or see `zimage %s --help`",
                        found ? strchr(command->positional, ' ') + 1 : command->positional,
                        command->name, command->positional, command->name);
    if (!error.code && zi_settings_apply(command, parsed.given, &error)) use_json_option(command);
    if (error.code) {
        *code = zi_report_error(command, &error);
        return false;
    }
    return true;
}
