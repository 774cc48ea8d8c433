/* Notes on the generation parameters of a request. */
#include "cli.h"

#include <stdio.h>

/* Prints a note, unless quiet, on the settings that follow from the base model. used: given with
 * all defaults. */
static void print_base_note(bool quiet, const zi_request *given, const zi_request *used)
{
    char steps[32] = "", guidance[32] = "";
    if (!given->steps) snprintf(steps, sizeof steps, "%d steps", used->steps);
    if (!given->guidance_given) snprintf(guidance, sizeof guidance, "guidance %g", used->guidance);
    if (*steps || *guidance)
        zi_print_note(quiet, "this is Z-Image, the base model: using %s%s%s and shift %g", steps,
                      *steps && *guidance ? ", " : "", guidance, used->shift);
}

/* Prints notes, unless quiet, on options that have no effect without guidance. used: given with all
 * defaults. */
static void print_guidance_notes(bool quiet, const zi_request *given, const zi_request *used)
{
    const struct {
        bool given;
        const char *option;
    } options[] = {{given->negative != NULL, "negative"},
                   {given->cfg_normalization > 0, "cfg-normalization"},
                   {given->cfg_truncation > 0 && given->cfg_truncation < 1, "cfg-truncation"}};
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        if (options[i].given && used->guidance <= 0)
            zi_print_note(quiet,
                          "--%s has no effect, because the guidance is 0; leave it out, or set "
                          "--guidance to a number above 0",
                          options[i].option);
}

void zi_print_request_notes(bool quiet, const zi_request *request, const zi_model *model)
{
    zi_request used;
    if (!zi_request_resolve(model, request, &used, NULL)) return;
    if (zi_model_variant(model) == ZI_VARIANT_BASE) print_base_note(quiet, request, &used);
    print_guidance_notes(quiet, request, &used);
}
