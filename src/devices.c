#include "devices.h"
#include "backend/arena.h"
#include "backend/vulkan/vulkan.h"
#include "base/machine.h"
#include "engine.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- names ---- */

typedef enum { CPU, AUTO, VULKAN, VULKAN_NUMBER } device_choice;

/* Parses the name of a device; NULL: the CPU. *number is set for VULKAN_NUMBER. False, with *error
 * set: it is none. */
static bool parse_device(const char *text, device_choice *choice, size_t *number, zi_error *error)
{
    static const char *const names[] = {[CPU] = "cpu", [AUTO] = "auto", [VULKAN] = "vulkan"};
    const char *digits = text && !strncmp(text, "vulkan:", 7) ? text + 7 : "";
    *choice = CPU;
    if (!text) return true;
    for (device_choice i = CPU; i <= VULKAN; i++) {
        *choice = i;
        if (!strcmp(text, names[i])) return true;
    }
    *choice = VULKAN_NUMBER;
    if (*digits && strlen(digits) <= 3 && !digits[strspn(digits, "0123456789")]) {
        *number = (size_t)atoi(digits);
        return true;
    }
    return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "device",
                        "'%s' is no device; choose auto, cpu, vulkan or, for one of several GPUs, "
                        "vulkan:0, vulkan:1, ...",
                        text);
}

/* ---- opening ---- */

static bool open_vulkan(const zi_engine_options *o, size_t number, zi_backend **out,
                        zi_error *error)
{
    const zi_vulkan_options options = {.device = number,
                                       .vram = o->vram,
                                       .cache = o->device_cache,
                                       .remarks = o->remark,
                                       .user = o->user};
    return zi_vulkan_backend_create(&options, out, error);
}

/* How much a kind of device is preferred when nothing is measured; of equals, the first. */
static int preference(const zi_vulkan_device *device)
{
    static const int order[] = {[ZI_VULKAN_DISCRETE] = 4,
                                [ZI_VULKAN_INTEGRATED] = 3,
                                [ZI_VULKAN_VIRTUAL] = 2,
                                [ZI_VULKAN_OTHER] = 2,
                                [ZI_VULKAN_SOFTWARE] = 1};
    return *device->missing ? 0 : order[device->kind];
}

/* Opens the Vulkan device of the kind that is most likely fast. False, with *error set: none can be
 * used. */
static bool open_best_vulkan(const zi_engine_options *o, zi_backend **out, zi_error *error)
{
    zi_vulkan_device *devices = NULL;
    size_t count, best = 0;
    if (!zi_vulkan_list(&devices, &count, error)) return false;
    for (size_t i = 1; i < count; i++)
        if (preference(&devices[i]) > preference(&devices[best])) best = i;
    free(devices);
    return open_vulkan(o, best, out, error); /* if it lacks something, it is named */
}

/* ---- measuring ---- */

enum { ROWS = 256, DEPTH = 1024 }; /* of the product that is measured */

/* The product x [ROWS, DEPTH] w^T [DEPTH, DEPTH], with w of bf16. */
typedef struct {
    zi_exec *exec;
    zi_buffer *memory, *stored;
    zi_weight w;
    zi_view x, y;
} product;

/* Takes the product's views, and the session's own memory, from the arena. */
static void plan_product(product *p, zi_arena *arena)
{
    p->exec->ops->plan(p->exec, arena, (zi_exec_limits){.head_dim = 64, .depth = DEPTH});
    p->x = zi_arena_floats(arena, ROWS, DEPTH);
    p->y = zi_arena_floats(arena, ROWS, DEPTH);
}

/* Prepares a product of zeros; weights [DEPTH, DEPTH] is borrowed. *p, which is
 * zeroed before, is for free_product, also after a failure. */
static bool make_product(zi_backend *backend, const uint16_t *weights, product *p, zi_error *error)
{
    static const float values[DEPTH];
    zi_arena arena = zi_arena_measure();
    if (!backend->ops->begin(backend, true, &p->exec, error)) return false;
    plan_product(p, &arena);
    if (!zi_buffer_alloc(backend, arena.peak, &p->memory, error) ||
        !zi_buffer_import(backend, weights, DEPTH * DEPTH * sizeof *weights, &p->stored, error))
        return false;
    arena = zi_arena_in(p->memory);
    plan_product(p, &arena);
    p->w = (zi_weight){.name = "measured", .data = {p->stored, 0, ZI_BF16, DEPTH, DEPTH, DEPTH}};
    for (size_t row = 0; row < ROWS; row++) zi_write(p->exec, zi_view_rows(p->x, row, 1), values);
    return true;
}

