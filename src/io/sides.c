#include "io/sides.h"

#include <stdio.h>
#include <stdlib.h>

/* A rule for tensors whose names end in `end`. It names another tensor: with `other` in place of
 * this end, or, if `other` begins with =, with the name behind the =. The first rule of a table
 * that fits a name counts. */
typedef struct {
    const char *end, *other;
} side_rule;

/* The other tensor has as many rows (a vector: elements) as the tensor has columns. */
static const side_rule column_rules[] = {
    {".attentions.0.to_q.weight", ".attentions.0.group_norm.weight"},
    {".attentions.0.to_k.weight", ".attentions.0.group_norm.weight"},
    {".attentions.0.to_v.weight", ".attentions.0.group_norm.weight"},
    {".attention.to_q.weight", ".attention_norm1.weight"},
    {".attention.to_k.weight", ".attention_norm1.weight"},
    {".attention.to_v.weight", ".attention_norm1.weight"},
    {".to_out.0.weight", ".to_q.weight"},
    {".feed_forward.w1.weight", ".ffn_norm1.weight"},
    {".feed_forward.w3.weight", ".ffn_norm1.weight"},
    {".feed_forward.w2.weight", ".feed_forward.w1.weight"},
    {"adaLN_modulation.0.weight", "=t_embedder.mlp.2.weight"},
    {"adaLN_modulation.1.weight", "=t_embedder.mlp.2.weight"},
    {"t_embedder.mlp.2.weight", "t_embedder.mlp.0.weight"},
    {"cap_embedder.1.weight", "cap_embedder.0.weight"},
    {"all_x_embedder.2-1.weight", "=all_final_layer.2-1.linear.weight"},
    {"all_final_layer.2-1.linear.weight", "=all_x_embedder.2-1.weight"},
    {".self_attn.q_proj.weight", ".input_layernorm.weight"},
    {".self_attn.k_proj.weight", ".input_layernorm.weight"},
    {".self_attn.v_proj.weight", ".input_layernorm.weight"},
    {".self_attn.o_proj.weight", ".self_attn.q_proj.weight"},
    {".mlp.gate_proj.weight", ".post_attention_layernorm.weight"},
    {".mlp.up_proj.weight", ".post_attention_layernorm.weight"},
    {".mlp.down_proj.weight", ".mlp.gate_proj.weight"},
    {"model.embed_tokens.weight", "=model.norm.weight"},
    {"lm_head.weight", "=model.norm.weight"},
};

/* The other tensor, a vector, has as many elements as the tensor has rows. */
static const side_rule row_rules[] = {
    {".attention.to_out.0.weight", ".attention_norm2.weight"},
    {".feed_forward.w2.weight", ".ffn_norm2.weight"},
    {".self_attn.o_proj.weight", ".input_layernorm.weight"},
    {".mlp.down_proj.weight", ".input_layernorm.weight"},
    {".weight", ".bias"},
};

/* The other tensor, if its values are not packed, has as many columns as the tensor has rows. */
static const side_rule reader_rules[] = {
    {".feed_forward.w1.weight", ".feed_forward.w2.weight"},
    {".feed_forward.w3.weight", ".feed_forward.w2.weight"},
    {".mlp.gate_proj.weight", ".mlp.down_proj.weight"},
    {".mlp.up_proj.weight", ".mlp.down_proj.weight"},
    {".attention.to_q.weight", ".attention.to_out.0.weight"},
    {".self_attn.q_proj.weight", ".self_attn.o_proj.weight"},
};

/* Writes the other name of the first rule that fits `name`, and returns it; NULL: none fits. */
static const char *other_name(const side_rule *rules, size_t count, const char *name,
                              char out[ZI_MAX_KEY])
{
    size_t length = strlen(name);
    for (size_t i = 0; i < count; i++) {
        size_t n = strlen(rules[i].end);
        if (n > length || strcmp(name + length - n, rules[i].end) != 0) continue;
        if (rules[i].other[0] == '=') return rules[i].other + 1;
        snprintf(out, ZI_MAX_KEY, "%.*s%s", (int)(length - n), name, rules[i].other);
        return out;
    }
    return NULL;
}

/* For bsearch: compares a name (a string, not a pointer to one) with a piece's. */
static int by_name(const void *name, const void *piece)
{
    return strcmp(name, ((const zi_piece *)piece)->name);
}

/* The weight of this canonical name; NULL: absent. */
static const zi_piece *find_weight(const zi_pieces *all, const char *name)
{
    const zi_piece *found = bsearch(name, all->list, all->count, sizeof *all->list, by_name);
    while (found && found > all->list && strcmp(found[-1].name, name) == 0) found--;
    return found && found->role == ZI_ROLE_WEIGHT ? found : NULL;
}

/* The rows of a stored weight that are its piece's; 0 for a tensor without dimensions. */
static size_t stored_rows(const zi_piece *piece)
{
    return piece->tensor->dims ? piece->tensor->shape[0] / (size_t)piece->slices : 0;
}

size_t zi_implied_columns(const zi_pieces *all, const char *name)
{
    enum { FREQUENCIES = 256 }; /* of the timestep embedding, in every model */
    char buffer[ZI_MAX_KEY];
    if (strcmp(name, "t_embedder.mlp.0.weight") == 0) return FREQUENCIES;
    const char *other =
        other_name(column_rules, sizeof column_rules / sizeof *column_rules, name, buffer);
    const zi_piece *weight = other ? find_weight(all, other) : NULL;
    return weight ? stored_rows(weight) : 0;
}

size_t zi_implied_rows(const zi_pieces *all, const char *name)
{
    char buffer[ZI_MAX_KEY];
    const char *other = other_name(row_rules, sizeof row_rules / sizeof *row_rules, name, buffer);
    const zi_piece *weight = other ? find_weight(all, other) : NULL;
    if (weight) return stored_rows(weight);
    other = other_name(reader_rules, sizeof reader_rules / sizeof *reader_rules, name, buffer);
    weight = other ? find_weight(all, other) : NULL;
    bool packed = weight && (weight->tensor->type == ZI_U32 || weight->tensor->type == ZI_U8);
    return weight && !packed && weight->tensor->dims == 2 ? weight->tensor->shape[1] : 0;
}
