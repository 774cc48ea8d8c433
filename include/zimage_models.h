/* zimage: which models there are, and what can be done with their files. See zimage.h for errors,
 * memory, threads and compatibility: among others, a function that fails leaves its outputs
 * unchanged, and its error argument may be NULL. */
#ifndef ZIMAGE_MODELS_H
#define ZIMAGE_MODELS_H

#include "zimage.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- inspection ---- */

typedef enum {
    ZI_MODEL_IMAGE = 0,
    ZI_MODEL_LANGUAGE,
    ZI_MODEL_OTHER,
    /* In a registry, by the folder: components of image models, and what is added to these. */
    ZI_MODEL_TEXT_ENCODER,
    ZI_MODEL_VAE,
    ZI_MODEL_LORA,
    ZI_MODEL_UPSCALER,
    ZI_MODEL_CONTROL_NET
} zi_model_kind;

/* Returns "image", "language", "other", "text_encoder", "vae", "lora", "upscaler" or "control_net";
 * a constant. kind must be one of the values above. */
ZI_API const char *zi_model_kind_name(zi_model_kind kind);

typedef enum {
    ZI_HEALTH_GOOD = 0,
    ZI_HEALTH_INCOMPLETE,  /* components are missing that another model can provide */
    ZI_HEALTH_UNSUPPORTED, /* well-formed, but zimage cannot use it */
    ZI_HEALTH_DAMAGED
} zi_health;

/* Returns "good", "incomplete", "unsupported" or "damaged"; a constant. health must be one of the
 * values above. */
ZI_API const char *zi_health_name(zi_health health);

/* A storage format and how many parameters have it. */
typedef struct {
    char *name; /* "BF16", "F8_E4M3 scaled", "8-bit MLX groups of 64" */
    double parameters;
} zi_value_format;

/* The tensors of a component, or of a file. */
typedef struct {
    size_t files; /* 0: it has no tensors, or they could not be read */
    size_t tensors;
    double parameters; /* elements of the unpacked tensors */
    double bytes;
    zi_value_format *formats; /* [format_count] */
    size_t format_count;
} zi_tensor_summary;

typedef enum {
    ZI_COMPONENT_TRANSFORMER = 0,
    ZI_COMPONENT_TEXT_ENCODER,
    ZI_COMPONENT_VAE,
    ZI_COMPONENT_TOKENIZER,
    ZI_COMPONENT_SCHEDULER,
    ZI_COMPONENTS
} zi_component;

/* Returns "transformer", "text_encoder", "vae", "tokenizer" or "scheduler"; a constant. */
ZI_API const char *zi_component_name(zi_component component);

typedef struct {
    zi_error_code code;
    char *subject, *text; /* as in zi_error */
} zi_problem;

/* The result of inspecting a model folder or file. */
typedef struct {
    char *path;
    zi_model_kind kind;
    char *layout; /* "diffusers", "MLX", "ComfyUI file", ...; NULL: unknown */
    /* "Z-Image-Turbo", "Z-Image (base)", "Z-Image-Turbo transformer", "Stable Diffusion XL", ...;
     * "Z-Image" where the variant is not known; NULL */
    char *architecture;
    /* Of the transformer, or else of the first component with tensors; NULL: none has. */
    const char *precision;
    int native_size; /* pixels; 0: unknown, as for the next four */
    int transformer_layers, transformer_width;
    int text_encoder_layers, text_encoder_width;
    bool has_components; /* false: it has another architecture, and `other` describes it */
    struct {
        bool present;
        bool missing; /* not present, but needed */
        zi_tensor_summary tensors;
    } components[ZI_COMPONENTS];
    zi_tensor_summary other;
    zi_health health;
    bool usable;          /* without components of another model */
    zi_problem *problems; /* [problem_count], those that a reference cannot solve first */
    size_t problem_count;
    char **remarks; /* [remark_count] */
    size_t remark_count;
    zi_variant variant; /* of a model with a transformer */
    double shift;       /* that its scheduler has for images of the native size; 0: unknown */
    /* The transformer's width of text embeddings, which is its text encoder's width, and numbers of
     * latent channels, which are equal in a transformer and its VAE; 0: unknown. */
    int transformer_text_width, transformer_channels, vae_channels;
} zi_inspection;

