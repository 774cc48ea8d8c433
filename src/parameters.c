/* The generation parameters, and checks of the values that users give them. */
#include "base/error.h"
#include "base/tables.h"
#include "base/text.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* A test compiles this file with a table that includes the original one and adds to it. */
#ifndef ZI_PARAMETERS
#define ZI_PARAMETERS "parameters.def"
#endif

const zi_parameter zi_parameters[] = {
#include ZI_PARAMETERS
    {.name = NULL}};

_Static_assert(sizeof zi_parameters / sizeof *zi_parameters <= ZI_MAX_PARAMETERS,
               "a bit for each row");
_Static_assert(sizeof(zi_schedule) == sizeof(int) && sizeof(zi_sampler) == sizeof(int) &&
                   sizeof(zi_compute) == sizeof(int),
               "choices are read and written as int");

const zi_parameter *zi_parameter_at(size_t i)
{
    const size_t count = sizeof zi_parameters / sizeof *zi_parameters - 1;
    return i < count ? &zi_parameters[i] : NULL;
}

const zi_parameter *zi_parameter_find(const char *name)
{
    for (const zi_parameter *p = zi_parameters; p->name; p++)
        if (!strcmp(p->name, name)) return p;
    return NULL;
}

double zi_parameter_max(const zi_parameter *parameter, bool server)
{
    return server && parameter->server_max ? parameter->server_max : parameter->max;
}

void zi_parameter_print_default(const zi_parameter *parameter, char buffer[64])
{
    buffer[0] = 0;
    if (parameter->default_text)
        snprintf(buffer, 64, "%s", parameter->default_text);
    else if (parameter->zero_off)
        snprintf(buffer, 64, "0, off");
    else if (parameter->choices)
        snprintf(buffer, 64, "%s", parameter->choices[0]);
    else if (parameter->default_value)
        snprintf(buffer, 64, "%.16g", parameter->default_value);
}

/* ---- checking a value ---- */

/* Sets the error for a value that is no multiple, with the nearest multiples that fit as a
 * proposal, and returns false. max: the largest value allowed. value must be in [p->min, max], and
 * p->min a multiple. */
static bool fail_multiple(const zi_parameter *p, double value, double max, zi_error *error)
{
    double below = floor(value / p->multiple) * p->multiple, above = below + p->multiple;
    if (above > max) above = below;
    return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, p->name,
                        "%.16g is not a multiple of %d; the nearest that fit are %.16g and %.16g",
                        value, p->multiple, below, above);
}

bool zi_parameter_check(const zi_parameter *parameter, double value, double max, zi_error *error)
{
    const char *off = parameter->zero_off ? " (off)" : "";
    if (parameter->type == ZI_PARAMETER_INT && value != floor(value))
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, parameter->name,
                            "%.16g is not a whole number; it must be one from %.16g%s to %.16g",
                            value, parameter->min, off, max);
    if (!(value >= parameter->min && value <= max))
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, parameter->name,
                            "%.16g is out of range; it must be from %.16g%s to %.16g", value,
                            parameter->min, off, max);
    if (parameter->multiple && fmod(value, parameter->multiple) != 0)
        return fail_multiple(parameter, value, max, error);
    return true;
}

bool zi_parameter_check_text(const zi_parameter *parameter, const char *text, double max,
                             zi_error *error)
{
    size_t size = strlen(text);
    if ((double)size < parameter->min)
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, parameter->name,
                            "is empty; give a text");
    if (max && (double)size > max)
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, parameter->name,
                            "has %zu bytes, but at most %.16g are possible; shorten it", size, max);
    return zi_utf8_valid(text, size) ||
           zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, parameter->name,
                        "has bytes that are not UTF-8 text; convert it to UTF-8");
}

