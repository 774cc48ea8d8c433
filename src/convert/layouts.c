/* Names of the layouts and precisions that models are converted to, and which combinations exist.
 */
#include "base/file.h"
#include "base/tables.h"
#include "convert/plan.h"
#include "io/layout.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

const char *const zi_layout_names[] = {
    [ZI_LAYOUT_SAME] = "same",       [ZI_LAYOUT_MLX] = "mlx",   [ZI_LAYOUT_DIFFUSERS] = "diffusers",
    [ZI_LAYOUT_COMFYUI] = "comfyui", [ZI_LAYOUT_GGUF] = "gguf", NULL};

const char *const zi_precision_names[] = {[ZI_PRECISION_ORIGINAL] = "original",
                                          [ZI_PRECISION_FP16] = "fp16",
                                          [ZI_PRECISION_BF16] = "bf16",
                                          [ZI_PRECISION_FP8] = "fp8",
                                          [ZI_PRECISION_Q8] = "q8",
                                          [ZI_PRECISION_Q4] = "q4",
                                          [ZI_PRECISION_FP32] = "fp32",
                                          [ZI_PRECISION_FP8_E4M3FN] = "fp8_e4m3fn",
                                          [ZI_PRECISION_Q2_K] = "q2_k",
                                          [ZI_PRECISION_Q3_K] = "q3_k",
                                          [ZI_PRECISION_Q4_K] = "q4_k",
                                          [ZI_PRECISION_Q5_K] = "q5_k",
                                          [ZI_PRECISION_Q6_K] = "q6_k",
                                          [ZI_PRECISION_Q4_1] = "q4_1",
                                          [ZI_PRECISION_Q5_0] = "q5_0",
                                          [ZI_PRECISION_Q5_1] = "q5_1",
                                          [ZI_PRECISION_IQ4_NL] = "iq4_nl",
                                          [ZI_PRECISION_IQ4_XS] = "iq4_xs",
                                          NULL};

/* Number of names before the closing NULL. */
static size_t count_names(const char *const *names)
{
    size_t count = 0;
    while (names[count]) count++;
    return count;
}

const char *zi_layout_name(zi_layout_kind layout)
{
    return (size_t)layout < count_names(zi_layout_names) ? zi_layout_names[layout] : NULL;
}

const char *zi_precision_name(zi_precision precision)
{
    return (size_t)precision < count_names(zi_precision_names) ? zi_precision_names[precision]
                                                               : NULL;
}

zi_naming zi_layout_naming(zi_layout_kind layout)
{
    static const zi_naming namings[] = {[ZI_LAYOUT_MLX] = ZI_NAMES_MLX,
                                        [ZI_LAYOUT_DIFFUSERS] = ZI_NAMES_DIFFUSERS,
                                        [ZI_LAYOUT_COMFYUI] = ZI_NAMES_COMFYUI,
                                        [ZI_LAYOUT_GGUF] = ZI_NAMES_GGUF};
    return namings[layout];
}

zi_layout_kind zi_layout_of_extension(const char *destination)
{
    const char *extension = zi_weights_extension(destination);
    return !extension                        ? ZI_LAYOUT_SAME
           : !strcasecmp(extension, ".gguf") ? ZI_LAYOUT_GGUF
                                             : ZI_LAYOUT_COMFYUI;
}

/* Writes the precisions that a layout supports to out, as in "original, fp16, bf16, fp8"; cut off
 * at size, which counts the closing NUL and must not be 0. */
static void list_precisions(zi_naming layout, char *out, size_t size)
{
    out[0] = 0;
    for (zi_precision p = ZI_PRECISION_ORIGINAL; zi_precision_names[p]; p++) {
        size_t length = strlen(out);
        if (zi_naming_supports(layout, p))
            snprintf(out + length, size - length, "%s%s", length ? ", " : "",
                     zi_precision_names[p]);
    }
}

bool zi_naming_check_precision(zi_naming layout, zi_precision precision, zi_error *error)
{
    char possible[160];
    if (zi_naming_supports(layout, precision)) return true;
    list_precisions(layout, possible, sizeof possible);
    return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "precision",
                        "%s is not possible in the layout %s; choose one of %s",
                        zi_precision_names[precision], zi_naming_name(layout), possible);
}

bool zi_layout_check(zi_layout_kind layout, zi_precision precision, zi_error *error)
{
    return layout == ZI_LAYOUT_SAME ||
           zi_naming_check_precision(zi_layout_naming(layout), precision, error);
}
