#include "server/client_request.h"
#include "base/json_nul.h"
#include "server/json.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

const char *const zi_client_formats[] = {"png", "jpeg", "webp", NULL};

/* ---- the fields of stable-diffusion.cpp ---- */

#define AT ZI_CLIENT_AT

static const zi_client_field layer_guidance_fields[] = {ZI_FIELD_NOT_SUPPORTED("scale", "[0]"),
                                                        ZI_FIELD_WITHOUT_EFFECT("layers"),
                                                        ZI_FIELD_WITHOUT_EFFECT("layer_start"),
                                                        ZI_FIELD_WITHOUT_EFFECT("layer_end"),
                                                        {0}};

static const zi_client_field guidance_fields[] = {
    ZI_FIELD_OF("txt_cfg", "guidance", AT(cfg)),
    ZI_FIELD_OF("cfg_scale", "guidance", AT(cfg)),
    ZI_FIELD_WITHOUT_EFFECT("img_cfg"),            /* the guidance of images as input */
    ZI_FIELD_WITHOUT_EFFECT("distilled_guidance"), /* an input that other models have */
    ZI_FIELD_MEMBERS("slg", layer_guidance_fields),
    {0}};

static const zi_client_field sample_fields[] = {
    {.name = "sample_method",
     .role = ZI_FIELD_USED,
     .parameter = "sampler",
     .offset = AT(generation.request.sampler),
     .neutral = "[\"default\",\"\"]"},
    {.name = "scheduler", /* discrete: as the model has it */
     .role = ZI_FIELD_USED,
     .parameter = "schedule",
     .offset = AT(generation.request.schedule),
     .neutral = "[\"default\",\"discrete\",\"\"]"},
    ZI_FIELD_MEMBERS("guidance", guidance_fields),
    ZI_FIELD_WITHOUT_EFFECT("eta"), /* a setting of samplers that do not exist here */
    ZI_CLIENT_GENERATION_FIELDS,
    ZI_CLIENT_UNSUPPORTED_FIELDS,
    {0}};

static const zi_client_field hires_fields[] = {
    ZI_FIELD_NOT_SUPPORTED("enabled", "[false]"), ZI_FIELD_WITHOUT_EFFECT("*"), {0}};

const zi_client_field zi_client_sdcpp_fields[] = {
    ZI_CLIENT_PROMPT("prompt"),
    ZI_CLIENT_COUNT("batch_count"),
    ZI_FIELD_MEMBERS("sample_params", sample_fields),
    ZI_FIELD_OWN("output_format", AT(format), .type = ZI_PARAMETER_CHOICE,
                 .choices = zi_client_formats),
    ZI_FIELD_OWN("output_compression", AT(compression), .type = ZI_PARAMETER_INT, .max = 100),
    ZI_CLIENT_GENERATION_FIELDS,
    ZI_CLIENT_SAMPLER_FIELDS,
    ZI_CLIENT_UNSUPPORTED_FIELDS,
    ZI_FIELD_MEMBERS("hires", hires_fields),
    ZI_FIELD_NOT_SUPPORTED("embed_image_metadata", "[true]"),
    ZI_FIELD_NOT_SUPPORTED("video_frames", "[1]"),
    /* These set up models and inputs that do not exist here, tiles, which would not change the
     * image, and a cache, which is refused above. */
    ZI_FIELD_WITHOUT_EFFECT("clip_skip"),
    ZI_FIELD_WITHOUT_EFFECT("strength"),
    ZI_FIELD_WITHOUT_EFFECT("auto_resize_ref_image"),
    ZI_FIELD_WITHOUT_EFFECT("increase_ref_index"),
    ZI_FIELD_WITHOUT_EFFECT("control_strength"),
    ZI_FIELD_WITHOUT_EFFECT("ip_adapter_strength"),
    ZI_FIELD_WITHOUT_EFFECT("vae_tiling_params"),
    ZI_FIELD_WITHOUT_EFFECT("cache_option"),
    ZI_FIELD_WITHOUT_EFFECT("scm_mask"),
    ZI_FIELD_WITHOUT_EFFECT("scm_policy_dynamic"),
    ZI_FIELD_WITHOUT_EFFECT("fps"),
    ZI_FIELD_WITHOUT_EFFECT("moe_boundary"),
    ZI_FIELD_WITHOUT_EFFECT("vace_strength"),
    ZI_FIELD_WITHOUT_EFFECT("high_noise_sample_params"),
    {0}};

