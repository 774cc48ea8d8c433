/* JSON files of models except tokenizers: an input is read as each kind of config and as an index.
 */
#include "fuzz.h"
#include "model/config.h"
#include "model/config_fields.h"

/* The shard that an input may list as an index: tensors a and b. */
static const char shard[] = "\x6d\0\0\0\0\0\0\0"
                            "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
                            "\"b\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]}}    ab";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    zi_config config = zi_config_z_image_turbo();
    zi_checkpoint checkpoint;
    zi_error error = {0};
    fuzz_begin();
    fuzz_file("m/config.json", data, size);
    fuzz_file("m/model.safetensors.index.json", data, size);
    fuzz_file("m/1.safetensors", shard, sizeof shard - 1);
    for (int part = 0; part < ZI_WEIGHT_COMPONENTS; part++)
        fuzz_ok(zi_config_read((zi_component)part, "m/config.json", &config, &error), &error);
    fuzz_ok(zi_config_read_scheduler("m/config.json", &config.scheduler, &error), &error);
    for (int kind = 0; kind < ZI_CONFIG_KINDS; kind++) {
        zi_text unknown;
        zi_text_init(&unknown, 1 << 16);
        zi_config_describe_unknown_fields((zi_config_kind)kind, "m/config.json", &unknown);
        zi_text_free(&unknown);
    }
    fuzz_ok(zi_config_check_pipeline("m/config.json", &error), &error);
    fuzz_ok(zi_config_check_components("m", &config, &error), &error);
    if (fuzz_ok(zi_checkpoint_open_dir("m", "model", &checkpoint, &error), &error)) {
        fuzz_checkpoint(&checkpoint);
        zi_checkpoint_close(&checkpoint);
    }
    fuzz_end();
    return 0;
}