static void free_product(product *p)
{
    if (p->exec) p->exec->ops->end(p->exec);
    zi_buffer_release(p->stored);
    zi_buffer_release(p->memory);
}

/* Runs `count` products and sets *seconds to the time that they took. */
static bool time_products(product *p, int count, double *seconds, zi_error *error)
{
    double start = zi_monotonic_seconds();
    for (int i = 0; i < count; i++) zi_linear(p->exec, p->x, &p->w, NULL, p->y);
    if (!zi_wait(p->exec, error)) return false;
    *seconds = zi_monotonic_seconds() - start;
    return true;
}

/* Sets *rate to the multiplications and additions per second of products on this backend, in about
 * 50 ms, or longer where one takes that long. The first one, for which shaders are compiled, does
 * not count. False, with *error set: the device failed. */
static bool measure(zi_backend *backend, double *rate, zi_error *error)
{
    const double flop = 2.0 * ROWS * DEPTH * DEPTH;
    uint16_t *weights = calloc((size_t)DEPTH * DEPTH, sizeof *weights);
    product p = {0};
    double seconds = 0;
    int count = 1;
    if (!weights) return zi_error_no_memory(error, (size_t)DEPTH * DEPTH * sizeof *weights);
    bool ok = make_product(backend, weights, &p, error) && time_products(&p, 1, &seconds, error);
    do {
        ok = ok && time_products(&p, count, &seconds, error);
        *rate = count * flop / seconds;
        count *= 2;
    } while (ok && seconds < 0.025);
    free_product(&p);
    free(weights);
    return ok;
}

/* Opens a Vulkan device, measures it and closes it. */
static bool measure_vulkan(const zi_engine_options *o, size_t number, double *rate, zi_error *error)
{
    zi_backend *backend = NULL;
    bool ok = open_vulkan(o, number, &backend, error) && measure(backend, rate, error);
    if (backend) backend->ops->destroy(backend);
    return ok;
}

/* ---- the list ---- */

static zi_device_kind kind_of(zi_vulkan_kind kind)
{
    static const zi_device_kind kinds[] = {[ZI_VULKAN_OTHER] = ZI_DEVICE_OTHER,
                                           [ZI_VULKAN_INTEGRATED] = ZI_DEVICE_INTEGRATED,
                                           [ZI_VULKAN_DISCRETE] = ZI_DEVICE_DISCRETE,
                                           [ZI_VULKAN_VIRTUAL] = ZI_DEVICE_VIRTUAL,
                                           [ZI_VULKAN_SOFTWARE] = ZI_DEVICE_SOFTWARE};
    return kinds[kind];
}

static void describe_vulkan(const zi_vulkan_device *from, size_t number, zi_device *out)
{
    *out = (zi_device){.kind = kind_of(from->kind), .memory = from->memory};
    snprintf(out->id, sizeof out->id, "vulkan:%zu", number);
    snprintf(out->name, sizeof out->name, "%s", from->name);
    snprintf(out->driver, sizeof out->driver, "%s", from->driver);
    snprintf(out->missing, sizeof out->missing, "%s", from->missing);
    snprintf(out->features, sizeof out->features, "%s", from->features);
}

/* Sets list->devices to the CPU and all Vulkan devices, not measured. Without a loader or a device,
 * list->no_vulkan says why; if Vulkan itself fails, the user is told, too. False: memory is short;
 * *error is set. */
static bool find_devices(zi_devices *list, const zi_engine_options *o, const zi_kernels *kernels,
                         zi_error *error)
{
    zi_vulkan_device *found = NULL;
    zi_error why = {0};
    size_t count = 0;
    if (!zi_vulkan_list(&found, &count, &why))
        snprintf(list->no_vulkan, sizeof list->no_vulkan, "%s", why.text + why.message);
    if (o->remark && why.code && why.code != ZI_ERROR_NOT_FOUND && why.code != ZI_ERROR_UNSUPPORTED)
        o->remark(o->user, list->no_vulkan);
    list->devices = calloc(count + 1, sizeof *list->devices);
    if (!list->devices) {
        free(found);
        return zi_error_no_memory(error, (count + 1) * sizeof *list->devices);
    }
    list->count = count + 1;
    list->devices[0].kind = ZI_DEVICE_CPU;
    snprintf(list->devices[0].id, sizeof list->devices[0].id, "cpu");
    snprintf(list->devices[0].name, sizeof list->devices[0].name, "%s", kernels->tier);
    for (size_t i = 0; i < count; i++) describe_vulkan(&found[i], i, &list->devices[i + 1]);
    free(found);
    return true;
}

