/* zi_registry_hint: the precision of Z-Image-Turbo that fits this machine, for users without a
 * model. */
#include "base/filesystem.h"
#include "base/machine.h"
#include "base/text.h"
#include "registry/registry.h"

#include <unistd.h>

/* In bytes: the download of the published Z-Image-Turbo, and for each precision of its MLX folder
 * the size on the disk, the peak disk usage of download and streaming conversion, and the memory
 * that generating needs: the transformer and 1.5 GB. (The text encoder is read once per prompt.) */
static const uint64_t original_bytes = 32900000000;
static const struct {
    zi_precision precision;
    uint64_t disk, peak_disk, memory;
} choices[] = {
    {ZI_PRECISION_BF16, 20600000000, 25000000000, 14000000000},
    {ZI_PRECISION_Q8, 14900000000, 22700000000, 8200000000},
    {ZI_PRECISION_Q4, 11900000000, 21500000000, 5200000000},
};
enum { CHOICES = sizeof choices / sizeof *choices };

/* Returns the bytes of memory that this process can use without swapping: what is free or droppable
 * now, within the limits of control groups, and at most the machine's memory, which it also is when
 * the others are unknown. SIZE_MAX: nothing is known. */
static uint64_t usable_memory(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
    uint64_t all = pages > 0 && size > 0 ? (uint64_t)pages * (uint64_t)size : 0;
    size_t granted = zi_available_memory("");
    return granted < all || !all ? granted : all;
}

char *zi_registry_hint(const zi_registry *registry, zi_precision *precision)
{
    char download[32], need[32], have[32], free_text[32];
    uint64_t memory = usable_memory(), room = 0;
    size_t choice = 0;
    zi_text text;
    while (choice < CHOICES - 1 && memory < choices[choice].memory) choice++;
    uint64_t disk = choices[choice].peak_disk;
    bool known = zi_disk_free_bytes(registry->options.folder, &room, NULL),
         fits = memory >= choices[choice].memory;
    zi_text_init(&text, 2000);
    *precision = choices[choice].precision;
    zi_text_printf(&text, "%s to download, %s on the disk after the conversion; ",
                   zi_format_bytes(original_bytes, download),
                   zi_format_bytes(choices[choice].disk, need));
    zi_text_printf(&text, "%s of memory are free, which %s", zi_format_bytes(memory, have),
                   fits ? "is enough for this precision"
                        : "is too little for this precision: generating will be slow");
    if (known && room >= disk)
        zi_text_printf(&text, "; %s of disk space are free, which is enough",
                       zi_format_bytes(room, free_text));
    else if (known)
        zi_text_printf(
            &text,
            "; %s of disk space are free, which is too little: the download and conversion need %s",
            zi_format_bytes(room, free_text), zi_format_bytes(disk, need));
    return zi_text_take(&text);
}