/* Inspects a model folder or file by its headers and configs; zi_inspection_free() *out. What is
 * recognised is described, damaged or not. False, with *error set and *out unchanged: path cannot
 * be read, is a tensor file with a damaged header, has an unknown format, or memory is short. */
ZI_API bool zi_inspect(const char *path, zi_inspection **out, zi_error *error) ZI_CHECKED;

/* Drops one reference to the inspection, which the last one frees; thread-safe. NULL is allowed. */
ZI_API void zi_inspection_free(zi_inspection *inspection);

/* Returns the inspection as indented JSON text; zi_free() it. NULL: out of memory; the text may
 * also lack members then. */
ZI_API char *zi_inspection_json(const zi_inspection *inspection);

/* ---- verification ---- */

typedef struct {
    const char *name; /* a constant */
    bool passed;
    zi_error_code code; /* why it failed; ZI_OK: it passed */
    char *text;         /* what was found, or why it failed */
} zi_verification_check;

typedef struct {
    char *path;
    bool passed;                   /* all checks */
    zi_verification_check *checks; /* [check_count] that could be run */
    size_t check_count;
} zi_verification;

/* Tests whether a model works: reads all weights and generates small images. against: path of the
 * model that it was converted from, whose image it must reproduce; NULL: none. progress may be
 * NULL. zi_verification_free() *out. Failed checks are in *out. False, with *error set and *out
 * unchanged: cancelled, no options->path, or memory is short. */
ZI_API bool zi_verify(zi_engine *engine, const zi_model_options *options, const char *against,
                      zi_progress_fn progress, void *user, zi_verification **out,
                      zi_error *error) ZI_CHECKED;

/* Frees the verification. NULL is allowed. */
ZI_API void zi_verification_free(zi_verification *verification);

/* Returns the verification (not NULL) as indented JSON text; zi_free() it. NULL: out of memory; the
 * text may also lack members then. */
ZI_API char *zi_verification_json(const zi_verification *verification);

/* ---- conversion ---- */

/* The layout to write. */
typedef enum {
    ZI_LAYOUT_SAME = 0,  /* that of the source */
    ZI_LAYOUT_MLX,       /* a folder */
    ZI_LAYOUT_DIFFUSERS, /* a folder */
    ZI_LAYOUT_COMFYUI,   /* one safetensors file */
    ZI_LAYOUT_GGUF       /* one file: the transformer, or a text encoder alone */
} zi_layout_kind;

/* The precision to write. Original keeps the stored types; a type that the layout does not have
 * becomes 16-bit. FP32, FP16 and BF16 are for all tensors. The others quantize matrices of the
 * transformer, in GGUF also of a text encoder, whose rows are multiples of 64 (GGUF: of 32):
 * FP8: float8_e4m3fn with scales in ComfyUI, without them in diffusers; in MLX it is Q8.
 * FP8_E4M3FN: float8_e4m3fn without scales, in ComfyUI and diffusers.
 * Q8, Q4: groups of 64 with 8 and 4 bits in MLX, Q8_0 and Q4_0 blocks in GGUF.
 * Q2_K to IQ4_XS: ggml's blocks of that name, in GGUF; the most sensitive tensors get more bits. */
typedef enum {
    ZI_PRECISION_ORIGINAL = 0,
    ZI_PRECISION_FP16,
    ZI_PRECISION_BF16,
    ZI_PRECISION_FP8,
    ZI_PRECISION_Q8,
    ZI_PRECISION_Q4,
    ZI_PRECISION_FP32,
    ZI_PRECISION_FP8_E4M3FN,
    ZI_PRECISION_Q2_K,
    ZI_PRECISION_Q3_K,
    ZI_PRECISION_Q4_K,
    ZI_PRECISION_Q5_K,
    ZI_PRECISION_Q6_K,
    ZI_PRECISION_Q4_1,
    ZI_PRECISION_Q5_0,
    ZI_PRECISION_Q5_1,
    ZI_PRECISION_IQ4_NL,
    ZI_PRECISION_IQ4_XS
} zi_precision;

/* Returns "same", "mlx", "diffusers", "comfyui" or "gguf"; NULL for other values. Constants. */
ZI_API const char *zi_layout_name(zi_layout_kind layout);

/* Returns "original", "fp16", "q8", "q4_k" and so on; NULL for other values. Constants. */
ZI_API const char *zi_precision_name(zi_precision precision);

