#include "inspect/inspection.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    zi_inspection inspection; /* first: a zi_inspection * is one of these */
    atomic_size_t owners;
} refcounted;

const char *zi_health_name(zi_health health)
{
    static const char *const names[] = {"good", "incomplete", "unsupported", "damaged"};
    return names[health];
}

const char *zi_model_kind_name(zi_model_kind kind)
{
    static const char *const names[] = {"image", "language", "other",    "text_encoder",
                                        "vae",   "lora",     "upscaler", "control_net"};
    return names[kind];
}

/* ---- life ---- */

zi_inspection *zi_inspection_create(const char *path)
{
    refcounted *s = calloc(1, sizeof *s);
    if (!s) return NULL;
    atomic_init(&s->owners, 1);
    if (zi_inspection_set(&s->inspection.path, path)) return &s->inspection;
    free(s);
    return NULL;
}

zi_inspection *zi_inspection_retain(zi_inspection *inspection)
{
    refcounted *s = (refcounted *)inspection;
    atomic_fetch_add(&s->owners, 1);
    return inspection;
}

/* Frees what the summary has, not the struct (not NULL), whose pointers become invalid. */
static void free_summary(zi_tensor_summary *summary)
{
    for (size_t i = 0; i < summary->format_count; i++) free(summary->formats[i].name);
    free(summary->formats);
}

/* Frees what the inspection has, not the struct (not NULL), whose pointers become invalid. */
static void free_contents(zi_inspection *in)
{
    for (int i = 0; i < ZI_COMPONENTS; i++) free_summary(&in->components[i].tensors);
    free_summary(&in->other);
    for (size_t i = 0; i < in->problem_count; i++) {
        free(in->problems[i].subject);
        free(in->problems[i].text);
    }
    for (size_t i = 0; i < in->remark_count; i++) free(in->remarks[i]);
    free(in->problems);
    free(in->remarks);
    free(in->path);
    free(in->layout);
    free(in->architecture);
}

void zi_inspection_free(zi_inspection *inspection)
{
    refcounted *s = (refcounted *)inspection;
    if (!s || atomic_fetch_sub(&s->owners, 1) > 1) return;
    free_contents(inspection);
    free(s);
}

/* ---- filling in ---- */

bool zi_inspection_set(char **field, const char *text)
{
    char *copy = text ? strdup(text) : NULL;
    if (text && !copy) return false;
    free(*field);
    *field = copy;
    return true;
}

bool zi_inspection_add_remark(zi_inspection *inspection, const char *text)
{
    char **more = realloc(inspection->remarks, (inspection->remark_count + 1) * sizeof *more),
         *copy;
    if (!more) return false;
    inspection->remarks = more;
    if (!(copy = strdup(text))) return false;
    inspection->remarks[inspection->remark_count++] = copy;
    return true;
}

bool zi_inspection_add_problem(zi_inspection *inspection, const zi_problem *problem, size_t at)
{
    zi_problem copy = {.code = problem->code};
    zi_problem *more =
        realloc(inspection->problems, (inspection->problem_count + 1) * sizeof *more);
    if (!more) return false;
    inspection->problems = more;
    if (!zi_inspection_set(&copy.subject, problem->subject) ||
        !zi_inspection_set(&copy.text, problem->text)) {
        free(copy.subject);
        return false;
    }
    memmove(more + at + 1, more + at, (inspection->problem_count - at) * sizeof *more);
    more[at] = copy;
    inspection->problem_count++;
    return true;
}

bool zi_summary_add_format(zi_tensor_summary *summary, const char *name, double parameters)
{
    for (size_t i = 0; i < summary->format_count; i++)
        if (!strcmp(summary->formats[i].name, name)) {
            summary->formats[i].parameters += parameters;
            return true;
        }
    zi_value_format *more =
        realloc(summary->formats, (summary->format_count + 1) * sizeof *summary->formats);
    if (!more) return false;
    summary->formats = more;
    zi_value_format added = {strdup(name), parameters};
    if (!added.name) return false;
    more[summary->format_count++] = added;
    return true;
}

bool zi_problem_is_fixable_by_reference(const zi_problem *problem)
{
    return problem->code == ZI_ERROR_INCOMPLETE &&
           strcmp(problem->subject, zi_component_name(ZI_COMPONENT_TRANSFORMER)) != 0;
}

const char *zi_summary_main_format(const zi_tensor_summary *summary)
{
    const zi_value_format *largest = NULL;
    for (size_t i = 0; i < summary->format_count; i++)
        if (!largest || summary->formats[i].parameters > largest->parameters)
            largest = &summary->formats[i];
    return largest ? largest->name : NULL;
}

/* Of the problems that no reference model can fix: damaged if one has a code other than
 * ZI_ERROR_UNSUPPORTED, else unsupported if there is one. If there is none: good if in->usable,
 * which must be set, else incomplete. */
static zi_health compute_health(const zi_inspection *in)
{
    bool unsupported = false;
    for (size_t i = 0; i < in->problem_count; i++) {
        if (zi_problem_is_fixable_by_reference(&in->problems[i])) continue;
        if (in->problems[i].code != ZI_ERROR_UNSUPPORTED) return ZI_HEALTH_DAMAGED;
        unsupported = true;
    }
    return unsupported ? ZI_HEALTH_UNSUPPORTED : in->usable ? ZI_HEALTH_GOOD : ZI_HEALTH_INCOMPLETE;
}

void zi_inspection_update_health(zi_inspection *inspection)
{
    inspection->usable = inspection->problem_count == 0;
    inspection->precision = zi_summary_main_format(&inspection->other);
    for (int i = ZI_COMPONENTS - 1; i >= 0; i--) {
        const char *precision = zi_summary_main_format(&inspection->components[i].tensors);
        if (precision) inspection->precision = precision;
        inspection->usable = inspection->usable && !inspection->components[i].missing;
    }
    inspection->health = compute_health(inspection);
}

zi_inspection *zi_inspection_create_failed(const char *path, const zi_error *why)
{
    zi_inspection *in = zi_inspection_create(path);
    zi_problem problem = {why->code, (char *)(uintptr_t)why->subject, (char *)(uintptr_t)why->text};
    if (!in) return NULL;
    in->kind = ZI_MODEL_OTHER;
    if (!zi_inspection_add_problem(in, &problem, 0)) {
        zi_inspection_free(in);
        return NULL;
    }
    zi_inspection_update_health(in);
    return in;
}
