/* Sigma schedules and steps of samplers against diffusers (golden/scheduler.json, samplers.json).
 */
#include "golden.h"
#include "base/beta.h"
#include "io/json.h"
#include "model/sampler.h"

#include <math.h>
#include <string.h>

static cJSON *read_golden(const char *name)
{
    cJSON *json = NULL;
    zi_error error = {0};
    CHECK_OK(zi_json_read(zi_test_data_path(name), 16 << 20, &json, &error), error);
    return json;
}

/* All rows of one convention: sigmas, and the model's time where the row has it. */
static void check_rows(const char *convention, zi_schedule schedule)
{
    cJSON *json = read_golden("golden/scheduler.json");
    const cJSON *row;
    int rows = 0;
    cJSON_ArrayForEach(row, cJSON_GetObjectItem(json, convention))
    {
        int steps = cJSON_GetObjectItem(row, "steps")->valueint;
        double shift = cJSON_GetObjectItem(row, "shift")->valuedouble;
        const cJSON *sigmas = cJSON_GetObjectItem(row, "sigmas");
        const cJSON *times = cJSON_GetObjectItem(row, "model_t");
        float mine[128];
        zi_sampler_sigmas(schedule, steps, shift, 0, mine);
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

/* The scheduler config of a row, read from a file as models have it. */
static zi_scheduler_config config_of_row(const cJSON *row)
{
    zi_scheduler_config c = {0};
    zi_error error = {0};
    const char *path = zi_test_path("scheduler_config.json");
    cJSON *json = cJSON_Duplicate(cJSON_GetObjectItem(row, "config"), true);
    cJSON_AddStringToObject(json, "_class_name", "FlowMatchEulerDiscreteScheduler");
    char *text = cJSON_PrintUnformatted(json);
    zi_test_write_file(path, text, strlen(text));
    CHECK_OK(zi_config_read_scheduler(path, &c, &error), error);
    cJSON_free(text);
    cJSON_Delete(json);
    return c;
}

/* Families of sigmas, shift_terminal and dynamic shifting, from diffusers' configs. */
static void schedules_of_configs(void)
{
    cJSON *json = read_golden("golden/samplers.json");
    const cJSON *row;
    double worst = 0;
    int rows = 0;
    cJSON_ArrayForEach(row, json)
    {
        int steps = cJSON_GetObjectItem(row, "steps")->valueint;
        int width = cJSON_GetObjectItem(row, "width")->valueint;
        int height = cJSON_GetObjectItem(row, "height")->valueint;
        const cJSON *sigmas = cJSON_GetObjectItem(row, "sigmas");
        zi_scheduler_config c = config_of_row(row);
        float mine[64];
        zi_sampler_sigmas(c.schedule, steps, zi_scheduler_shift(&c, width / 16 * (height / 16)),
                          c.terminal, mine);
        CHECK(cJSON_GetArraySize(sigmas) == steps + 1);
        for (int i = 0; i <= steps; i++) {
            double wanted = cJSON_GetArrayItem(sigmas, i)->valuedouble;
            worst = fmax(worst, fabs(mine[i] - wanted));
            CHECK_MSG(fabs(mine[i] - wanted) <= 4e-7, "row %d: sigma %d is %.9g, not %.9g", rows, i,
                      mine[i], wanted);
        }
        rows++;
    }
    printf("%d schedules, largest difference %.2g\n", rows, worst);
    CHECK(rows > 120);
    cJSON_Delete(json);
}

/* One step has no end to stretch to; diffusers divides zero by zero. */
static void a_single_step_with_a_terminal(void)
{
    float sigmas[2];
    for (int schedule = ZI_SCHEDULE_MLX; schedule <= ZI_SCHEDULE_BETA; schedule++) {
        zi_sampler_sigmas((zi_schedule)schedule, 1, 3, 0.1, sigmas);
        CHECK_MSG(sigmas[0] == 1 && sigmas[1] == 0, "schedule %d: %g", schedule, sigmas[0]);
    }
}

/* Quantiles of scipy.stats.beta.ppf. */
static void beta_quantiles(void)
{
    static const double rows[][4] = {
        {1e-06, 0.6, 0.6, 1.8558824624053043e-10},
        {0.001, 0.6, 0.6, 1.855873851745199e-05},
        {0.037037037037037035, 0.6, 0.6, 0.007622796148801886},
        {0.25, 0.6, 0.6, 0.17568037865269498},
        {0.5, 0.6, 0.6, 0.5},
        {0.77777777777777779, 0.6, 0.6, 0.85439890285858455},
        {0.99, 0.6, 0.6, 0.99913876117845712},
        {0.999999, 0.6, 0.6, 0.99999999981441179},
        {1e-06, 2, 5, 0.00025828782935406356},
        {0.25, 2, 5, 0.16116291679032652},
        {0.77777777777777779, 2, 5, 0.40721874410777958},
        {0.999999, 2, 5, 0.95557304802992427},
        {0.001, 0.3, 4, 1.9049653210024112e-11},
        {0.5, 0.3, 4, 0.019778314565049332},
        {0.99, 0.3, 4, 0.51181873043007808},
        {0, 0.6, 0.6, 0},
        {1, 0.6, 0.6, 1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        double x = zi_beta_quantile(rows[i][0], rows[i][1], rows[i][2]);
        CHECK_MSG(fabs(x - rows[i][3]) <= 1e-12, "row %zu: %.17g", i, x);
    }
    for (int i = 1; i < 1000; i++) {
        double p = i / 1000.0, x = zi_beta_quantile(p, 0.6, 0.6);
        CHECK_MSG(fabs(zi_beta_distribution(x, 0.6, 0.6) - p) <= 1e-12, "p %g", p);
        CHECK_MSG(fabs(x + zi_beta_quantile(1 - p, 0.6, 0.6) - 1) <= 1e-12, "p %g", p);
    }
}

/* Steps of Heun and LCM with numbers that are exact in f32. */
static void steps_of_heun_and_lcm(void)
{
    zi_fixture fixture;
    zi_fixture_start(&fixture, 1, NULL, false);
    zi_view latents = zi_fixture_view(&fixture, (float[]){1, -2}, 1, 2);
    zi_view first = zi_fixture_view(&fixture, (float[]){0.5f, 1}, 1, 2);
    zi_view second = zi_fixture_view(&fixture, (float[]){1.5f, -1}, 1, 2);
    zi_euler_step(fixture.exec, latents, first, 0.75f, 0.25f);
    zi_heun_correct(fixture.exec, latents, first, second, 0.75f, 0.25f);
    const float *got = zi_fixture_read(&fixture, latents);
    CHECK(got[0] == 1.5f && got[1] == -2.0f);
    zi_view noise = zi_fixture_view(&fixture, (float[]){4, 8}, 1, 2);
    zi_lcm_step(fixture.exec, latents, first, noise, 0.5f, 0.25f);
    got = zi_fixture_read(&fixture, latents);
    CHECK(got[0] == 0.75f * 1.75f + 1 && got[1] == 0.75f * -1.5f + 2);
    zi_lcm_step(fixture.exec, latents, first, (zi_view){0}, 0.5f, 0);
    got = zi_fixture_read(&fixture, latents);
    CHECK(got[0] == 0.75f * 1.75f + 1.25f && got[1] == 0.75f * -1.5f + 2.5f);
    zi_fixture_stop(&fixture);
}

static void step_towards_the_image(void)
{
    zi_fixture fixture;
    zi_fixture_start(&fixture, 1, NULL, false);
    zi_view latents = zi_fixture_view(&fixture, (float[]){1, -2}, 1, 2);
    zi_view velocity = zi_fixture_view(&fixture, (float[]){0.5f, 1}, 1, 2);
    zi_euler_step(fixture.exec, latents, velocity, 0.75f, 0.25f);
    const float *got = zi_fixture_read(&fixture, latents);
    CHECK(got[0] == 1.25f && got[1] == -1.5f);
    zi_fixture_stop(&fixture);
}

int main(void)
{
    RUN(diffusers_schedule);
    RUN(mlx_schedule);
    RUN(schedules_of_configs);
    RUN(a_single_step_with_a_terminal);
    RUN(beta_quantiles);
    RUN(steps_of_heun_and_lcm);
    RUN(step_towards_the_image);
    return zi_test_result();
}
