/* POST /sdapi/v1/txt2img
 *
 * a1111_fields.c says what each field does; fields that are not supported, and unknown ones, are
 * rejected with 422. Numbers and flags may be text. Sizes are rounded down to multiples of 16.
 * Unknown schedulers and samplers are ignored, and the reply names the sampler that was used.
 * Absent fields have this model's defaults (steps, guidance, native size), not A1111's. */
#include "server/a1111.h"
#include "server/json.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MAX_REPLY ((size_t)1 << 30)

/* The fields that `parameters` of the reply has, those of A1111, with the values that stand for
 * absent ones. parameters_json replaces those that the request has. */
static const char default_parameters[] =
    "{\"prompt\":\"\",\"negative_prompt\":\"\",\"styles\":null,\"seed\":-1,\"subseed\":-1,"
    "\"subseed_strength\":0,\"seed_resize_from_h\":-1,\"seed_resize_from_w\":-1,"
    "\"sampler_name\":null,\"scheduler\":null,\"batch_size\":1,\"n_iter\":1,\"steps\":null,"
    "\"cfg_scale\":1.0,\"width\":null,\"height\":null,\"restore_faces\":null,\"tiling\":null,"
    "\"do_not_save_samples\":false,\"do_not_save_grid\":false,\"eta\":null,"
    "\"denoising_strength\":null,\"s_min_uncond\":null,\"s_churn\":null,\"s_tmax\":null,"
    "\"s_tmin\":null,\"s_noise\":null,\"override_settings\":null,"
    "\"override_settings_restore_afterwards\":true,\"refiner_checkpoint\":null,"
    "\"refiner_switch_at\":null,\"disable_extra_networks\":false,\"firstpass_image\":null,"
    "\"comments\":null,\"enable_hr\":false,\"firstphase_width\":0,\"firstphase_height\":0,"
    "\"hr_scale\":2.0,\"hr_upscaler\":null,\"hr_second_pass_steps\":0,\"hr_resize_x\":0,"
    "\"hr_resize_y\":0,\"hr_checkpoint_name\":null,\"hr_sampler_name\":null,"
    "\"hr_scheduler\":null,\"hr_prompt\":\"\",\"hr_negative_prompt\":\"\",\"force_task_id\":null,"
    "\"sampler_index\":\"Euler\",\"script_name\":null,\"script_args\":[],\"send_images\":true,"
    "\"save_images\":false,\"alwayson_scripts\":{},\"infotext\":null}";

/* ---- reading a request ---- */

/* The member of that name (case-sensitive), borrowed; it may be a JSON null. NULL: there is none,
 * or object is NULL. */
static const cJSON *json_get(const cJSON *object, const char *name)
{
    return cJSON_GetObjectItemCaseSensitive(object, name);
}

/* Sets the number of images to batch_size times n_iter. False: more than a server allows;
 * *http_error is a 422. */
static bool set_count(zi_a1111_request *r, zi_http_error *http_error)
{
    double max = zi_parameter_max(zi_parameter_find("count"), true);
    r->client.generation.count = r->batch * r->rounds;
    return r->batch * r->rounds <= max ||
           zi_http_error_set(http_error, 422, "n_iter",
                             "batch_size %d times n_iter %d is %d images; at most %.0f are "
                             "allowed, so lower one of the two",
                             r->batch, r->rounds, r->batch * r->rounds, max);
}

/* Makes the model of the job that was submitted the server's default model; NULL, none was named,
 * changes nothing. False: *http_error is filled, and the job is cancelled. */
static bool keep_override_model(zi_server_request *req, const char *name, zi_http_error *http_error)
{
    if (!name || zi_models_set_default(req->server, name, "override_settings", http_error))
        return true;
    zi_jobs_cancel(req->server->jobs, req->job);
    return false;
}

/* The index of the parameter's choice of that name, `length` bytes in any letter case ("Karras");
 * 0, auto, for other names. */
static int choice_or_auto(const char *parameter, const char *name, size_t length)
{
    const char *const *choices = zi_parameter_find(parameter)->choices;
    for (int i = 0; choices[i]; i++)
        if (strlen(choices[i]) == length && !strncasecmp(choices[i], name, length)) return i;
    return 0;
}

