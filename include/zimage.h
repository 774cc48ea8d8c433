/* zimage: text to image with Z-Image.
 *
 * This header has the engine, models, generation, prompts and images. zimage_models.h has the model
 * registry, downloads, conversion, inspection and verification. zimage_bench.h has benchmarks.
 *
 *     zi_error error = {0};
 *     zi_engine *engine = NULL;
 *     zi_model *model = NULL;
 *     zi_image *image = NULL;
 *     zi_model_options options = {0};
 *     zi_request request = zi_request_default();
 *     options.path = "Z-Image-Turbo";
 *     request.prompt = "a red circle on a blue background";
 *     if (!zi_engine_create(NULL, &engine, &error) ||
 *         !zi_model_load(engine, &options, &model, &error) ||
 *         !zi_generate(model, &request, &image, &error) ||
 *         !zi_image_save(image, "out.png", NULL, &error))
 *         fprintf(stderr, "%s\n", error.text);
 *     zi_image_free(image);
 *     zi_model_free(model);
 *     zi_engine_free(engine);
 *
 * Errors. A function that can fail returns true on success. On failure it returns false, fills
 * *error and does not change its outputs. error may be NULL. The library does not print, does not
 * exit, does not read the environment and installs no signal handlers.
 *
 * Strings are UTF-8 and end with NUL. The library copies nothing that an options struct points to
 * unless it says so: such strings must be valid until the call returns.
 *
 * Memory. An object has a function zi_OBJECT_free (a registry: zi_registry_close), which accepts
 * NULL. Other memory that the library returns is freed with zi_free().
 *
 * Threads. Each function says what may be called from several threads at the same time. Functions
 * that take no object may be called from any thread at any time. Results belong to the caller.
 *
 * Compatibility. Set structs to {0} before you fill them: 0 and NULL are the defaults. `reserved`
 * becomes new fields in later versions, so that programs need not be compiled again. A library that
 * does not know a field that was set refuses the call. */
#ifndef ZIMAGE_H
#define ZIMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ZI_VERSION "0.1.0" /* of this header */

#if defined(__GNUC__)
#define ZI_API __attribute__((visibility("default")))
#define ZI_CHECKED __attribute__((warn_unused_result))
#define ZI_PRINTF(text, first) __attribute__((format(printf, text, first)))
#else
#define ZI_API
#define ZI_CHECKED
#define ZI_PRINTF(text, first)
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Returns the version of the library, "0.1.0"; a constant. */
ZI_API const char *zi_version(void);

/* Frees memory that the library returned. pointer may be NULL. */
ZI_API void zi_free(void *pointer);

/* ---- errors ---- */

typedef enum {
    ZI_OK = 0,
    ZI_ERROR_INVALID_ARGUMENT, /* a value that the caller gave is not possible */
    ZI_ERROR_NOT_FOUND,        /* there is no such file, model or image */
    ZI_ERROR_EXISTS,           /* the destination exists; it is not overwritten */
    ZI_ERROR_BAD_FORMAT,       /* a file is damaged or contradicts itself or another file */
    ZI_ERROR_UNSUPPORTED,      /* a file is well-formed, but zimage cannot use its kind */
    ZI_ERROR_INCOMPLETE, /* the model has not all components; see zi_model_options.reference */
    ZI_ERROR_IO,         /* the operating system failed: permissions, disk space, disk errors */
    ZI_ERROR_NO_MEMORY,
    ZI_ERROR_NETWORK,
    ZI_ERROR_CANCELLED /* a callback of the caller returned false */
} zi_error_code;

typedef struct {
    zi_error_code code;
    /* The subject of the error, as specific as is known: the field of an options struct ("width"),
     * a tensor, a field of a config file, or else a file or a name. For ZI_ERROR_INCOMPLETE: the
     * missing component, "transformer", "text_encoder", "vae", "tokenizer", "scheduler" or
     * "config". Truncated when it is longer; empty when there is none. */
    char subject[256];
    char text[1024]; /* one line without newline: what is wrong and what to do */
    size_t message;  /* text + message is the text without the file or subject at its start */
} zi_error;

/* ---- images ---- */

typedef struct {
    int width, height;
    uint8_t *pixels; /* RGB, 8 bits per channel, [height, width, 3], top row first */
} zi_image;

