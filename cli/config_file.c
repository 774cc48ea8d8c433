/* Defaults of options: lines KEY = VALUE of the configuration file, and ZIMAGE_* variables. The
 * command line wins over variables, and these over the file. */
#include "cli.h"

#include "base/file.h"
#include "base/text.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_FILE = 1 << 20 };

/* The file, read once per process; its strings live until the end. */
static struct {
    bool has_path, loaded;
    char *path, *text;
    zi_setting *settings;
    size_t count, capacity;
} config;

/* ---- the file ---- */

const char *zi_config_path(void)
{
    const char *named = getenv("ZIMAGE_CONFIG"), *configs = getenv("XDG_CONFIG_HOME");
    const char *home = getenv("HOME");
    if (config.has_path) return config.path;
    config.has_path = true;
    if (named)
        config.path = *named ? strdup(named) : NULL;
    else if (configs && configs[0] == '/') /* the specification ignores relative ones */
        config.path = zi_path_join(configs, "zimage/config");
    else if (home && *home)
        config.path = zi_path_join(home, ".config/zimage/config");
    return config.path;
}

/* Cuts white space at the start and end of text, in place. */
static char *trim(char *text)
{
    while (*text && isspace((unsigned char)*text)) text++;
    size_t size = strlen(text);
    while (size && isspace((unsigned char)text[size - 1])) text[--size] = 0;
    return text;
}

/* Fails with ZI_ERROR_BAD_FORMAT for a line of the file. */
static bool fail_line(int line, const char *key, const char *message, zi_error *error)
{
    return zi_error_set_in(error, ZI_ERROR_BAD_FORMAT, config.path, key, "line %d: %s", line,
                           message);
}

/* Appends a setting; its strings are borrowed. False: out of memory. */
static bool add_setting(const zi_setting *setting, zi_error *error)
{
    if (config.count == config.capacity) {
        size_t capacity = config.capacity ? 2 * config.capacity : 16;
        zi_setting *grown = realloc(config.settings, capacity * sizeof *grown);
        if (!grown) return zi_error_no_memory(error, capacity * sizeof *grown);
        config.settings = grown;
        config.capacity = capacity;
    }
    config.settings[config.count++] = *setting;
    return true;
}

/* Reads a line, which it cuts into pieces: KEY = VALUE, [SUBCOMMAND], a comment or nothing.
 * section: of the lines that follow. False: *error is set. */
static bool read_line(char *line, int number, const char **section, zi_error *error)
{
    char *text = trim(line), *equals = strchr(text, '=');
    size_t size = strlen(text);
    if (!*text || *text == '#' || *text == ';') return true;
    if (*text == '[') {
        if (text[size - 1] != ']')
            return fail_line(number, "",
                             "the line begins with [ but does not end with ]; write only a "
                             "subcommand in brackets on it, such as [generate]",
                             error);
        text[size - 1] = 0;
        *section = trim(text + 1);
        return true;
    }
    if (!equals)
        return fail_line(
            number, "",
            "the line has no =; write OPTION = VALUE, such as steps = 8, or begin a comment with #",
            error);
    *equals = 0;
    char *key = trim(text), *value = trim(equals + 1);
    size = strlen(value);
    if (size > 1 && value[0] == '"' && value[size - 1] == '"') {
        value[size - 1] = 0;
        value++;
    }
    if (!strncmp(key, "--", 2)) key += 2;
    for (char *c = key; *c; c++)
        if (*c == '_') *c = '-';
    zi_setting setting = {.key = key, .value = value, .section = *section, .line = number};
    return add_setting(&setting, error);
}

/* A search for an option of this name, in the subcommand `section` (NULL: in
 * any). */
typedef struct {
    const char *key, *section;
    bool section_found, found;
} option_search;

/* A zi_command_visitor; user: an option_search. */
static void search_command(void *user, const char *summary, const zi_command *command)
{
    option_search *search = user;
    (void)summary;
    if (search->section && strcmp(search->section, command->name) != 0) return;
    search->section_found = true;
    if (zi_option_find(command->options, search->key)) search->found = true;
}

