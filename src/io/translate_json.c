/* Parameters as one JSON object, as InvokeAI, Fooocus, Draw Things, mflux, SwarmUI and scripts
 * around diffusers write them. */
#include "io/translation.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    zi_translated_field field;
} known[] = {
    {"prompt", ZI_TRANSLATED_PROMPT},
    {"positive_prompt", ZI_TRANSLATED_PROMPT},
    {"c", ZI_TRANSLATED_PROMPT}, /* Draw Things */
    {"negative_prompt", ZI_TRANSLATED_NEGATIVE},
    {"negativeprompt", ZI_TRANSLATED_NEGATIVE}, /* SwarmUI */
    {"uc", ZI_TRANSLATED_NEGATIVE},             /* Draw Things */
    {"steps", ZI_TRANSLATED_STEPS},
    {"num_inference_steps", ZI_TRANSLATED_STEPS}, /* diffusers */
    {"sampler", ZI_TRANSLATED_SAMPLER},
    {"sampler_name", ZI_TRANSLATED_SAMPLER},
    {"scheduler", ZI_TRANSLATED_SCHEDULE}, /* without a sampler, as InvokeAI's: the sampler */
    {"seed", ZI_TRANSLATED_SEED},
    {"width", ZI_TRANSLATED_WIDTH},
    {"height", ZI_TRANSLATED_HEIGHT},
    {"size", ZI_TRANSLATED_SIZE},
    {"resolution", ZI_TRANSLATED_SIZE}, /* Fooocus: "(1024, 1024)" */
    {"cfg_scale", ZI_TRANSLATED_CFG},
    {"cfgscale", ZI_TRANSLATED_CFG},
    {"scale", ZI_TRANSLATED_CFG}, /* Draw Things */
    {"guidance_scale", ZI_TRANSLATED_CFG},
    {"guidance", ZI_TRANSLATED_CFG}, /* mflux */
    {"model", ZI_TRANSLATED_MODEL},
    {"model_name", ZI_TRANSLATED_MODEL},
    {"base_model", ZI_TRANSLATED_MODEL},    /* Fooocus */
    {"model_weights", ZI_TRANSLATED_MODEL}, /* InvokeAI 2 */
    {"base_model_hash", ZI_TRANSLATED_MODEL_HASH},
    {"model_hash", ZI_TRANSLATED_MODEL_HASH},
    {"shift", ZI_TRANSLATED_SHIFT},
    {"z_image_shift", ZI_TRANSLATED_SHIFT}, /* InvokeAI */
    {"sigmashift", ZI_TRANSLATED_SHIFT},    /* SwarmUI */
};

/* The value of a member; NULL: there is none. */
static const cJSON *member(const cJSON *object, const char *name)
{
    return cJSON_GetObjectItemCaseSensitive(object, name);
}

/* The program that writes objects like this one. */
static const char *program_of(const cJSON *object)
{
    static const struct {
        const char *name, *program;
    } marks[] = {{"sui_image_params", "SwarmUI"}, {"swarm_version", "SwarmUI"},
                 {"mflux_version", "mflux"},      {"metadata_scheme", "Fooocus"},
                 {"full_prompt", "Fooocus"},      {"uc", "Draw Things"},
                 {"model_weights", "InvokeAI"},   {"positive_prompt", "InvokeAI"},
                 {"generation_mode", "InvokeAI"}, {"invokeai_version", "InvokeAI"}};
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++)
        if (member(object, marks[i].name)) return marks[i].program;
    return "JSON";
}

/* Whether the text names Z-Image, in any spelling ("Z-Image", "z_image", "ZImagePipeline"). */
static bool names_z_image(const char *text)
{
    static const char name[] = "zimage";
    for (; *text; text++) {
        size_t matched = 0;
        for (const char *at = text; *at && name[matched]; at++) {
            if (tolower((unsigned char)*at) == name[matched])
                matched++;
            else if (!matched || !strchr("-_ ", *at))
                break;
        }
        if (!name[matched]) return true;
    }
    return false;
}

/* Sets the scale. guidance_scale and guidance of diffusers' and mflux's Z-Image are that of
 * zi_request, pos + g (pos - neg), one less than A1111's scale. */
static void set_scale(const cJSON *object, const cJSON *value, zi_translation *out)
{
    static const char *const models[] = {"model", "base_model", "pipeline", "_class_name",
                                         "model_id"};
    bool ours = !strncmp(value->string, "guidance", 8) && cJSON_IsNumber(value);
    bool z_image = false;
    for (size_t i = 0; ours && i < sizeof models / sizeof *models; i++) {
        const char *text = cJSON_GetStringValue(member(object, models[i]));
        z_image |= text && names_z_image(text);
    }
    cJSON scale = *value;
    if (z_image) scale.valuedouble += 1;
    zi_translation_set(out, ZI_TRANSLATED_CFG, &scale);
}