typedef enum { ZI_FORMAT_BY_NAME = 0, ZI_FORMAT_PNG, ZI_FORMAT_JPEG, ZI_FORMAT_WEBP } zi_format;

typedef struct {
    zi_format format; /* ZI_FORMAT_BY_NAME: by the extension .png, .jpg, .jpeg or .webp */
    int quality;      /* of JPEG and WebP, 1 to 100; 0: 95 */
    const char
        *infotext; /* generation parameters to store in the file, as A1111 does; NULL: none */
    void *reserved[4];
} zi_save_options;

/* Writes an image file atomically: it exists complete, or not at all. An existing file is replaced
 * (of a link its target; the mode stays), but unchanged after a failure. options may be NULL: the
 * format by path's extension, quality 95, no infotext. ZI_ERROR_INVALID_ARGUMENT: a side not in 1
 * to 16384 pixels (WebP: 16383) or an impossible option; ZI_ERROR_UNSUPPORTED: an infotext too long
 * for JPEG. */
ZI_API bool zi_image_save(const zi_image *image, const char *path, const zi_save_options *options,
                          zi_error *error) ZI_CHECKED;

/* Reads a PNG, JPEG or WebP file of at most 16384 pixels a side; zi_image_free() *out. Grey and 16
 * bits become 8-bit RGB; transparent pixels are blended with black; EXIF's orientation is ignored.
 * infotext may be NULL; *infotext receives the generation parameters that the file has, or NULL;
 * those of ComfyUI, InvokeAI, Fooocus and others as a translation; zi_free() it.
 * ZI_ERROR_UNSUPPORTED: another kind or too large; ZI_ERROR_BAD_FORMAT: damaged. */
ZI_API bool zi_image_load(const char *path, zi_image **out, char **infotext,
                          zi_error *error) ZI_CHECKED;

/* Frees the image and its pixels. NULL is allowed. */
ZI_API void zi_image_free(zi_image *image);

/* Whether path is a regular file that starts like a PNG, JPEG or WebP file. The rest is not read;
 * false also when it cannot be opened. */
ZI_API bool zi_image_probe(const char *path);

/* Returns the bytes of an image file in *data, and their number in *size; zi_free() *data. options
 * must have a format, else it fails with ZI_ERROR_INVALID_ARGUMENT; otherwise like
 * zi_image_save. */
ZI_API bool zi_image_encode(const zi_image *image, const zi_save_options *options, uint8_t **data,
                            size_t *size, zi_error *error) ZI_CHECKED;

/* Decodes the `size` bytes of an image file, otherwise like zi_image_load. max_pixels: an image
 * with more (width times height) is refused with ZI_ERROR_UNSUPPORTED before memory is allocated
 * for it; 0: no limit but that of zi_image_load. */
ZI_API bool zi_image_decode(const void *data, size_t size, size_t max_pixels, zi_image **out,
                            char **infotext, zi_error *error) ZI_CHECKED;

/* ---- infotext: generation parameters as text, in the format of A1111 ---- */

typedef struct {
    const char *prompt, *negative, *model, *schedule;
    const char *original; /* the prompt before a language model enhanced it */
    int steps, width, height;
    int max_tokens; /* zi_request.max_tokens; 0: 512 */
    uint64_t seed;
    double cfg; /* A1111's scale, neg + cfg (pos - neg): 1 where zi_request.guidance is 0 */
    double shift;
    /* Name of the choice of zi_request.sampler, as `schedule` is of the schedule, or any other name
     * that another program wrote. */
    const char *sampler;
    double cfg_normalization, cfg_truncation; /* as in zi_request; 0: absent */
    const char *model_hash; /* first ten hexadecimal digits of the SHA-256 of the weight file */
    /* Only read: a line "KEY: VALUE" for every field whose value is not of its kind ("Seed: -1");
     * these fields are absent. */
    const char *unread;
    bool has_seed, has_cfg; /* only read; false: absent, since 0 can be a value */
    void *reserved[1];
} zi_infotext_fields;

/* Parses any infotext. Absent fields, and those in out->unread, become 0 or ""; unknown keys are
 * ignored, the last of equal keys counts. Text without a line of settings at its end is all prompt,
 * and negative prompt if it has one. Fails only when memory is short; *out and *storage are
 * unchanged then. *out's strings are in *storage, new memory; zi_free() it. */