/* ---- sd_cpp_extra_args in the prompt ---- */

static const char open_tag[] = "<sd_cpp_extra_args>", close_tag[] = "</sd_cpp_extra_args>";

/* Removes the first <sd_cpp_extra_args>...</sd_cpp_extra_args> and then white space at the end from
 * the prompt, in place, and returns what was between the tags in new memory. NULL: there is none,
 * or it has no closing tag, and the prompt is unchanged; or out of memory, and it is cut all the
 * same. */
static char *cut_extra_args(char *prompt)
{
    char *begin = strstr(prompt, open_tag), *end = begin ? strstr(begin, close_tag) : NULL;
    if (!end) return NULL;
    char *inner = begin + sizeof open_tag - 1, *extra = strndup(inner, (size_t)(end - inner));
    end += sizeof close_tag - 1;
    memmove(begin, end, strlen(end) + 1);
    for (size_t size = strlen(prompt); size && strchr(" \t\r\n", prompt[size - 1]); size--)
        prompt[size - 1] = 0;
    return extra;
}

/* Cuts sd_cpp_extra_args out of the request's prompt, which is in body, and sets *json to them,
 * which body then owns; NULL: there are none. False: they are no JSON object; *http_error is a 400
 * and *json NULL. */
static bool take_extra_args(cJSON *body, cJSON **json, zi_http_error *http_error)
{
    cJSON *prompt = cJSON_GetObjectItemCaseSensitive(body, "prompt");
    char *text = cJSON_IsString(prompt) ? cut_extra_args(prompt->valuestring) : NULL;
    char name[100];
    *json = text ? zi_json_parse_exact(text, NULL) : NULL;
    bool ok = !text || (cJSON_IsObject(*json) && !zi_json_find_nul(text, name, sizeof name));
    free(text);
    if (ok && *json) cJSON_AddItemToObject(body, open_tag, *json);
    if (ok) return true;
    cJSON_Delete(*json);
    *json = NULL;
    return zi_http_error_set(
        http_error, 400, "prompt",
        "prompt: the text between <sd_cpp_extra_args> and </sd_cpp_extra_args> must be a JSON "
        "object without the character NUL, such as {\"steps\": 9}");
}

/* ---- the whole request ---- */

/* Sets the generation's guidance to cfg - 1 (a CFG scale of 1 or less: none) or to guidance,
 * whichever was given, and both to "not given". False: both were; *http_error is a 400. */
static bool set_guidance(zi_client_request *request, zi_http_error *http_error)
{
    zi_request *generation = &request->generation.request;
    if (request->cfg >= 0 && request->guidance >= 0)
        return zi_http_error_set(http_error, 400, "guidance_scale",
                                 "guidance_scale: cfg_scale is given, too; send one of the two "
                                 "(guidance_scale is cfg_scale minus 1)");
    generation->guidance_given |= request->cfg >= 0 || request->guidance >= 0;
    if (request->cfg >= 0) generation->guidance = request->cfg > 1 ? request->cfg - 1 : 0;
    if (request->guidance >= 0) generation->guidance = request->guidance;
    request->cfg = request->guidance = -1;
    return true;
}

bool zi_client_request_read(const cJSON *body, const zi_client_field *table, bool lenient,
                            zi_client_request *request, zi_http_error *http_error)
{
    return zi_client_fields_read(body, table, lenient, request, http_error) &&
           set_guidance(request, http_error);
}

bool zi_client_request_read_extra_args(cJSON *body, bool lenient, zi_client_request *request,
                                       zi_http_error *http_error)
{
    cJSON *in_prompt;
    if (!take_extra_args(body, &in_prompt, http_error)) return false;
    const cJSON *const parts[] = {cJSON_GetObjectItemCaseSensitive(body, "sd_cpp_extra_args"),
                                  in_prompt};
    for (int i = 0; i < 2; i++)
        if (cJSON_IsObject(parts[i]) &&
            !zi_client_request_read(parts[i], zi_client_sdcpp_fields, lenient, request, http_error))
            return false;
    return request->generation.request.prompt ||
           zi_http_error_set(http_error, 400, "prompt",
                             "prompt: is missing; send the text that describes the image");
}
