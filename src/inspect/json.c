/* Inspections and verifications as JSON: for users, and for storage. */
#include "inspect/inspection.h"
#include "io/json.h"

#include <limits.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* ---- writing ---- */

/* Adds a text member to object; does nothing when text is NULL, or memory is short. */
static void add_text(cJSON *object, const char *name, const char *text)
{
    if (text) cJSON_AddStringToObject(object, name, text);
}

/* Adds the members of a summary to an object: "files", "tensors", "parameters", "bytes",
 * "precision" (the main format, if there is one) and "types" (an object with the parameters of each
 * format). Adds none of them when the summary has no files. */
static void write_summary(cJSON *to, const zi_tensor_summary *summary)
{
    if (!summary->files) return;
    cJSON_AddNumberToObject(to, "files", (double)summary->files);
    cJSON_AddNumberToObject(to, "tensors", (double)summary->tensors);
    cJSON_AddNumberToObject(to, "parameters", summary->parameters);
    cJSON_AddNumberToObject(to, "bytes", summary->bytes);
    add_text(to, "precision", zi_summary_main_format(summary));
    cJSON *types = cJSON_AddObjectToObject(to, "types");
    for (size_t i = 0; i < summary->format_count; i++)
        cJSON_AddNumberToObject(types, summary->formats[i].name, summary->formats[i].parameters);
}

/* Integer fields, written unless they are 0. */
static const struct {
    const char *name;
    size_t offset;
} sizes[] = {
    {"native_size", offsetof(zi_inspection, native_size)},
    {"transformer_layers", offsetof(zi_inspection, transformer_layers)},
    {"transformer_width", offsetof(zi_inspection, transformer_width)},
    {"text_encoder_layers", offsetof(zi_inspection, text_encoder_layers)},
    {"text_encoder_width", offsetof(zi_inspection, text_encoder_width)},
    {"transformer_text_width", offsetof(zi_inspection, transformer_text_width)},
    {"transformer_channels", offsetof(zi_inspection, transformer_channels)},
    {"vae_channels", offsetof(zi_inspection, vae_channels)},
};
enum { SIZES = sizeof sizes / sizeof *sizes };

static const char *const variants[] = {
    [ZI_VARIANT_UNKNOWN] = "", [ZI_VARIANT_TURBO] = "turbo", [ZI_VARIANT_BASE] = "base"};

/* Adds the integer fields in `sizes` that are not 0. */
static void write_sizes(cJSON *root, const zi_inspection *in)
{
    for (size_t i = 0; i < SIZES; i++) {
        int size = *(const int *)(const void *)((const char *)in + sizes[i].offset);
        if (size) cJSON_AddNumberToObject(root, sizes[i].name, size);
    }
}

/* Adds "components": an object with an object for each component, which has "present" (true or
 * false) and, if the component has files, the members that write_summary adds; an empty one when
 * the inspection has none. */
static void write_components(cJSON *root, const zi_inspection *in)
{
    cJSON *components = cJSON_AddObjectToObject(root, "components");
    for (int i = 0; in->has_components && i < ZI_COMPONENTS; i++) {
        cJSON *component = cJSON_AddObjectToObject(components, zi_component_name((zi_component)i));
        cJSON_AddBoolToObject(component, "present", in->components[i].present);
        write_summary(component, &in->components[i].tensors);
    }
}

/* Adds the arrays "missing" (names of components), "problems" and "remarks" (texts), also empty
 * ones. */
static void write_lists(cJSON *root, const zi_inspection *in)
{
    cJSON *missing = cJSON_AddArrayToObject(root, "missing");
    for (int i = 0; i < ZI_COMPONENTS; i++)
        if (in->components[i].missing)
            cJSON_AddItemToArray(missing, cJSON_CreateString(zi_component_name((zi_component)i)));
    cJSON *problems = cJSON_AddArrayToObject(root, "problems");
    for (size_t i = 0; i < in->problem_count; i++)
        cJSON_AddItemToArray(problems, cJSON_CreateString(in->problems[i].text));
    cJSON *remarks = cJSON_AddArrayToObject(root, "remarks");
    for (size_t i = 0; i < in->remark_count; i++)
        cJSON_AddItemToArray(remarks, cJSON_CreateString(in->remarks[i]));
}