/* Returns the layout that a destination's extension, in letters of any case, stands for: ComfyUI
 * for .safetensors, GGUF for .gguf; ZI_LAYOUT_SAME: it has neither. */
ZI_API zi_layout_kind zi_layout_of_extension(const char *destination);

/* Checks that models in a layout can be written in a precision, both values of their types; else
 * ZI_ERROR_INVALID_ARGUMENT with subject "precision" and the possible ones in the text.
 * ZI_LAYOUT_SAME always passes: the source is not known here. */
ZI_API bool zi_layout_check(zi_layout_kind layout, zi_precision precision,
                            zi_error *error) ZI_CHECKED;

typedef struct {
    const char *source;
    const char *destination; /* must not exist, or be an empty folder */
    zi_layout_kind layout;   /* an extension of destination must not contradict it */
    zi_precision precision;
    const char *vae, *text_encoder; /* files or folders to take these from; NULL: the source */
    const char *reference;          /* a model folder to take missing components from; NULL: none */
    int threads;                    /* as in zi_engine_options */
    zi_progress_fn progress;        /* gets ZI_STAGE_CONVERT; may be NULL */
    void *user;                     /* passed to the callbacks */
    uint64_t shard_bytes;           /* diffusers: largest file of weights; 0: 5 GB */
    /* Called with what the user should know about the result, such as missing pad tokens that are
     * written as zeros; text is a line, valid during the call. May be NULL. */
    void (*remark)(void *user, const char *text);
    const char *tokenizer; /* as in zi_model_options */
    void *reserved[5];
} zi_convert_options;

/* Writes a model, or a single component, in another layout or precision. The destination exists
 * complete, or not at all. Before writing, it fails if something is there (ZI_ERROR_EXISTS; an
 * empty folder is fine for a layout that is one), if destination and an input contain one another
 * (ZI_ERROR_INVALID_ARGUMENT), and if the disk has too little space (ZI_ERROR_IO). */
ZI_API bool zi_convert(const zi_convert_options *options, zi_error *error) ZI_CHECKED;

/* ---- downloads from a hub ---- */

/* A hub like huggingface.co, and its cache. */
typedef struct {
    const char *endpoint; /* NULL: https://huggingface.co. http:// only if it is said here */
    const char *token;    /* access token, sent only to the endpoint; NULL: none */
    const char *cache;    /* cache folder of huggingface_hub, shared with other programs */
    const char *ca_file;  /* CA certificates; NULL: those of the system */
    const char *proxy;    /* NULL: none. Not for the hosts in the environment variable NO_PROXY */
    int timeout;          /* seconds without data after which a connection fails; 0: 20 */
    bool offline;         /* use only the cache */
    void *reserved[4];
} zi_hub;

typedef struct {
    const char *name; /* in the repository */
    uint64_t done, size;
} zi_hub_file;

/* Later versions may append fields. */
typedef struct {
    const zi_hub_file *files; /* [count] that are wanted */
    size_t count, finished;
    uint64_t done, size; /* bytes of all files */
} zi_hub_progress;

/* Called several times a second, also while no data comes, in the thread that called the library.
 * Returning false cancels. */
typedef bool (*zi_hub_progress_fn)(void *user, const zi_hub_progress *progress);

typedef struct {
    zi_hub hub;
    const char *repo;            /* OWNER/NAME or OWNER/NAME@REVISION; NULL: Z-Image-Turbo;
                                    "prompt-enhancer": Qwen2.5-1.5B-Instruct; "tokenizer": only
                                    the tokenizer of Z-Image-Turbo */
    const char *file;            /* only this file; NULL: the files of a model */
    const char *local_dir;       /* destination folder; NULL: the cache */
    zi_hub_progress_fn progress; /* may be NULL */
    void *user;                  /* passed to progress */
    void *reserved[8];
} zi_download_options;

typedef struct {
    char *path;       /* the model's or tokenizer's folder, or the file; zi_free() it */
    uint64_t fetched; /* bytes that came over the network */
    bool from_cache;  /* the hub was not reached, or offline: the cache may be out of date */
    bool tokenizer;   /* it is a tokenizer alone, in the cache, and no model */
    void *reserved[4];
} zi_download_result;

/* Downloads the files that are missing, several at a time, and checks sizes and digests; zi_free()
 * out->path. A download that was interrupted, or failed, is resumed by the next call. Files, and
 * models in the cache, exist complete or not at all. When the hub cannot be reached and local_dir
 * is NULL, a complete model in the cache is the result (out->from_cache). */
