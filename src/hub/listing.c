#include "hub/listing.h"
#include "base/text.h"
#include "io/json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_LISTING = 32 << 20 };

/* ---- reading ---- */

static bool read_size(const cJSON *object, const char *name, uint64_t *out)
{
    const cJSON *item = zi_json_find(object, name);
    bool ok = cJSON_IsNumber(item) && item->valuedouble >= 0 && item->valuedouble < 0x1p53 &&
              floor(item->valuedouble) == item->valuedouble;
    if (ok) *out = (uint64_t)item->valuedouble;
    return ok;
}

static bool read_digest(const cJSON *object, const char *name, zi_digest_kind kind,
                        char out[ZI_DIGEST_TEXT])
{
    const cJSON *item = zi_json_find(object, name);
    if (!cJSON_IsString(item) || !zi_digest_valid(kind, item->valuestring)) return false;
    snprintf(out, ZI_DIGEST_TEXT, "%s", item->valuestring);
    return true;
}

static bool read_file(const cJSON *item, const char *repo, zi_listed *out, zi_error *error)
{
    const cJSON *name = zi_json_find(item, "rfilename"), *lfs = zi_json_find(item, "lfs");
    if (!cJSON_IsString(name))
        return zi_error_set(error, ZI_ERROR_NETWORK, repo, "the hub lists a file without name");
    if (!zi_file_name_valid(name->valuestring)) {
        char shown[100];
        size_t n = 0;
        for (const char *c = name->valuestring; *c && n + 1 < sizeof shown; c++)
            shown[n++] = (unsigned char)*c < 0x20 || *c == 0x7f ? '?' : *c;
        shown[n] = 0;
        return zi_error_set_in(
            error, ZI_ERROR_NETWORK, repo, shown,
            "the file name '%s' would lead out of its folder; nothing was fetched", shown);
    }
    out->kind = lfs ? ZI_DIGEST_SHA256 : ZI_DIGEST_GIT;
    bool ok = lfs ? read_size(lfs, "size", &out->size) &&
                        read_digest(lfs, "sha256", out->kind, out->digest)
                  : read_size(item, "size", &out->size) &&
                        read_digest(item, "blobId", out->kind, out->digest);
    if (!ok)
        return zi_error_set_in(error, ZI_ERROR_NETWORK, repo, name->valuestring,
                               "%s: the hub does not tell its size and digest", name->valuestring);
    out->name = strdup(name->valuestring);
    return out->name || zi_error_no_memory(error, strlen(name->valuestring));
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const zi_listed *)a)->name, ((const zi_listed *)b)->name);
}

static bool read_listing(const cJSON *root, const char *repo, zi_listing *out, zi_error *error)
{
    const cJSON *sha = zi_json_find(root, "sha"), *files = zi_json_find(root, "siblings"), *item;
    if (!cJSON_IsString(sha) || !zi_commit_valid(sha->valuestring) || !cJSON_IsArray(files))
        return zi_error_set(error, ZI_ERROR_NETWORK, repo,
                            "what answers is not a hub: no commit and no list of files");
    memcpy(out->commit, sha->valuestring, sizeof out->commit);
    out->files = calloc((size_t)cJSON_GetArraySize(files) + 1, sizeof *out->files);
    if (!out->files) return zi_error_no_memory(error, sizeof *out->files);
    cJSON_ArrayForEach(item, files)
    {
        if (!read_file(item, repo, &out->files[out->count], error)) return false;
        out->count++;
    }
    qsort(out->files, out->count, sizeof *out->files, by_name);
    for (size_t i = 1; i < out->count; i++)
        if (!by_name(&out->files[i - 1], &out->files[i]))
            return zi_error_set_in(error, ZI_ERROR_NETWORK, repo, out->files[i].name,
                                   "the hub lists %s twice", out->files[i].name);
    return true;
}

bool zi_listing_fetch(zi_client *client, const char *repo, const char *revision, zi_listing *out,
                      bool *reached, zi_error *error)
{
    char *json = NULL, *escaped = curl_easy_escape(NULL, revision, 0);
    zi_text url;
    *out = (zi_listing){0};
    zi_text_init(&url, 8192);
    zi_text_printf(&url, "%s/api/models/%s/revision/%s?blobs=true", client->endpoint, repo,
                   escaped ? escaped : "");
    bool ok = (escaped && !url.failed) || zi_error_no_memory(error, url.size);
    ok = ok && zi_client_text(client, url.data, repo, MAX_LISTING, &json, reached, error);
    if (ok && !zi_json_fits_memory(json, strlen(json)))
        ok = zi_error_set(error, ZI_ERROR_NETWORK, repo, "the hub's list of files is too large");
    cJSON *root = ok ? cJSON_Parse(json) : NULL;
    ok = ok && read_listing(root, repo, out, error);
    if (!ok) zi_listing_free(out);
    cJSON_Delete(root);
    zi_text_free(&url);
    free(json);
    curl_free(escaped);
    return ok;
}

