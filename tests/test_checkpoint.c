/* Safetensors files: malformed files are refused with the right error; what is written can be read.
 */
#include "harness.h"
#include "io/checkpoint.h"
#include "io/recognise.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A file with this header and `data` zero bytes behind it. */
static void write_file(const char *path, const char *header, size_t data)
{
    size_t length = strlen(header), size = 8 + length + data;
    unsigned char *bytes = calloc(1, size);
    for (int i = 0; i < 8; i++) bytes[i] = (unsigned char)((uint64_t)length >> 8 * i);
    memcpy(bytes + 8, header, length);
    zi_test_write_file(path, bytes, size);
    free(bytes);
}

static void damaged_headers(void)
{
    static const struct {
        const char *header;
        size_t data;
        const char *says;
        zi_error_code code;
        const char *subject; /* NULL: the file */
    } rows[] = {
        {"", 0, "its header is not valid JSON", ZI_ERROR_BAD_FORMAT, NULL},
        {"[]", 0, "its header is not valid JSON", ZI_ERROR_BAD_FORMAT, NULL},
        {"{\"a\":", 0, "its header is not valid JSON", ZI_ERROR_BAD_FORMAT, NULL},
        {"{\"\xff\":1}", 0, "its header is not valid JSON", ZI_ERROR_BAD_FORMAT, NULL},
        {"{\"a\":{}}", 0, "tensor a has no \"dtype\"", ZI_ERROR_BAD_FORMAT, "a"},
        {"{\"a\":{\"dtype\":\"F7\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4,
         "tensor a has values of type F7", ZI_ERROR_UNSUPPORTED, "a"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":7,\"data_offsets\":[0,4]}}", 4, "\"shape\"",
         ZI_ERROR_BAD_FORMAT, "a"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,4]}}", 4,
         "at most 8", ZI_ERROR_BAD_FORMAT, "a"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", 4, "impossible shape",
         ZI_ERROR_BAD_FORMAT, "a"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1.5],\"data_offsets\":[0,4]}}", 4,
         "impossible shape", ZI_ERROR_BAD_FORMAT, "a"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,4]}}", 4,
         "impossible shape", ZI_ERROR_BAD_FORMAT, "a"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904],\"data_offsets\":[0,4]}}", 4,
         "impossible shape", ZI_ERROR_BAD_FORMAT, "a"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}", 4, "[begin, end]",
         ZI_ERROR_BAD_FORMAT, "a"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}}", 4, "[begin, end]",
         ZI_ERROR_BAD_FORMAT, "a"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 4, "cut off",
         ZI_ERROR_BAD_FORMAT, "a"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,1e300]}}", 4, "[begin, end]",
         ZI_ERROR_BAD_FORMAT, "a"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,8]}}", 8,
         "takes 8 bytes where", ZI_ERROR_BAD_FORMAT, "a"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},"
         "\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[2,6]}}",
         6, "overlaps", ZI_ERROR_BAD_FORMAT, "b"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},"
         "\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[5,9]}}",
         9, "gap", ZI_ERROR_BAD_FORMAT, "b"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}", 9,
         "belong to no tensor", ZI_ERROR_BAD_FORMAT, NULL},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
         "\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[2,4]}}",
         4, "there twice", ZI_ERROR_BAD_FORMAT, "a"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *path = zi_test_path("damaged.safetensors");
        zi_checkpoint checkpoint;
        zi_error error = {0};
        write_file(path, rows[i].header, rows[i].data);
        if (!CHECK_MSG(!zi_checkpoint_open(path, &checkpoint, &error), "row %zu was accepted", i))
            zi_checkpoint_close(&checkpoint);
        CHECK_MSG(strstr(error.text, rows[i].says) && strstr(error.text, path), "row %zu says: %s",
                  i, error.text);
        CHECK_ERROR(error, rows[i].code, rows[i].subject ? rows[i].subject : path);
    }
}