ZI_API bool zi_download(const zi_download_options *options, zi_download_result *out,
                        zi_error *error) ZI_CHECKED;

/* Sets *path to the folder in the cache of a model that was downloaded completely, zi_free() it;
 * NULL: there is none, no cache (hub->cache is NULL), or memory was short while looking. repo: as
 * in zi_download_options. Fails with ZI_ERROR_INVALID_ARGUMENT when repo is not a repository's
 * name, and with ZI_ERROR_NO_MEMORY when the result cannot be copied. */
ZI_API bool zi_hub_find_cached(const zi_hub *hub, const char *repo, char **path,
                               zi_error *error) ZI_CHECKED;

/* Removes a repository with all its revisions from the cache, hub->cache, which must be set; the
 * cache's lock files stay. repo: as in zi_download_options; its revision is ignored.
 * ZI_ERROR_NOT_FOUND: it is not there; ZI_ERROR_IO: a part cannot be removed, the rest may be
 * gone. */
ZI_API bool zi_hub_remove(const zi_hub *hub, const char *repo, zi_error *error) ZI_CHECKED;

/* ---- model registry ---- */

/* All models that have a name: those in the models folder, in the hub cache, and the demo model.
 * FOLDER/mlx, FOLDER/pytorch and FOLDER/comfyui have image models, FOLDER/prompt_enhancer language
 * models. FOLDER may also be ComfyUI's folder "models", with subfolders diffusion_models, unet,
 * checkpoints, text_encoders, clip, vae, loras, upscale_models and controlnet, which may have
 * subfolders. A model in the hub cache is called OWNER/NAME. Several threads may use a registry at
 * the same time. */
typedef struct zi_registry zi_registry;

typedef struct {
    const char *folder; /* the models folder; it need not exist */
    zi_hub hub;
    const char *demo;       /* path of the demo model; NULL: none */
    const char *model;      /* path of the default model, before default.txt; NULL: none */
    const char *cache_file; /* stores inspections; NULL: they are kept in memory */
    /* Accept names only, no paths, and ignore links that lead out of the folder: for names from
     * untrusted clients. */
    bool names_only;
    /* The caller has the components that a model may lack: such a model, too, can be used when none
     * is named, if it has a transformer; and `model` counts as usable in the list. */
    bool parts_given;
    void *reserved[8];
} zi_registry_options;

/* Opens a registry; zi_registry_close() *out. Reads no models yet, and the folder may be missing.
 * Copies *options, but its strings must be valid until the registry is closed. Fails when memory is
 * short or a reserved field is set. */
ZI_API bool zi_registry_open(const zi_registry_options *options, zi_registry **out,
                             zi_error *error) ZI_CHECKED;

/* Frees the registry and its default, unless that is lasting; saves no inspections. NULL is
 * allowed. */
ZI_API void zi_registry_close(zi_registry *registry);

/* Where a model is. */
typedef enum {
    ZI_SECTION_MLX = 0,
    ZI_SECTION_PYTORCH,
    ZI_SECTION_COMFYUI,
    ZI_SECTION_DIFFUSION_MODELS,
    ZI_SECTION_UNET,
    ZI_SECTION_CHECKPOINTS,
    ZI_SECTION_PROMPT_ENHANCER,
    ZI_SECTION_TEXT_ENCODERS,
    ZI_SECTION_CLIP,
    ZI_SECTION_VAE,
    ZI_SECTION_LORAS,
    ZI_SECTION_UPSCALE_MODELS,
    ZI_SECTION_CONTROLNET,
    ZI_SECTION_HUB,   /* the hub cache */
    ZI_SECTION_NAMED, /* zi_registry_options.model, if it is in no other section */
    ZI_SECTION_DEMO
} zi_section;

/* Returns "mlx", "pytorch", "comfyui", "diffusion_models", and so on: the name of the subfolder; or
 * "hub", "named" or "demo". A constant. section must be one of the values above. */
ZI_API const char *zi_section_name(zi_section section);

