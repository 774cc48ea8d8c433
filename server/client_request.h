/* The part that requests to the APIs of OpenAI and A1111 share: generation parameters by the names
 * of other programs, and those in <sd_cpp_extra_args>{...}</sd_cpp_extra_args> in the prompt. */
#ifndef ZI_SERVER_CLIENT_REQUEST_H
#define ZI_SERVER_CLIENT_REQUEST_H

#include "server/fields.h"

#include "zimage.h"

/* The first member of the requests of both APIs. */
typedef struct {
    zi_generation generation;
    double cfg, guidance;    /* A1111's scale, and diffusers'; -1: not given */
    int format, compression; /* index in zi_client_formats, and 0 to 100 */
} zi_client_request;

/* Names of image formats, in the order of zi_format from ZI_FORMAT_PNG on; NULL ends them. */
extern const char *const zi_client_formats[];

/* The request without any field. */
#define ZI_CLIENT_REQUEST_NONE                                                                     \
    {                                                                                              \
        .generation.count = 1, .cfg = -1, .guidance = -1, .compression = 100                       \
    }

enum {
    /* Longest prompt before sd_cpp_extra_args are cut out. */
    ZI_CLIENT_PROMPT_BYTES = 4 * ZI_PROMPT_BYTES,
    /* Most images of one request to OpenAI's API. */
    ZI_CLIENT_MAX_IMAGES = 10
};

#define ZI_CLIENT_AT(field) offsetof(zi_client_request, field)
#define ZI_CLIENT_COUNT(name_)                                                                     \
    ZI_FIELD_OWN(name_, ZI_CLIENT_AT(generation.count), .type = ZI_PARAMETER_INT, .min = 1,        \
                 .max = ZI_CLIENT_MAX_IMAGES)
#define ZI_CLIENT_SEED(name_)                                                                      \
    {                                                                                              \
        .name = name_, .role = ZI_FIELD_USED, .parameter = "seed",                                 \
        .offset = ZI_CLIENT_AT(generation.request.seed),                                           \
        .given = ZI_CLIENT_AT(generation.seed_given), .neutral = "[-1]"                            \
    }
#define ZI_CLIENT_SIDE(name_)                                                                      \
    {                                                                                              \
        .name = #name_, .role = ZI_FIELD_USED, .parameter = #name_,                                \
        .offset = ZI_CLIENT_AT(generation.request.name_), .neutral = "[-1]"                        \
    }
#define ZI_CLIENT_PROMPT(name_)                                                                    \
    ZI_FIELD_OWN(name_, ZI_CLIENT_AT(generation.request.prompt), .type = ZI_PARAMETER_TEXT,        \
                 .min = 1, .max = ZI_CLIENT_PROMPT_BYTES)

/* Rows of a table of fields: generation parameters by the names that diffusers and the servers
 * built on it, stable-diffusion.cpp and zimage have for them. */
#define ZI_CLIENT_GENERATION_FIELDS                                                                \
    ZI_CLIENT_SEED("seed"), ZI_CLIENT_SIDE(width), ZI_CLIENT_SIDE(height),                         \
        ZI_FIELD_OF("negative_prompt", "negative", ZI_CLIENT_AT(generation.request.negative)),     \
        ZI_FIELD_OF("steps", "steps", ZI_CLIENT_AT(generation.request.steps)),                     \
        ZI_FIELD_OF("num_inference_steps", "steps", ZI_CLIENT_AT(generation.request.steps)),       \
        ZI_FIELD_OF("sample_steps", "steps", ZI_CLIENT_AT(generation.request.steps)),              \
        ZI_FIELD_OF("cfg_scale", "guidance", ZI_CLIENT_AT(cfg)),                                   \
        ZI_FIELD_OF("txt_cfg", "guidance", ZI_CLIENT_AT(cfg)),                                     \
        ZI_FIELD_OF("guidance_scale", "guidance", ZI_CLIENT_AT(guidance)),                         \
        ZI_FIELD_OF("shift", "shift", ZI_CLIENT_AT(generation.request.shift)),                     \
        {.name = "flow_shift",                                                                     \
         .role = ZI_FIELD_USED,                                                                    \
         .parameter = "shift",                                                                     \
         .offset = ZI_CLIENT_AT(generation.request.shift),                                         \
         .neutral = "[0]"},                                                                        \
        ZI_FIELD_OF("cfg_normalization", "cfg_normalization",                                      \
                    ZI_CLIENT_AT(generation.request.cfg_normalization)),                           \
        ZI_FIELD_OF("cfg_truncation", "cfg_truncation",                                            \
                    ZI_CLIENT_AT(generation.request.cfg_truncation)),                              \
        ZI_FIELD_OF("max_sequence_length", "max_tokens",                                           \
                    ZI_CLIENT_AT(generation.request.max_tokens))