/* The inspection as a new JSON object as users get it, owned by the caller. When memory is short,
 * it lacks members or is NULL. */
static cJSON *view_json(const zi_inspection *in)
{
    cJSON *root = cJSON_CreateObject();
    cJSON_AddStringToObject(root, "path", in->path);
    add_text(root, "layout", in->layout);
    add_text(root, "architecture", in->architecture);
    if (in->other.files)
        write_summary(root, &in->other);
    else
        add_text(root, "precision", in->precision);
    if (in->variant) cJSON_AddStringToObject(root, "variant", variants[in->variant]);
    if (in->shift > 0) cJSON_AddNumberToObject(root, "shift", in->shift);
    write_sizes(root, in);
    write_components(root, in);
    cJSON_AddBoolToObject(root, "usable", in->usable);
    cJSON_AddStringToObject(root, "health", zi_health_name(in->health));
    write_lists(root, in);
    return root;
}

char *zi_inspection_json(const zi_inspection *inspection)
{
    cJSON *root = view_json(inspection);
    char *text = cJSON_Print(root);
    cJSON_Delete(root);
    return text;
}

cJSON *zi_inspection_to_json(const zi_inspection *inspection)
{
    cJSON *root = view_json(inspection), *causes = cJSON_AddArrayToObject(root, "causes");
    cJSON_AddNumberToObject(root, "kind", inspection->kind);
    cJSON_AddBoolToObject(root, "has_components", inspection->has_components);
    for (size_t i = 0; i < inspection->problem_count; i++) {
        cJSON *cause = cJSON_CreateObject();
        cJSON_AddNumberToObject(cause, "code", inspection->problems[i].code);
        cJSON_AddStringToObject(cause, "subject", inspection->problems[i].subject);
        cJSON_AddItemToArray(causes, cause);
    }
    return root;
}

char *zi_verification_json(const zi_verification *verification)
{
    cJSON *root = cJSON_CreateObject();
    cJSON_AddStringToObject(root, "path", verification->path);
    cJSON_AddBoolToObject(root, "passed", verification->passed);
    cJSON *checks = cJSON_AddArrayToObject(root, "checks");
    for (size_t i = 0; i < verification->check_count; i++) {
        const zi_verification_check *check = &verification->checks[i];
        cJSON *row = cJSON_CreateObject();
        cJSON_AddStringToObject(row, "name", check->name);
        cJSON_AddBoolToObject(row, "passed", check->passed);
        cJSON_AddStringToObject(row, "says", check->text);
        cJSON_AddItemToArray(checks, row);
    }
    char *text = cJSON_Print(root);
    cJSON_Delete(root);
    return text;
}

/* ---- reading ---- */

/* A text member, borrowed from object; NULL: absent or no text. */
static const char *string_field(const cJSON *object, const char *name)
{
    return cJSON_GetStringValue(zi_json_find(object, name));
}

/* A number member; 0 when it is absent or no number. */
static double number_field(const cJSON *object, const char *name)
{
    const cJSON *item = zi_json_find(object, name);
    return cJSON_IsNumber(item) ? item->valuedouble : 0;
}

/* An integer member; 0 when it is absent, negative or no int. */
static int int_field(const cJSON *object, const char *name)
{
    const cJSON *item = zi_json_find(object, name);
    return zi_json_is_int(item, 0, INT_MAX) ? item->valueint : 0;
}

/* Reads what write_summary wrote into *out, which must be {0}. Numbers that are absent become 0.
 * False: "types" is a list, whose items have no names, or memory is short; what *out has is still
 * to be freed. */
