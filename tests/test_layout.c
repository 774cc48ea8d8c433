/* Detection of a model's layout: the reference model in every layout, and files that are no model.
 */
#include "harness.h"
#include "io/layout.h"
#include "io/source.h"
#include "io/weights_files.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void reference_layouts(void)
{
    enum {
        T = 1 << ZI_COMPONENT_TRANSFORMER,
        E = 1 << ZI_COMPONENT_TEXT_ENCODER,
        V = 1 << ZI_COMPONENT_VAE
    };
    static const struct {
        const char *path;
        zi_naming naming;
        int parts, configs;
        bool folder, extras; /* tokenizer and scheduler */
    } rows[] = {
        {"golden/model", ZI_NAMES_DIFFUSERS, T | E | V, T | E | V, true, true},
        {"golden/mlx/FP16", ZI_NAMES_MLX, T | E | V, T | E | V, true, true},
        {"golden/mlx/FP8", ZI_NAMES_MLX, T | E | V, T | E | V, true, true},
        {"golden/model/transformer", ZI_NAMES_DIFFUSERS, T, T, true, false},
        {"golden/model/text_encoder", ZI_NAMES_DIFFUSERS, E, E, true, false},
        {"golden/model/vae", ZI_NAMES_DIFFUSERS, V, V, true, false},
        {"golden/comfyui/seed_single_file.safetensors", ZI_NAMES_COMFYUI, T | E | V, 0, false,
         false},
        {"golden/comfyui/split_ae.safetensors", ZI_NAMES_COMFYUI, V, 0, false, false},
        {"golden/comfyui/split_diffusion_model_fp8_e4m3fn.safetensors", ZI_NAMES_COMFYUI, T, 0,
         false, false},
        {"golden/mlx/FP8/weights.safetensors", ZI_NAMES_MLX, T, 0, false, false},
        {"golden/mlx/FP8/vae.safetensors", ZI_NAMES_MLX, V, 0, false, false},
        {"golden/mlx/FP8/text_encoder.safetensors", ZI_NAMES_DIFFUSERS, E, 0, false, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        zi_layout layout;
        zi_error error = {0};
        if (!CHECK_OK(zi_layout_read(zi_test_data_path(rows[i].path), &layout, &error), error))
            continue;
        CHECK_MSG(layout.naming == rows[i].naming && layout.folder == rows[i].folder, "%s is of %s",
                  rows[i].path, zi_naming_name(layout.naming));
        CHECK_MSG(!layout.tokenizer == !rows[i].extras && !layout.scheduler == !rows[i].extras,
                  "%s: %s, %s", rows[i].path, layout.tokenizer ? layout.tokenizer : "no tokenizer",
                  layout.scheduler ? layout.scheduler : "no scheduler");
        for (int part = 0; part < ZI_WEIGHT_COMPONENTS; part++) {
            const zi_layout_component *where = &layout.components[part];
            zi_checkpoint *checkpoint;
            zi_source source;
            CHECK_MSG(!where->path == !(rows[i].parts >> part & 1) &&
                          !where->config == !(rows[i].configs >> part & 1),
                      "%s: %s is at %s, its config at %s", rows[i].path,
                      zi_component_title((zi_component)part),
                      where->path ? where->path : "no place",
                      where->config ? where->config : "no place");
            if (!where->path) continue;
            if (!CHECK_OK(
                    zi_layout_open_component(&layout, (zi_component)part, &checkpoint, &error),
                    error))
                continue;
            const zi_checkpoint *one = checkpoint;
            if (CHECK_OK(zi_source_create(&one, 1, (zi_component)part, 0, &source, &error),
                         error)) {
                CHECK_MSG(source.count > 40, "%s: %zu", rows[i].path, source.count);
                zi_source_free(&source);
            }
            zi_checkpoint_release(checkpoint);
        }
        zi_layout_free(&layout);
    }
}

static void write_tensors(const char *path, const char *const *names, size_t count)
{
    static const float values[4];
    zi_tensor_out out[8];
    zi_error error = {0};
    for (size_t i = 0; i < count; i++) out[i] = (zi_tensor_out){names[i], ZI_F32, 1, {4}, values};
    CHECK_OK(zi_safetensors_write(path, out, count, &error), error);
}

/* mflux: numbered files, no configs; parts may be missing. */
static void mflux_folder(void)
{
    static const char *const first[] = {"layers.0.ffn_norm1.weight"};
    static const char *const second[] = {"layers.1.ffn_norm1.weight", "t_embedder.linear1.bias"};
    static const char *const vae[] = {"decoder.conv_norm_out.norm.weight"};
    mkdir(zi_test_path("mflux"), 0700);
    mkdir(zi_test_path("mflux/transformer"), 0700);
    mkdir(zi_test_path("mflux/vae"), 0700);
    mkdir(zi_test_path("mflux/tokenizer"), 0700);
    write_tensors(zi_test_path("mflux/transformer/0.safetensors"), first, 1);
    write_tensors(zi_test_path("mflux/transformer/1.safetensors"), second, 2);
    write_tensors(zi_test_path("mflux/vae/0.safetensors"), vae, 1);
    zi_layout layout;
    zi_checkpoint *checkpoint;
    zi_error error = {0};
    if (!CHECK_OK(zi_layout_read(zi_test_path("mflux"), &layout, &error), error)) return;
    CHECK(layout.naming == ZI_NAMES_MFLUX && layout.folder && layout.tokenizer);
    CHECK(!layout.scheduler && !layout.components[ZI_COMPONENT_TEXT_ENCODER].path);
    if (CHECK_OK(zi_layout_open_component(&layout, ZI_COMPONENT_TRANSFORMER, &checkpoint, &error),
                 error)) {
        CHECK(checkpoint->tensor_count == 3 && checkpoint->file_count == 2);
        zi_checkpoint_release(checkpoint);
    }
    if (CHECK_OK(zi_layout_open_component(&layout, ZI_COMPONENT_VAE, &checkpoint, &error), error)) {
        CHECK(checkpoint->tensor_count == 1);
        zi_checkpoint_release(checkpoint);
    }
    zi_layout_free(&layout);
}

/* The order in which files of one component are preferred. */
static void weights_of_a_stem(void)
{
    static const char *const names[] = {
        "m.fp32.safetensors",
        "m.fp16.safetensors",
        "m.fp16.safetensors.index.json",
        "m.safetensors.index.fp16.json",
        "m.bf16.safetensors",
        "m.bf16.safetensors.index.json",
        "m.safetensors.index.bf16.json",
        "m.safetensors",
        "m.safetensors.index.json",
    };
    char folder[256], path[320], found[ZI_WEIGHTS_NAME] = "unchanged";
    bool index = true;
    snprintf(folder, sizeof folder, "%s", zi_test_path("stem"));
    mkdir(folder, 0700);
    zi_test_write_file(zi_test_path("stem/m.ema.safetensors"), "", 0);
    zi_test_write_file(zi_test_path("stem/n.safetensors"), "", 0);
    CHECK(!zi_weights_find(folder, "m", found, &index) && !strcmp(found, "unchanged") && index);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) { /* each goes before those so far */
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        zi_test_write_file(path, "", 0);
        CHECK_MSG(zi_weights_find(folder, "m", found, &index) && !strcmp(found, names[i]) &&
                      index == (strstr(names[i], "index") != NULL),
                  "%s: %s", names[i], found);
    }
}