/* Rows: the names that zimage has for the sampler and the schedule. */
#define ZI_CLIENT_SAMPLER_FIELDS                                                                   \
    ZI_FIELD_OF("sampler", "sampler", ZI_CLIENT_AT(generation.request.sampler)),                   \
        ZI_FIELD_OF("schedule", "schedule", ZI_CLIENT_AT(generation.request.schedule))

/* Rows: inputs of other programs that do not exist here. */
#define ZI_CLIENT_UNSUPPORTED_FIELDS                                                               \
    ZI_FIELD_NOT_SUPPORTED("lora", NULL), ZI_FIELD_NOT_SUPPORTED("image", NULL),                   \
        ZI_FIELD_NOT_SUPPORTED("images", NULL), ZI_FIELD_NOT_SUPPORTED("mask", NULL),              \
        ZI_FIELD_NOT_SUPPORTED("init_image", NULL), ZI_FIELD_NOT_SUPPORTED("init_images", NULL),   \
        ZI_FIELD_NOT_SUPPORTED("mask_image", NULL), ZI_FIELD_NOT_SUPPORTED("ref_images", NULL),    \
        ZI_FIELD_NOT_SUPPORTED("extra_images", NULL),                                              \
        ZI_FIELD_NOT_SUPPORTED("control_image", NULL),                                             \
        ZI_FIELD_NOT_SUPPORTED("ip_adapter_image", NULL),                                          \
        ZI_FIELD_NOT_SUPPORTED("end_image", NULL), ZI_FIELD_NOT_SUPPORTED("control_frames", NULL), \
        ZI_FIELD_NOT_SUPPORTED("custom_sigmas", NULL),                                             \
        ZI_FIELD_NOT_SUPPORTED("shifted_timestep", "[0]"),                                         \
        ZI_FIELD_NOT_SUPPORTED("cache_mode", "[\"disabled\"]")

/* The row of sd_cpp_extra_args as a field. */
#define ZI_CLIENT_EXTRA_ARGS                                                                       \
    {                                                                                              \
        .name = "sd_cpp_extra_args", .role = ZI_FIELD_ELSEWHERE                                    \
    }

/* The fields of stable-diffusion.cpp's own API, which sd_cpp_extra_args have; for a request that
 * begins with a zi_client_request. */
extern const zi_client_field zi_client_sdcpp_fields[];

/* Reads a body by the table of its API into the request, which begins with a zi_client_request and
 * borrows the body's texts, and sets the guidance. lenient: as in zi_client_fields_read. False:
 * *http_error is a 400 that names the field, and the request may be partly filled. */
bool zi_client_request_read(const cJSON *body, const zi_client_field *table, bool lenient,
                            zi_client_request *request, zi_http_error *http_error) ZI_CHECKED;

/* Reads sd_cpp_extra_args, the field and those in the prompt, which replace what the request has
 * already, and cuts them out of the prompt in body, from which the request borrows. Then checks
 * that there is a prompt. False: *http_error is a 400 that names the field; body and request may be
 * partly changed. */
bool zi_client_request_read_extra_args(cJSON *body, bool lenient, zi_client_request *request,
                                       zi_http_error *http_error) ZI_CHECKED;

#endif
