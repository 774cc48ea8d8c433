/* Writes traces: intermediate results of a request as a safetensors file. */
#include "internal.h"

#include <stdio.h>
#include <stdlib.h>

enum { FIXED = 4, NAME = 32 };

/* Returns a description of a tensor of shape [a, b, c], of which the first `dims` count and the
 * others are ignored. name and data are borrowed. */
static zi_tensor_out describe_tensor(const char *name, zi_dtype type, const void *data, int dims,
                                     size_t a, size_t b, size_t c)
{
    return (zi_tensor_out){
        .name = name, .type = type, .dims = dims, .shape = {a, b, c}, .data = data};
}

bool zi_trace_write(const char *path, const zi_trace *trace, zi_error *error)
{
    size_t count = FIXED + trace->steps + 1, size = trace->channels * trace->height * trace->width;
    zi_tensor_out *tensors = calloc(count, sizeof *tensors);
    char(*names)[NAME] = calloc(trace->steps + 1, sizeof *names);
    int64_t *ids = calloc(trace->id_count + 1, sizeof *ids);
    bool ok = false;
    if (!tensors || !names || !ids) {
        zi_error_no_memory(error, count * sizeof *tensors);
        goto out;
    }
    for (size_t i = 0; i < trace->id_count; i++) ids[i] = trace->ids[i];
    tensors[0] = describe_tensor("input_ids", ZI_I64, ids, 1, trace->id_count, 0, 0);
    tensors[1] = describe_tensor("prompt_embeds", ZI_F32, trace->embeds, 2, trace->id_count,
                                 trace->embed_width, 0);
    tensors[2] = describe_tensor("sigmas", ZI_F32, trace->sigmas, 1, trace->steps + 1, 0, 0);
    tensors[3] =
        describe_tensor("image", ZI_F32, trace->image, 3, 3, 8 * trace->height, 8 * trace->width);
    for (size_t i = 0; i <= trace->steps; i++) {
        snprintf(names[i], NAME, "latents.%zu", i);
        tensors[FIXED + i] = describe_tensor(names[i], ZI_F32, trace->latents + i * size, 3,
                                             trace->channels, trace->height, trace->width);
    }
    ok = zi_safetensors_write(path, tensors, count, error);
out:
    free(tensors);
    free(names);
    free(ids);
    return ok;
}