static void damaged_lengths(void)
{
    static const struct {
        unsigned char bytes[16];
        size_t size;
        const char *says;
    } rows[] = {
        {{0}, 0, "too few"},
        {{1, 2, 3}, 7, "too few"},
        {{200}, 16, "cut off inside its header"},
        {{9}, 16, "cut off inside its header"},
        {{16}, 16, "cut off inside its header"},
        {{8}, 16, "its header is not valid JSON"},
        {{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
         16,
         "is neither a model nor an image (perhaps a web page"},
        {{0, 0, 0, 0, 1}, 16, "a model is a safetensors or GGUF file or a folder"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *path = zi_test_path("damaged.safetensors");
        zi_checkpoint checkpoint;
        zi_error error = {0};
        zi_test_write_file(path, rows[i].bytes, rows[i].size);
        CHECK(!zi_checkpoint_open(path, &checkpoint, &error));
        CHECK_MSG(strstr(error.text, rows[i].says), "row %zu says: %s", i, error.text);
        CHECK_ERROR(error, ZI_ERROR_BAD_FORMAT, path);
    }
}

static void no_such_file(void)
{
    zi_checkpoint checkpoint;
    zi_error error = {0};
    CHECK(!zi_checkpoint_open(zi_test_path("none"), &checkpoint, &error));
    CHECK_ERROR(error, ZI_ERROR_NOT_FOUND, zi_test_path("none"));
    CHECK(!zi_checkpoint_open(zi_test_folder(), &checkpoint, &error));
    CHECK_ERROR(error, ZI_ERROR_UNSUPPORTED, zi_test_folder());
    /* A pipe without a writer must not make us wait. */
    CHECK(mkfifo(zi_test_path("pipe"), 0600) == 0);
    CHECK(!zi_checkpoint_open(zi_test_path("pipe"), &checkpoint, &error));
}

static void write_and_read(void)
{
    static const float values[6] = {1, 2, 3, 4, 5, 6};
    static const uint16_t halves[3] = {0x3f80, 0xc000, 0};
    static const int64_t ids[2] = {7, -1};
    const zi_tensor_out out[] = {
        {"z", ZI_F32, 2, {2, 3}, values},
        {"a.weight", ZI_BF16, 1, {3}, halves}, /* leaves what follows unaligned */
        {"ids", ZI_I64, 1, {2}, ids},
        {"empty", ZI_F32, 2, {0, 4}, values},
        {"scalar", ZI_F32, 0, {0}, values},
    };
    const char *path = zi_test_path("written.safetensors");
    zi_checkpoint checkpoint;
    zi_error error = {0};
    if (!CHECK_OK(zi_safetensors_write(path, out, 5, &error), error)) return;
    if (!CHECK_OK(zi_checkpoint_open(path, &checkpoint, &error), error)) return;
    CHECK(checkpoint.tensor_count == 5);
    const zi_tensor *z = zi_checkpoint_find(&checkpoint, "z");
    CHECK(z && z->dims == 2 && z->shape[0] == 2 && z->shape[1] == 3);
    CHECK(z && memcmp(z->data, values, sizeof values) == 0);
    const zi_tensor *ids_read = zi_checkpoint_find(&checkpoint, "ids");
    CHECK(ids_read && ids_read->type == ZI_I64 && memcmp(ids_read->data, ids, sizeof ids) == 0);
    const zi_tensor *scalar = zi_checkpoint_find(&checkpoint, "scalar");
    CHECK(scalar && scalar->dims == 0 && scalar->count == 1);
    CHECK(!zi_checkpoint_find(&checkpoint, "zz"));
    zi_checkpoint_close(&checkpoint);
}

/* Shards: the index and the files must tell the same story. */
static void shards(void)
{
    static const struct {
        const char *index, *says; /* says NULL: fine */
        const char *subject;      /* NULL: a file */
    } rows[] = {
        {"{\"weight_map\":{\"a\":\"s1.safetensors\",\"b\":\"s2.safetensors\"}}", NULL, NULL},
        {"{\"weight_map\":{\"a\":\"s1.safetensors\"}}", NULL, NULL},
        {"{\"weight_map\":{\"a\":\"s2.safetensors\",\"b\":\"s1.safetensors\"}}",
         "tensor a should be in s2", "a"},
        {"{\"weight_map\":{\"a\":\"s1.safetensors\",\"c\":\"s2.safetensors\"}}", "tensor c", "c"},
        {"{\"weight_map\":{\"a\":\"s1.safetensors\",\"b\":\"gone.safetensors\"}}",
         "gone.safetensors", NULL},
        {"{\"weight_map\":{\"a\":\"../s1.safetensors\"}}", "names no file in the same folder", "a"},
        {"{\"weight_map\":{\"a\":\"/s1.safetensors\"}}", "names no file in the same folder", "a"},
        {"{\"weight_map\":{\"a\":7}}", "names no file in the same folder", "a"},
        {"{\"weight_map\":{}}", "weight_map", "weight_map"},
        {"{\"weight_map\":[]}", "weight_map", "weight_map"},
        {"{}", "weight_map", "weight_map"},
        {"nonsense", "index.json", NULL},
    };
    write_file(zi_test_path("s1.safetensors"),
               "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}", 4);
    write_file(zi_test_path("s2.safetensors"),
               "{\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}", 4);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        zi_test_write_file(zi_test_path("m.safetensors.index.json"), rows[i].index,
                           strlen(rows[i].index));
        zi_checkpoint checkpoint;
        zi_error error = {0};
        bool ok = zi_checkpoint_open_dir(zi_test_folder(), "m", &checkpoint, &error);
        if (ok) zi_checkpoint_close(&checkpoint);
        CHECK_MSG(ok == !rows[i].says, "row %zu: %s", i, error.text);
        CHECK_MSG(!rows[i].says || strstr(error.text, rows[i].says), "row %zu says: %s", i,
                  error.text);
        if (rows[i].subject) CHECK_ERROR(error, ZI_ERROR_BAD_FORMAT, rows[i].subject);
    }
    zi_checkpoint checkpoint;
    zi_error error = {0};
    CHECK(!zi_checkpoint_open_dir(zi_test_folder(), "absent", &checkpoint, &error));
    CHECK_ERROR(error, ZI_ERROR_NOT_FOUND, zi_test_folder());
}

/* Every way of cutting a good file short is noticed. */
static void truncation(void)
{
    enum { HEADER = 56 };
    const char *path = zi_test_path("whole.safetensors"), *cut = zi_test_path("cut.safetensors");
    write_file(path, "{\"a\":{\"dtype\":\"U8\",\"shape\":[40],\"data_offsets\":[0,40]}}", 40);
    char *bytes = NULL;
    size_t size;
    zi_error error = {0};
    if (!CHECK_OK(zi_file_read(path, 1 << 20, &bytes, &size, &error), error)) return;
    for (size_t n = 0; n < size; n++) {
        zi_checkpoint checkpoint;
        zi_test_write_file(cut, bytes, n);
        if (!CHECK_MSG(!zi_checkpoint_open(cut, &checkpoint, &error), "%zu of %zu bytes", n, size))
            zi_checkpoint_close(&checkpoint);
    }
    free(bytes);
}

/* What files say about themselves; only strings count. */
static void metadata(void)
{
    const char *path = zi_test_path("told.safetensors");
    write_file(path, "{\"__metadata__\":{\"a\":\"1\",\"b\":\"two\",\"c\":3,\"\":\"\",\"d\":\"4\"}}",
               0);
    zi_checkpoint checkpoint;
    zi_error error = {0};
    if (!CHECK_OK(zi_checkpoint_open(path, &checkpoint, &error), error)) return;
    static const struct {
        const char *key, *value;
    } rows[] = {{"a", "1"}, {"b", "two"}, {"c", NULL}, {"", ""}, {"d", "4"}, {"e", NULL}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *value = zi_checkpoint_metadata(&checkpoint, rows[i].key);
        CHECK_MSG(rows[i].value ? value && strcmp(value, rows[i].value) == 0 : !value, "%s is %s",
                  rows[i].key, value ? value : "not there");
    }
    zi_checkpoint_close(&checkpoint);
    write_file(path, "{\"__metadata__\":[7]}", 0);
    if (!CHECK_OK(zi_checkpoint_open(path, &checkpoint, &error), error)) return;
    CHECK(checkpoint.metadata_count == 0);
    zi_checkpoint_close(&checkpoint);
}

/* 0.safetensors, 1.safetensors: up to the first that is not there. */
static void numbered_files(void)
{
    char dir[64];
    snprintf(dir, sizeof dir, "%s/numbered", zi_test_folder());
    CHECK(mkdir(dir, 0700) == 0);
    zi_checkpoint checkpoint;
    zi_error error = {0};
    CHECK(!zi_checkpoint_open_numbered(dir, &checkpoint, &error));
    CHECK_ERROR(error, ZI_ERROR_NOT_FOUND, zi_test_path("numbered/0.safetensors"));
    static const char *const names[] = {"0", "1", "3"};
    for (int i = 0; i < 3; i++) {
        char name[64], header[128];
        snprintf(name, sizeof name, "numbered/%s.safetensors", names[i]);
        snprintf(header, sizeof header,
                 "{\"t%s\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}", names[i]);
        write_file(zi_test_path(name), header, 4);
    }
    if (!CHECK_OK(zi_checkpoint_open_numbered(dir, &checkpoint, &error), error)) return;
    CHECK(checkpoint.tensor_count == 2 && zi_checkpoint_find(&checkpoint, "t0") &&
          zi_checkpoint_find(&checkpoint, "t1"));
    zi_checkpoint_close(&checkpoint);
    write_file(zi_test_path("numbered/1.safetensors"),
               "{\"t0\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}", 4);
    CHECK(!zi_checkpoint_open_numbered(dir, &checkpoint, &error));
    CHECK_ERROR(error, ZI_ERROR_BAD_FORMAT, "t0");
}

static void foreign_models_are_named(void)
{
    static const struct {
        const char *tensor, *name;
    } rows[] = {
        {"model.diffusion_model.input_blocks.0.0.weight", "Stable Diffusion"},
        {"model.diffusion_model.label_emb.0.0.weight", "Stable Diffusion XL"},
        {"conditioner.embedders.1.model.ln_final.weight", "Stable Diffusion XL"},
        {"model.diffusion_model.joint_blocks.0.x_block.attn.qkv.weight", "Stable Diffusion 3"},
        {"single_transformer_blocks.0.attn.to_q.weight", "Flux"},
        {"layers.0.attention.qkv.lora_A.weight", "LoRA for a model"},
        {"blocks.0.attn.lokr_w1", "LoRA for a model"},
        {"unet.lora.down.weight", "LoRA for a model"},
        {"double_blocks.0.img_attn.qkv.weight", NULL},
        {"siglip_embedder.1.weight", "Z-Image-Omni"},
        {"model.diffusion_model.t_embedder_2.mlp.0.weight", "TwinFlow Z-Image"},
        {"dec_net.cond_embed.weight", "Zeta-Chroma (pixel-space Z-Image)"},
        {"control_layers.0.before_proj.weight", "ControlNet for Z-Image"},
        {"time_caption_embed.caption_embedder.0.weight", "Lumina 2 transformer"},
        {"text_model.encoder.layers.0.mlp.fc1.weight", "CLIP text encoder"},
        {"encoder.block.0.layer.0.SelfAttention.q.weight", "T5 text encoder"},
        {"something.else", NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        zi_tensor tensor = {.name = (char *)(uintptr_t)rows[i].tensor};
        zi_checkpoint checkpoint = {.tensors = &tensor, .tensor_count = 1};
        const char *name = zi_recognise_model(&checkpoint);
        CHECK_MSG(name == rows[i].name || (name && rows[i].name && !strcmp(name, rows[i].name)),
                  "%s is taken for %s", rows[i].tensor, name ? name : "nothing");
        const char *foreign = zi_recognise_unsupported(&checkpoint);
        CHECK_MSG(foreign == name, "%s is foreign as %s", rows[i].tensor, foreign ? foreign : "?");
    }
}

/* Models of several names: which is ours. */
static void models_are_told_apart(void)
{
    static const struct {
        const char *tensors[3], *name;
        bool foreign;
    } rows[] = {
        {{"cap_pad_token", "context_refiner.0.attention.qkv.weight"}, "Z-Image transformer", false},
        {{"cap_embedder.layers.1.weight", "context_refiner.0.attention.to_q.weight",
          "layers.0.adaLN_modulation.weight"},
         "Z-Image transformer",
         false},
        {{"cap_embedder.1.weight", "context_refiner.0.attention.qkv.weight",
          "layers.0.adaLN_modulation.1.weight"},
         "Lumina 2 transformer",
         true},
        {{"cap_pad_token", "context_refiner.0.attention.qkv.weight", "siglip_refiner.0.x"},
         "Z-Image-Omni",
         true},
        {{"double_blocks.0.x", "single_blocks.0.x"}, "Flux", true},
        {{"transformer_blocks.0.img_mod.1.weight"}, "Qwen-Image", true},
        {{"transformer_blocks.0.attn.add_q_proj.weight", "context_embedder.weight"},
         "Stable Diffusion 3",
         true},
        {{"decoder.conv_in.weight", "decoder.mid.block_1.conv1.weight"}, "autoencoder", false},
        {{"decoder.conv_in.weight", "decoder.mid.block_1.conv1.weight", "post_quant_conv.weight"},
         "autoencoder of Stable Diffusion",
         true},
        {{"blk.0.attn_q_norm.weight", "blk.0.ffn_gate.weight"}, "Qwen3 language model", false},
        {{"model.layers.0.self_attn.q_norm.weight", "model.layers.0.mlp.gate_proj.weight"},
         "Qwen3 language model",
         false},
        {{"model.layers.0.self_attn.q_proj.weight", "model.layers.0.mlp.gate_proj.weight"},
         "language model other than Qwen3",
         true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        zi_tensor tensors[3];
        zi_checkpoint checkpoint = {.tensors = tensors};
        for (int j = 0; j < 3 && rows[i].tensors[j]; j++)
            tensors[checkpoint.tensor_count++] =
                (zi_tensor){.name = (char *)(uintptr_t)rows[i].tensors[j]};
        const char *name = zi_recognise_model(&checkpoint);
        CHECK_MSG(name && strcmp(name, rows[i].name) == 0, "row %zu: %s", i, name ? name : "?");
        CHECK_MSG(!zi_recognise_unsupported(&checkpoint) == !rows[i].foreign,
                  "row %zu is foreign: %d", i, !rows[i].foreign);
    }
}

/* Autoencoders are told apart by the channels of their latents, the second side of the decoder's
 * first convolution, or, in MLX, the last. */
static void autoencoders_are_told_apart(void)
{
    static const struct {
        const char *first, *second;
        size_t shape[4];
        const char *name;
        bool foreign;
    } rows[] = {
        {"decoder.conv_in.weight", "decoder.mid.x", {512, 16, 3, 3}, "autoencoder", false},
        {"decoder.conv_in.conv.weight", "decoder.mid_x", {512, 3, 3, 16}, "autoencoder", false},
        {"decoder.conv_in.weight", "encoder.conv_in.x", {512, 4, 3, 3}, "4 latent", true},
        {"decoder.conv_in.conv.weight", "encoder.conv_in.x", {64, 3, 3, 4}, "4 latent", true},
        {"decoder.conv_in.weight", "post_quant_conv.x", {512, 4, 3, 3}, "4 latent", true},
        {"decoder.conv_in.weight", "post_quant_conv.x", {512, 16, 3, 3}, "autoencoder of S", true},
        {"decoder.conv_in.weight", "decoder.mid.x", {512, 32, 3, 3}, "FLUX.2", true},
        {"decoder.conv_in.weight", "bn.running_mean", {512, 16, 3, 3}, "FLUX.2", true},
        {"1.weight", "3.conv.0.weight", {64, 16, 3, 3}, "TAEF1", true},
        {"1.weight", "3.conv.0.weight", {64, 4, 3, 3}, "TAESD", true},
        {"1.weight", "3.conv.0.weight", {64, 128, 3, 3}, "tiny autoencoder", true},
        {"decoder.layers.0.weight", "decoder.layers.2.conv.0.x", {64, 16, 3, 3}, "TAEF1", true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        zi_tensor tensors[2] = {{.name = (char *)(uintptr_t)rows[i].first, .dims = 4},
                                {.name = (char *)(uintptr_t)rows[i].second}};
        zi_checkpoint checkpoint = {.tensors = tensors, .tensor_count = 2};
        memcpy(tensors[0].shape, rows[i].shape, sizeof rows[i].shape);
        const char *name = zi_recognise_model(&checkpoint);
        CHECK_MSG(name && strstr(name, rows[i].name), "row %zu: %s", i, name ? name : "?");
        CHECK_MSG(!zi_recognise_unsupported(&checkpoint) == !rows[i].foreign, "row %zu", i);
    }
}

int main(void)
{
    RUN(damaged_headers);
    RUN(damaged_lengths);
    RUN(no_such_file);
    RUN(write_and_read);
    RUN(shards);
    RUN(truncation);
    RUN(metadata);
    RUN(numbered_files);
    RUN(foreign_models_are_named);
    RUN(models_are_told_apart);
    RUN(autoencoders_are_told_apart);
    return zi_test_result();
}
