/* Components that a model gets from elsewhere: those that options name, and those that the registry
 * finds. */
#include "cli.h"

#include <stdlib.h>
#include <string.h>

/* The field of zi_model_options for a component's path. */
static const char *field_of(zi_component component)
{
    return component == ZI_COMPONENT_VAE            ? "vae"
           : component == ZI_COMPONENT_TEXT_ENCODER ? "text_encoder"
                                                    : "reference";
}

/* Replaces *path, a path or name that an option gave, by the path of what it names; *owned gets
 * that string. NULL stays. False: it is empty or there is none; *error is set. */
static bool resolve_part(zi_registry *registry, zi_component component, const char **path,
                         char **owned, zi_error *error)
{
    if (!*path) return true;
    if (!**path)
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, field_of(component),
                            "is empty; give a model's path or its name in `zimage models`");
    if (!zi_registry_resolve_part(registry, component, *path, owned, error)) {
        zi_add_download_hint(*path, error);
        return false;
    }
    *path = *owned;
    return true;
}

bool zi_resolve_parts(const zi_user_registry *models, zi_model_options *load, zi_used_parts *out,
                      zi_error *error)
{
    zi_used_parts parts = {0};
    bool ok = resolve_part(models->registry, ZI_COMPONENT_TEXT_ENCODER, &load->text_encoder,
                           &parts.text_encoder, error) &&
              resolve_part(models->registry, ZI_COMPONENT_VAE, &load->vae, &parts.vae, error) &&
              resolve_part(models->registry, ZI_COMPONENT_TOKENIZER, &load->reference,
                           &parts.reference, error);
    if (ok)
        *out = parts;
    else
        zi_used_parts_free(&parts);
    return ok;
}

bool zi_find_parts(const zi_user_registry *models, zi_model_options *load, zi_used_parts *parts,
                   zi_error *error)
{
    if (!zi_registry_find_parts(models->registry, load, &parts->found, error)) return false;
    if (parts->found.text_encoder) load->text_encoder = parts->found.text_encoder;
    if (parts->found.vae) load->vae = parts->found.vae;
    load->tokenizer = parts->found.tokenizer;
    return true;
}

void zi_used_parts_free(zi_used_parts *parts)
{
    free(parts->text_encoder);
    free(parts->vae);
    free(parts->reference);
    zi_model_parts_free(&parts->found);
    *parts = (zi_used_parts){0};
}
