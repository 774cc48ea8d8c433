/* POST /sdapi/v1/txt2img
 *
 * Honoured: prompt, negative_prompt, seed, steps, cfg_scale (1 and below: off), width and height
 * (rounded down to multiples of 16), batch_size times n_iter, scheduler (the names in
 * /sdapi/v1/schedulers), send_images, override_settings.sd_model_checkpoint.
 * There is one sampler, Euler; clients always name one, and whichever it is, Euler draws and is
 * what the answer names. Refused with 422, as the picture would not be what was asked for:
 * enable_hr, tiling, restore_faces, scripts of both kinds, variations (subseed_strength,
 * seed_resize_from_*), a refiner. Everything else is passed over, as A1111 does. What is not said
 * has this model's defaults (9 steps, no guidance, its own size), not A1111's. */
#include "server/a1111.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_REPLY ((size_t)1 << 30)
#define MOST_SEED 9007199254740991.0

typedef struct {
    const char *prompt, *negative, *scheduler, *script, *refiner; /* as long as the call's JSON */
    int width, height, steps, batch, rounds, resize_w, resize_h;
    double seed, cfg, variation;
    bool send, hires, tiling, faces, restore;
} wish;

#define AT(field) offsetof(wish, field)

static const zi_param table[] = {
    {"prompt", ZI_PARAM_TEXT, AT(prompt), 1, ZI_PROMPT_BYTES, NULL, true, 0},
    {"negative_prompt", ZI_PARAM_TEXT, AT(negative), 0, ZI_PROMPT_BYTES, NULL, false, 0},
    {"seed", ZI_PARAM_REAL, AT(seed), -1, MOST_SEED, NULL, false, 0},
    {"steps", ZI_PARAM_INT, AT(steps), 1, ZI_MAX_STEPS, NULL, false, 0},
    {"cfg_scale", ZI_PARAM_REAL, AT(cfg), 0, 100, NULL, false, 0},
    {"width", ZI_PARAM_INT, AT(width), 16, ZI_MAX_SIDE, NULL, false, 0},
    {"height", ZI_PARAM_INT, AT(height), 16, ZI_MAX_SIDE, NULL, false, 0},
    {"batch_size", ZI_PARAM_INT, AT(batch), 1, ZI_MAX_COUNT, NULL, false, 0},
    {"n_iter", ZI_PARAM_INT, AT(rounds), 1, ZI_MAX_COUNT, NULL, false, 0},
    {"scheduler", ZI_PARAM_TEXT, AT(scheduler), 0, 100, NULL, false, 0},
    {"send_images", ZI_PARAM_BOOL, AT(send), 0, 0, NULL, false, 0},
    {"enable_hr", ZI_PARAM_BOOL, AT(hires), 0, 0, NULL, false, 0},
    {"tiling", ZI_PARAM_BOOL, AT(tiling), 0, 0, NULL, false, 0},
    {"restore_faces", ZI_PARAM_BOOL, AT(faces), 0, 0, NULL, false, 0},
    {"script_name", ZI_PARAM_TEXT, AT(script), 0, 1000, NULL, false, 0},
    {"refiner_checkpoint", ZI_PARAM_TEXT, AT(refiner), 0, 1000, NULL, false, 0},
    {"subseed_strength", ZI_PARAM_REAL, AT(variation), 0, 1, NULL, false, 0},
    {"seed_resize_from_w", ZI_PARAM_INT, AT(resize_w), -1, 1 << 20, NULL, false, 0},
    {"seed_resize_from_h", ZI_PARAM_INT, AT(resize_h), -1, 1 << 20, NULL, false, 0},
    {"override_settings_restore_afterwards", ZI_PARAM_BOOL, AT(restore), 0, 0, NULL, false, 0},
    {0}};

/* What A1111 gives back as `parameters` where the request does not say otherwise. null: what this
 * model draws with is filled in. */
static const char defaults[] =
    "{\"prompt\":\"\",\"negative_prompt\":\"\",\"styles\":null,\"seed\":-1,\"subseed\":-1,"
    "\"subseed_strength\":0,\"seed_resize_from_h\":-1,\"seed_resize_from_w\":-1,"
    "\"sampler_name\":null,\"scheduler\":null,\"batch_size\":1,\"n_iter\":1,\"steps\":9,"
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

static const cJSON *get(const cJSON *object, const char *name)
{
    return cJSON_GetObjectItemCaseSensitive(object, name);
}