/* Fails unless the setting's section is a subcommand and its key one of its options, or, without a
 * section, an option of any. */
static bool check_setting(const zi_setting *setting, zi_error *error)
{
    char message[300];
    option_search search = {.key = setting->key, .section = setting->section};
    zi_visit_commands(search_command, &search);
    if (search.found) return true;
    if (!search.section_found)
        snprintf(message, sizeof message,
                 "[%.100s]: there is no subcommand of this name; "
                 "`zimage help` lists them",
                 setting->section);
    else if (setting->section)
        snprintf(message, sizeof message,
                 "'%.100s' is no option of %.100s; `zimage help %.40s` "
                 "lists them",
                 setting->key, setting->section, setting->section);
    else
        snprintf(message, sizeof message,
                 "'%.100s' is no option of any subcommand; `zimage help "
                 "SUBCOMMAND` lists them",
                 setting->key);
    return fail_line(setting->line, setting->key, message, error);
}

/* Reads the lines of config.text. False: *error is set. */
static bool read_lines(zi_error *error)
{
    const char *section = NULL;
    int number = 0;
    for (char *line = config.text, *next; line; line = next) {
        next = strchr(line, '\n');
        if (next) *next++ = 0;
        if (!read_line(line, ++number, &section, error)) return false;
    }
    for (size_t i = 0; i < config.count; i++)
        if (!check_setting(&config.settings[i], error)) return false;
    return true;
}

bool zi_config_load(zi_error *error)
{
    size_t size;
    zi_error why = {0};
    const char *path = zi_config_path();
    if (config.loaded || !path) return true;
    config.loaded = true;
    if (!zi_file_read(path, MAX_FILE, &config.text, &size, &why)) {
        bool named = getenv("ZIMAGE_CONFIG") != NULL;
        if (why.code == ZI_ERROR_NOT_FOUND && !named) return true;
        *error = why;
        return false;
    }
    if (memchr(config.text, 0, size))
        return zi_error_set(error, ZI_ERROR_BAD_FORMAT, path,
                            "has a zero byte, so it is no plain text; save it as UTF-8 text");
    if (!zi_utf8_valid(config.text, size))
        return zi_error_set(error, ZI_ERROR_BAD_FORMAT, path,
                            "is not UTF-8 text; save it as UTF-8");
    return read_lines(error);
}

const zi_setting *zi_config_setting(size_t i)
{
    return i < config.count ? &config.settings[i] : NULL;
}

/* ---- finding a setting ---- */

const char *zi_variable_name(const char *subcommand, const char *option, char *name, size_t size)
{
    snprintf(name, size, "ZIMAGE_%s%s%s", subcommand ? subcommand : "", subcommand ? "_" : "",
             option);
    for (char *c = name; *c; c++) *c = *c == '-' ? '_' : (char)toupper((unsigned char)*c);
    return name;
}

bool zi_setting_find(const char *subcommand, const char *option, zi_setting *out)
{
    static char name[128];
    for (int general = 0; general < 2; general++) {
        const char *value =
            getenv(zi_variable_name(general ? NULL : subcommand, option, name, sizeof name));
        if (!value || !*value) continue;
        *out = (zi_setting){.key = option, .value = value, .variable = name};
        return true;
    }
    const zi_setting *found = NULL;
    for (size_t i = 0; i < config.count; i++) {
        const zi_setting *setting = &config.settings[i];
        if (strcmp(setting->key, option) != 0) continue;
        if (setting->section && strcmp(setting->section, subcommand) != 0) continue;
        if (!found || !found->section || setting->section) found = setting;
    }
    if (found) *out = *found;
    return found != NULL;
}

/* ---- applying settings ---- */

typedef struct {
    const char *option, *value; /* value: of a text or choice; NULL: any */
} exclusive_side;

