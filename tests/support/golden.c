#include "golden.h"

#include <stdarg.h>
#include <stdlib.h>

static void give_up(const char *what, const char *why)
{
    printf("%s: %s\n", what, why);
    exit(1);
}

zi_backend *zi_golden_backend(void)
{
    static zi_backend *backend;
    zi_kernels kernels;
    zi_error error = {0};
    if (zi_test_gpu()) return zi_test_gpu();
    zi_kernels_ref(&kernels);
    if (!backend && !zi_cpu_backend_create(&kernels, NULL, NULL, &backend, &error))
        give_up("backend", error.text);
    return backend;
}

zi_config zi_golden_component(const char *path, zi_component part, zi_weights *weights)
{
    char name[256];
    snprintf(name, sizeof name, "golden/%s", path);
    zi_model_options options = {.path = zi_test_data_path(name)};
    zi_assembly assembly;
    zi_config config = {0};
    zi_error error = {0};
    if (!zi_assembly_read(&options, &assembly, &error) ||
        !zi_assembly_open(&assembly, part, zi_golden_backend(), &config, weights, &error))
        give_up(path, error.text);
    zi_assembly_free(&assembly);
    return config;
}

zi_checkpoint zi_golden_open(const char *name)
{
    char path[256];
    snprintf(path, sizeof path, "golden/%s", name);
    zi_checkpoint golden;
    zi_error error = {0};
    if (!zi_checkpoint_open(zi_test_data_path(path), &golden, &error)) give_up(name, error.text);
    return golden;
}

const zi_tensor *zi_golden_tensor(const zi_checkpoint *golden, const char *name, ...)
{
    char text[128];
    va_list args;
    va_start(args, name);
    vsnprintf(text, sizeof text, name, args);
    va_end(args);
    const zi_tensor *tensor = zi_checkpoint_find(golden, text);
    if (!tensor) give_up(text, "no such golden tensor");
    return tensor;
}

const float *zi_golden_floats(const zi_checkpoint *golden, const char *name, ...)
{
    char text[128];
    va_list args;
    va_start(args, name);
    vsnprintf(text, sizeof text, name, args);
    va_end(args);
    const zi_tensor *tensor = zi_golden_tensor(golden, "%s", text);
    if (tensor->type != ZI_F32) give_up(text, "golden tensor is not F32");
    return tensor->data;
}

bool zi_test_open_part(const char *path, zi_component part, zi_checkpoint **out)
{
    zi_layout layout;
    zi_error error = {0};
    if (!CHECK_OK(zi_layout_read(path, &layout, &error), error)) return false;
    bool ok =
        CHECK_MSG(layout.components[part].path, "%s has no %s", path, zi_component_title(part)) &&
        CHECK_OK(zi_layout_open_component(&layout, part, out, &error), error);
    zi_layout_free(&layout);
    return ok;
}

bool zi_test_convert(const char *from, const char *to, zi_layout_kind layout,
                     zi_precision precision)
{
    zi_error error = {0};
    zi_convert_options options = {.source = from,
                                  .destination = to,
                                  .layout = layout,
                                  .precision = precision,
                                  .reference = zi_test_data_path("golden/model")};
    return CHECK_OK(zi_convert(&options, &error), error);
}

void zi_golden_compare(const zi_checkpoint *golden, const char *name, const float *values, size_t n,
                       double rel_l2, double max_abs)
{
    const zi_tensor *tensor = zi_golden_tensor(golden, "%s", name);
    const float *wanted = zi_golden_floats(golden, "%s", name);
    if (!CHECK_MSG(tensor->count == n, "%s: %zu values, golden has %zu", name, n, tensor->count))
        return;
    double rel = zi_rel_l2(values, wanted, n), max_value = zi_max_abs_difference(values, wanted, n);
    CHECK_MSG(rel_l2 == 0 || rel <= rel_l2, "%s: relative L2 error %g > %g", name, rel, rel_l2);
    CHECK_MSG(max_abs == 0 || max_value <= max_abs, "%s: largest difference %g > %g", name,
              max_value, max_abs);
}