static bool possible(const cJSON *json, const wish *w, zi_refusal *refusal)
{
    const cJSON *always = get(json, "alwayson_scripts");
    bool refined = w->refiner && *w->refiner && strcmp(w->refiner, "None") != 0;
    const struct {
        bool asked;
        const char *field;
    } cannot[] = {{w->hires, "enable_hr"},
                  {w->tiling, "tiling"},
                  {w->faces, "restore_faces"},
                  {w->variation > 0, "subseed_strength"},
                  {w->resize_w > 0 && w->resize_h > 0, "seed_resize_from_w"},
                  {refined, "refiner_checkpoint"}};
    for (size_t i = 0; i < sizeof cannot / sizeof *cannot; i++)
        if (cannot[i].asked)
            return zi_refuse(refusal, 422, cannot[i].field, "%s is not supported; leave it off",
                             cannot[i].field);
    if (w->script && *w->script)
        return zi_refuse(refusal, 422, "script_name", "Script '%s' not found", w->script);
    if (cJSON_IsObject(always) && always->child)
        return zi_refuse(refusal, 422, "alwayson_scripts", "always on script %s not found",
                         always->child->string);
    if (w->batch * w->rounds > ZI_MAX_COUNT)
        return zi_refuse(refusal, 422, "n_iter", "batch_size times n_iter may be %d at the most",
                         ZI_MAX_COUNT);
    if (w->seed != floor(w->seed))
        return zi_refuse(refusal, 422, "seed", "seed must be a whole number");
    return true;
}

/* The checkpoint of override_settings, for this picture or from now on. */
static bool settle_model(zi_call *call, const wish *w, cJSON *params, zi_refusal *refusal)
{
    const cJSON *said = get(get(call->json, "override_settings"), "sd_model_checkpoint");
    if (!cJSON_IsString(said) || !*said->valuestring) return true;
    char *name = zi_foreign_model(call->server, said->valuestring);
    bool ok = name ? zi_params_set(params, "model", cJSON_CreateString(name)) &&
                         (w->restore ||
                          zi_models_choose(call->server, name, "override_settings", refusal))
                   : zi_refuse(refusal, 404, "override_settings", "Model not found");
    free(name);
    return ok;
}

static cJSON *job_params(const wish *w)
{
    cJSON *params = cJSON_CreateObject();
    cJSON_AddStringToObject(params, "prompt", w->prompt);
    cJSON_AddNumberToObject(params, "count", w->batch * w->rounds);
    if (w->negative) cJSON_AddStringToObject(params, "negative", w->negative);
    if (w->width) cJSON_AddNumberToObject(params, "width", w->width / 16 * 16);
    if (w->height) cJSON_AddNumberToObject(params, "height", w->height / 16 * 16);
    if (w->steps) cJSON_AddNumberToObject(params, "steps", w->steps);
    if (w->cfg > 1) cJSON_AddNumberToObject(params, "guidance", w->cfg - 1);
    if (w->scheduler && (!strcmp(w->scheduler, "mlx") || !strcmp(w->scheduler, "diffusers")))
        cJSON_AddStringToObject(params, "schedule", w->scheduler);
    return params;
}

static bool submit(zi_call *call, wish *w, zi_refusal *refusal)
{
    if (!zi_params_read_known(call->json, table, w, refusal) || !possible(call->json, w, refusal))
        return false;
    cJSON *params = job_params(w);
    if (settle_model(call, w, params, refusal) && zi_foreign_seed(w->seed, params, refusal))
        return zi_foreign_submit(call, "generate", params, refusal);
    cJSON_Delete(params);
    return false;
}

/* ---- the answer ---- */

static cJSON *parameters(const zi_call *call, const cJSON *first)
{
    cJSON *json = cJSON_Parse(defaults), *item, *next;
    for (item = json ? json->child : NULL; item; item = next) {
        next = item->next;
        const cJSON *said = get(call->json, item->string);
        bool native = !strcmp(item->string, "width") || !strcmp(item->string, "height");
        if (!said && native) said = get(first, item->string);
        cJSON *copy = said ? cJSON_Duplicate(said, true) : NULL;
        if (copy) cJSON_ReplaceItemInObjectCaseSensitive(json, item->string, copy);
    }
    return json;
}

/* The rows of the pictures that there are. */
static cJSON *find_rows(zi_call *call, const cJSON *ids)
{
    cJSON *rows = cJSON_CreateArray();
    const cJSON *id;
    cJSON_ArrayForEach(id, ids)
    {
        cJSON *row;
        if (zi_history_get(call->server->history, id->valuestring, &row, NULL) && row)
            cJSON_AddItemToArray(rows, row);
    }
    return rows;
}

/* Field `from` of each row, texts that are numbers as numbers. */
static cJSON *column(const cJSON *rows, const char *from, bool number)
{
    cJSON *array = cJSON_CreateArray();
    const cJSON *row;
    cJSON_ArrayForEach(row, rows)
    {
        const char *text = cJSON_GetStringValue(get(row, from));
        if (!text) text = "";
        cJSON_AddItemToArray(array, number ? cJSON_CreateRaw(text) : cJSON_CreateString(text));
    }
    return array;
}

static void add_first(cJSON *info, const char *name, cJSON *array, const char *names)
{
    cJSON *first = cJSON_GetArrayItem(array, 0);
    cJSON_AddItemToObject(info, name, first ? cJSON_Duplicate(first, true) : cJSON_CreateNull());
    cJSON_AddItemToObject(info, names, array);
}

static void add_nulls(cJSON *info, const char *const *names)
{
    for (; *names; names++) cJSON_AddNullToObject(info, *names);
}

