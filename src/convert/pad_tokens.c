#include "convert/pad_tokens.h"
#include "base/text.h"

#include <stdlib.h>
#include <string.h>

/* Reports a remark, made of a text about the source and the path of another model (NULL: none), to
 * the caller's callback, if there is one. A remark for which memory is short is lost. */
static void report_remark(const zi_conversion *c, const char *what, const char *from)
{
    zi_text text;
    zi_text_init(&text, 1 << 14);
    zi_text_printf(&text, "%s: the pad tokens are missing, and %s%s", c->options->source, what,
                   from ? from : "");
    char *remark = zi_text_take(&text);
    if (remark && c->options->remark) c->options->remark(c->options->user, remark);
    free(remark);
}

/* Opens the reference's transformer, once, as c->reference_checkpoint and c->reference. True
 * without opening anything if there is no reference, or it has no transformer. */
static bool open_reference(zi_conversion *c, zi_error *error)
{
    const zi_layout *reference = &c->layouts[ZI_INPUT_REFERENCE];
    if (!c->inputs[ZI_INPUT_REFERENCE] || !reference->components[ZI_COMPONENT_TRANSFORMER].path)
        return true;
    if (!zi_layout_open_component(reference, ZI_COMPONENT_TRANSFORMER, &c->reference_checkpoint,
                                  error))
        return false;
    const zi_checkpoint *one = c->reference_checkpoint;
    return zi_source_create(&one, 1, ZI_COMPONENT_TRANSFORMER, 0, &c->reference, error);
}

/* Creates c->zeros: a checkpoint of one tensor [1, width] of F32 zeros, which is in no file; its
 * path, for messages, is the source's. */
static bool create_zeros(zi_conversion *c, size_t width, zi_error *error)
{
    size_t bytes = width * sizeof(float);
    zi_checkpoint made = {.files = calloc(1, sizeof *made.files),
                          .tensors = calloc(1, sizeof *made.tensors)};
    char *path = strdup(c->options->source), *name = strdup("pad_token");
    zi_mapping mapping;
    if (!made.files || !made.tensors || !path || !name || !zi_map_zeros(bytes, &mapping, error)) {
        free(path);
        free(name);
        zi_checkpoint_close(&made);
        return zi_error_no_memory(error, bytes);
    }
    made.file_count = 1;
    made.files[0].path = path;
    made.files[0].mapping = mapping;
    made.tensor_count = 1;
    made.tensors[0] = (zi_tensor){.name = name,
                                  .type = ZI_F32,
                                  .dims = 2,
                                  .shape = {1, width},
                                  .count = width,
                                  .bytes = bytes,
                                  .data = mapping.data};
    return zi_checkpoint_share(&made, &c->zeros, error);
}

/* Adds zeros [1, width] under this canonical name to the transformer's source. */
static bool add_zeros(zi_conversion *c, const char *name, size_t width, zi_error *error)
{
    char canonical[ZI_MAX_KEY];
    snprintf(canonical, sizeof canonical, "%s", name);
    if (!c->zeros && !create_zeros(c, width, error)) return false;
    const zi_tensor *tensor = &c->zeros->tensors[0];
    zi_entry entry = {.name = canonical,
                      .kind = ZI_TENSOR_ROW,
                      .checkpoint = c->zeros,
                      .tensor = tensor,
                      .data = tensor->data,
                      .bytes = tensor->bytes,
                      .rows = 1,
                      .dims = 2,
                      .shape = {1, width}};
    return zi_source_add(&c->components[ZI_COMPONENT_TRANSFORMER].source, &entry, error);
}

bool zi_conversion_add_pad_tokens(zi_conversion *conversion, const zi_layout *layout,
                                  zi_error *error)
{
    zi_conversion *c = conversion;
    zi_source *source = &c->components[ZI_COMPONENT_TRANSFORMER].source;
    const zi_entry *embedder = zi_source_find(source, "all_x_embedder.2-1.weight");
    size_t width = embedder && embedder->dims == 2 ? embedder->shape[0] : 0;
    for (int i = 0; i < ZI_PAD_TOKENS; i++) {
        const char *name = zi_pad_tokens[i];
        if (zi_source_find(source, name) || !width) continue;
        if (!c->reference_checkpoint && !open_reference(c, error)) return false;
        const zi_entry *entry = zi_source_find(&c->reference, name);
        bool fits = entry && entry->dims == 2 && entry->shape[0] == 1 && entry->shape[1] == width;
        bool zero = !fits && layout->naming == ZI_NAMES_MLX && c->target != ZI_NAMES_MLX;
        if (fits && !zi_source_add(source, entry, error)) return false;
        if (zero && !add_zeros(c, name, width, error)) return false;
        c->pads_from_reference = c->pads_from_reference || fits;
        c->pads_zero = c->pads_zero || zero;
        c->pads_missing = c->pads_missing || (!fits && !zero);
    }
    return true;
}

void zi_conversion_report_pad_tokens(const zi_conversion *conversion)
{
    static const char zeros[] =
        "are written as zeros: images will differ from those of the original; to avoid this, name "
        "a reference model (a complete Z-Image model), which has them",
                      missing[] = "are left out: images will differ from those of the original; a "
                                  "reference model (a complete Z-Image model) has them";
    const zi_conversion *c = conversion;
    if (c->pads_from_reference) report_remark(c, "are taken from ", c->inputs[ZI_INPUT_REFERENCE]);
    if (c->pads_zero) report_remark(c, zeros, NULL);
    if (c->pads_missing) report_remark(c, missing, NULL);
}
