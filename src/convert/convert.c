/* zi_convert: writes a model in another layout or precision. */
#include "base/filesystem.h"
#include "base/temporary.h"
#include "convert/check.h"
#include "convert/conversion.h"
#include "convert/destination.h"
#include "convert/pad_tokens.h"

bool zi_conversion_write(zi_conversion *conversion, zi_error *error)
{
    if (!zi_conversion_check(conversion, error)) return false;
    zi_conversion_report_pad_tokens(conversion);
    if (!zi_pool_create((size_t)conversion->options->threads, &conversion->work.pool, error))
        return false;
    if (conversion->target == ZI_NAMES_COMFYUI)
        return zi_conversion_write_comfyui(conversion, error);
    if (conversion->target == ZI_NAMES_GGUF) return zi_conversion_write_gguf(conversion, error);
    return zi_conversion_write_folder(conversion, error);
}

/* Before anything is written, also removes the temporaries that killed conversions left beside the
 * destination. */
bool zi_convert(const zi_convert_options *options, zi_error *error)
{
    if (!ZI_CHECK_RESERVED(options, error)) return false;
    if (!options->source || !options->destination)
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT,
                            options->source ? "destination" : "source", "is missing");
    if (options->threads < 0)
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "threads",
                            "%d is out of range; it must be 0 (all) or more", options->threads);
    zi_conversion c;
    bool ok = zi_conversion_plan(&c, options, error);
    bool folder = c.target == ZI_NAMES_MLX || c.target == ZI_NAMES_DIFFUSERS;
    ok = ok && zi_destination_check(options->destination, folder, c.inputs, ZI_INPUTS, error);
    if (ok) zi_remove_stale_temporaries(options->destination);
    ok = ok &&
         zi_disk_check_free(options->destination, c.work.bytes_total, "the converted model",
                            error) &&
         zi_conversion_write(&c, error);
    zi_conversion_free(&c);
    return ok;
}