void zi_listing_free(zi_listing *listing)
{
    for (size_t i = 0; i < listing->count; i++) free(listing->files[i].name);
    free(listing->files);
    *listing = (zi_listing){0};
}

/* ---- choosing ---- */

static bool ends_with(const char *text, const char *end)
{
    size_t length = strlen(text), tail = strlen(end);
    return length >= tail && !strcmp(text + length - tail, end);
}

bool zi_has_header(const char *name)
{
    return ends_with(name, ".safetensors");
}

/* Weights in another precision beside the model's own: STEM.fp16.safetensors. */
static bool is_variant(const char *name)
{
    return strstr(name, ".fp16") || strstr(name, ".bf16") || strstr(name, ".non_ema");
}

static bool is_needed(const char *name, bool diffusers)
{
    static const char *const folders[] = {"transformer", "text_encoder", "tokenizer", "vae",
                                          "scheduler"};
    static const char *const endings[] = {".safetensors", ".json", "merges.txt", "vocab.txt",
                                          ".jinja"};
    const char *slash = strchr(name, '/');
    bool here = !slash, wanted = false;
    for (size_t i = 0; slash && i < sizeof folders / sizeof *folders; i++)
        here |= strlen(folders[i]) == (size_t)(slash - name) &&
                !strncmp(name, folders[i], (size_t)(slash - name)) && !strchr(slash + 1, '/');
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++)
        wanted |= ends_with(name, endings[i]);
    /* Weights beside a diffusers folder are the same once more. */
    if (diffusers && !slash && ends_with(name, ".safetensors")) return false;
    return here && wanted && !is_variant(name);
}

/* Whether weights are there that make a folder a model, not a collection of files. */
static bool is_folder(const zi_listing *listing)
{
    static const char *const telling[] = {
        "model_index.json",  "weights.safetensors",          "weights.safetensors.index.json",
        "model.safetensors", "model.safetensors.index.json", "transformer/0.safetensors",
    };
    for (size_t i = 0; i < listing->count; i++)
        for (size_t j = 0; j < sizeof telling / sizeof *telling; j++)
            if (!strcmp(listing->files[i].name, telling[j])) return true;
    return false;
}

static bool refuse_collection(const zi_listing *listing, const char *repo, zi_error *error)
{
    zi_text names;
    zi_text_init(&names, 500);
    for (size_t i = 0; i < listing->count; i++) {
        const char *name = listing->files[i].name;
        if (!ends_with(name, ".safetensors") && !ends_with(name, ".gguf")) continue;
        if (names.size + strlen(name) > 400) {
            zi_text_puts(&names, ", ...");
            break;
        }
        zi_text_printf(&names, "%s%s", names.size ? ", " : "", name);
    }
    if (names.size)
        zi_error_set_in(error, ZI_ERROR_NOT_FOUND, repo, "file",
                        "no model's folder; name one of its files: %s", names.data);
    else
        zi_error_set(error, ZI_ERROR_UNSUPPORTED, repo,
                     "the repository holds no weights that zimage reads");
    zi_text_free(&names);
    return false;
}

bool zi_listing_choose(zi_listing *listing, const char *repo, const char *file, zi_error *error)
{
    bool diffusers = false;
    size_t kept = 0;
    for (size_t i = 0; i < listing->count; i++)
        diffusers |= !strcmp(listing->files[i].name, "model_index.json");
    if (!file && !is_folder(listing)) return refuse_collection(listing, repo, error);
    for (size_t i = 0; i < listing->count; i++) {
        const char *name = listing->files[i].name;
        if (file ? !strcmp(name, file) : is_needed(name, diffusers))
            listing->files[kept++] = listing->files[i];
        else
            free(listing->files[i].name);
    }
    listing->count = kept;
    return kept || zi_error_set_in(error, ZI_ERROR_NOT_FOUND, repo, file, "there is no file %s",
                                   file ? file : "of a model");
}