/* Sets sampler and schedule by A1111's names of the sampler: "Heun", "k_heun", and with a schedule
 * behind, which counts if the sampler exists here and no schedule is set: "Heun Karras". Another
 * name, or NULL, changes nothing. */
static void set_sampler(const char *name, zi_request *request)
{
    if (!name) return;
    if (!strncasecmp(name, "k_", 2)) name += 2;
    const char *end = strrchr(name, ' ');
    request->sampler = (zi_sampler)choice_or_auto("sampler", name, strlen(name));
    if (request->sampler || !end) return;
    request->sampler = (zi_sampler)choice_or_auto("sampler", name, (size_t)(end - name));
    int schedule = choice_or_auto("schedule", end + 1, strlen(end + 1));
    if (!schedule) request->sampler = ZI_SAMPLER_AUTO; /* "Euler a" is another sampler */
    if (request->sampler && !request->schedule) request->schedule = (zi_schedule)schedule;
}

/* Reads and validates the body into r, except for the model; absent and null fields keep the values
 * in r. Its texts are borrowed from req->json. Unknown schedulers and samplers are ignored. False:
 * *http_error is filled (400 or 422), and r is partly filled. */
static bool read_request(zi_server_request *req, zi_a1111_request *r, zi_http_error *http_error)
{
    zi_request *request = &r->client.generation.request;
    if (!zi_client_request_read(req->json, zi_a1111_fields, true, &r->client, http_error) ||
        !set_count(r, http_error))
        return false;
    if (r->scheduler)
        request->schedule =
            (zi_schedule)choice_or_auto("schedule", r->scheduler, strlen(r->scheduler));
    set_sampler(r->sampler && *r->sampler ? r->sampler : r->sampler_index, request);
    if (!zi_client_request_read_extra_args(req->json, true, &r->client, http_error)) return false;
    return !r->client.format ||
           zi_http_error_set(http_error, 400, "output_format",
                             "output_format cannot be %s: this API has PNG files only; omit it",
                             zi_client_formats[r->client.format]);
}

/* Reads the request into r and submits the generate job, whose id becomes req->job. If
 * override_settings_restore_afterwards is false (default: true), a model that the request names
 * becomes the server's default model. False: *http_error is filled, r may be partly filled, and no
 * job was submitted (req->job stays 0), or it is cancelled. */
static bool submit_job(zi_server_request *req, zi_a1111_request *r, zi_http_error *http_error)
{
    char *model = NULL;
    bool ok = read_request(req, r, http_error) &&
              zi_a1111_find_model(req, r->model, "override_settings", &model, http_error);
    zi_generation generation = r->client.generation;
    generation.model = model;
    ok = ok && zi_compat_submit_generate(req, &generation, http_error) &&
         (r->restore || keep_override_model(req, model, http_error));
    free(model);
    return ok;
}

/* ---- the reply ---- */

/* The default number of steps, one for all models, as a new JSON number. NULL: out of memory. */
static cJSON *default_steps_json(void)
{
    return cJSON_CreateNumber(zi_parameter_find("steps")->default_value);
}

/* `parameters` of the reply in new JSON, NULL when out of memory: default_parameters with the
 * request's fields put in; other fields are left out. Absent steps: our default. Absent width and
 * height: those of `first`, the first image's history row; null if first is NULL. */
static cJSON *parameters_json(const zi_server_request *req, const cJSON *first)
{
    cJSON *json = cJSON_Parse(default_parameters), *item, *next;
    for (item = json ? json->child : NULL; item; item = next) {
        next = item->next;
        const cJSON *given = json_get(req->json, item->string);
        bool native_size = !strcmp(item->string, "width") || !strcmp(item->string, "height");
        if (!given && native_size) given = json_get(first, item->string);
        const char *digits = zi_json_digits(given);
        cJSON *value = digits                           ? cJSON_CreateRaw(digits)
                       : given                          ? cJSON_Duplicate(given, true)
                       : !strcmp(item->string, "steps") ? default_steps_json()
                                                        : NULL;
        if (value) cJSON_ReplaceItemInObjectCaseSensitive(json, item->string, value);
    }
    return json;
}

/* A new array of the history rows of the job's images, in their order. Leaves out deleted images
 * and rows that cannot be read. NULL: out of memory. */
