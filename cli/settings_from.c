/* zimage generate --settings-from: takes generation parameters from the metadata of an image, those
 * of other programs as a translation to an infotext. */
#include "generate.h"

#include "base/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Keys of an infotext and the options that have the same values. */
static const struct {
    const char *key, *option;
} same_values[] = {{"Steps", "steps"},
                   {"Shift", "shift"},
                   {"Max tokens", "max-tokens"},
                   {"CFG normalization", "cfg-normalization"},
                   {"CFG truncation", "cfg-truncation"}};

/* Keys that are no parameters, or that other code takes. */
static const char *const other_keys[] = {"Version", "Model",       "Model hash",  "Original prompt",
                                         "Source",  "Source text", "Source bytes"};

typedef struct {
    zi_generate_args *args;
    const zi_infotext_fields *fields; /* of the image */
    zi_text not_taken;                /* "KEY: VALUE, ..." */
} settings_reader;

/* Remembers a setting that could not be taken over. */
static void reject(settings_reader *reader, const char *key, const char *value)
{
    zi_text_printf(&reader->not_taken, "%s%s: %s", reader->not_taken.size ? ", " : "", key, value);
}

/* Sets an option to a value unless it is on the command line. Rejects the setting when the option
 * does not exist or refuses the value. */
static void set_option(settings_reader *reader, const char *name, const char *value,
                       const char *key, const char *shown)
{
    zi_error error;
    const zi_option *option = zi_option_find(reader->args->command->options, name);
    if (zi_option_on_command_line(name)) return;
    if (!option || !zi_option_set(option, value, &error)) reject(reader, key, shown);
}

/* Sets width and height by a size such as 1024x768, unless one of them or the aspect ratio is on
 * the command line. */
static void set_size(settings_reader *reader, const char *value)
{
    int width, height, end = 0;
    zi_request *r = &reader->args->generation.request;
    if (zi_option_on_command_line("width") || zi_option_on_command_line("height") ||
        zi_option_on_command_line("aspect"))
        return;
    const zi_parameter *w = zi_parameter_find("width"), *h = zi_parameter_find("height");
    if (sscanf(value, "%5dx%5d%n", &width, &height, &end) != 2 || value[end] ||
        !zi_parameter_check(w, width, zi_parameter_max(w, false), NULL) ||
        !zi_parameter_check(h, height, zi_parameter_max(h, false), NULL)) {
        reject(reader, "Size", value);
        return;
    }
    reader->args->aspect = NULL; /* a default of the configuration */
    r->width = width;
    r->height = height;
}

/* Sets guidance, 0 and up, by A1111's scale, 1 and up. */
static void set_guidance(settings_reader *reader, const char *value)
{
    char text[40], *end;
    double scale = strtod(value, &end);
    if (!*value || *end || !(scale >= 1)) {
        if (!zi_option_on_command_line("guidance")) reject(reader, "CFG scale", value);
        return;
    }
    /* 1 + 0.1 - 1 is not 0.1: 12 digits are more than people write. */
    snprintf(text, sizeof text, "%.12g", scale - 1);
    set_option(reader, "guidance", text, "CFG scale", value);
}

/* A callback of zi_infotext_each; user: a settings_reader. */
static void take_setting(void *user, const char *key, const char *value)
{
    settings_reader *reader = user;
    for (size_t i = 0; i < sizeof other_keys / sizeof *other_keys; i++)
        if (!strcmp(key, other_keys[i])) return;
    if (!strcmp(key, "Size")) {
        set_size(reader, value);
        return;
    }
    if (!strcmp(key, "CFG scale")) {
        set_guidance(reader, value);
        return;
    }
    if (!strcmp(key, "Seed")) {
        bool random = !strcmp(value, "-1"); /* the option would take it */
        if (!random)
            set_option(reader, "seed", value, key, value);
        else if (!zi_option_on_command_line("seed"))
            reject(reader, key, value);
        return;
    }
    if (!strcmp(key, "Sampler")) { /* the fields have the choice for A1111's name */
        set_option(reader, "sampler", reader->fields->sampler, key, value);
        return;
    }
    if (!strcmp(key, "Schedule type")) {
        set_option(reader, "schedule", reader->fields->schedule, key, value);
        return;
    }
    for (size_t i = 0; i < sizeof same_values / sizeof *same_values; i++)
        if (!strcmp(key, same_values[i].key)) {
            set_option(reader, same_values[i].option, value, key, value);
            return;
        }
    reject(reader, key, value);
}

