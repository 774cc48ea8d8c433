/* Reads scheduler configs of diffusers. */
#include "model/config.h"
#include "model/config_fields.h"

#include <math.h>
#include <string.h>

enum { MAX_CONFIG = 1 << 20 };

/* Sets *sampler by "_class_name". Fails with ZI_ERROR_UNSUPPORTED for another class, with
 * ZI_ERROR_BAD_FORMAT if it is missing or no text. */
static bool read_class(const char *path, const cJSON *json, zi_sampler *sampler, zi_error *error)
{
    static const struct {
        const char *name;
        zi_sampler sampler;
    } classes[] = {{"FlowMatchEulerDiscreteScheduler", ZI_SAMPLER_EULER},
                   {"FlowMatchHeunDiscreteScheduler", ZI_SAMPLER_HEUN},
                   {"FlowMatchLCMScheduler", ZI_SAMPLER_LCM}};
    const char *name;
    if (!zi_json_string(path, json, "_class_name", &name, error)) return false;
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++) {
        if (strcmp(name, classes[i].name) != 0) continue;
        *sampler = classes[i].sampler;
        return true;
    }
    return zi_error_set_in(error, ZI_ERROR_UNSUPPORTED, path, "_class_name",
                           "\"_class_name\" is %.60s, but only the schedulers %s, %s and %s are "
                           "supported; use the scheduler_config.json of a Z-Image model",
                           name, classes[0].name, classes[1].name, classes[2].name);
}

/* Sets *schedule by use_karras_sigmas, use_exponential_sigmas and use_beta_sigmas, of which at most
 * one may be true, else it is ZI_ERROR_BAD_FORMAT. */
static bool read_family(const char *path, const cJSON *json, zi_schedule *schedule, zi_error *error)
{
    static const struct {
        const char *name;
        zi_schedule schedule;
    } families[] = {{"use_karras_sigmas", ZI_SCHEDULE_KARRAS},
                    {"use_exponential_sigmas", ZI_SCHEDULE_EXPONENTIAL},
                    {"use_beta_sigmas", ZI_SCHEDULE_BETA}};
    const char *first = NULL;
    *schedule = ZI_SCHEDULE_DIFFUSERS;
    for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
        bool on;
        if (!zi_json_bool_or(path, json, families[i].name, false, &on, error)) return false;
        if (!on) continue;
        if (first)
            return zi_error_set_in(error, ZI_ERROR_BAD_FORMAT, path, families[i].name,
                                   "\"%s\" and \"%s\" are both true, but only one of them can be; "
                                   "set one of them to false, or fetch the file again",
                                   first, families[i].name);
        first = families[i].name;
        *schedule = families[i].schedule;
    }
    return true;
}

/* Reads use_dynamic_shifting and the fields that belong to it, with diffusers' defaults. Fails with
 * ZI_ERROR_BAD_FORMAT if the two numbers of tokens are the same, with ZI_ERROR_UNSUPPORTED for an
 * unknown time_shift_type. */
static bool read_dynamic(const char *path, const cJSON *json, zi_scheduler_config *c,
                         zi_error *error)
{
    const char *type;
    if (!zi_json_bool_or(path, json, "use_dynamic_shifting", false, &c->dynamic, error) ||
        !zi_json_double_or(path, json, "base_shift", -100, 100, 0.5, &c->base_shift, error) ||
        !zi_json_double_or(path, json, "max_shift", -100, 100, 1.15, &c->max_shift, error) ||
        !zi_json_int_or(path, json, "base_image_seq_len", 1, 1 << 30, 256, &c->base_tokens,
                        error) ||
        !zi_json_int_or(path, json, "max_image_seq_len", 1, 1 << 30, 4096, &c->max_tokens, error) ||
        !zi_json_string_or(path, json, "time_shift_type", "exponential", &type, error))
        return false;
    c->linear = !strcmp(type, "linear");
    if (!c->linear && strcmp(type, "exponential") != 0)
        return zi_error_set_in(error, ZI_ERROR_UNSUPPORTED, path, "time_shift_type",
                               "\"time_shift_type\" is %.60s, but only exponential and linear are "
                               "supported; use the scheduler_config.json of a Z-Image model",
                               type);
    return c->base_tokens != c->max_tokens ||
           zi_error_set_in(error, ZI_ERROR_BAD_FORMAT, path, "max_image_seq_len",
                           "\"max_image_seq_len\" and \"base_image_seq_len\" are both %d, but they "
                           "must differ; fetch the file again",
                           c->max_tokens);
}

/* Reads all fields of a parsed scheduler_config.json; see zi_config_read_scheduler. */
static bool read_fields(const char *path, const cJSON *json, zi_scheduler_config *c,
                        zi_error *error)
{
    bool stochastic;
    if (!read_class(path, json, &c->sampler, error) ||
        !read_family(path, json, &c->schedule, error) ||
        !zi_json_double_or(path, json, "shift", 0.01, 100, 1.0, &c->shift, error) ||
        !zi_json_double_or(path, json, "shift_terminal", 0, 0.999, 0, &c->terminal, error) ||
        !zi_json_bool_or(path, json, "stochastic_sampling", false, &stochastic, error) ||
        !read_dynamic(path, json, c, error))
        return false;
    /* It makes Euler's scheduler take LCM's formula; the others do not have it. */
    if (stochastic && c->sampler == ZI_SAMPLER_EULER) c->sampler = ZI_SAMPLER_LCM;
    if (stochastic && c->sampler == ZI_SAMPLER_HEUN)
        return zi_error_set_in(
            error, ZI_ERROR_UNSUPPORTED, path, "stochastic_sampling",
            "\"stochastic_sampling\" is true, which FlowMatchHeunDiscreteScheduler "
            "(\"_class_name\") does not have; set it to false, or fetch the file again");
    return zi_config_check_fields(ZI_CONFIG_SCHEDULER, path, json, error);
}

bool zi_config_read_scheduler(const char *path, zi_scheduler_config *out, zi_error *error)
{
    cJSON *json = NULL;
    bool ok = zi_json_read(path, MAX_CONFIG, &json, error) &&
              zi_json_check_unique_keys(path, json, "the file", error) &&
              read_fields(path, json, out, error);
    cJSON_Delete(json);
    return ok;
}

double zi_scheduler_shift(const zi_scheduler_config *scheduler, int tokens)
{
    if (!scheduler->dynamic) return scheduler->shift;
    double slope = (scheduler->max_shift - scheduler->base_shift) /
                   (scheduler->max_tokens - scheduler->base_tokens);
    double mu = scheduler->base_shift + slope * (tokens - scheduler->base_tokens);
    return scheduler->linear ? mu : exp(mu);
}