static cJSON *read_history_rows(zi_server_request *req, const zi_job_status *status)
{
    cJSON *rows = cJSON_CreateArray();
    for (size_t i = 0; i < status->image_count; i++) {
        cJSON *row;
        if (zi_history_get_row(req->server->history, status->images[i], &row, NULL) && row)
            cJSON_AddItemToArray(rows, row);
    }
    return rows;
}

/* A new array of the text field `from` of each row, "" where it is null or missing. number: the
 * texts must be digits, and become JSON numbers of any length. Out of memory: NULL, or some are
 * missing. */
static cJSON *column_json(const cJSON *rows, const char *from, bool number)
{
    cJSON *array = cJSON_CreateArray();
    const cJSON *row;
    cJSON_ArrayForEach(row, rows)
    {
        const char *text = cJSON_GetStringValue(json_get(row, from));
        if (!text) text = "";
        cJSON_AddItemToArray(array, number ? cJSON_CreateRaw(text) : cJSON_CreateString(text));
    }
    return array;
}

/* Adds a copy of the array's first element (null if it is empty) as `name`, and the whole array,
 * which is taken over, as `names`. array NULL (out of memory): adds the null alone. */
static void add_first_and_all(cJSON *info, const char *name, cJSON *array, const char *names)
{
    cJSON *first = cJSON_GetArrayItem(array, 0);
    cJSON_AddItemToObject(info, name, first ? cJSON_Duplicate(first, true) : cJSON_CreateNull());
    cJSON_AddItemToObject(info, names, array);
}

/* Adds a null for each name. A NULL ends the names. */
static void add_nulls(cJSON *info, const char *const *names)
{
    for (; *names; names++) cJSON_AddNullToObject(info, *names);
}

/* Adds width, height, steps, sampler_name ("Euler", ...), cfg_scale (1 + guidance) and
 * sd_model_name, from the first image's history row; numbers that are null count as 0. Without a
 * row (first is NULL) they are 0, 0, 0, "Euler", 1 and "". */
static void add_first_row_fields(cJSON *info, const cJSON *first)
{
    static const char *const names[] = {"width", "height", "steps"};
    const cJSON *guidance = json_get(first, "guidance"), *model = json_get(first, "model");
    const char *sampler = cJSON_GetStringValue(json_get(first, "sampler"));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const cJSON *item = json_get(first, names[i]);
        cJSON_AddNumberToObject(info, names[i], item ? item->valuedouble : 0);
    }
    cJSON_AddStringToObject(info, "sampler_name", zi_a1111_sampler_name(sampler));
    cJSON_AddNumberToObject(info, "cfg_scale", guidance ? 1 + guidance->valuedouble : 1);
    cJSON_AddStringToObject(info, "sd_model_name", model ? model->valuestring : "");
}

/* The object that `info` of the reply holds as text, in new JSON. rows: history rows of the images,
 * borrowed, possibly none; began: Unix time of the job's start in seconds. Out of memory: NULL, or
 * members are missing. */
static cJSON *info_json(const zi_a1111_request *r, const cJSON *rows, double began)
{
    static const char *const nothing[] = {"face_restoration_model",
                                          "sd_model_hash",
                                          "sd_vae_name",
                                          "sd_vae_hash",
                                          "denoising_strength",
                                          NULL};
    char timestamp[20];
    cJSON *info = cJSON_CreateObject(), *none = cJSON_CreateArray();
    const cJSON *row;
    add_first_and_all(info, "prompt", column_json(rows, "prompt", false), "all_prompts");
    add_first_and_all(info, "negative_prompt", column_json(rows, "negative", false),
                      "all_negative_prompts");
    add_first_and_all(info, "seed", column_json(rows, "seed", true), "all_seeds");
    cJSON_ArrayForEach(row, rows) cJSON_AddItemToArray(none, cJSON_CreateNumber(-1));
    add_first_and_all(info, "subseed", none, "all_subseeds");
    cJSON_AddNumberToObject(info, "subseed_strength", 0);
    add_first_row_fields(info, cJSON_GetArrayItem(rows, 0));
    cJSON_AddNumberToObject(info, "batch_size", r->batch);
    cJSON_AddFalseToObject(info, "restore_faces");
    add_nulls(info, nothing);
    cJSON_AddNumberToObject(info, "seed_resize_from_w", -1);
    cJSON_AddNumberToObject(info, "seed_resize_from_h", -1);
    cJSON_AddObjectToObject(info, "extra_generation_params");
    cJSON_AddNumberToObject(info, "index_of_first_image", 0);
    cJSON_AddItemToObject(info, "infotexts", column_json(rows, "recipe", false));
    cJSON_AddArrayToObject(info, "styles");
    zi_a1111_timestamp(began, timestamp);
    cJSON_AddStringToObject(info, "job_timestamp", timestamp);
    cJSON_AddNumberToObject(info, "clip_skip", 1);
    cJSON_AddFalseToObject(info, "is_using_inpainting_conditioning");
    cJSON_AddStringToObject(info, "version", "zimage " ZI_VERSION);
    return info;
}

