/* Random prompts, assembled from word lists. */
#include "base/random.h"
#include "base/text.h"

#include <stdlib.h>

static const char *const subjects[] = {
    "an old lighthouse keeper",
    "a red fox",
    "a paper boat",
    "a street musician with a violin",
    "a small steam locomotive",
    "two children with lanterns",
    "a white heron",
    "a clockmaker at her bench",
    "a stack of worn books",
    "a wooden sailing ship",
    "a sleeping tabby cat",
    "a baker with floury hands",
    "a robot watering flowers",
    "a bicycle with a basket of apples",
    "a stone bridge",
    "an astronaut with a picnic basket",
    "a glass teapot",
    "a shepherd and three dogs",
    "a whale made of clouds",
    "a young woman reading a letter",
    "a market stall full of spice",
    "a brass telescope",
    "a tortoise with moss on its back",
    "a lone cherry tree",
    "a cellist in a green coat",
    "a flock of starlings",
    "a fisherman mending nets",
    "a carousel horse",
    "an owl on a fence post",
    "a bowl of ripe figs",
};
static const char *const places[] = {
    "on a cliff above the sea",
    "in a narrow alley after the rain",
    "in a meadow of tall grass",
    "beside a frozen lake",
    "in a sunlit kitchen",
    "on the roof of an old town house",
    "in a forest of birches",
    "at a deserted railway station",
    "in a desert of white sand",
    "under a vaulted library ceiling",
    "on a terrace above rice fields",
    "in a harbour full of masts",
    "in a workshop of many drawers",
    "on a mountain pass",
    "in a greenhouse with fogged panes",
    "at the edge of a volcano lake",
    "in a canyon of red rock",
    "by a canal lined with poplars",
    "in a quiet courtyard with a well",
    "on a beach at low tide",
};
static const char *const lights[] = {
    "soft morning light",
    "the last light of the day",
    "thin fog and pale sun",
    "moonlight",
    "warm light from a single window",
    "a clear noon with hard shadows",
    "light after a storm",
    "candlelight",
    "the blue hour before dawn",
    "dappled light through leaves",
    "falling snow",
    "golden autumn sun",
};
static const char *const styles[] = {
    "oil on canvas with visible brush strokes",
    "watercolour on rough paper",
    "35mm photograph, shallow depth of field",
    "woodcut in three colours",
    "gouache illustration from a picture book",
    "pencil drawing with fine hatching",
    "large-format photograph, every detail sharp",
    "pastel on grey paper",
    "ink and wash",
    "linocut poster with bold shapes",
    "still from an old colour film",
    "isometric miniature, clay and felt",
};
static const char *const moods[] = {
    "calm and spacious",   "playful",
    "quietly melancholic", "full of wonder",
    "warm and intimate",   "mysterious",
    "bright and cheerful", "solemn",
    "dreamlike",           "lively and crowded with small details",
};
static const char *const views[] = {
    "seen from far away, small in the picture",
    "close up",
    "seen from above",
    "seen from a low angle",
    "in the middle of the picture",
    "at the left, with much space around",
    "framed by a doorway",
    "reflected in still water",
};

/* The lists in prompt order, each with the separator before its word. */
#define LIST(before, words)                                                                        \
    {                                                                                              \
        before, words, sizeof words / sizeof *words                                                \
    }
static const struct {
    const char *before;
    const char *const *words;
    size_t count;
} lists[] = {
    LIST("", subjects), LIST(" ", places),  LIST(", ", views),
    LIST(", ", lights), LIST(", ", styles), LIST(", ", moods),
};
enum { LISTS = sizeof lists / sizeof *lists };

char *zi_random_prompt(uint64_t seed)
{
    zi_random random;
    float dice[LISTS];
    zi_text prompt;
    zi_random_seed(&random, seed ^ seed >> 32); /* the generator looks at 32 bits */
    zi_random_uniform(&random, dice, LISTS);
    zi_text_init(&prompt, 4096);
    for (size_t i = 0; i < LISTS; i++) {
        zi_text_puts(&prompt, lists[i].before);
        zi_text_puts(&prompt, lists[i].words[(size_t)(dice[i] * (float)lists[i].count)]);
    }
    return zi_text_take(&prompt);
}
