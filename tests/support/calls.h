/* Every operation of backend.h that takes arguments by address, called such that what was passed is
 * gone when the call returns: arguments are to be copied before. Only weights stay. */
#ifndef ZI_TEST_CALLS_H
#define ZI_TEST_CALLS_H

#include "backend/backend.h"

void zi_call_embed(zi_exec *exec, const zi_weight *w, const int32_t *rows, size_t n, zi_view y);
void zi_call_attention(zi_exec *exec, const zi_attention_args *args);
void zi_call_norm(zi_exec *exec, const zi_norm_args *args);
void zi_call_rope(zi_exec *exec, const zi_rope_args *args);
void zi_call_permute(zi_exec *exec, const zi_permute_args *args);
void zi_call_conv3x3(zi_exec *exec, const zi_conv3x3_args *args);
void zi_call_moments(zi_exec *exec, const zi_feature_map *x, zi_view moments);
void zi_call_group_norm(zi_exec *exec, const zi_group_norm *norm, zi_view moments,
                        const zi_feature_map *x, zi_view y);
void zi_call_check_finite(zi_exec *exec, zi_view x, const char *name);
void zi_call_check_moments(zi_exec *exec, zi_view moments, size_t channels, const char *name);
void zi_call_write(zi_exec *exec, zi_view to, const void *from);

#endif
