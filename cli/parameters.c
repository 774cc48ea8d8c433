/* Makes the options of generation parameters from the library's table. */
#include "cli.h"
#include "base/tables.h"

#include <stdio.h>
#include <string.h>

const char *zi_join_choices(const char *const *words, char *out, size_t size)
{
    out[0] = 0;
    for (size_t i = 0; words[i]; i++) {
        size_t length = strlen(out);
        snprintf(out + length, size - length, "%s%s", i ? "|" : "", words[i]);
    }
    return out;
}

/* The kind of the option for a parameter of a type, which must be one of the enum's. */
static zi_option_kind option_kind(zi_parameter_type type)
{
    static const zi_option_kind kinds[] = {
        [ZI_PARAMETER_TEXT] = ZI_OPTION_TEXT,     [ZI_PARAMETER_INT] = ZI_OPTION_INT,
        [ZI_PARAMETER_REAL] = ZI_OPTION_REAL,     [ZI_PARAMETER_BOOL] = ZI_OPTION_FLAG,
        [ZI_PARAMETER_CHOICE] = ZI_OPTION_CHOICE, [ZI_PARAMETER_SEED] = ZI_OPTION_SEED};
    return kinds[type];
}

/* Sets the strings of an option, each cut to its array: the name (the parameter's with hyphens),
 * the help, which ends with the default in parentheses if there is one, and, if the parameter has
 * choices, these as "one|two"; else text->choices is unchanged. */
static void fill_option_strings(const zi_parameter *p, zi_option_strings *text)
{
    char standard[64];
    snprintf(text->name, sizeof text->name, "%s", p->name);
    for (char *c = text->name; *c; c++)
        if (*c == '_') *c = '-';
    zi_parameter_print_default(p, standard);
    snprintf(text->help, sizeof text->help, *standard ? "%s (%s)" : "%s", p->help, standard);
    if (p->choices) zi_join_choices(p->choices, text->choices, sizeof text->choices);
}

size_t zi_parameter_options(zi_generation *generation, zi_option *options, zi_option_strings *texts)
{
    size_t count = 0;
    char *base = (char *)generation;
    for (const zi_parameter *p = zi_parameters; p->name; p++) {
        if (p->api_only) continue;
        zi_option_strings *text = &texts[count];
        fill_option_strings(p, text);
        options[count++] = (zi_option){.name = text->name,
                                       .letter = p->letter,
                                       .kind = option_kind(p->type),
                                       .value = base + p->offset,
                                       .min = p->min,
                                       .max = p->max,
                                       .argument = p->choices ? text->choices : p->argument,
                                       .help = text->help,
                                       .given = p->given ? (bool *)(base + p->given) : NULL};
    }
    return count;
}
