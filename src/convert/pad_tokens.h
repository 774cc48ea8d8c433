/* Pad tokens that the transformer to convert lacks: from the reference, or zeros. */
#ifndef ZI_CONVERT_PAD_TOKENS_H
#define ZI_CONVERT_PAD_TOKENS_H

#include "convert/conversion.h"

/* Adds the pad tokens that the transformer's opened source lacks, before it is planned: those of
 * the reference's transformer, if they have the right shape; else zeros, for a source in MLX layout
 * and a target in another one. Others stay missing. Sets pads_from_reference, pads_zero and
 * pads_missing. False: *error is set; zi_conversion_free frees what was opened. */
bool zi_conversion_add_pad_tokens(zi_conversion *conversion, const zi_layout *layout,
                                  zi_error *error) ZI_CHECKED;

/* Reports to the caller's remark callback, if there is one, what zi_conversion_add_pad_tokens has
 * done, if anything. */
void zi_conversion_report_pad_tokens(const zi_conversion *conversion);

#endif