ZI_API bool zi_infotext_parse(const char *text, zi_infotext_fields *out, char **storage,
                              zi_error *error) ZI_CHECKED;

/* Calls each() for every setting in the last line of an infotext, in its order, as text such as
 * ("Steps", "9"); a quoted value is decoded. The strings are valid during the call. True without a
 * call if there are no settings. False: out of memory; then each() was not called. */
ZI_API bool zi_infotext_each(const char *text,
                             void (*each)(void *user, const char *key, const char *value),
                             void *user);

/* Describes an image as indented JSON text: "width", "height", "recipe" (the infotext), its
 * "fields", with "guidance" as in zi_request (the CFG scale minus 1), the seed as text and null for
 * a seed or guidance that is absent, all its "settings" as text, and "unread", a list of the
 * settings whose values do not fit. infotext may be NULL: then all but the size is null. zi_free()
 * the result. NULL: out of memory; the text may also lack members then. */
ZI_API char *zi_image_json(const zi_image *image, const char *infotext);

/* Describes an image file as zi_image_json does, with "source", the form of its generation
 * parameters ("infotext", "ComfyUI graph", "InvokeAI", ...; null: none is known), and "texts", all
 * texts in the file by name; null: one that is too long or cannot be decoded. zi_free() *json.
 * False: as zi_image_load; *json is unchanged. */
ZI_API bool zi_image_inspect(const char *path, char **json, zi_error *error) ZI_CHECKED;

/* zi_image_inspect for the `size` bytes of a file; max_pixels as in zi_image_decode. */
ZI_API bool zi_image_inspect_data(const void *data, size_t size, size_t max_pixels, char **json,
                                  zi_error *error) ZI_CHECKED;

/* ---- engine ---- */

/* A compute backend, its threads, and the embeddings of the latest prompts. Models are loaded for
 * an engine. Free models and language models before their engine.
 *
 * Threads: several threads may load models for one engine, and generate with one engine or one
 * model, at the same time. They share the engine's worker threads. The images are the same as when
 * they are generated one after the other. */
typedef struct zi_engine zi_engine;

typedef struct {
    int threads;     /* worker threads, 1 to 1024; 0: as many as this process may use processors */
    const char *cpu; /* kernel tier, one of zi_cpu_tier; NULL: the best one here */
    /* A folder on a disk for working memory that does not fit into free RAM, such as for images of
     * 2048 x 2048; NULL: /var/tmp. Copied. */
    const char *scratch;
    /* A folder in which prompt embeddings are cached, so that a prompt need not be encoded again;
     * NULL: they are cached in memory only. The folder is created. Its files are named by 32
     * hexadecimal digits; the oldest are deleted when all take more than 256 MB. Copied. */
    const char *embeddings;
    /* The device that computes: "cpu" (NULL), "vulkan" (the best GPU, by its kind), "vulkan:N"
     * (number N of zi_devices_list), or "auto": the fastest one of processor and GPUs in a short
     * measurement, but no device that runs on the processor. There is no other fallback. Copied. */
    const char *device;
    uint64_t vram; /* bytes of the device's memory to use at most; 0: what is free */
    /* A folder for shaders that a GPU's driver has compiled, and for the results of their checks,
     * so that the next engine is ready sooner; NULL: nothing is kept. The folder is created.
     * Copied. */
    const char *device_cache;
    /* Gets a line that a user should see: a shader of the GPU is not used, because it computes
     * wrong values with this driver, or an image is computed again in f32. Any thread may call it.
     * NULL: nobody is told. */
    void (*remark)(void *user, const char *text);
    void *user; /* for remark */
    void *reserved[3];
} zi_engine_options;

typedef enum {
    ZI_DEVICE_CPU,
    ZI_DEVICE_INTEGRATED, /* a GPU that shares the processor's memory */
    ZI_DEVICE_DISCRETE,   /* a GPU with memory of its own */
    ZI_DEVICE_VIRTUAL,    /* a GPU in a virtual machine */
    ZI_DEVICE_SOFTWARE,   /* a GPU's driver that computes on the processor, as lavapipe */
    ZI_DEVICE_OTHER
} zi_device_kind;

