#include "calls.h"

#include <stdlib.h>
#include <string.h>

/* A copy that forget() overwrites and frees. NULL stays NULL. */
static void *passed(const void *from, size_t size)
{
    if (!from) return NULL;
    void *copy = malloc(size ? size : 1);
    if (!copy) exit(1);
    return memcpy(copy, from, size);
}

static void forget(void *copy, size_t size)
{
    if (copy) memset(copy, 0xa5, size);
    free(copy);
}

void zi_call_embed(zi_exec *exec, const zi_weight *w, const int32_t *rows, size_t n, zi_view y)
{
    int32_t *copy = passed(rows, n * sizeof *rows);
    zi_embed(exec, w, copy, n, y);
    forget(copy, n * sizeof *rows);
}

void zi_call_attention(zi_exec *exec, const zi_attention_args *args)
{
    zi_attention_args *copy = passed(args, sizeof *args);
    zi_attention(exec, copy);
    forget(copy, sizeof *args);
}

void zi_call_norm(zi_exec *exec, const zi_norm_args *args)
{
    zi_norm_args *copy = passed(args, sizeof *args);
    exec->ops->norm(exec, copy);
    forget(copy, sizeof *args);
}

void zi_call_rope(zi_exec *exec, const zi_rope_args *args)
{
    zi_rope_args *copy = passed(args, sizeof *args);
    zi_rope(exec, copy);
    forget(copy, sizeof *args);
}

void zi_call_permute(zi_exec *exec, const zi_permute_args *args)
{
    zi_permute_args *copy = passed(args, sizeof *args);
    zi_permute(exec, copy);
    forget(copy, sizeof *args);
}

void zi_call_conv3x3(zi_exec *exec, const zi_conv3x3_args *args)
{
    zi_conv3x3_args *copy = passed(args, sizeof *args);
    zi_group_norm *norm = passed(args->norm, sizeof *norm);
    copy->norm = norm;
    zi_conv3x3(exec, copy);
    forget(norm, sizeof *norm);
    forget(copy, sizeof *args);
}

void zi_call_moments(zi_exec *exec, const zi_feature_map *x, zi_view moments)
{
    zi_feature_map *copy = passed(x, sizeof *x);
    zi_moments(exec, copy, moments);
    forget(copy, sizeof *x);
}

void zi_call_group_norm(zi_exec *exec, const zi_group_norm *norm, zi_view moments,
                        const zi_feature_map *x, zi_view y)
{
    zi_group_norm *norm_copy = passed(norm, sizeof *norm);
    zi_feature_map *map_copy = passed(x, sizeof *x);
    zi_group_norm_apply(exec, norm_copy, moments, map_copy, y);
    forget(norm_copy, sizeof *norm);
    forget(map_copy, sizeof *x);
}

void zi_call_check_finite(zi_exec *exec, zi_view x, const char *name)
{
    char *copy = passed(name, strlen(name) + 1);
    zi_check_finite(exec, x, copy);
    forget(copy, strlen(name) + 1);
}

void zi_call_check_moments(zi_exec *exec, zi_view moments, size_t channels, const char *name)
{
    char *copy = passed(name, strlen(name) + 1);
    zi_check_moments(exec, moments, channels, copy);
    forget(copy, strlen(name) + 1);
}

void zi_call_write(zi_exec *exec, zi_view to, const void *from)
{
    size_t bytes = to.rows * to.columns * zi_dtype_size(to.type);
    void *copy = passed(from, bytes);
    zi_write(exec, to, copy);
    forget(copy, bytes);
}
