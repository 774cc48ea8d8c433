/* Schedules and steps against diffusers' own numbers (golden/scheduler.json). */
#include "golden.h"
#include "io/json.h"
#include "model/sampler.h"

#include <math.h>

static cJSON *read_golden(void)
{
    cJSON *json = NULL;
    zi_error error = {0};
    CHECK_OK(zi_json_read(zi_test_data("golden/scheduler.json"), 16 << 20, &json, &error), error);
    return json;
}

/* All rows of one convention: sigmas, and the model's time where the row has it. */
static void check_rows(const char *convention, zi_schedule schedule)
{
    cJSON *json = read_golden();
    const cJSON *row;
    int rows = 0;
    cJSON_ArrayForEach(row, cJSON_GetObjectItem(json, convention))
    {
        int steps = cJSON_GetObjectItem(row, "steps")->valueint;
        double shift = cJSON_GetObjectItem(row, "shift")->valuedouble;
        const cJSON *sigmas = cJSON_GetObjectItem(row, "sigmas");
        const cJSON *times = cJSON_GetObjectItem(row, "model_t");
        float mine[128];
        zi_sampler_sigmas(schedule, steps, shift, mine);
        CHECK(cJSON_GetArraySize(sigmas) == steps + 1);
        for (int i = 0; i <= steps; i++) {
            double wanted = cJSON_GetArrayItem(sigmas, i)->valuedouble;
            CHECK_MSG(fabs(mine[i] - wanted) <= 3e-7,
                      "%s shift %g steps %d: sigma %d is %.9g, not %.9g", convention, shift, steps,
                      i, mine[i], wanted);
            if (!times || i == steps) continue;
            double time = cJSON_GetArrayItem(times, i)->valuedouble;
            CHECK_MSG(fabs(zi_model_time(mine[i]) - time) <= 3e-7, "%s: time %d is %.9g, not %.9g",
                      convention, i, zi_model_time(mine[i]), time);
        }
        rows++;
    }
    CHECK(rows > 40);
    cJSON_Delete(json);
}

static void diffusers_schedule(void)
{
    check_rows("A_pipeline_0_42", ZI_SCHEDULE_DIFFUSERS);
}

static void mlx_schedule(void)
{
    check_rows("C_seed", ZI_SCHEDULE_MLX);
}

static void step_towards_the_image(void)
{
    zi_test_engine engine;
    zi_test_engine_start(&engine, 1, NULL, false);
    zi_view latents = zi_test_view(&engine, (float[]){1, -2}, 1, 2);
    zi_view velocity = zi_test_view(&engine, (float[]){0.5f, 1}, 1, 2);
    zi_euler_step(engine.exec, latents, velocity, 0.75f, 0.25f);
    const float *got = zi_test_read(&engine, latents);
    CHECK(got[0] == 1.25f && got[1] == -1.5f);
    zi_test_engine_stop(&engine);
}

int main(void)
{
    RUN(diffusers_schedule);
    RUN(mlx_schedule);
    RUN(step_towards_the_image);
    return zi_test_result();
}