typedef struct {
    char *name; /* unique: "mlx/NAME", "OWNER/NAME", "demo", ... */
    char *path;
    zi_section section;
    zi_model_kind kind;
    bool is_default;           /* zi_registry_list.default_name is its name */
    uint64_t bytes;            /* of all files */
    zi_inspection *inspection; /* NULL: not inspected yet, see zi_registry_inspect_all */
    /* An image model with all components: its own, those below, or (options.model) those that the
     * caller has. false: not inspected yet, too. */
    bool usable;
    /* Names, in ComfyUI's folder that the model is in, of what zi_registry_find_parts gives it, as
     * far as that is inspected; NULL: nothing. The tokenizer's is a path. */
    char *text_encoder, *vae, *tokenizer;
    bool lacks[ZI_COMPONENTS]; /* an inspected image model: components that are in none of these */
} zi_registry_entry;

/* An unfinished download or import. */
typedef struct {
    char *name;    /* ".incoming/NAME", or "mlx/NAME.part-1-0" */
    bool download; /* false: left by an import or conversion that was killed */
    uint64_t bytes;
} zi_partial_model;

typedef struct {
    char *default_name;         /* by zi_registry_set_default or options.model; NULL: none */
    zi_registry_entry *entries; /* [count], sorted by section and name */
    size_t count, unknown; /* unknown: entries that are new or changed since they were inspected.
                              Those in the hub cache may turn out not to be image models */
    zi_partial_model *partial; /* [partial_count] */
    size_t partial_count;
} zi_registry_list;

/* Lists all models, and unfinished ones of the folder in out->partial. Reads folders, but opens no
 * model: inspections come from the cache file. In the hub cache, models of other kinds and
 * unfinished ones are left out. Free the result with zi_registry_list_free. */
ZI_API bool zi_registry_read(zi_registry *registry, zi_registry_list *out,
                             zi_error *error) ZI_CHECKED;

/* Frees what the list has and zeroes it; the struct itself is the caller's. NULL and a zeroed
 * struct are allowed. */
ZI_API void zi_registry_list_free(zi_registry_list *list);

/* Inspects the models that zi_registry_read counts as unknown, and stores the results, in the cache
 * file at the end, also after a failure. Skips models whose files cannot be read. inspected (may be
 * NULL) is called after each inspected one and may return false to stop, which is
 * ZI_ERROR_CANCELLED. */
ZI_API bool zi_registry_inspect_all(zi_registry *registry, bool (*inspected)(void *user),
                                    void *user, zi_error *error) ZI_CHECKED;

/* Returns the stored inspection of a path (spelled as then) whose files have not changed since, for
 * zi_inspection_free; NULL: none, or out of memory. For files that are missing or cannot be read it
 * is an inspection that says so. */
ZI_API zi_inspection *zi_registry_cached_inspection(zi_registry *registry, const char *path);

enum { ZI_MODEL_HASH = 11 /* bytes: ten hexadecimal digits and a NUL */ };

/* Sets hash to A1111's "Model hash" of the model at path: the first ten hexadecimal digits of the
 * SHA-256 of its (transformer's first) weight file; "" if it is not known yet. It is known of small
 * files, of those in the hub cache, and of others once it was computed, until size or time of
 * change differ; it is stored beside options.cache_file. compute: read the file if need be, which
 * takes a second per GB or so; should_continue (may be NULL) is asked meanwhile, and its false is
 * ZI_ERROR_CANCELLED. Fails only then; a file that cannot be read has no hash. */
ZI_API bool zi_registry_model_hash(zi_registry *registry, const char *path, bool compute,
                                   bool (*should_continue)(void *user), void *user,
                                   char hash[ZI_MODEL_HASH], zi_error *error) ZI_CHECKED;

/* Why a name was resolved to a model. */
typedef enum {
    ZI_RESOLVED_NAMED = 0,  /* it was asked for */
    ZI_RESOLVED_DEFAULT,    /* it is the default */
    ZI_RESOLVED_ONLY,       /* it is the only complete image model in the folder */
    ZI_RESOLVED_DOWNLOADED, /* the folder has none; it is Z-Image-Turbo in the hub cache, or the
                               only image model there */
    ZI_RESOLVED_DEMO        /* there is no other */
} zi_resolved_reason;

typedef struct {
    char *name; /* as in zi_registry_entry; for a path, that path */
    char *path;
    zi_resolved_reason as;
    char *passed_over; /* a model in the folder that lacks components and was not used therefore,
                          although none is complete: its name; NULL: there is none */
    void *reserved[3];
} zi_resolved_model;