typedef struct {
    char id[32];        /* for zi_engine_options.device: "cpu", "vulkan:0" */
    char name[256];     /* as the driver gives it; of the CPU the kernel tier */
    char driver[512];   /* name and version; empty for the CPU */
    char missing[256];  /* what the device lacks, so that it cannot be used; empty: nothing */
    char features[256]; /* that matter for speed; empty: none */
    zi_device_kind kind;
    uint64_t memory;        /* bytes of its largest memory of its own; 0: of the CPU */
    double flop_per_second; /* of a matrix product with bf16 weights; 0: it cannot be used */
    void *reserved[4];
} zi_device;

typedef struct {
    zi_device *devices; /* the CPU first */
    size_t count;
    size_t chosen;       /* what "auto" would take */
    char reason[256];    /* why */
    char no_vulkan[512]; /* why there are no Vulkan devices; empty: there are some */
    void *reserved[4];
} zi_devices;

/* Finds what could compute here, and measures how fast that is, which takes about a second and more
 * on slow devices. options may be NULL; of them, threads, cpu, vram, device_cache and remark
 * count.
 * zi_devices_free() *out. False, with *error set and *out unchanged: an option is wrong, or a
 * device failed (the subject is "device", and the text names it). */
ZI_API bool zi_devices_list(const zi_engine_options *options, zi_devices **out,
                            zi_error *error) ZI_CHECKED;

/* Frees the list. NULL is allowed. */
ZI_API void zi_devices_free(zi_devices *devices);

/* Returns the name of kernel tier `index` of this library, a constant; NULL: there are no more. The
 * best one comes last. *usable (may be NULL): whether this machine has its instructions. */
ZI_API const char *zi_cpu_tier(size_t index, bool *usable);

/* Creates an engine; zi_engine_free() *out. options may be NULL: all defaults. False, with *error
 * set and *out unchanged: threads is out of range or this processor lacks the kernel tier
 * (ZI_ERROR_INVALID_ARGUMENT with the subject "threads" or "cpu"), or the system lacks memory or
 * threads. */
ZI_API bool zi_engine_create(const zi_engine_options *options, zi_engine **out,
                             zi_error *error) ZI_CHECKED;

/* Writes one line on the device that computes to text [size], cut if it is longer: its name and
 * driver, and where the weights are that it has used. Empty for the CPU. From any thread. */
ZI_API void zi_engine_device(const zi_engine *engine, char *text, size_t size);

/* Frees the engine and ends its threads; all its models and language models must be freed before.
 * NULL is allowed. */
ZI_API void zi_engine_free(zi_engine *engine);

/* ---- models ---- */

/* An image model. Its weights are memory-mapped files, which must not change while it is loaded. */
typedef struct zi_model zi_model;

typedef struct {
    /* A diffusers, MLX or mflux folder, or a safetensors or GGUF file with a transformer or with
     * all components. */
    const char *path;
    /* Files or folders for these components instead of those in path; NULL: none. */
    const char *vae, *text_encoder;
    /* A model folder to take missing components from: tokenizer, scheduler, configs, VAE, text
     * encoder, pad tokens; or a folder with just a tokenizer; NULL: none. */
    const char *reference;
    const char *tokenizer; /* folder of a tokenizer, used if no other is found; NULL: none */
    void *reserved[7];
} zi_model_options;

/* Maps the weights, checks name, type and shape of every tensor, and loads configs and tokenizer.
 * zi_model_free() *out, before the engine. options is not needed afterwards. False, with *error set
 * and *out unchanged; ZI_ERROR_INCOMPLETE: a component, the subject, is missing. */
ZI_API bool zi_model_load(zi_engine *engine, const zi_model_options *options, zi_model **out,
                          zi_error *error) ZI_CHECKED;

/* Frees the model; no call may use it any more. NULL is allowed. */
ZI_API void zi_model_free(zi_model *model);

/* Width and also height, in pixels, of the images that the model was trained for; 1024 for
 * Z-Image-Turbo. */
ZI_API int zi_model_native_size(const zi_model *model);

/* Z-Image-Turbo is distilled: few steps, no guidance. Z-Image, the base model, needs more steps and
 * guidance. Both have the same tensors. */
