/* zimage config: shows the defaults of options that the configuration file and variables set. */
#include "cli.h"

#include "base/text.h"

#include <cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern char **environ;

/* A setting, and whether it counts: for the subcommands that it is for, another one may win. */
typedef struct {
    zi_setting setting;
    bool known;        /* an option has this name */
    char winner[128];  /* what wins over it everywhere; "": nothing */
    char problem[300]; /* why a subcommand refuses the value; "": none does */
} config_row;

/* Values that are not shown. */
static bool is_secret(const char *option)
{
    return !strcmp(option, "api-key");
}

/* ---- checking a setting ---- */

typedef struct {
    config_row *row;
    const char *subcommand; /* that the setting is for; NULL: all */
    int uses, lost;         /* subcommands that have the option; those where another setting wins */
} row_check;

/* Whether two settings are the same line or variable. */
static bool is_same(const zi_setting *a, const zi_setting *b)
{
    if (a->variable || b->variable)
        return a->variable && b->variable && !strcmp(a->variable, b->variable);
    return a->line == b->line;
}

/* Describes where a setting comes from, as "ZIMAGE_STEPS" or "line 3". */
static const char *origin(const zi_setting *setting, char *out, size_t size)
{
    if (setting->variable)
        snprintf(out, size, "%s", setting->variable);
    else
        snprintf(out, size, "line %d", setting->line);
    return out;
}

/* A zi_command_visitor; user: a row_check. Tries the value on the subcommand's option, and looks
 * whether another setting wins there. */
static void check_command(void *user, const char *summary, const zi_command *command)
{
    row_check *check = user;
    config_row *row = check->row;
    zi_setting winner;
    zi_error error = {0};
    (void)summary;
    if (check->subcommand && strcmp(check->subcommand, command->name) != 0) return;
    const zi_option *option = zi_option_find(command->options, row->setting.key);
    if (!option) return;
    row->known = true;
    check->uses++;
    bool lost =
        zi_setting_find(command->name, option->name, &winner) && !is_same(&winner, &row->setting);
    if (lost || zi_setting_find_excluding(command, &row->setting, &winner)) {
        check->lost++;
        origin(&winner, row->winner, sizeof row->winner);
    }
    if (!zi_option_set(option, row->setting.value, &error))
        snprintf(row->problem, sizeof row->problem, "%.40s: %.250s", command->name, error.text);
}

/* Fills the row's known, winner and problem. */
static void check_row(config_row *row)
{
    row_check check = {.row = row, .subcommand = row->setting.section};
    zi_visit_commands(check_command, &check);
    if (check.lost < check.uses) row->winner[0] = 0;
}

/* ---- variables ---- */

/* A search for the option that a variable named ZIMAGE_... or ZIMAGE_SUBCOMMAND_... sets. */
typedef struct {
    const char *name;
    char key[100], section[40];
} variable_search;

/* A zi_command_visitor; user: a variable_search. */
static void match_variable(void *user, const char *summary, const zi_command *command)
{
    variable_search *search = user;
    char name[128];
    (void)summary;
    for (const zi_option *option = command->options; option->name; option++) {
        bool own =
            !strcmp(search->name, zi_variable_name(command->name, option->name, name, sizeof name));
        bool general =
            !search->section[0] &&
            !strcmp(search->name, zi_variable_name(NULL, option->name, name, sizeof name));
        if (own || general) snprintf(search->key, sizeof search->key, "%s", option->name);
        if (own) snprintf(search->section, sizeof search->section, "%s", command->name);
    }
}

/* ---- output ---- */