static void add_row(cJSON *info, const cJSON *first)
{
    static const char *const names[] = {"width", "height", "steps"};
    const cJSON *guidance = get(first, "guidance"), *model = get(first, "model");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const cJSON *item = get(first, names[i]);
        cJSON_AddNumberToObject(info, names[i], item ? item->valuedouble : 0);
    }
    cJSON_AddStringToObject(info, "sampler_name", "Euler");
    cJSON_AddNumberToObject(info, "cfg_scale", guidance ? 1 + guidance->valuedouble : 1);
    cJSON_AddStringToObject(info, "sd_model_name", model ? model->valuestring : "");
}

static cJSON *make_info(const wish *w, const cJSON *rows, double began)
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
    add_first(info, "prompt", column(rows, "prompt", false), "all_prompts");
    add_first(info, "negative_prompt", column(rows, "negative", false), "all_negative_prompts");
    add_first(info, "seed", column(rows, "seed", true), "all_seeds");
    cJSON_ArrayForEach(row, rows) cJSON_AddItemToArray(none, cJSON_CreateNumber(-1));
    add_first(info, "subseed", none, "all_subseeds");
    cJSON_AddNumberToObject(info, "subseed_strength", 0);
    add_row(info, cJSON_GetArrayItem(rows, 0));
    cJSON_AddNumberToObject(info, "batch_size", w->batch);
    cJSON_AddFalseToObject(info, "restore_faces");
    add_nulls(info, nothing);
    cJSON_AddNumberToObject(info, "seed_resize_from_w", -1);
    cJSON_AddNumberToObject(info, "seed_resize_from_h", -1);
    cJSON_AddObjectToObject(info, "extra_generation_params");
    cJSON_AddNumberToObject(info, "index_of_first_image", 0);
    cJSON_AddItemToObject(info, "infotexts", column(rows, "recipe", false));
    cJSON_AddArrayToObject(info, "styles");
    zi_a1111_timestamp(began, timestamp);
    cJSON_AddStringToObject(info, "job_timestamp", timestamp);
    cJSON_AddNumberToObject(info, "clip_skip", 1);
    cJSON_AddFalseToObject(info, "is_using_inpainting_conditioning");
    cJSON_AddStringToObject(info, "version", "zimage " ZI_VERSION);
    return info;
}

/* info is text that holds JSON. */
static cJSON *as_text(cJSON *info)
{
    char *text = cJSON_PrintUnformatted(info);
    cJSON *json = text ? cJSON_CreateString(text) : NULL;
    cJSON_free(text);
    cJSON_Delete(info);
    return json;
}

static zi_answer reply(zi_call *call, const cJSON *job)
{
    const wish *w = call->user;
    zi_text out;
    zi_error error = {0};
    bool ok = true;
    cJSON *rows = find_rows(call, get(job, "images")), *json = cJSON_CreateObject();
    const cJSON *row, *began = get(job, "started");
    cJSON_AddItemToObject(json, "parameters", parameters(call, cJSON_GetArrayItem(rows, 0)));
    cJSON_AddItemToObject(
        json, "info", as_text(make_info(w, rows, cJSON_IsNumber(began) ? began->valuedouble : 0)));
    zi_text_init(&out, MOST_REPLY);
    zi_foreign_open(json, &out);
    zi_text_puts(&out, ",\"images\":[");
    cJSON_ArrayForEach(row, rows)
    {
        if (!w->send) break;
        zi_text_puts(&out, row == rows->child ? "\"" : ",\"");
        ok = ok && zi_foreign_picture(call->server, get(row, "id")->valuestring, ZI_FORMAT_PNG, 0,
                                      &out, &error);
        zi_text_puts(&out, "\"");
    }
    zi_text_puts(&out, "]}");
    cJSON_Delete(rows);
    if (ok) return zi_foreign_reply(call, &out);
    zi_text_free(&out);
    return zi_reply_error(call, 500, NULL, "%s", error.text);
}

static zi_answer finish(zi_call *call)
{
    zi_job_state state;
    zi_refusal why;
    zi_answer answer;
    if (!zi_foreign_ended(call, &state, &why, &answer)) return answer;
    if (state == ZI_JOB_FAILED) return zi_a1111_refuse(call, &why);
    /* As with A1111, what was interrupted has the pictures that were ready. */
    cJSON *job = zi_jobs_describe(call->server->jobs, call->job, false);
    answer =
        job ? reply(call, job) : zi_reply_error(call, 500, NULL, "the job is over and forgotten");
    cJSON_Delete(job);
    return answer;
}

zi_answer zi_a1111_txt2img(zi_call *call)
{
    zi_refusal refusal;
    if (call->job) return finish(call);
    wish *w = calloc(1, sizeof *w);
    if (!w) return MHD_NO;
    *w = (wish){.seed = -1, .batch = 1, .rounds = 1, .send = true, .restore = true};
    call->user = w;
    call->free_user = free;
    return submit(call, w, &refusal) ? finish(call) : zi_a1111_refuse(call, &refusal);
}