typedef enum { ZI_VARIANT_UNKNOWN = 0, ZI_VARIANT_TURBO, ZI_VARIANT_BASE } zi_variant;

/* Returns "Z-Image" (unknown), "Z-Image-Turbo" or "Z-Image (base)"; a constant. */
ZI_API const char *zi_variant_name(zi_variant variant);

/* Sets *steps and *guidance (as in zi_request) to the defaults for models of a variant: 9 and 0 for
 * Turbo and unknown ones, 28 and 4 for the base model. */
ZI_API void zi_variant_defaults(zi_variant variant, int *steps, double *guidance);

/* Which of the two the model is, by the shift of its own scheduler config (5.5 and more: base),
 * else by GGUF metadata, else by the file's name, else by the scheduler config of the reference. */
ZI_API zi_variant zi_model_variant(const zi_model *model);

/* The model's name: the last component of options->path, with its extension, or NAME for a snapshot
 * of OWNER/NAME in a hub cache. Infotexts have it without .safetensors or .gguf. Not NULL; valid
 * until the model is freed. */
ZI_API const char *zi_model_name(const zi_model *model);

/* A warning about a loaded model for its user; NULL: none. Valid until the model is freed. */
ZI_API const char *zi_model_warning(const zi_model *model);

/* Encodes text with the model's tokenizer, the only part of it that is needed. Names of added
 * tokens in the text become these tokens. chat: in the chat template that the text encoder gets,
 * truncated to 512 tokens; else the whole text, without a begin-of-sequence token. options->path
 * may be NULL if text_encoder or reference is set. zi_free() *ids [*count]. False: *error is set,
 * *ids and *count are unchanged. */
ZI_API bool zi_tokenize(const zi_model_options *options, const char *text, bool chat, int32_t **ids,
                        size_t *count, zi_error *error) ZI_CHECKED;

/* ---- generation ---- */

typedef enum {
    ZI_STAGE_ENCODE = 0, /* text encoder */
    ZI_STAGE_STEP,       /* transformer */
    ZI_STAGE_DECODE,     /* VAE decoder */
    ZI_STAGE_CONVERT,    /* of zi_convert */
    ZI_STAGE_COPY        /* of zi_registry_import */
} zi_stage;

/* Later versions may append fields. */
typedef struct {
    zi_stage stage;
    int step, steps; /* in ZI_STAGE_STEP: finished steps, and all of them */
    double fraction; /* of this stage that is done, 0 to 1 */
    bool cached;     /* from ZI_STAGE_STEP on: the prompt's embeddings were in the cache */
} zi_progress;

/* Called for every layer, in the thread that called the library. Returning false cancels the call,
 * which then fails with ZI_ERROR_CANCELLED. */
typedef bool (*zi_progress_fn)(void *user, const zi_progress *progress);

/* How the steps are spaced. Diffusers: sigmas linspace(1, 1/steps, steps), then shifted, as its
 * ZImagePipeline has them. MLX: set_timesteps(steps). Karras, exponential and beta: diffusers'
 * sigmas of these families between the first and the last one of ZI_SCHEDULE_DIFFUSERS. Auto: as
 * the model's scheduler config says. */
typedef enum {
    ZI_SCHEDULE_AUTO = 0,
    ZI_SCHEDULE_MLX,
    ZI_SCHEDULE_DIFFUSERS,
    ZI_SCHEDULE_KARRAS,
    ZI_SCHEDULE_EXPONENTIAL,
    ZI_SCHEDULE_BETA
} zi_schedule;

/* How a step is computed, as by diffusers' FlowMatchEulerDiscreteScheduler,
 * FlowMatchHeunDiscreteScheduler (which evaluates the transformer twice in each step but the last)
 * and FlowMatchLCMScheduler (which adds new noise of the seed in each step but the last). Auto: as
 * the model's scheduler config says. */
typedef enum { ZI_SAMPLER_AUTO = 0, ZI_SAMPLER_EULER, ZI_SAMPLER_HEUN, ZI_SAMPLER_LCM } zi_sampler;

/* Exact: f32 arithmetic. Fast: integer products for quantized weights. Auto is fast for models with
 * quantized weights, else exact. */