/* Finds a model, for zi_resolved_model_free. name: a path (not with names_only; of a folder like
 * ComfyUI's "models" its only diffusion model: several are ZI_ERROR_NOT_FOUND), else a model in
 * the folder (NAME or mlx/NAME), in the hub cache, options.model or the demo. NULL: the default,
 * else the only complete image model in the folder (what zi_registry_find_parts finds counts; one
 * whose layout cannot be read counts, too), else, if it has none, Z-Image-Turbo in the hub cache,
 * else the only image model there, else the demo. Opens files of the folder only for NULL, and
 * reads their headers; those in ComfyUI's folders it inspects, unless names_only is set.
 * ZI_ERROR_NOT_FOUND: there is none, the default is gone, or there are several. */
ZI_API bool zi_registry_resolve(zi_registry *registry, const char *name, zi_resolved_model *out,
                                zi_error *error) ZI_CHECKED;

/* Frees the strings that the struct has and zeroes it; the struct itself is the caller's. NULL and
 * a zeroed struct are allowed. */
ZI_API void zi_resolved_model_free(zi_resolved_model *model);

/* Finds a component of other models by name or path, as zi_registry_resolve does; does not check
 * that it has the component. Of equal names, that in the component's folders (text_encoders, clip,
 * vae), whose subfolders a name may leave out, comes first. component: ZI_COMPONENT_TEXT_ENCODER or
 * ZI_COMPONENT_VAE, or ZI_COMPONENT_TOKENIZER for a reference, which may also be "tokenizer", or a
 * repository in the hub cache of which only the tokenizer is there. ZI_ERROR_NOT_FOUND: there is
 * none. zi_free() *path.
 */
ZI_API bool zi_registry_resolve_part(zi_registry *registry, zi_component component,
                                     const char *name, char **path, zi_error *error) ZI_CHECKED;

/* What a model lacks and others have; all strings are owned. */
typedef struct {
    char *text_encoder, *vae; /* files; NULL: none */
    char *tokenizer;          /* a folder; NULL: none */
    char *note;               /* which files were chosen, a line for the user; NULL: none were */
    void *reserved[4];
} zi_model_parts;

/* Finds components for options->path, which is a file below diffusion_models, unet or checkpoints
 * in a folder like ComfyUI's "models": for each of text encoder and VAE that neither it nor the
 * options provide, the file there that fits it; of several, that with ComfyUI's usual name, else
 * the first by folder (text_encoders before clip), then by name with its subfolders. Inspects what
 * is not inspected yet. For any model, the tokenizer of Z-Image-Turbo if that is in the hub cache.
 * zi_model_parts_free() *out. What does not exist stays NULL. */
ZI_API bool zi_registry_find_parts(zi_registry *registry, const zi_model_options *options,
                                   zi_model_parts *out, zi_error *error) ZI_CHECKED;

/* Frees the strings that the struct has and zeroes it; the struct itself is the caller's. NULL and
 * a zeroed struct are allowed. */
ZI_API void zi_model_parts_free(zi_model_parts *parts);

/* Finds a language model by name or path, as zi_registry_resolve does; does not check that it is
 * one. name NULL or "prompt_enhancer": the only one in FOLDER/prompt_enhancer, else the one in the
 * hub cache; true with *path NULL when there is none. ZI_ERROR_NOT_FOUND: the name is unknown, or
 * there are several. zi_free() *path. */
ZI_API bool zi_registry_resolve_llm(zi_registry *registry, const char *name, char **path,
                                    zi_error *error) ZI_CHECKED;

/* Makes an image model, by its name in zi_registry_read or NAME alone, the default: lasting, in
 * FOLDER/default.txt; else until the registry is closed, before options.model and default.txt, also
 * a later lasting one. ZI_ERROR_NOT_FOUND: the name is unknown, or a path. ZI_ERROR_UNSUPPORTED: it
 * is in a section of other models, such as prompt_enhancer or vae. */
ZI_API bool zi_registry_set_default(zi_registry *registry, const char *name, bool lasting,
                                    zi_error *error) ZI_CHECKED;

/* Sets path and name ("comfyui/FILE") for a new model with that file name in one of the folder's
 * sections; zi_free() both. Creates the section's folder, even if it fails then, but no file.
 * ZI_ERROR_EXISTS: something is there. ZI_ERROR_INVALID_ARGUMENT: `file` is no plain file name, or
 * that of a temporary. ZI_ERROR_IO: the folder cannot be made or, with options->names_only, is a
 * link to a place outside the models folder. */