/* Prints a row as text or, with list not NULL, appends it there as JSON. */
static void print_row(const config_row *row, cJSON *list)
{
    const zi_setting *s = &row->setting;
    const char *value = is_secret(s->key) ? "(hidden)" : s->value;
    char from[128];
    if (list) {
        cJSON *item = cJSON_CreateObject();
        if (row->known) cJSON_AddStringToObject(item, "option", s->key);
        cJSON_AddStringToObject(item, "value", value);
        cJSON_AddStringToObject(item, "origin", s->variable ? "variable" : "file");
        if (s->section) cJSON_AddStringToObject(item, "subcommand", s->section);
        if (s->variable) cJSON_AddStringToObject(item, "variable", s->variable);
        if (s->line) cJSON_AddNumberToObject(item, "line", s->line);
        if (row->winner[0]) cJSON_AddStringToObject(item, "overridden_by", row->winner);
        if (row->problem[0]) cJSON_AddStringToObject(item, "problem", row->problem);
        cJSON_AddItemToArray(list, item);
        return;
    }
    if (!row->known) {
        printf("%-32s ignored: no option has this name\n", s->variable);
        return;
    }
    char setting[300];
    snprintf(setting, sizeof setting, "%s%s%s%.100s = %.100s", s->section ? "[" : "",
             s->section ? s->section : "", s->section ? "] " : "", s->key, value);
    printf("%-32s %s%s%s\n", setting, origin(s, from, sizeof from),
           row->winner[0] ? ", overridden by " : "", row->winner);
}

/* Checks and prints a row; counts it in *wrong, and prints why, when a subcommand refuses it. */
static void show_row(config_row *row, cJSON *list, int *wrong)
{
    const zi_setting *s = &row->setting;
    check_row(row);
    print_row(row, list);
    if (!row->problem[0]) return;
    ++*wrong;
    if (list) return;
    if (s->variable)
        zi_print_note(false, "environment variable %s: %s", s->variable, row->problem);
    else
        zi_print_note(false, "%s: line %d: %s", zi_config_path(), s->line, row->problem);
}

/* Shows the settings of the file. */
static void show_file(cJSON *list, int *wrong)
{
    const zi_setting *setting;
    for (size_t i = 0; (setting = zi_config_setting(i)) != NULL; i++) {
        config_row row = {.setting = *setting};
        show_row(&row, list, wrong);
    }
}

/* Shows the ZIMAGE_* variables that are set and not empty. */
static void show_variables(cJSON *list, int *wrong)
{
    for (char **at = environ; *at; at++) {
        const char *equals = strchr(*at, '=');
        if (strncmp(*at, "ZIMAGE_", 7) != 0 || !equals || !equals[1]) continue;
        char name[128];
        snprintf(name, sizeof name, "%.*s", (int)(equals - *at), *at);
        if (!strcmp(name, "ZIMAGE_CONFIG")) continue;
        variable_search search = {.name = name};
        zi_visit_commands(match_variable, &search);
        config_row row = {.setting = {.key = search.key,
                                      .value = equals + 1,
                                      .section = search.section[0] ? search.section : NULL,
                                      .variable = name}};
        show_row(&row, list, wrong);
    }
}

int cmd_config(int argc, char **argv)
{
    bool json = false;
    int code, wrong = 0;
    zi_error error = {0};
    const zi_option options[] = {
        {"json", 0, ZI_OPTION_FLAG, &json, 0, 0, NULL, "print a JSON object", NULL},
        {0},
    };
    const zi_command command = {
        "config",
        "Shows the defaults of options that the configuration file and variables set, with their\n"
        "origin. The file is $ZIMAGE_CONFIG, $XDG_CONFIG_HOME/zimage/config or\n"
        "~/.config/zimage/config. Its lines are OPTION = VALUE, behind a line [SUBCOMMAND] for\n"
        "that one only, and comments (#). Variables are ZIMAGE_OPTION and\n"
        "ZIMAGE_SUBCOMMAND_OPTION. The command line wins over variables, these over the file.",
        NULL, options};
    if (!zi_options_parse(&command, argc, argv, NULL, &code)) return code;
    const char *path = zi_config_path();
    bool loaded = zi_config_load(&error);
    cJSON *object = json ? cJSON_CreateObject() : NULL;
    cJSON *list = json ? cJSON_AddArrayToObject(object, "settings") : NULL;
    if (json)
        cJSON_AddStringToObject(object, "file", path ? path : "");
    else
        printf("configuration file: %s\n", path ? path : "none");
    if (loaded) show_file(list, &wrong);
    show_variables(list, &wrong);
    if (json && !zi_print_json_event(object, &error)) loaded = false;
    return !loaded ? zi_report_error(&command, &error) : wrong ? 1 : 0;
}