typedef enum { ZI_COMPUTE_AUTO = 0, ZI_COMPUTE_EXACT, ZI_COMPUTE_FAST } zi_compute;

/* The parameters of a generation. zi_parameter_find() gives the range of a field. */
typedef struct {
    const char *prompt;     /* required, not empty */
    const char *original;   /* the prompt before zi_enhance, for the infotext; NULL: none */
    const char *model_hash; /* for the infotext, see zi_registry_model_hash; NULL or "": none */
    const char *negative;   /* has an effect only with guidance; NULL: empty */
    int width, height;      /* pixels, multiples of 16; 0: the model's native size */
    int steps;              /* 0: the model's own, see zi_variant_defaults */
    double shift;           /* time shift of the schedule; 0: the model's own */
    zi_schedule schedule;
    /* As in diffusers, pos + guidance (pos - neg); 0: off if guidance_given, else the model's own,
     * see zi_variant_defaults. */
    double guidance;
    uint64_t seed;  /* as torch.manual_seed on the CPU */
    int max_tokens; /* longer prompts are cut to that many tokens, chat format included; 0: 512 */
    zi_compute compute;
    const char *trace_path;  /* safetensors file for intermediate tensors; NULL: none */
    zi_progress_fn progress; /* may be NULL */
    /* Called after every step with a preview of an eighth of the width and height. image is valid
     * during the call. May be NULL. */
    void (*preview)(void *user, int step, const zi_image *image);
    void *user; /* passed to the callbacks */
    zi_sampler sampler;
    bool guidance_given; /* a guidance of 0 is not replaced by the model's own */
    /* As in diffusers: the largest norm of the prediction with guidance, as a multiple of the norm
     * of that without. 0: no limit. */
    double cfg_normalization;
    /* As in diffusers: steps whose time, 1 - sigma, is above this are without guidance. 0: 1, all
     * steps are with guidance. */
    double cfg_truncation;
    /* Called in every step but the last, counted from 1, before its end. True makes it the last:
     * the image is then what the latents were heading for. May be NULL. */
    bool (*stop)(void *user, int step);
    void *reserved[3];
} zi_request;

/* Returns a request with all defaults, which are all zero; set the prompt, which is NULL. Seed 0 is
 * a seed like the others. */
ZI_API zi_request zi_request_default(void);

/* Copies the request to *out with the model's defaults filled in, such that nothing is 0 or
 * ZI_..._AUTO any more that has one, and checks it as zi_generate does. The strings are borrowed.
 * False: *error is set, *out is unchanged. */
ZI_API bool zi_request_resolve(const zi_model *model, const zi_request *request, zi_request *out,
                               zi_error *error) ZI_CHECKED;

/* Generates an image; zi_image_free() *out. Equal requests give equal images, for any number of
 * threads, with the same kernel tier. False, with *error set and *out unchanged: a parameter is out
 * of range (its name is the subject), the progress callback returned false (ZI_ERROR_CANCELLED), or
 * a failure. */
ZI_API bool zi_generate(zi_model *model, const zi_request *request, zi_image **out,
                        zi_error *error) ZI_CHECKED;

/* Sets *count to the tokens of a prompt in the chat format, without a limit: more than
 * zi_request.max_tokens are cut. Several threads may call it for one model. False: *error is set,
 * with the subject "text" if the text is wrong, and *count is unchanged. */
ZI_API bool zi_count_tokens(const zi_model *model, const char *prompt, size_t *count,
                            zi_error *error) ZI_CHECKED;

/* Returns the infotext, in A1111's format, of an image that zi_generate made of this request;
 * fields that are 0 get the same defaults. zi_free() it. NULL: out of memory, or zi_generate would
 * refuse the request. */
ZI_API char *zi_infotext_create(const zi_model *model, const zi_request *request);

/* ---- prompts ---- */

/* A language model: Qwen2, Qwen3 or Llama. Several threads may use it at the same time. */
typedef struct zi_llm zi_llm;

/* Loads a language model; zi_llm_free() *out, before the engine. options->path: a GGUF file, a
 * folder of transformers or MLX, or an image model, whose text encoder is used (only then the other
 * options are). options is not needed afterwards. False: *error is set, *out is unchanged. */
