/* ComfyUI's prompt graph: an object of nodes by id, each with "class_type" and "inputs". An input
 * is a plain value, or a link ["ID", OUTPUT] to another node. */
#include "io/translation.h"

#include <string.h>

/* Visits of nodes while one value is looked for: graphs may have circles. */
enum { VISITS_MAX = 500 };

typedef const char *const names;

/* Names of inputs that hold a single value in nodes that only pass one on. */
static names any_value[] = {"value",  "text", "string",     "int",    "float",
                            "number", "seed", "noise_seed", "prompt", NULL};

typedef struct {
    const cJSON *graph;
    int visits; /* left */
} search;

/* The node that a value links to; NULL: it is no link, or there is no such node. */
static const cJSON *linked_node(const search *s, const cJSON *value)
{
    const cJSON *id = cJSON_IsArray(value) ? value->child : NULL;
    if (!cJSON_IsString(id) || !cJSON_IsNumber(id->next)) return NULL;
    return cJSON_GetObjectItemCaseSensitive(s->graph, id->valuestring);
}

/* The input of this name; NULL: the node has none. */
static const cJSON *input(const cJSON *node, const char *name)
{
    return cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(node, "inputs"), name);
}

/* The class of a node, "" if it has none. */
static const char *class_of(const cJSON *node)
{
    const char *class = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(node, "class_type"));
    return class ? class : "";
}

/* Finds the first plain input of one of these names: in the node, in a node that such an input is
 * linked to, or in the nodes that the inputs `via` are linked to. NULL: there is none. */
static const cJSON *find_value(search *s, const cJSON *node, names *wanted, names *via)
{
    if (!node || s->visits-- <= 0 || strstr(class_of(node), "ZeroOut")) return NULL;
    const cJSON *found = NULL;
    for (names *name = wanted; *name && !found; name++) {
        const cJSON *value = input(node, *name);
        if (cJSON_IsString(value) || cJSON_IsNumber(value)) return value;
        found = find_value(s, linked_node(s, value), any_value, any_value);
    }
    for (names *name = via; *name && !found; name++)
        found = find_value(s, linked_node(s, input(node, *name)), wanted, via);
    return found;
}

/* find_value with a new limit of visits. */
static const cJSON *look_up(const cJSON *graph, const cJSON *node, names *wanted, names *via)
{
    search s = {graph, VISITS_MAX};
    return find_value(&s, node, wanted, via);
}

static names no_names[] = {NULL};

/* Sets prompt (side "positive") or negative prompt by the sampler's link of that side; a guider's,
 * if it has one. */
static void set_text(const cJSON *graph, const cJSON *sampler, const char *side,
                     zi_translated_field field, zi_translation *out)
{
    static names texts[] = {"text", "prompt", "text_g", "t5xxl", "string", "value", NULL};
    static names via[] = {"conditioning",    "positive",  "conditioning_1",
                          "conditioning_to", "clip_text", NULL};
    static names negative_via[] = {"conditioning", "negative", NULL};
    const search s = {graph, VISITS_MAX};
    const cJSON *guider = linked_node(&s, input(sampler, "guider"));
    const cJSON *holder = guider ? guider : sampler;
    bool negative = field == ZI_TRANSLATED_NEGATIVE;
    const cJSON *node = linked_node(&s, input(holder, side));
    if (!node && !negative) node = linked_node(&s, input(holder, "conditioning"));
    const cJSON *text = look_up(graph, node, texts, negative ? negative_via : via);
    if (cJSON_IsString(text)) zi_translation_set(out, field, text);
}

/* Appends the LoRAs on the way from the sampler to the model, as "Lora weights: NAME: STRENGTH,
 * ...", and sets model and shift. */