static bool read_summary(const cJSON *from, zi_tensor_summary *out)
{
    const cJSON *type;
    bool ok = true;
    out->files = (size_t)int_field(from, "files");
    out->tensors = (size_t)int_field(from, "tensors");
    out->parameters = number_field(from, "parameters");
    out->bytes = number_field(from, "bytes");
    cJSON_ArrayForEach(type, zi_json_find(from, "types")) ok =
        ok && type->string && zi_summary_add_format(out, type->string, type->valuedouble);
    return ok;
}

/* Reads has_components and, of each component, its tensors and whether it is present or missing
 * (needed, but not there); without components, `other`. Names it does not know are ignored. False:
 * a summary is damaged, or memory is short; *in may be filled in part. */
static bool read_components(const cJSON *root, zi_inspection *in)
{
    const cJSON *components = zi_json_find(root, "components"), *missing;
    bool ok = true;
    in->has_components = cJSON_IsTrue(zi_json_find(root, "has_components"));
    for (int i = 0; ok && in->has_components && i < ZI_COMPONENTS; i++) {
        const cJSON *component = zi_json_find(components, zi_component_name((zi_component)i));
        in->components[i].present = cJSON_IsTrue(zi_json_find(component, "present"));
        ok = read_summary(component, &in->components[i].tensors);
    }
    cJSON_ArrayForEach(
        missing,
        zi_json_find(root, "missing")) for (int i = 0; i < ZI_COMPONENTS;
                                            i++) if (cJSON_IsString(missing) &&
                                                     !strcmp(missing->valuestring,
                                                             zi_component_name((zi_component)i)))
        in->components[i]
            .missing = true;
    return ok && (in->has_components || read_summary(root, &in->other));
}

/* Adds the problems in their order: texts from "problems", codes and subjects from "causes"; absent
 * arrays count as empty. False: these do not match, or memory is short; some may be added. */
static bool read_problems(const cJSON *root, zi_inspection *in)
{
    const cJSON *text = zi_json_find(root, "problems"), *cause = zi_json_find(root, "causes");
    text = text ? text->child : NULL;
    for (cause = cause ? cause->child : NULL; text && cause;
         text = text->next, cause = cause->next) {
        const char *subject = string_field(cause, "subject");
        zi_problem problem = {(zi_error_code)int_field(cause, "code"), (char *)(uintptr_t)subject,
                              text->valuestring};
        if (!subject || !cJSON_IsString(text) ||
            !zi_inspection_add_problem(in, &problem, in->problem_count))
            return false;
    }
    return !text && !cause;
}

/* Reads all fields but path into *in, a new inspection, and computes its health. False: no valid
 * inspection, or memory is short; the caller calls zi_inspection_free. */
static bool read_fields(const cJSON *root, zi_inspection *in)
{
    const cJSON *remark;
    bool ok = zi_inspection_set(&in->layout, string_field(root, "layout")) &&
              zi_inspection_set(&in->architecture, string_field(root, "architecture"));
    in->kind = (zi_model_kind)int_field(root, "kind");
    in->shift = number_field(root, "shift");
    const char *variant = string_field(root, "variant");
    for (int i = ZI_VARIANT_TURBO; variant && i <= ZI_VARIANT_BASE; i++)
        if (!strcmp(variant, variants[i])) in->variant = (zi_variant)i;
    for (size_t i = 0; i < SIZES; i++)
        *(int *)(void *)((char *)in + sizes[i].offset) = int_field(root, sizes[i].name);
    cJSON_ArrayForEach(remark, zi_json_find(root, "remarks")) ok =
        ok && cJSON_IsString(remark) && zi_inspection_add_remark(in, remark->valuestring);
    ok = ok && in->kind <= ZI_MODEL_OTHER && read_components(root, in) && read_problems(root, in);
    if (ok) zi_inspection_update_health(in);
    return ok;
}

zi_inspection *zi_inspection_from_json(const cJSON *json)
{
    const char *path = string_field(json, "path");
    zi_inspection *in = path ? zi_inspection_create(path) : NULL;
    if (in && read_fields(json, in)) return in;
    zi_inspection_free(in);
    return NULL;
}
