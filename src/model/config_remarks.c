#include "model/config_remarks.h"
#include "base/file.h"
#include "model/config_fields.h"
#include "model/variant.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_REMARK = 1 << 14, MAX_INDEX = 1 << 20 };

/* Calls remark with the text, unless it is empty, and frees that. False: memory was short; *error
 * is set. */
static bool pass_text(zi_text *text, zi_remark_fn remark, void *user, zi_error *error)
{
    if (text->failed) {
        zi_text_free(text);
        return zi_error_no_memory(error, MAX_REMARK);
    }
    if (text->size) remark(user, text->data);
    zi_text_free(text);
    return true;
}

/* zi_config_each_unknown for one file; path NULL, or no file: true. */
static bool pass_unknown(zi_config_kind kind, const char *path, zi_remark_fn remark, void *user,
                         zi_error *error)
{
    zi_text text;
    if (!path || !zi_is_file(path)) return true;
    zi_text_init(&text, MAX_REMARK);
    zi_config_describe_unknown_fields(kind, path, &text);
    return pass_text(&text, remark, user, error);
}

/* zi_config_each_unknown for a file in `folder`, which is NULL or a path that need not exist. */
static bool pass_unknown_in(zi_config_kind kind, const char *folder, const char *name,
                            zi_remark_fn remark, void *user, zi_error *error)
{
    char *path = folder ? zi_path_join(folder, name) : NULL;
    if (folder && !path) return zi_error_no_memory(error, strlen(folder));
    bool ok = pass_unknown(kind, path, remark, user, error);
    free(path);
    return ok;
}

/* The path of the scheduler config that counts, borrowed; NULL: there is none. */
static const char *scheduler_path(const zi_assembly *assembly)
{
    const char *own = assembly->layouts[ZI_ASSEMBLY_MODEL].scheduler;
    return own ? own : assembly->layouts[ZI_ASSEMBLY_REFERENCE].scheduler;
}

bool zi_config_each_unknown(const zi_assembly *assembly, zi_remark_fn remark, void *user,
                            zi_error *error)
{
    static const zi_config_kind kinds[ZI_WEIGHT_COMPONENTS] = {
        [ZI_COMPONENT_TRANSFORMER] = ZI_CONFIG_TRANSFORMER,
        [ZI_COMPONENT_TEXT_ENCODER] = ZI_CONFIG_QWEN,
        [ZI_COMPONENT_VAE] = ZI_CONFIG_VAE};
    for (int i = 0; i < ZI_WEIGHT_COMPONENTS; i++)
        if (!pass_unknown(kinds[i], zi_assembly_config(assembly, (zi_component)i), remark, user,
                          error))
            return false;
    const char *model = assembly->paths[ZI_ASSEMBLY_MODEL];
    const char *folder = zi_is_dir(model) ? model : NULL;
    return pass_unknown(ZI_CONFIG_SCHEDULER, scheduler_path(assembly), remark, user, error) &&
           pass_unknown_in(ZI_CONFIG_MODEL_INDEX, folder, "model_index.json", remark, user,
                           error) &&
           pass_unknown_in(ZI_CONFIG_GENERATION, folder, "text_encoder/generation_config.json",
                           remark, user, error);
}

/* Reads the class names that model_index.json and scheduler_config.json give the scheduler, and
 * appends a sentence if both have one and they differ. Files that cannot be read count as without.
 */
static void describe_class_mismatch(const char *index_path, const char *path, zi_text *out)
{
    cJSON *index = NULL, *own = NULL;
    if (zi_json_read(index_path, MAX_INDEX, &index, NULL) &&
        zi_json_read(path, MAX_INDEX, &own, NULL)) {
        const char *named =
            cJSON_GetStringValue(cJSON_GetArrayItem(zi_json_find(index, "scheduler"), 1));
        const char *class = cJSON_GetStringValue(zi_json_find(own, "_class_name"));
        if (named && class && strcmp(named, class) != 0)
            zi_text_printf(out,
                           "%s names %.60s as scheduler, but its own config is of %.60s, which is "
                           "used; correct one of the two",
                           index_path, named, class);
    }
    cJSON_Delete(index);
    cJSON_Delete(own);
}

bool zi_config_each_warning(const zi_assembly *assembly, const zi_config *config,
                            zi_remark_fn remark, void *user, zi_error *error)
{
    zi_text text;
    const char *model = assembly->paths[ZI_ASSEMBLY_MODEL];
    const char *own = assembly->layouts[ZI_ASSEMBLY_MODEL].scheduler;
    zi_text_init(&text, MAX_REMARK);
    if (config->foreign_shift > 0)
        zi_text_printf(&text,
                       "the reference's scheduler is that of %s (shift %g), but %s is a %s model: "
                       "its shift, %g, is used",
                       zi_variant_name(zi_variant_of_shift(config->foreign_shift)),
                       config->foreign_shift, model, zi_variant_name(config->variant),
                       config->scheduler.shift);
    if (!pass_text(&text, remark, user, error)) return false;
    char *index = own && zi_is_dir(model) ? zi_path_join(model, "model_index.json") : NULL;
    zi_text_init(&text, MAX_REMARK);
    if (index && zi_is_file(index)) describe_class_mismatch(index, own, &text);
    free(index);
    return pass_text(&text, remark, user, error);
}