ZI_API bool zi_llm_load(zi_engine *engine, const zi_model_options *options, zi_llm **out,
                        zi_error *error) ZI_CHECKED;

/* Frees the language model; no call may use it any more. NULL is allowed. */
ZI_API void zi_llm_free(zi_llm *llm);

typedef struct {
    const char *prompt;       /* required, not empty */
    const char *instructions; /* text with {prompt} in it; NULL: the built-in instructions */
    bool raw;           /* continue the prompt without a chat template; special tokens count */
    int max_tokens;     /* of the answer, 1 to 500, when raw 1 and more; 0: 400 */
    double temperature; /* 0: greedy */
    int top_k;          /* 0: all tokens */
    double top_p;       /* 0 or 1: all tokens */
    double min_p;       /* 0: all tokens */
    double penalty;     /* repetition penalty, 1 and more; 0 or 1: none */
    uint64_t seed;
    /* The image model that will get the answer: it must fit into 512 of that model's tokens. NULL:
     * of the language model's. */
    const zi_model_options *model;
    /* Called with each new piece of the answer, whole characters. Returning false cancels. The
     * final answer may be shorter, or have sentences appended. A model that may begin within a
     * thought passes nothing before the thought's end. May be NULL. */
    bool (*text)(void *user, const char *text);
    bool (*should_continue)(void *user); /* called in every layer; false cancels. May be NULL */
    void *user;                          /* passed to the callbacks */
    void *reserved[8];
} zi_enhance_request;

/* Returns a request with the recommended sampling parameters (temperature 0.7, top_k 20, top_p 0.8,
 * penalty 1.05), 400 tokens and seed 0, a seed like the others. All else is 0 or NULL; set the
 * prompt. */
ZI_API zi_enhance_request zi_enhance_default(void);

typedef struct {
    char *text;   /* the answer, cleaned; when raw, unchanged */
    int32_t *ids; /* [count] generated tokens */
    size_t count, prompt_tokens;
    double read_seconds, write_seconds; /* for the prompt's tokens, and for the generated ones */
    void *reserved[4];
} zi_enhance_result;

/* Writes a more detailed prompt for the same image in the same language, without thoughts, control
 * tokens and control characters; zi_enhance_result_free() *out. Quoted text that the model lost is
 * appended in a sentence. ZI_ERROR_UNSUPPORTED: the answer did not end, is empty, or is not Chinese
 * although the prompt is (with the built-in instructions); with the subject "encoder": the model is
 * an image model's text encoder and knows too few tokens, as the demo model's. When raw, the output
 * is returned as it is. False: *error is set, *out is unchanged. */
ZI_API bool zi_enhance(zi_llm *llm, const zi_enhance_request *request, zi_enhance_result *out,
                       zi_error *error) ZI_CHECKED;

/* Frees the text and ids that the struct has and zeroes it; the struct itself is the caller's. NULL
 * and a zeroed struct are allowed. */
ZI_API void zi_enhance_result_free(zi_enhance_result *result);

/* Returns an English prompt made from word lists, the same for the same seed (0 is one); zi_free()
 * it. NULL: out of memory. */
ZI_API char *zi_random_prompt(uint64_t seed);

/* ---- table of generation parameters ---- */

enum {
    ZI_PROMPT_BYTES = 8000, /* the longest prompt that servers accept */
    ZI_PROMPT_TOKENS = 512  /* the default of zi_request.max_tokens */
};

/* All generation parameters of a front end. {0}: nothing is given. */
typedef struct {
    zi_request request;
    const char *model; /* a name or path; NULL: the default model */
    int count;         /* images, with the seeds request.seed, request.seed + 1, ...; 0: 1 */
    bool seed_given;   /* false: the front end chooses a random seed */
} zi_generation;

typedef enum {
    ZI_PARAMETER_TEXT,   /* const char *; NULL: not given */
    ZI_PARAMETER_INT,    /* int; 0: not given, unless its range includes 0 */
    ZI_PARAMETER_REAL,   /* double; 0: as for an int */
    ZI_PARAMETER_BOOL,   /* bool */
    ZI_PARAMETER_CHOICE, /* int or enum: index of the choice */
    ZI_PARAMETER_SEED    /* uint64_t, all of its range */
} zi_parameter_type;

