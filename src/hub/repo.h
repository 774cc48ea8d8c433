/* Repositories of a hub: ids, revisions, and the list of files (huggingface_hub's RepoInfo). All of
 * these become paths and URLs, so they are validated first. */
#ifndef ZI_HUB_REPO_H
#define ZI_HUB_REPO_H

#include "hub/digest.h"
#include "hub/http_client.h"

/* ---- validation ---- */

/* Whether a file name from a hub ("vae/config.json") stays below the folder that it is joined to:
 * not "", no leading slash, no empty component, no "." or "..", nowhere a backslash, colon or
 * control character, valid UTF-8, at most 400 bytes. */
bool zi_relative_path_is_safe(const char *name);

/* Whether the first `length` characters of repo are a repository id OWNER/NAME: letters, digits,
 * "-", "_" and ".", at most 96 characters in all, without "--", and neither part "." or "..". */
bool zi_repo_id_valid(const char *repo, size_t length);

/* Whether revision can be the name of a branch, tag or commit: letters, digits, "-", "_", "." and
 * "/", at most 200 characters, and no part between slashes that is empty, "." or "..". */
bool zi_revision_valid(const char *revision);

/* Whether text is a full commit hash: 40 lower-case hexadecimal digits. */
bool zi_commit_hash_valid(const char *text);

/* ---- ids ---- */

/* A repository at a revision. */
typedef struct {
    char *repo;           /* OWNER/NAME */
    const char *revision; /* "main" by default; in the same allocation as repo */
    bool tokenizer;       /* only the repository's folder "tokenizer" is meant */
} zi_repo_id;

/* Parses OWNER/NAME, OWNER/NAME@REVISION or a short name ("z-image-turbo", "prompt-enhancer",
 * "tokenizer": that of Z-Image-Turbo; without a revision); text NULL means Z-Image-Turbo, no
 * revision "main". Free *out with zi_repo_id_free. A malformed text is ZI_ERROR_INVALID_ARGUMENT.
 * On any failure *out is unchanged. */
bool zi_repo_id_parse(const char *text, zi_repo_id *out, zi_error *error) ZI_CHECKED;

/* Frees what the id has and zeroes *id. A zeroed one is allowed, NULL is not. */
void zi_repo_id_free(zi_repo_id *id);

/* ---- files ---- */

/* One file of a repository at a commit. */
typedef struct {
    char *name; /* relative to the repository's root; zi_relative_path_is_safe */
    uint64_t size;
    zi_digest_kind kind;             /* SHA-256 of LFS files, git's blob hash of others */
    char digest[ZI_DIGEST_HEX_SIZE]; /* also the file's ETag */
} zi_repo_file;

typedef struct {
    char commit[41];
    zi_repo_file *files; /* [count], by name */
    size_t count;
} zi_repo_info;

/* Requests the commit of a revision and its files (sorted by name) from the hub's API. Free *out
 * with zi_repo_info_free; on failure it is empty. An answer that is malformed, has an unsafe file
 * name or a name twice is ZI_ERROR_NETWORK. *reached as in zi_http_get_text; set it to false
 * before. */
bool zi_repo_info_fetch(zi_http_client *client, const char *repo, const char *revision,
                        zi_repo_info *out, bool *reached, zi_error *error) ZI_CHECKED;

/* Removes from info (and frees) all files but the one named `file`, or with NULL all but those a
 * model needs: weights, configs and tokenizer of a folder in a known layout. ZI_ERROR_NOT_FOUND:
 * nothing is left, or it is a collection of single-file models, which the error lists; without
 * weights ZI_ERROR_UNSUPPORTED. repo is for the error. */
bool zi_repo_info_select_files(zi_repo_info *info, const char *repo, const char *file,
                               zi_error *error) ZI_CHECKED;

/* Removes from info (and frees) all files but those of the tokenizer: what a model needs of the
 * folder "tokenizer". ZI_ERROR_NOT_FOUND: there are none. repo is for the error. */
bool zi_repo_info_select_tokenizer(zi_repo_info *info, const char *repo,
                                   zi_error *error) ZI_CHECKED;

/* Whether the file's name ends in ".safetensors", in lower case. */
bool zi_is_safetensors_name(const char *name);

/* Frees what info has and zeroes *info. A zeroed one is allowed, NULL is not. */
void zi_repo_info_free(zi_repo_info *info);

#endif