/* Whether "auto" may choose the device. */
static bool is_candidate(const zi_device *device)
{
    return !*device->missing && device->kind != ZI_DEVICE_SOFTWARE;
}

/* Whether "auto" has a choice: a GPU beside the processor. */
static bool has_choice(const zi_devices *list)
{
    for (size_t i = 1; i < list->count; i++)
        if (is_candidate(&list->devices[i])) return true;
    return false;
}

/* Measures the devices of the list: all that can be used, or candidates only. */
static bool measure_devices(zi_devices *list, const zi_engine_options *o, bool candidates,
                            zi_backend *cpu, zi_error *error)
{
    for (size_t i = 0; i < list->count; i++) {
        zi_device *device = &list->devices[i];
        if (*device->missing || (candidates && !is_candidate(device))) continue;
        if (i ? !measure_vulkan(o, i - 1, &device->flop_per_second, error)
              : !measure(cpu, &device->flop_per_second, error))
            return false;
    }
    return true;
}

/* Sets list->chosen to the fastest candidate, and the reason. */
static void choose(zi_devices *list)
{
    size_t size = sizeof list->reason, candidates = 0;
    list->chosen = 0;
    for (size_t i = 0; i < list->count; i++) {
        if (!is_candidate(&list->devices[i])) continue;
        candidates++;
        if (list->devices[i].flop_per_second > list->devices[list->chosen].flop_per_second)
            list->chosen = i;
    }
    const zi_device *first = &list->devices[0], *best = &list->devices[list->chosen];
    if (candidates == 1)
        snprintf(list->reason, size, "%s",
                 list->count == 1 ? "there is no GPU that Vulkan knows"
                                  : "no GPU here can be used, or they compute on the processor");
    else if (list->chosen)
        snprintf(list->reason, size, "it is %.1f times as fast as the processor",
                 best->flop_per_second / first->flop_per_second);
    else
        snprintf(list->reason, size, "no GPU is faster than the processor");
}

/* ---- choosing ---- */

/* Opens the device that "auto" means. cpu: the CPU's backend, which it may take. */
static bool open_fastest(const zi_engine_options *o, const zi_kernels *kernels, zi_backend **cpu,
                         zi_backend **out, zi_error *error)
{
    zi_engine_options quiet = *o; /* remarks are made when the device is opened to be used */
    zi_devices list = {0};
    bool ok = true;
    quiet.remark = NULL;
    if (zi_vulkan_plausible())
        ok = find_devices(&list, o, kernels, error) &&
             (!has_choice(&list) || measure_devices(&list, &quiet, true, *cpu, error));
    if (ok && list.devices) choose(&list);
    size_t chosen = list.chosen;
    free(list.devices);
    if (ok && chosen) return open_vulkan(o, chosen - 1, out, error);
    if (ok) {
        *out = *cpu;
        *cpu = NULL;
    }
    return ok;
}

bool zi_device_open(const zi_engine_options *o, const zi_kernels *kernels, zi_pool *pool,
                    zi_backend **out, zi_error *error)
{
    device_choice choice;
    size_t number = 0;
    zi_backend *cpu = NULL;
    if (!parse_device(o->device, &choice, &number, error)) return false;
    if (choice == VULKAN) return open_best_vulkan(o, out, error);
    if (choice == VULKAN_NUMBER) return open_vulkan(o, number, out, error);
    if (choice == CPU) return zi_cpu_backend_create(kernels, pool, o->scratch, out, error);
    bool ok = zi_cpu_backend_create(kernels, pool, o->scratch, &cpu, error) &&
              open_fastest(o, kernels, &cpu, out, error);
    if (cpu) cpu->ops->destroy(cpu);
    return ok;
}

/* ---- the public list ---- */

bool zi_devices_list(const zi_engine_options *options, zi_devices **out, zi_error *error)
{
    zi_engine_options o = options ? *options : (zi_engine_options){0};
    zi_engine *engine = NULL; /* kernels, threads and the CPU's backend */
    zi_devices *list = calloc(1, sizeof *list);
    if (!list) return zi_error_no_memory(error, sizeof *list);
    o.device = NULL;
    bool ok = zi_engine_create(&o, &engine, error) &&
              find_devices(list, &o, &engine->kernels, error) &&
              measure_devices(list, &o, false, engine->backend, error);
    zi_engine_free(engine);
    if (!ok) {
        zi_devices_free(list);
        return false;
    }
    choose(list);
    *out = list;
    return true;
}

void zi_devices_free(zi_devices *devices)
{
    if (devices) free(devices->devices);
    free(devices);
}