/* Pairs of options, or of their values, of which only one makes sense: a setting gives way to the
 * other one. */
static const struct {
    exclusive_side sides[2];
    bool own_check; /* zi_check_exclusive leaves the pair to the command */
} exclusive[] = {
    {{{"random-prompt", NULL}, {"prompt", NULL}}, false},
    {{{"prompts", NULL}, {"prompt", NULL}}, false},
    {{{"prompts", NULL}, {"random-prompt", NULL}}, false},
    {{{"no-clobber", NULL}, {"overwrite", NULL}}, false},
    {{{"api-key", NULL}, {"api-key-file", NULL}}, false},
    {{{"verbose", NULL}, {"quiet", NULL}}, false},
    {{{"preview", "kitty"}, {"json", NULL}}, false},
    {{{"preview", "iterm2"}, {"json", NULL}}, false},
    {{{"preview", "sixel"}, {"json", NULL}}, false},
    {{{"output", "-"}, {"json", NULL}}, true},
    {{{"aspect", NULL}, {"width", NULL}}, true},
    {{{"aspect", NULL}, {"height", NULL}}, true},
    {{{"local-dir", NULL}, {"to", NULL}}, true},
    {{{"local-dir", NULL}, {"precision", NULL}}, true},
    {{{"link", NULL}, {"move", NULL}}, true},
    {{{"link", NULL}, {"to", NULL}}, true},
    {{{"link", NULL}, {"precision", NULL}}, true},
    {{{"move", NULL}, {"to", NULL}}, true},
    {{{"move", NULL}, {"precision", NULL}}, true},
};
enum { EXCLUSIVE = sizeof exclusive / sizeof *exclusive };

/* Whether the option excludes another one by what it is: a flag is on, a text is set and `value`
 * (NULL: any), a choice is `value`. Other kinds always do. */
static bool has_effect(const zi_option *option, const char *value)
{
    int index;
    zi_option choice = *option;
    choice.value = &index;
    choice.given = NULL;
    if (option->kind == ZI_OPTION_FLAG) return *(const bool *)option->value;
    if (option->kind == ZI_OPTION_TEXT) {
        const char *text = *(const char *const *)option->value;
        return text && (!value || !strcmp(text, value));
    }
    return !value || (zi_option_set(&choice, value, NULL) && *(const int *)option->value == index);
}

/* Whether an option that is set (set [i] is for option i) excludes that value of this one. */
static bool is_excluded(const zi_command *command, const bool *set, const char *name,
                        const char *value)
{
    for (int i = 0; i < EXCLUSIVE; i++)
        for (int k = 0; k < 2; k++) {
            const exclusive_side *side = &exclusive[i].sides[k],
                                 *other = &exclusive[i].sides[1 - k];
            if (strcmp(side->option, name) != 0) continue;
            if (side->value && strcmp(side->value, value) != 0) continue;
            const zi_option *option = zi_option_find(command->options, other->option);
            if (option && set[option - command->options] && has_effect(option, other->value))
                return true;
        }
    return false;
}

/* Whether a setting's text makes the option exclude another one: for a flag it means yes, for other
 * kinds it is `value` (NULL: any). */
static bool text_has_effect(const zi_option *option, const char *text, const char *value)
{
    bool flag = false;
    zi_option copy = *option;
    copy.value = &flag;
    copy.given = NULL;
    if (option->kind == ZI_OPTION_FLAG) return zi_option_set(&copy, text, NULL) && flag;
    return !value || !strcmp(text, value);
}

/* Whether zi_settings_apply takes the setting `other` of an option before one of another option:
 * variables come before the file, and of its lines those whose option is the first in the table. */
static bool comes_before(const zi_option *other_option, const zi_setting *other,
                         const zi_option *option, const zi_setting *setting)
{
    if (other->variable || setting->variable) return other->variable && !setting->variable;
    return other_option < option;
}

