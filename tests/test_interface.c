/* The public interface as a binary interface: structs keep their sizes, and a field that this
 * version does not know is refused. */
#include "harness.h"
#include "zimage_bench.h"

#include <string.h>

/* Sizes where pointers have 8 bytes. One that changes breaks programs that are not compiled again:
 * take new fields from `reserved`, or raise SOVERSION in CMakeLists.txt. */
static void sizes_stay(void)
{
    static const struct {
        const char *name;
        size_t size, expected;
    } rows[] = {
#define ROW(type, expected) {#type, sizeof(type), expected}
        ROW(zi_error, 1296),           ROW(zi_image, 16),
        ROW(zi_save_options, 48),      ROW(zi_infotext_fields, 136),
        ROW(zi_engine_options, 96),    ROW(zi_model_options, 96),
        ROW(zi_request, 176),          ROW(zi_enhance_request, 168),
        ROW(zi_enhance_result, 80),    ROW(zi_generation, 192),
        ROW(zi_convert_options, 136),  ROW(zi_hub, 80),
        ROW(zi_download_options, 184), ROW(zi_download_result, 56),
        ROW(zi_registry_options, 184), ROW(zi_resolved_model, 56),
        ROW(zi_import_options, 128),   ROW(zi_bench_options, 120),
#undef ROW
    };
    if (sizeof(void *) != 8) return;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        CHECK_MSG(rows[i].size == rows[i].expected, "%s has %zu bytes", rows[i].name, rows[i].size);
}

static char unknown; /* what a field of a later version may point to */

#define EXPECT_REFUSED(call)                                                                       \
    error = (zi_error){0}, CHECK(!(call)), CHECK_ERROR(error, ZI_ERROR_INVALID_ARGUMENT, "reserved")

static void unknown_fields_are_refused(void)
{
    zi_error error;
    zi_engine *engine;
    zi_model *model;
    zi_registry *registry;
    zi_engine_options engine_options = {.reserved = {&unknown}};
    zi_model_options model_options = {.path = "x", .reserved = {[6] = &unknown}};
    zi_convert_options convert = {.source = "x", .destination = "y", .reserved = {&unknown}};
    zi_download_options download = {.repo = "a/b", .reserved = {&unknown}};
    zi_download_result downloaded;
    zi_registry_options options = {.folder = "x", .hub.reserved = {&unknown}};
    zi_save_options save = {.reserved = {&unknown}};
    zi_bench_options bench = {.reserved = {&unknown}};
    zi_bench_result result;
    zi_image image = {1, 1, (uint8_t *)"rgb"}, *generated;
    zi_request request = {.prompt = "x", .reserved = {&unknown}};
    zi_enhance_request enhance = {.prompt = "x", .reserved = {&unknown}};
    zi_enhance_result enhanced;
    zi_verification *verification;
    zi_import_options import = {.source = "x", .reserved = {&unknown}};
    zi_download_options download_options = {.repo = "a/b"};
    zi_bench_memory_result memory;
    zi_llm *llm;
    int32_t *ids;
    size_t count;
    char *path;
    EXPECT_REFUSED(zi_engine_create(&engine_options, &engine, &error));
    EXPECT_REFUSED(zi_model_load(NULL, &model_options, &model, &error));
    EXPECT_REFUSED(zi_llm_load(NULL, &model_options, &llm, &error));
    EXPECT_REFUSED(zi_tokenize(&model_options, "x", false, &ids, &count, &error));
    EXPECT_REFUSED(zi_verify(NULL, &model_options, NULL, NULL, NULL, &verification, &error));
    EXPECT_REFUSED(zi_generate(NULL, &request, &generated, &error));
    EXPECT_REFUSED(zi_enhance(NULL, &enhance, &enhanced, &error));
    EXPECT_REFUSED(zi_convert(&convert, &error));
    EXPECT_REFUSED(zi_download(&download, &downloaded, &error));
    download = (zi_download_options){.hub.reserved = {&unknown}};
    EXPECT_REFUSED(zi_download(&download, &downloaded, &error));
    EXPECT_REFUSED(zi_hub_find_cached(&download.hub, "a/b", &path, &error));
    EXPECT_REFUSED(zi_hub_remove(&download.hub, "a/b", &error));
    EXPECT_REFUSED(zi_registry_import(NULL, &import, &path, &error));
    EXPECT_REFUSED(zi_registry_download(NULL, &download_options, &import, &downloaded, &error));
    EXPECT_REFUSED(zi_registry_open(&options, &registry, &error));
    EXPECT_REFUSED(zi_image_save(&image, "/nowhere/x.png", &save, &error));
    EXPECT_REFUSED(zi_bench(&bench, &result, &error));
    EXPECT_REFUSED(zi_bench_memory(&bench, &memory, &error));
}