/* The place of a parameter in the form of the web page. */
typedef enum {
    ZI_PAGE_OWN = 0, /* the page has its own control for it, or none */
    ZI_PAGE_MAIN,
    ZI_PAGE_MORE /* under "Advanced settings" */
} zi_page_place;

/* A field of a struct that users fill in: how front ends offer, read and check it. A member that is
 * 0 or NULL does not apply. */
typedef struct {
    const char *name; /* field of a JSON request; the option has '-' for '_' */
    zi_parameter_type type;
    size_t offset;              /* in the struct; for generation parameters, in zi_generation */
    size_t given;               /* offset of a bool that is true when the parameter is given */
    double min, max;            /* of a number; for text in bytes, where a max of 0 is no limit */
    double server_max;          /* replaces max in servers */
    int multiple;               /* an int must be a multiple of it */
    const char *const *choices; /* by index, ends with NULL; the first one is the default */
    bool required;
    bool api_only;            /* the command line has no option for it */
    bool zero_off;            /* 0 is the default and switches it off */
    double default_value;     /* of a number */
    const char *default_text; /* the default in words, when it is no constant */
    const char *help;         /* a phrase of at most 90 bytes */
    /* Command line: the short option, and the name of the value in help. */
    char letter;
    const char *argument;
    /* Page: the label, a sentence under the control, and where it is. A number with low < high has
     * a slider from low to high. */
    const char *label, *note;
    zi_page_place place;
    double low, high, step;
} zi_parameter;

/* Returns generation parameter number i, from 0; NULL after the last one. Constant data. */
ZI_API const zi_parameter *zi_parameter_at(size_t i);

/* Returns the generation parameter of exactly that name; NULL: there is none. Constant data. */
ZI_API const zi_parameter *zi_parameter_find(const char *name);

/* Returns the largest number, or the most bytes of a text (0: no limit), for the library (server
 * false) or for servers, which may have a limit of their own. Has no meaning for other types. */
ZI_API double zi_parameter_max(const zi_parameter *parameter, bool server);

/* Writes the default in words ("9", "the model's, 3", "0, off", the first choice) to buffer, cut to
 * 63 bytes; "" when there is none. */
ZI_API void zi_parameter_print_default(const zi_parameter *parameter, char buffer[64]);

/* Checks a number for an int or real parameter: against min, max (from zi_parameter_max) and
 * multiple, and that an int is whole. 0 is not special; NaN fails. False: ZI_ERROR_INVALID_ARGUMENT
 * with the parameter's name as the subject; the text has the range, or the nearest multiples. */
ZI_API bool zi_parameter_check(const zi_parameter *parameter, double value, double max,
                               zi_error *error) ZI_CHECKED;

/* Checks that a text (not NULL) is valid UTF-8 and its length in bytes, from parameter->min to max
 * (from zi_parameter_max; 0: no limit). False: ZI_ERROR_INVALID_ARGUMENT with the parameter's name
 * as the subject. */
ZI_API bool zi_parameter_check_text(const zi_parameter *parameter, const char *text, double max,
                                    zi_error *error) ZI_CHECKED;

/* Sets *index to that of a choice, from 0, by its exact name. False, for an unknown name: *index is
 * unchanged; the error's subject is the parameter's name, and its text lists the choices. The
 * parameter must be a ZI_PARAMETER_CHOICE. */
ZI_API bool zi_parameter_choose(const zi_parameter *parameter, const char *choice, int *index,
                                zi_error *error) ZI_CHECKED;

/* Checks all parameters that are given (not 0 or NULL), in the table's order, with the limits of
 * the library or of servers; a NULL prompt passes, an empty one fails. False:
 * ZI_ERROR_INVALID_ARGUMENT with the name of the first wrong one as the subject. zi_generate also
 * checks the limits of its model. */
ZI_API bool zi_generation_check(const zi_generation *generation, bool server,
                                zi_error *error) ZI_CHECKED;

/* Sets numbers that are not given (0) to their defaults, but for those whose defaults depend on the
 * model: width, height, steps, shift and guidance. Texts, choices and the seed stay as they are. */
ZI_API void zi_generation_fill_defaults(zi_generation *generation);

#ifdef __cplusplus
}
#endif

#endif
