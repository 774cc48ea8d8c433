#include "io/image_metadata.h"
#include "base/text.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

/* Returns bytes of Latin-1 as UTF-8 in new memory; NULL: out of memory, and no error is set. */
static char *latin1_to_utf8(const char *data, size_t size)
{
    zi_text utf8;
    zi_text_init(&utf8, 2 * size);
    for (size_t i = 0; i < size; i++) {
        utf8proc_uint8_t bytes[4];
        utf8proc_ssize_t n = utf8proc_encode_char((unsigned char)data[i], bytes);
        zi_text_append(&utf8, bytes, (size_t)n);
    }
    return zi_text_take(&utf8);
}

/* The standard says that PNG's tEXt is Latin-1, but programs write UTF-8. Text that is both reads
 * well as UTF-8: two characters of Latin-1 that look like one of UTF-8 are rare. */
void zi_image_metadata_add(zi_image_metadata *m, const char *name, const char *data, size_t size)
{
    if (m->count == ZI_IMAGE_TEXTS_MAX) return;
    const char *end = data && size ? memchr(data, 0, size) : NULL;
    if (end) size = (size_t)(end - data);
    if (size > ZI_IMAGE_TEXT_MAX || size > ZI_IMAGE_TEXTS_BYTES_MAX - m->bytes) data = NULL;
    zi_image_text added = {.name = latin1_to_utf8(name, strlen(name))};
    if (data)
        added.text = zi_utf8_valid(data, size) ? strndup(data, size) : latin1_to_utf8(data, size);
    zi_image_text *more = realloc(m->texts, (m->count + 1) * sizeof *more);
    if (more) m->texts = more;
    if (!more || !added.name || (data && !added.text)) {
        free(added.name);
        free(added.text);
        m->failed = true;
        return;
    }
    m->bytes += data ? size : 0;
    more[m->count++] = added;
}

void zi_image_metadata_free(zi_image_metadata *metadata)
{
    for (size_t i = 0; i < metadata->count; i++) {
        free(metadata->texts[i].name);
        free(metadata->texts[i].text);
    }
    free(metadata->texts);
    *metadata = (zi_image_metadata){0};
}

const char *zi_image_metadata_find(const zi_image_metadata *metadata, const char *name)
{
    for (size_t i = 0; i < metadata->count; i++)
        if (!strcmp(metadata->texts[i].name, name)) return metadata->texts[i].text;
    return NULL;
}