bool zi_setting_find_excluding(const zi_command *command, const zi_setting *setting,
                               zi_setting *out)
{
    const zi_option *option = zi_option_find(command->options, setting->key);
    for (int i = 0; option && i < 2 * EXCLUSIVE; i++) {
        const exclusive_side *side = &exclusive[i / 2].sides[i % 2];
        const exclusive_side *other = &exclusive[i / 2].sides[1 - i % 2];
        const zi_option *other_option = zi_option_find(command->options, other->option);
        if (strcmp(side->option, setting->key) != 0 || !other_option ||
            !text_has_effect(option, setting->value, side->value))
            continue;
        if (zi_setting_find(command->name, other->option, out) &&
            text_has_effect(other_option, out->value, other->value) &&
            comes_before(other_option, out, option, setting))
            return true;
    }
    return false;
}

bool zi_check_exclusive(const zi_command *command, zi_error *error)
{
    for (int i = 0; i < EXCLUSIVE; i++) {
        const exclusive_side *sides = exclusive[i].sides;
        const zi_option *first = zi_option_find(command->options, sides[0].option);
        const zi_option *second = zi_option_find(command->options, sides[1].option);
        if (exclusive[i].own_check || !first || !second) continue;
        if (has_effect(first, sides[0].value) && has_effect(second, sides[1].value))
            return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, sides[0].option,
                                "cannot be used with --%s; leave one of the two out",
                                sides[1].option);
    }
    return true;
}

/* Whether the option's argument is a path, or a name that may be one. */
static bool is_path(const zi_option *option)
{
    static const char *const paths[] = {"FILE", "DIR", "PATH", "MODEL", "SOURCE"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        if (option->kind == ZI_OPTION_TEXT && strstr(option->argument, paths[i])) return true;
    return false;
}

/* Replaces a leading ~ of the file's settings by $HOME, as a shell would, where the command has an
 * option for a path. False: out of memory; *error is set. */
static bool expand_paths(const zi_command *command, zi_error *error)
{
    for (size_t i = 0; i < config.count; i++) {
        zi_setting *setting = &config.settings[i];
        const zi_option *option = zi_option_find(command->options, setting->key);
        if (!option || !is_path(option) || setting->value[0] != '~') continue;
        char *value = zi_expand_home(setting->value, "");
        if (!value) return zi_error_no_memory(error, strlen(setting->value));
        free(setting->expanded);
        setting->value = setting->expanded = value;
    }
    return true;
}

/* Sets an option by a setting. False: *error is set and names the line or variable. */
static bool apply_setting(const zi_option *option, const zi_setting *setting, zi_error *error)
{
    zi_error why = {0};
    if (zi_option_set(option, setting->value, &why)) return true;
    if (setting->variable) {
        char origin[160];
        snprintf(origin, sizeof origin, "environment variable %s", setting->variable);
        return zi_error_set_in(error, ZI_ERROR_INVALID_ARGUMENT, origin, setting->variable, "%s",
                               why.text + why.message);
    }
    return fail_line(setting->line, option->name, why.text, error);
}

bool zi_settings_apply(const zi_command *command, const bool *given, zi_error *error)
{
    bool set[ZI_MAX_OPTIONS] = {false};
    if (!strcmp(command->name, "config") || !strcmp(command->name, "docs")) return true;
    if (!zi_config_load(error) || !expand_paths(command, error)) return false;
    /* Variables first: a setting of the file gives way to a variable that excludes it, too. */
    for (int pass = 0; pass < 2; pass++)
        for (int i = 0; command->options[i].name; i++) {
            zi_setting setting;
            const zi_option *option = &command->options[i];
            if (given[i] || set[i] || !zi_setting_find(command->name, option->name, &setting) ||
                (setting.variable != NULL) == (pass > 0) ||
                is_excluded(command, given, option->name, setting.value) ||
                (pass && is_excluded(command, set, option->name, setting.value)))
                continue;
            if (!apply_setting(option, &setting, error)) return false;
            set[i] = true;
        }
    return true;
}