bool zi_parameter_choose(const zi_parameter *parameter, const char *choice, int *index,
                         zi_error *error)
{
    char all[200] = "";
    for (int i = 0; parameter->choices[i]; i++) {
        if (!strcmp(parameter->choices[i], choice)) {
            *index = i;
            return true;
        }
        size_t length = strlen(all);
        snprintf(all + length, sizeof all - length, "%s%s", i ? ", " : "", parameter->choices[i]);
    }
    return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, parameter->name,
                        "'%s' is unknown; choose one of %s", choice, all);
}

/* ---- all parameters of a generation ---- */

/* Fails unless index is that of a choice, from 0 on: ZI_ERROR_INVALID_ARGUMENT with the parameter's
 * name as the subject. */
static bool check_choice(const zi_parameter *p, int index, zi_error *error)
{
    int count = 0;
    while (p->choices[count]) count++;
    return (index >= 0 && index < count) ||
           zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, p->name,
                        "%d is out of range; it must be from 0 to %d", index, count - 1);
}

/* Whether the parameter is an int or a double; choices and seeds do not count. */
static bool is_number(const zi_parameter *p)
{
    return p->type == ZI_PARAMETER_INT || p->type == ZI_PARAMETER_REAL;
}

/* The number at the address `at`: an int for ZI_PARAMETER_INT, else, for ZI_PARAMETER_REAL, a
 * double. */
static double number_at(const zi_parameter *p, const void *at)
{
    return p->type == ZI_PARAMETER_INT ? *(const int *)at : *(const double *)at;
}

/* Checks the parameter's value at the address `at` (for a choice its index as int). Passes texts
 * that are NULL, numbers that are 0, and all bools and seeds. max: from zi_parameter_max. False:
 * ZI_ERROR_INVALID_ARGUMENT with the parameter's name as the subject. */
static bool check_value(const zi_parameter *p, const void *at, double max, zi_error *error)
{
    if (p->type == ZI_PARAMETER_TEXT) {
        const char *text = *(const char *const *)at;
        return !text || zi_parameter_check_text(p, text, max, error);
    }
    if (p->type == ZI_PARAMETER_CHOICE) return check_choice(p, *(const int *)at, error);
    if (!is_number(p) || number_at(p, at) == 0) return true;
    return zi_parameter_check(p, number_at(p, at), max, error);
}

/* Refuses a prompt (NULL passes) with A1111's syntax for additional networks, "<lora:NAME:1>":
 * encoded as text it would spoil the image. ZI_ERROR_INVALID_ARGUMENT with `field` as the subject.
 */
static bool check_networks(const char *field, const char *prompt, zi_error *error)
{
    static const char *const kinds[] = {"<lora:", "<lyco:", "<hypernet:"};
    static const char *const names[] = {"LoRAs", "LyCORIS networks", "hypernetworks"};
    for (const char *at = prompt; at && (at = strchr(at, '<')); at++)
        for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
            if (!strncasecmp(at, kinds[i], strlen(kinds[i])))
                return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, field,
                                    "contains %.*s%s: %s are not supported yet; remove it",
                                    (int)strcspn(at, ">\n"), at,
                                    at[strcspn(at, ">\n")] == '>' ? ">" : "", names[i]);
    return true;
}

bool zi_generation_check(const zi_generation *generation, bool server, zi_error *error)
{
    for (const zi_parameter *p = zi_parameters; p->name; p++)
        if (!check_value(p, (const char *)generation + p->offset, zi_parameter_max(p, server),
                         error))
            return false;
    return check_networks("prompt", generation->request.prompt, error) &&
           check_networks("negative", generation->request.negative, error);
}

void zi_generation_fill_defaults(zi_generation *generation)
{
    for (const zi_parameter *p = zi_parameters; p->name; p++) {
        void *at = (char *)generation + p->offset;
        if (!is_number(p) || p->default_text || number_at(p, at) != 0) continue;
        if (p->type == ZI_PARAMETER_INT)
            *(int *)at = (int)p->default_value;
        else
            *(double *)at = p->default_value;
    }
}
