#include "vulkan_small.h"

#include <dlfcn.h>
#include <math.h>
#include <string.h>

enum { MEMORY = 32 << 20 };

int zi_small_messages, zi_small_remarks;
char zi_small_last_message[512], zi_small_last_remark[1024];

static void on_message(void *user, const char *text)
{
    (void)user;
    zi_small_messages++;
    snprintf(zi_small_last_message, sizeof zi_small_last_message, "%s", text);
}

static void on_remark(void *user, const char *text)
{
    (void)user;
    zi_small_remarks++;
    snprintf(zi_small_last_remark, sizeof zi_small_last_remark, "%s", text);
}

zi_vulkan_options zi_small_options(void)
{
    return (zi_vulkan_options){.validation = true,
                               .messages = on_message,
                               .remarks = on_remark,
                               .intercept = zi_faults_plant,
                               .staging = true};
}

float zi_small_weights[N * K], zi_small_inputs[T * K];

void zi_small_fill(float *x, size_t n, uint32_t random)
{
    for (size_t i = 0; i < n; i++) {
        random = random * 1664525u + 1013904223u;
        x[i] = (float)(random >> 8) * 0x1p-23f - 1;
    }
}

bool zi_small_begin(zi_small *r, zi_error *error)
{
    if (!r->backend->ops->begin(r->backend, false, &r->exec, error) ||
        !zi_buffer_alloc(r->backend, MEMORY, &r->memory, error))
        return false;
    r->arena = zi_arena_in(r->memory);
    r->exec->ops->plan(r->exec, &r->arena, (zi_exec_limits){.head_dim = 128, .depth = 256});
    return true;
}

void zi_small_end(zi_small *r)
{
    if (r->exec) r->exec->ops->end(r->exec);
    zi_buffer_release(r->memory);
    r->exec = NULL;
    r->memory = NULL;
}

bool zi_small_import(zi_small *r, zi_error *error)
{
    if (r->imported) return true;
    bool ok = zi_buffer_import(r->backend, zi_small_weights, sizeof zi_small_weights, &r->imported,
                               error);
    r->weight = (zi_weight){.name = "w", .data = {r->imported, 0, ZI_F32, N, K, K}};
    return ok;
}

bool zi_small_compute(zi_small *r, float *y, zi_error *error)
{
    bool ok = zi_small_import(r, error) && zi_small_begin(r, error);
    if (ok) {
        zi_view x = zi_arena_floats(&r->arena, T, K), to = zi_arena_floats(&r->arena, T, N);
        zi_write(r->exec, x, zi_small_inputs);
        zi_linear(r->exec, zi_view_rows(x, 0, 4), &r->weight, NULL, zi_view_rows(to, 0, 4));
        ok = zi_submit(r->exec, error);
        zi_linear(r->exec, zi_view_rows(x, 4, T - 4), &r->weight, NULL, zi_view_rows(to, 4, T - 4));
        ok = ok && zi_submit(r->exec, error);
        r->exec->ops->elementwise(r->exec, ZI_SILU, to, (zi_view){0}, 0, 0);
        ok = ok && zi_read(r->exec, to, y, error);
    }
    zi_small_end(r);
    return ok;
}

bool zi_small_is_right(const float *y)
{
    for (size_t t = 0; t < T; t++)
        for (size_t n = 0; n < N; n++) {
            double sum = 0;
            for (size_t k = 0; k < K; k++)
                sum += (double)zi_small_inputs[t * K + k] * zi_small_weights[n * K + k];
            if (!(fabs(y[t * N + n] - sum / (1 + exp(-sum))) < 1e-4)) return false;
        }
    return true;
}

void zi_small_close(zi_small *r)
{
    zi_buffer_release(r->imported);
    if (r->backend) r->backend->ops->destroy(r->backend);
    *r = (zi_small){0};
}

bool zi_small_run(const zi_vulkan_options *o, zi_small *r, zi_error *error)
{
    float y[T * N];
    *r = (zi_small){0};
    if (!zi_vulkan_backend_create(o, &r->backend, error) || !zi_small_compute(r, y, error))
        return false;
    CHECK(zi_small_is_right(y));
    return true;
}

void zi_small_check_quiet(void)
{
    CHECK_MSG(!zi_small_messages, "%d messages of the validation layer: %s", zi_small_messages,
              zi_small_last_message);
    zi_small_messages = 0;
}

/* Keeps drivers loaded, so that LeakSanitizer knows them by name: they leak, see leaks.txt. */
static void keep_drivers(void)
{
    static const char *const names[] = {"libvulkan_lvp.so", "libvulkan_intel.so",
                                        "libvulkan_intel_hasvk.so", "libvulkan_radeon.so",
                                        "libVkLayer_MESA_device_select.so"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        dlopen(names[i], RTLD_NOW | RTLD_NODELETE);
}

void zi_small_prepare(void)
{
    zi_small_fill(zi_small_weights, N * K, 1);
    zi_small_fill(zi_small_inputs, T * K, 2);
    keep_drivers();
}