static void versions_agree(void)
{
    CHECK(!strcmp(zi_version(), ZI_VERSION));
}

static void null_can_be_freed(void)
{
    zi_free(NULL);
    zi_image_free(NULL);
    zi_engine_free(NULL);
    zi_model_free(NULL);
    zi_llm_free(NULL);
    zi_enhance_result_free(NULL);
    zi_inspection_free(NULL);
    zi_verification_free(NULL);
    zi_registry_close(NULL);
    zi_registry_list_free(NULL);
    zi_model_parts_free(NULL);
    zi_resolved_model_free(NULL);
    zi_migration_free(NULL);
}

static void names_end(void)
{
    CHECK(!strcmp(zi_layout_name(ZI_LAYOUT_GGUF), "gguf"));
    CHECK(!zi_layout_name((zi_layout_kind)(ZI_LAYOUT_GGUF + 1)));
    CHECK(!strcmp(zi_precision_name(ZI_PRECISION_Q4), "q4"));
    CHECK(!zi_precision_name((zi_precision)-1));
    size_t count = 0;
    while (zi_parameter_at(count)) count++;
    CHECK(count > 10 && !zi_parameter_at(count) && !zi_parameter_at(SIZE_MAX));
    CHECK(zi_parameter_at(0) == zi_parameter_find("prompt"));
}

/* A model's tokenizer may come from a text encoder or a reference, but not from nowhere. */
static void tokenizing_without_a_model(void)
{
    zi_error error = {0};
    int32_t *ids = NULL;
    size_t count = 0;
    CHECK(!zi_tokenize(&(zi_model_options){0}, "x", false, &ids, &count, &error) && !ids);
    CHECK_ERROR(error, ZI_ERROR_INVALID_ARGUMENT, "model");
    zi_model_options lacking = {.text_encoder = ZI_TEST_DATA "/golden/png"};
    CHECK(!zi_tokenize(&lacking, "x", false, &ids, &count, &error) && !ids);
    CHECK_ERROR(error, ZI_ERROR_INCOMPLETE, "tokenizer");
    CHECK_MSG(strstr(error.text, "golden/png"), "%s", error.text);
    zi_model_options reference = {.reference = ZI_TEST_DATA "/golden/model"};
    CHECK_OK(zi_tokenize(&reference, "x", false, &ids, &count, &error), error);
    zi_free(ids);
}

static void tiers_end(void)
{
    bool usable = false;
    size_t count = 0;
    CHECK(!strcmp(zi_cpu_tier(0, &usable), "ref") && usable);
    while (zi_cpu_tier(count, NULL)) count++;
    usable = true;
    CHECK(count > 0 && !zi_cpu_tier(count, &usable) && usable);
}

int main(void)
{
    RUN(sizes_stay);
    RUN(unknown_fields_are_refused);
    RUN(versions_agree);
    RUN(null_can_be_freed);
    RUN(names_end);
    RUN(tiers_end);
    RUN(tokenizing_without_a_model);
    return zi_test_result();
}
