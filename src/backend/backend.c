#include "backend/backend.h"
#include "base/blocks.h"

bool zi_buffer_alloc(zi_backend *backend, size_t size, zi_buffer **out, zi_error *error)
{
    return backend->ops->alloc(backend, size, out, error);
}

bool zi_buffer_import(zi_backend *backend, const void *data, size_t size, zi_buffer **out,
                      zi_error *error)
{
    return backend->ops->import(backend, data, size, out, error);
}

void zi_buffer_release(zi_buffer *buffer)
{
    if (buffer) buffer->backend->ops->release(buffer);
}

bool zi_weight_quantized(const zi_weight *weight)
{
    return weight->bits || weight->data.type == ZI_I8 || zi_block_group(weight->data.type);
}

void zi_copy_rows(zi_exec *exec, zi_view from, zi_view to)
{
    zi_permute(exec, &(zi_permute_args){.from = from,
                                        .to = to,
                                        .dims = 2,
                                        .extents = {to.rows, to.columns},
                                        .from_strides = {from.stride, 1},
                                        .to_strides = {to.stride, 1}});
}

static const char not_finite[] =
    "the results of this part of the model are not finite numbers (NaN or infinity); its weights "
    "are probably damaged: fetch the model again, or use another file of it";

bool zi_error_not_finite(zi_error *error, const char *name)
{
    return zi_error_set(error, ZI_ERROR_BAD_FORMAT, name, "%s", not_finite);
}

bool zi_error_is_not_finite(const zi_error *error)
{
    return error->code == ZI_ERROR_BAD_FORMAT && !strcmp(error->text + error->message, not_finite);
}
