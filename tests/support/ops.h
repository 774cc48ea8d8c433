/* Checks of single operations, and of sequences of them, on the backend of a rig. Each is complete
 * in itself; failures are failed checks. test_backend_ops.c has the table of all. */
#ifndef ZI_TEST_OPS_H
#define ZI_TEST_OPS_H

#include "rig.h"

/* ops_linear.c */
void zi_ops_linear(zi_rig *rig);
void zi_ops_linear_model(zi_rig *rig);
void zi_ops_linear_rows(zi_rig *rig);
void zi_ops_linear_range(zi_rig *rig);
void zi_ops_linear_codes(zi_rig *rig);
void zi_ops_embed(zi_rig *rig);

/* ops_attention.c */
void zi_ops_attention(zi_rig *rig);
void zi_ops_attention_fast(zi_rig *rig);

/* ops_rows.c */
void zi_ops_norm(zi_rig *rig);
void zi_ops_rope(zi_rig *rig);
void zi_ops_elementwise(zi_rig *rig);

/* ops_copies.c */
void zi_ops_permute(zi_rig *rig);
void zi_ops_copy_rows(zi_rig *rig);
void zi_ops_write_and_read(zi_rig *rig);

/* ops_conv.c */
void zi_ops_conv3x3(zi_rig *rig);
void zi_ops_conv3x3_model(zi_rig *rig);
void zi_ops_conv3x3_bands(zi_rig *rig);
void zi_ops_group_norm(zi_rig *rig);

/* ops_checks.c */
void zi_ops_check_finite(zi_rig *rig);
void zi_ops_check_moments(zi_rig *rig);
void zi_ops_not_finite(zi_rig *rig);

/* ops_sessions.c */
void zi_ops_sessions(zi_rig *rig);
void zi_ops_submissions(zi_rig *rig);
void zi_ops_unsubmitted(zi_rig *rig);
void zi_ops_order(zi_rig *rig);
void zi_ops_repeated(zi_rig *rig);

/* ops_layers.c */
void zi_ops_transformer_layers(zi_rig *rig);
void zi_ops_decoder_layers(zi_rig *rig);

#endif
