/* Metadata of images: the first byte of an input tells what the rest is, an EXIF block, an XMP
 * packet, a text of a name that programs use, or a whole image file of at most 4096 pixels. */
#include "fuzz.h"
#include "io/image.h"

#include <stdlib.h>
#include <string.h>

static void each(void *user, const char *key, const char *value)
{
    (void)user;
    FUZZ_EXPECT(strlen(key) >= 2 && value);
}

/* Translates the texts and reads the result. */
static void read_infotext(const zi_image_metadata *metadata)
{
    zi_error error = {0};
    zi_infotext_fields fields;
    char *infotext = NULL, *storage = NULL;
    for (size_t i = 0; i < metadata->count; i++) {
        const zi_image_text *t = &metadata->texts[i];
        FUZZ_EXPECT(zi_utf8_valid(t->name, strlen(t->name)));
        FUZZ_EXPECT(!t->text || zi_utf8_valid(t->text, strlen(t->text)));
    }
    if (!fuzz_ok(zi_image_metadata_infotext(metadata, &infotext, NULL, &error), &error) ||
        !infotext)
        return;
    FUZZ_EXPECT(zi_utf8_valid(infotext, strlen(infotext)));
    if (fuzz_ok(zi_infotext_parse(infotext, &fields, &storage, &error), &error)) free(storage);
    FUZZ_EXPECT(zi_infotext_each(infotext, each, NULL));
    free(infotext);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[] = {"parameters", "prompt", "invokeai_metadata", "sd-metadata",
                                        "UserComment"};
    enum { NAMES = sizeof names / sizeof *names };
    zi_image_metadata metadata = {0};
    zi_error error = {0};
    if (!size) return 0;
    unsigned kind = *data++ % (NAMES + 3);
    size--;
    fuzz_begin();
    if (kind == NAMES + 2) {
        char *json = NULL;
        if (fuzz_ok(zi_image_inspect_data(data, size, 4096, &json, &error), &error)) free(json);
    } else {
        /* A copy of just that size, so that a read behind it is seen. */
        uint8_t *copy = malloc(size + !size);
        memcpy(copy, data, size);
        if (kind == NAMES)
            zi_image_metadata_add_exif(&metadata, copy, size);
        else if (kind == NAMES + 1)
            zi_image_metadata_add_xmp(&metadata, (const char *)copy, size);
        else
            zi_image_metadata_add(&metadata, names[kind], (const char *)copy, size);
        free(copy);
        read_infotext(&metadata);
        zi_image_metadata_free(&metadata);
    }
    fuzz_end();
    return 0;
}
