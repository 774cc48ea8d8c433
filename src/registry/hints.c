/* What someone without a model should do, on this machine. */
#include "base/machine.h"
#include "base/text.h"
#include "hub/disk.h"
#include "registry/registry.h"

#include <unistd.h>

/* Z-Image-Turbo as its makers publish it, and as MLX folders of a precision, in bytes: what stays,
 * and the most that is there while it is fetched and converted. While a picture is drawn the
 * transformer has to be in memory, and a gigabyte and a half beside it; the text encoder is read
 * once for a prompt. */
static const uint64_t original_bytes = 32900000000;
static const struct {
    zi_precision precision;
    uint64_t disk, meanwhile, memory;
} choices[] = {
    {ZI_PRECISION_BF16, 20600000000, 25000000000, 14000000000},
    {ZI_PRECISION_Q8, 14900000000, 22700000000, 8200000000},
    {ZI_PRECISION_Q4, 11900000000, 21500000000, 5200000000},
};
enum { CHOICES = sizeof choices / sizeof *choices };

static uint64_t memory_of_machine(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
    uint64_t all = pages > 0 && size > 0 ? (uint64_t)pages * (uint64_t)size : 0;
    size_t granted = zi_available_memory("");
    return granted < all || !all ? granted : all;
}

char *zi_registry_hint(const zi_registry *registry, zi_precision *precision)
{
    char download[32], need[32], have[32], free_text[32];
    uint64_t memory = memory_of_machine(), room = 0;
    size_t pick = 0;
    zi_text text;
    while (pick < CHOICES - 1 && memory < choices[pick].memory) pick++;
    uint64_t disk = choices[pick].meanwhile;
    bool known = zi_disk_room(registry->options.folder, &room, NULL),
         fits = memory >= choices[pick].memory;
    zi_text_init(&text, 2000);
    *precision = choices[pick].precision;
    zi_text_printf(&text, "%s to download, of which %s stay; ",
                   zi_bytes_text(original_bytes, download),
                   zi_bytes_text(choices[pick].disk, need));
    zi_text_printf(&text, "of this machine's memory %s are free, which %s",
                   zi_bytes_text(memory, have),
                   fits ? "is enough for this precision" : "is little: expect it to be slow");
    if (known && room >= disk)
        zi_text_printf(&text, ", and of its disk %s, which is enough",
                       zi_bytes_text(room, free_text));
    else if (known)
        zi_text_printf(&text, ", and of its disk %s, which is too little: %s are needed meanwhile",
                       zi_bytes_text(room, free_text), zi_bytes_text(disk, need));
    return zi_text_take(&text);
}