static void set_model(const cJSON *graph, const cJSON *sampler, zi_translation *out)
{
    static names via[] = {"model", "guider", "sigmas", "basic_pipe", NULL};
    static names models[] = {"unet_name",  "ckpt_name", "model_name", "gguf_name",
                             "model_path", "model",     NULL};
    static names lora[] = {"lora_name", NULL}, shift[] = {"shift", NULL};
    const cJSON *model = look_up(graph, sampler, models, via);
    if (cJSON_IsString(model)) zi_translation_set_model(out, model->valuestring);
    zi_translation_set(out, ZI_TRANSLATED_SHIFT, look_up(graph, sampler, shift, via));
    search s = {graph, VISITS_MAX};
    zi_text loras;
    zi_text_init(&loras, 1 << 20);
    const cJSON *node = sampler;
    for (int hops = 0; node && hops < 64; hops++) {
        const cJSON *name = find_value(&s, node, lora, no_names);
        const cJSON *strength = input(node, "strength_model");
        if (cJSON_IsString(name))
            zi_text_printf(&loras, "%s%s: %g", loras.size ? ", " : "", name->valuestring,
                           cJSON_IsNumber(strength) ? strength->valuedouble : 1);
        const cJSON *next = linked_node(&s, input(node, "model"));
        node = next ? next : linked_node(&s, input(node, "guider"));
    }
    out->failed |= loras.failed && !loras.too_long;
    if (loras.size && !loras.failed) {
        const cJSON text = {.type = cJSON_String, .valuestring = loras.data};
        zi_translation_add(out, "Lora weights", &text);
    }
    zi_text_free(&loras);
}

/* Whether a node samples: KSampler, KSamplerAdvanced, SamplerCustom..., or a node of an extension
 * with a seed and prompts. */
static bool is_sampler(const cJSON *node)
{
    const char *class = class_of(node);
    if (!strncmp(class, "KSamplerSelect", 14)) return false;
    bool seeded = input(node, "seed") || input(node, "noise_seed") || input(node, "noise");
    bool guided = input(node, "positive") || input(node, "guider") || input(node, "conditioning");
    return !strncmp(class, "KSampler", 8) || !strncmp(class, "SamplerCustom", 13) ||
           (seeded && guided);
}

/* The first sampler whose size is plain, so that of the first pass; else the first sampler; NULL:
 * there is none. *count: how many there are. */
static const cJSON *find_sampler(const cJSON *graph, int *count)
{
    static names width[] = {"width", NULL}, via[] = {"latent_image", "latent", "samples", NULL};
    const cJSON *first = NULL, *sized = NULL;
    *count = 0;
    for (const cJSON *node = graph->child; node; node = node->next) {
        if (!is_sampler(node)) continue;
        search s = {graph, 4}; /* a latent image and perhaps a node that repeats it */
        if (!first) first = node;
        if (!sized && ++*count < 16 && find_value(&s, node, width, via))
            sized = node;
        else if (sized)
            ++*count;
    }
    return sized ? sized : first;
}

/* Whether the object has a node: a member with a class. */
static bool has_node(const cJSON *graph)
{
    for (const cJSON *node = graph->child; node; node = node->next)
        if (*class_of(node)) return true;
    return false;
}

bool zi_translate_comfyui(const cJSON *graph, zi_translation *out)
{
    static names latent[] = {"latent_image", "latent", "samples", NULL};
    static const struct {
        zi_translated_field field;
        const char *name[3], *via[5];
    } values[] = {{ZI_TRANSLATED_SEED, {"seed", "noise_seed"}, {"noise"}},
                  {ZI_TRANSLATED_STEPS, {"steps"}, {"sigmas"}},
                  {ZI_TRANSLATED_CFG, {"cfg"}, {"guider"}},
                  {ZI_TRANSLATED_SAMPLER, {"sampler_name"}, {"sampler"}},
                  {ZI_TRANSLATED_SCHEDULE, {"scheduler"}, {"sigmas"}}};
    static names width[] = {"width", NULL}, height[] = {"height", NULL};
    int samplers;
    if (!has_node(graph)) return false;
    const cJSON *sampler = find_sampler(graph, &samplers);
    if (!sampler) return true;
    set_text(graph, sampler, "positive", ZI_TRANSLATED_PROMPT, out);
    set_text(graph, sampler, "negative", ZI_TRANSLATED_NEGATIVE, out);
    for (size_t i = 0; i < sizeof values / sizeof *values; i++)
        zi_translation_set(out, values[i].field,
                           look_up(graph, sampler, values[i].name, values[i].via));
    zi_translation_set(out, ZI_TRANSLATED_WIDTH, look_up(graph, sampler, width, latent));
    zi_translation_set(out, ZI_TRANSLATED_HEIGHT, look_up(graph, sampler, height, latent));
    set_model(graph, sampler, out);
    zi_translation_add(out, "Denoise", input(sampler, "denoise"));
    if (samplers > 1) {
        const cJSON number = {.type = cJSON_Number, .valueint = samplers, .valuedouble = samplers};
        zi_translation_add(out, "Samplers", &number);
    }
    return true;
}