/* Prints info, which is deleted in any case, and returns the text as a new JSON string. NULL: out
 * of memory, or info is NULL. */
static cJSON *json_as_string(cJSON *info)
{
    char *text = cJSON_PrintUnformatted(info);
    cJSON *json = text ? cJSON_CreateString(text) : NULL;
    cJSON_free(text);
    cJSON_Delete(info);
    return json;
}

/* Replies 200 with parameters, info and the images (PNG in base64; [] if send_images is false).
 * Images whose history rows were deleted meanwhile are left out everywhere; 500 when a file is
 * missing or cannot be read. req->user: the zi_a1111_request; status: of the ended job. */
static zi_handler_result reply_with_images(zi_server_request *req, const zi_job_status *status)
{
    const zi_a1111_request *r = req->user;
    zi_text out;
    zi_error error = {0};
    bool ok = true;
    cJSON *rows = read_history_rows(req, status), *json = cJSON_CreateObject();
    const cJSON *row;
    cJSON_AddItemToObject(json, "parameters", parameters_json(req, cJSON_GetArrayItem(rows, 0)));
    cJSON_AddItemToObject(json, "info", json_as_string(info_json(r, rows, status->started)));
    zi_text_init(&out, MAX_REPLY);
    zi_compat_append_open_object(json, &out);
    zi_text_puts(&out, ",\"images\":[");
    cJSON_ArrayForEach(row, rows)
    {
        if (!r->send) break;
        zi_text_puts(&out, row == rows->child ? "\"" : ",\"");
        ok = ok && zi_compat_append_image(req->server, json_get(row, "id")->valuestring,
                                          ZI_FORMAT_PNG, 0, &out, &error);
        zi_text_puts(&out, "\"");
    }
    zi_text_puts(&out, "]}");
    cJSON_Delete(rows);
    if (ok) return zi_compat_reply_json_text(req, &out);
    zi_text_free(&out);
    return zi_reply_library_error(req, 500, &error);
}

/* Suspends the request until req->job has ended, then replies with its images; those so far, if
 * any, when it was interrupted or cancelled. Replies with its error if it failed, 500 if its record
 * was discarded. */
static zi_handler_result reply_when_done(zi_server_request *req)
{
    zi_job_state state;
    zi_http_error why;
    zi_handler_result result;
    if (!zi_compat_job_ended(req, &state, &why, &result)) return result;
    if (state == ZI_JOB_FAILED) return zi_a1111_reply_error(req, &why);
    /* As in A1111, an interrupted job returns the images so far, the last one as it then was. */
    zi_job_status status;
    zi_jobs_status(req->server->jobs, req->job, &status, NULL);
    if (status.state == ZI_JOB_UNKNOWN) {
        zi_http_error_forgotten_job(&why);
        result = zi_a1111_reply_error(req, &why);
    } else {
        result = reply_with_images(req, &status);
    }
    zi_job_status_free(&status);
    return result;
}

zi_handler_result zi_a1111_txt2img(zi_server_request *req)
{
    zi_http_error http_error;
    if (req->job) return reply_when_done(req);
    zi_a1111_request *r = calloc(1, sizeof *r);
    if (!r) return MHD_NO;
    *r = (zi_a1111_request){
        .client = ZI_CLIENT_REQUEST_NONE, .batch = 1, .rounds = 1, .send = true, .restore = true};
    req->user = r;
    req->free_user = free;
    return submit_job(req, r, &http_error) ? reply_when_done(req)
                                           : zi_a1111_reply_error(req, &http_error);
}