/* Sets a size from "WIDTHxHEIGHT" or "(WIDTH, HEIGHT)", or any other text as it is. */
static void set_size(const cJSON *value, zi_translation *out)
{
    const char *text = cJSON_GetStringValue(value);
    unsigned width, height;
    char size[32];
    if (text && sscanf(text, " (%7u , %7u )", &width, &height) == 2) {
        snprintf(size, sizeof size, "%ux%u", width, height);
        zi_translation_set_text(out, ZI_TRANSLATED_SIZE, size);
    } else {
        zi_translation_set(out, ZI_TRANSLATED_SIZE, value);
    }
}

/* Sets the model from a file's name, or from InvokeAI's object {"name", ...}, which is kept as a
 * setting, too. */
static void set_model(const cJSON *value, zi_translation *out)
{
    const cJSON *name = cJSON_IsObject(value) ? member(value, "name") : value;
    if (cJSON_IsObject(value) && !name) name = member(value, "model_name");
    if (cJSON_IsString(name)) zi_translation_set_model(out, name->valuestring);
    if (name != value) zi_translation_add(out, value->string, value);
}

/* Sets prompt and negative prompt from InvokeAI 2's form: text, or a list of {"prompt"}, where the
 * negative prompt stands in brackets. */
static void set_bracketed_prompt(const cJSON *value, zi_translation *out)
{
    if (cJSON_IsArray(value)) value = member(value->child, "prompt");
    const char *text = cJSON_GetStringValue(value);
    zi_text parts[2];
    int inside = 0;
    for (int i = 0; i < 2; i++) zi_text_init(&parts[i], 1 << 22);
    for (; text && *text; text++) {
        if (*text == '[' || *text == ']')
            inside = *text == '[';
        else
            zi_text_append(&parts[inside], text, 1);
    }
    for (int i = 0; i < 2; i++) {
        while (parts[i].size && parts[i].data[parts[i].size - 1] == ' ')
            parts[i].data[--parts[i].size] = 0;
        zi_translation_set_text(out, i ? ZI_TRANSLATED_NEGATIVE : ZI_TRANSLATED_PROMPT,
                                parts[i].data);
        out->failed |= parts[i].failed;
        zi_text_free(&parts[i]);
    }
}

/* Translates the member as what its name says, or keeps it as a setting. */
static void translate_member(const cJSON *object, const cJSON *value, zi_translation *out)
{
    zi_translated_field field = ZI_TRANSLATED_FIELDS;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(known[i].name, value->string)) field = known[i].field;
    if (field == ZI_TRANSLATED_SCHEDULE && !member(object, "sampler") &&
        !member(object, "sampler_name"))
        field = ZI_TRANSLATED_SAMPLER;
    bool taken = field < ZI_TRANSLATED_FIELDS && out->fields[field];
    if (cJSON_IsNull(value)) return;
    if (field == ZI_TRANSLATED_FIELDS || taken)
        zi_translation_add(out, value->string, value);
    else if (field == ZI_TRANSLATED_CFG)
        set_scale(object, value, out);
    else if (field == ZI_TRANSLATED_SIZE)
        set_size(value, out);
    else if (field == ZI_TRANSLATED_MODEL)
        set_model(value, out);
    else if (field == ZI_TRANSLATED_PROMPT && cJSON_IsArray(value))
        set_bracketed_prompt(value, out);
    else
        zi_translation_set(out, field, value);
}

/* Translates the members of an object in their order, without that one. */
static void translate_members(const cJSON *object, const cJSON *without, zi_translation *out)
{
    for (const cJSON *value = object->child; value; value = value->next)
        if (value != without) translate_member(object, value, out);
}

bool zi_translate_json(const cJSON *object, zi_translation *out, const char **source)
{
    const cJSON *inner = member(object, "sui_image_params");
    const cJSON *image = member(object, "image"), *weights = member(object, "model_weights");
    *source = program_of(object);
    if (cJSON_IsObject(inner)) {
        translate_members(inner, NULL, out);
        translate_members(object, inner, out);
    } else if (cJSON_IsObject(image) && weights) { /* InvokeAI 2: "model" is the architecture */
        set_model(weights, out);
        set_bracketed_prompt(member(image, "prompt"), out);
        translate_members(image, member(image, "prompt"), out);
        translate_members(object, image, out);
    } else {
        translate_members(object, NULL, out);
    }
    int fields = 0;
    for (int i = 0; i < ZI_TRANSLATED_SETTINGS; i++) fields += out->fields[i] != NULL;
    return out->fields[ZI_TRANSLATED_PROMPT] || fields >= 2;
}