static void files_of_a_folder(void)
{
    static const char *const names[] = {"z.ckpt",
                                        "b.pt",
                                        ".a.safetensors",
                                        "c.txt",
                                        "q.gguf",
                                        "p-00002-of-00003.gguf",
                                        "a.safetensors.part-123-4"};
    char folder[256], path[320];
    zi_folder_weights files;
    zi_error error = {0};
    snprintf(folder, sizeof folder, "%s", zi_test_path("some"));
    CHECK(zi_folder_weights_list(folder, &files, &error) && !files.first && !files.pickle);
    mkdir(folder, 0700);
    mkdir(zi_test_path("some/d.safetensors"), 0700);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        zi_test_write_file(path, "", 0);
    }
    if (CHECK_OK(zi_folder_weights_list(folder, &files, &error), error))
        CHECK(files.first && !strcmp(files.first, "q.gguf") && !files.second && files.pickle &&
              !strcmp(files.pickle, "b.pt"));
    zi_folder_weights_free(&files);
    zi_test_write_file(zi_test_path("some/r.SAFETENSORS"), "", 0);
    zi_test_write_file(zi_test_path("some/p-00001-of-00003.gguf"), "", 0);
    if (CHECK_OK(zi_folder_weights_list(folder, &files, &error), error))
        CHECK(files.second && !strcmp(files.first, "p-00001-of-00003.gguf") &&
              !strcmp(files.second, "q.gguf"));
    zi_folder_weights_free(&files);
}

static void what_is_none(void)
{
    static const char *const lora[] = {"layers.0.attention.to_q.lora_A.weight"};
    static const char *const flux[] = {"double_blocks.0.a", "single_blocks.0.a"};
    static const char *const what[] = {"something.weight"};
    static const char *const needless[] = {"lm_head.weight"};
    write_tensors(zi_test_path("lora.safetensors"), lora, 1);
    write_tensors(zi_test_path("flux.safetensors"), flux, 2);
    write_tensors(zi_test_path("what.safetensors"), what, 1);
    write_tensors(zi_test_path("needless.safetensors"), needless, 1);
    mkdir(zi_test_path("empty"), 0700);
    mkdir(zi_test_path("other"), 0700);
    write_tensors(zi_test_path("other/model.safetensors"), flux, 2);
    zi_test_write_file(zi_test_path("text"), "hello", 5);
    static const struct {
        const char *name, *says;
        zi_error_code code;
    } rows[] = {
        {"lora.safetensors", "is a LoRA for a model, and additions to a model are not supported;",
         ZI_ERROR_UNSUPPORTED},
        {"flux.safetensors", "is a Flux model; only Z-Image models are supported",
         ZI_ERROR_UNSUPPORTED},
        {"what.safetensors", "is of an unknown model", ZI_ERROR_UNSUPPORTED},
        {"needless.safetensors", "is of an unknown model", ZI_ERROR_UNSUPPORTED},
        {"empty", "no model folder", ZI_ERROR_NOT_FOUND},
        {"other", "is a Flux model; only Z-Image models are supported", ZI_ERROR_UNSUPPORTED},
        {"text", "too few for a safetensors file", ZI_ERROR_BAD_FORMAT},
        {"absent", "no such file or folder", ZI_ERROR_NOT_FOUND},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        zi_layout layout;
        zi_error error = {0};
        bool ok = zi_layout_read(zi_test_path(rows[i].name), &layout, &error);
        CHECK_MSG(!ok && strstr(error.text, rows[i].says) && strstr(error.text, rows[i].name),
                  "%s: %s", rows[i].name, ok ? "accepted" : error.text);
        CHECK_ERROR(error, rows[i].code, zi_test_path(rows[i].name));
        if (ok) zi_layout_free(&layout);
    }
}

int main(void)
{
    RUN(reference_layouts);
    RUN(mflux_folder);
    RUN(weights_of_a_stem);
    RUN(files_of_a_folder);
    RUN(what_is_none);
    return zi_test_result();
}