ZI_API bool zi_registry_new_path(zi_registry *registry, zi_section section, const char *file,
                                 char **path, char **name, zi_error *error) ZI_CHECKED;

/* Removes a model from the folder, a repository with all its revisions from the hub cache, or an
 * unfinished model, by its name in zi_registry_read; of a link, only the link. Then removes
 * default.txt if it names the model; a default of this session stays. ZI_ERROR_NOT_FOUND: an
 * unknown name, "demo" or "named/...". ZI_ERROR_EXISTS: an unfinished one is in use. */
ZI_API bool zi_registry_remove(zi_registry *registry, const char *name, zi_error *error) ZI_CHECKED;

/* Sets *path to what zi_registry_remove would remove; zi_free() it. Removes nothing. Fails as
 * zi_registry_remove does for a name that is unknown. */
ZI_API bool zi_registry_find_removable(zi_registry *registry, const char *name, char **path,
                                       zi_error *error) ZI_CHECKED;

/* A model directly in the models folder, where older versions had them. */
typedef struct {
    char *from, *to; /* paths; to is NULL if the model's kind is not known */
    char *problem;   /* why it was not (dry: would not be) moved; NULL: it was, or would be */
} zi_migrated_model;

typedef struct {
    zi_migrated_model *models; /* [count] */
    size_t count;
} zi_migration;

/* Moves the models directly in the folder into their sections. One that cannot be moved is no
 * failure: its row has the problem. dry: only reports what would be moved. Free the result with
 * zi_migration_free. False: the folder cannot be read, or memory is short; models already moved
 * stay moved. */
ZI_API bool zi_registry_migrate(zi_registry *registry, bool dry, zi_migration *out,
                                zi_error *error) ZI_CHECKED;

/* Frees the rows and zeroes the struct, which itself is the caller's. NULL and a zeroed struct are
 * allowed. */
ZI_API void zi_migration_free(zi_migration *migration);

typedef enum { ZI_IMPORT_COPY = 0, ZI_IMPORT_LINK, ZI_IMPORT_MOVE } zi_import_mode;

typedef struct {
    const char *source;  /* a file or folder */
    const char *name;    /* NULL: the source's */
    zi_import_mode mode; /* COPY leaves out names that begin with a dot; MOVE refuses links */
    bool convert;        /* convert to layout and precision; mode is ignored */
    zi_layout_kind layout;
    zi_precision precision;
    const char *reference;   /* as for zi_convert */
    int threads;             /* as in zi_engine_options */
    zi_progress_fn progress; /* gets ZI_STAGE_COPY and ZI_STAGE_CONVERT; may be NULL */
    void *user;              /* passed to the callbacks */
    void (*remark)(void *user, const char *text); /* as in zi_convert_options */
    void *reserved[7];
} zi_import_options;

/* Adds a model or component to the folder, in the section of its layout; zi_free() *path, where it
 * is. Refuses what is damaged, unsupported, or neither Z-Image nor a language model; to convert the
 * latter; and (ZI_ERROR_EXISTS) a taken name, or any language model while prompt_enhancer is itself
 * one. After a failure nothing was added, but a copy if a move cannot remove its source. */
ZI_API bool zi_registry_import(zi_registry *registry, const zi_import_options *options, char **path,
                               zi_error *error) ZI_CHECKED;

/* Downloads a model into the folder, or copies a complete one from the hub cache; converts it, on
 * the way if possible, if `import` (not NULL) has a layout or precision; its source, mode and
 * convert are ignored. Reports the download's progress, then the conversion's. The next call
 * resumes one that failed or was cancelled. ZI_ERROR_EXISTS: the name is taken. zi_free()
 * out->path. */
ZI_API bool zi_registry_download(zi_registry *registry, const zi_download_options *options,
                                 const zi_import_options *import, zi_download_result *out,
                                 zi_error *error) ZI_CHECKED;

/* Recommends a precision of Z-Image-Turbo as an MLX folder for the free memory of this machine, in
 * *precision: the smallest if none fits. Returns a sentence on download size, disk space and
 * memory; zi_free() it. NULL: out of memory; *precision is set. */
ZI_API char *zi_registry_hint(const zi_registry *registry, zi_precision *precision);

#ifdef __cplusplus
}
#endif

#endif