/* Takes the prompts over, unless the command line says what to generate. */
static void take_prompts(zi_generate_args *args, const zi_infotext_fields *fields)
{
    zi_request *r = &args->generation.request;
    bool has_prompt = zi_option_on_command_line("prompt") || args->prompts || args->random;
    if (!has_prompt && *fields->prompt) {
        r->prompt = fields->prompt;
        if (*fields->original) r->original = fields->original;
    }
    if (!zi_option_on_command_line("negative") && *fields->negative) r->negative = fields->negative;
}

/* Fails if a prompt that was taken from the image, one of `fields`, cannot be used. */
static bool check_prompts(const zi_generate_args *args, const zi_infotext_fields *fields,
                          zi_error *error)
{
    const zi_request *r = &args->generation.request;
    const zi_generation taken = {
        .request = {.prompt = r->prompt == fields->prompt ? r->prompt : NULL,
                    .negative = r->negative == fields->negative ? r->negative : NULL}};
    zi_error why = {0};
    if (zi_generation_check(&taken, false, &why)) return true;
    const char *problem = why.text + why.message, *end = strrchr(problem, ';');
    return zi_error_set_in(error, ZI_ERROR_INVALID_ARGUMENT, args->settings_from, NULL,
                           "the %s in this image %.*s; give another one with --%s",
                           strcmp(why.subject, "prompt") ? "negative prompt" : "prompt",
                           (int)(end ? (size_t)(end - problem) : strlen(problem)), problem,
                           why.subject);
}

/* Takes the model over if it is here, unless the command line names one. */
static void take_model(settings_reader *reader, const char *name)
{
    zi_generate_args *args = reader->args;
    if (!*name || zi_option_on_command_line("model")) return;
    args->image_model = zi_find_model_of_image(&args->models, name);
    if (args->image_model)
        args->generation.model = args->image_model;
    else
        reject(reader, "Model", name);
}

/* Takes the size of the image itself, which has none in its parameters, unless the command line
 * says otherwise or no image of that size can be made. */
static void take_image_size(settings_reader *reader, const zi_image *image)
{
    char size[32];
    snprintf(size, sizeof size, "%dx%d", image->width, image->height);
    set_size(reader, size);
}

bool zi_take_settings(zi_generate_args *args, zi_error *error)
{
    zi_image *image = NULL;
    char *infotext = NULL;
    zi_infotext_fields fields = {0};
    settings_reader reader = {.args = args, .fields = &fields};
    if (!args->settings_from) return true;
    zi_text_init(&reader.not_taken, 1 << 16);
    if (!zi_image_load(args->settings_from, &image, &infotext, error)) return false;
    if (!infotext) {
        zi_image_free(image);
        return zi_error_set_in(error, ZI_ERROR_NOT_FOUND, args->settings_from, "infotext",
                               "the image has no generation parameters; editors and chat programs "
                               "often remove them, so use the file that the image generator wrote");
    }
    bool ok = zi_infotext_parse(infotext, &fields, &args->image_storage, error) &&
              (zi_infotext_each(infotext, take_setting, &reader) ||
               zi_error_no_memory(error, strlen(infotext)));
    if (ok) {
        if (!fields.width) take_image_size(&reader, image);
        take_prompts(args, &fields);
        take_model(&reader, fields.model);
        if (reader.not_taken.size) args->not_taken = zi_text_take(&reader.not_taken);
        ok = check_prompts(args, &fields, error);
    }
    zi_text_free(&reader.not_taken);
    zi_image_free(image);
    free(infotext);
    return ok;
}
