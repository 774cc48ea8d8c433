/* zimage: Z-Image-Turbo, prompt to picture.
 *
 * The whole public interface. Load a model once, generate as often as you like:
 *
 *     zi_error err = {0};
 *     zi_engine *engine = NULL;
 *     zi_model *model = NULL;
 *     zi_image *image = NULL;
 *     zi_request request = zi_request_default();
 *     request.prompt = "a red circle on a blue background";
 *     if (zi_engine_create(NULL, &engine, &err) &&
 *         zi_model_load(engine, &(zi_model_options){.path = "Z-Image-Turbo"}, &model, &err) &&
 *         zi_generate(model, &request, &image, &err) &&
 *         zi_image_save(image, "out.png", NULL, &err)) ...
 *
 * Fallible functions return true when all went well; otherwise they fill the zi_error and leave
 * their outputs untouched. The library never prints, exits or aborts. */
#ifndef ZIMAGE_H
#define ZIMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ZI_VERSION "0.1.0"

#if defined(__GNUC__)
#define ZI_CHECKED __attribute__((warn_unused_result))
#define ZI_PRINTF(text, first) __attribute__((format(printf, text, first)))
#else
#define ZI_CHECKED
#define ZI_PRINTF(text, first)
#endif

/* ---- errors ---- */

typedef enum {
    ZI_OK = 0,
    ZI_ERROR_INVALID_ARGUMENT, /* the caller asked for what cannot be: a size, a range, a text */
    ZI_ERROR_NOT_FOUND,        /* no such file, model or image */
    ZI_ERROR_EXISTS,           /* something is there already and is not replaced */
    ZI_ERROR_BAD_FORMAT,       /* a file is damaged, or contradicts itself or another one */
    ZI_ERROR_UNSUPPORTED,      /* a file is well-formed, but of a kind that zimage cannot use */
    ZI_ERROR_INCOMPLETE,       /* a model lacks something that another model can lend it */
    ZI_ERROR_IO,               /* the system refused: no permission, no space, a failing disk */
    ZI_ERROR_NO_MEMORY,
    ZI_ERROR_NETWORK,
    ZI_ERROR_CANCELLED /* a callback of the caller said stop */
} zi_error_code;

typedef struct {
    zi_error_code code;
    /* What the error is about, the most specific that is known: a field of a request ("width"), a
     * tensor, a field of a config, or else a file or a name; of ZI_ERROR_INCOMPLETE what is
     * lacking: "transformer", "text_encoder", "vae", "tokenizer", "scheduler" or "config". Cut when
     * it is longer; empty when there is none. */
    char subject[256];
    char text[1024]; /* one line without a newline: what is wrong and what to do */
    size_t message;  /* text + message: the same without the file or subject in front of it */
} zi_error;

/* ---- pictures ---- */

typedef struct {
    int width, height;
    uint8_t *pixels; /* RGB, 8 bits each, [height, width, 3], top row first */
} zi_image;

typedef enum { ZI_FORMAT_BY_NAME = 0, ZI_FORMAT_PNG, ZI_FORMAT_JPEG, ZI_FORMAT_WEBP } zi_format;

typedef struct {
    zi_format format;     /* ZI_FORMAT_BY_NAME: by the extension .png, .jpg, .jpeg or .webp */
    int quality;          /* JPEG and WebP, 1 to 100; 0 means 95 */
    const char *infotext; /* UTF-8 text stored in the picture in the A1111 way; NULL for none */
} zi_save_options;

/* Writes the picture; the file appears under its name only when it is whole.
 * options may be NULL: format by name, no infotext. */
bool zi_image_save(const zi_image *image, const char *path, const zi_save_options *options,
                   zi_error *error) ZI_CHECKED;

/* Reads a PNG, JPEG or WebP picture as RGB (alpha is laid over black, grey is spread).
 * infotext, when not NULL, receives the stored infotext text or NULL; free() it. */
bool zi_image_load(const char *path, zi_image **out, char **infotext, zi_error *error) ZI_CHECKED;

void zi_image_free(zi_image *image);

/* Whether the file at path begins like one that zi_image_load reads. */
bool zi_image_is_at(const char *path);

/* The same without files: a picture as the bytes of its file (free() them), and back. A format must
 * be named. A picture of more than `pixels` is refused before it takes memory; 0: any will do. */
bool zi_image_to_bytes(const zi_image *image, const zi_save_options *options, uint8_t **data,
                       size_t *size, zi_error *error) ZI_CHECKED;
bool zi_image_from_bytes(const void *data, size_t size, size_t pixels, zi_image **out,
                         char **infotext, zi_error *error) ZI_CHECKED;

/* What a picture's infotext says. */
typedef struct {
    const char *prompt, *negative, *model, *schedule; /* UTF-8 */
    const char *original; /* the prompt before a language model rewrote it */
    int steps, width, height;
    uint64_t seed;
    double cfg; /* neg + c (pos - neg): 1 where our own guidance is 0 */
    double shift;
} zi_infotext_fields;

/* Reads any A1111 text. What it does not state is 0 or "", and unknown keys are ignored; a value
 * that is no number where one belongs is an error. Without a line of settings at the end all is
 * prompt. The strings live in *storage: free() it after use. */
bool zi_infotext_parse(const char *text, zi_infotext_fields *out, char **storage,
                       zi_error *error) ZI_CHECKED;

/* A picture's "width", "height", "infotext" and its "fields", with "guidance" as in a request and
 * the seed as text, as JSON text that the caller frees; NULL when memory is short. infotext may be
 * NULL.
 */
char *zi_image_describe(const zi_image *image, const char *infotext);

/* The settings in any A1111 text as they stand there, one by one ("Steps", "9"). False: memory is
 * short. */
bool zi_infotext_settings(const char *text,
                          void (*each)(void *user, const char *key, const char *value), void *user);

/* ---- engine ---- */

/* What computes: the processor's threads, and what is kept between requests. Models are loaded for
 * an engine; free them before the engine. Several threads may load models, and generate with one
 * engine or one model, at the same time; they share its threads. */
typedef struct zi_engine zi_engine;

typedef struct {
    int threads;     /* 0: as many as the machine has to give */
    const char *cpu; /* kernel tier: NULL for the best this machine has; "ref", "avx2", "avx512" */
    const char *scratch; /* folder on a disk for working memory that is large beside what the
                            machine has free, as for images of 2048 x 2048; NULL: /var/tmp */
    /* Folder in which the text encoder's output for the latest prompts is kept, so that a prompt
     * that comes again is not encoded again; NULL: it is kept in memory only. The folder is made.
     * Its files have names of 32 hexadecimal digits; the oldest are deleted when they take more
     * than 256 MB together. */
    const char *embeddings;
} zi_engine_options;

/* options may be NULL. */
bool zi_engine_create(const zi_engine_options *options, zi_engine **out,
                      zi_error *error) ZI_CHECKED;
void zi_engine_free(zi_engine *engine);

/* ---- models ---- */

typedef struct zi_model zi_model;

typedef struct {
    /* A diffusers, MLX or mflux folder, or a file with a transformer or with all parts. */
    const char *path;
    /* Folders or files that serve these parts; NULL: path, or else reference, has them. */
    const char *vae, *text_encoder;
    /* A folder that lends what the others lack: tokenizer, scheduler, configs, VAE, text encoder;
     * or NULL. */
    const char *reference;
} zi_model_options;

/* Maps the weights of a model and checks every tensor's name, type and shape. */
bool zi_model_load(zi_engine *engine, const zi_model_options *options, zi_model **out,
                   zi_error *error) ZI_CHECKED;
void zi_model_free(zi_model *model);

/* The side in pixels that the model was made for (1024 for Z-Image-Turbo). */
int zi_model_native_size(const zi_model *model);

/* The name that stands in infotexts: the last part of the path it was loaded from, or the
 * repository's name if that is a snapshot in a hub's cache. */
const char *zi_model_name(const zi_model *model);

/* What the user should know about a model that was loaded: sentence number i, NULL behind the last.
 */
const char *zi_model_remark(const zi_model *model, size_t i);

/* Token ids of text, as the model's tokenizer sees it; with chat, in the chat form that the
 * encoder is given, cut at 512. Of a model's folder only the tokenizer must be there. The ids
 * belong to the caller: free(). */
bool zi_tokenize(const zi_model_options *options, const char *text, bool chat, int32_t **ids,
                 size_t *count, zi_error *error) ZI_CHECKED;

/* ---- generation ---- */

typedef enum {
    ZI_STAGE_ENCODE = 0,
    ZI_STAGE_STEP,
    ZI_STAGE_DECODE,
    ZI_STAGE_CONVERT, /* of zi_convert */
    ZI_STAGE_COPY     /* of zi_registry_import */
} zi_stage;

typedef struct {
    zi_stage stage;
    int step, steps; /* finished steps of all steps, in ZI_STAGE_STEP */
    double fraction; /* how much of the stage is done, 0 to 1 */
    bool cached;     /* from ZI_STAGE_STEP on: the prompt's embeddings were kept from before */
} zi_progress;

/* Called often (every layer) from the thread that called zi_generate or zi_convert. Return false to
 * stop. */
typedef bool (*zi_progress_fn)(void *user, const zi_progress *progress);

typedef enum { ZI_SCHEDULE_DIFFUSERS = 0, ZI_SCHEDULE_MLX } zi_schedule;
/* Fast: integer products where weights are quantized. Auto is fast where that is so. */
typedef enum { ZI_COMPUTE_AUTO = 0, ZI_COMPUTE_EXACT, ZI_COMPUTE_FAST } zi_compute;

/* What is generated. The allowed ranges are in the table of the generation parameters (below). */
typedef struct {
    const char *prompt; /* UTF-8, required, not empty */
    const char
        *original; /* what was asked for before zi_enhance, for the infotext; NULL: the same */
    const char *negative; /* NULL: empty; has no effect while guidance is 0 */
    int width, height;    /* pixels; 0: the model's native size */
    int steps;            /* transformer evaluations; 0: the default */
    double shift;         /* time shift of the schedule; 0: the model's own */
    zi_schedule schedule;
    double guidance; /* diffusers' meaning: pos + g (pos - neg); 0 is off */
    uint64_t seed;   /* as torch.manual_seed on the CPU */
    zi_compute compute;
    const char *trace_path; /* NULL, or a safetensors file of what happened (see docs/trace.md) */
    zi_progress_fn progress;
    /* Called after every step with about what will be seen, an eighth as wide and high: colours by
     * a linear map of the latents, without the decoder. image is lent. May be NULL. */
    void (*preview)(void *user, int step, const zi_image *image);
    void *user;
} zi_request;

/* All defaults; only the prompt is missing. */
zi_request zi_request_default(void);

/* Prompt to picture. The caller frees the image. */
bool zi_generate(zi_model *model, const zi_request *request, zi_image **out,
                 zi_error *error) ZI_CHECKED;

/* ---- generation parameters ---- */

enum {
    ZI_PROMPT_BYTES = 8000, /* the longest prompt that servers take */
    ZI_MAX_PARAMETERS = 64
};

/* All that images are generated from, as front ends take it. In {0} nothing is given. */
typedef struct {
    zi_request request;
    const char *model; /* a name or path; NULL: the default model */
    int count;         /* images, whose seeds count on from request.seed; 0: 1 */
    bool seed_given;   /* false: the front end chooses a random seed */
} zi_generation;

typedef enum {
    ZI_PARAMETER_TEXT,   /* const char *, UTF-8; NULL: not given */
    ZI_PARAMETER_INT,    /* int; 0: not given, unless its range has 0 */
    ZI_PARAMETER_REAL,   /* double; 0: as an int's */
    ZI_PARAMETER_BOOL,   /* bool */
    ZI_PARAMETER_CHOICE, /* int, or an enum: the index of the choice */
    ZI_PARAMETER_SEED    /* uint64_t, all of its range */
} zi_parameter_type;

/* Where the page's form has the control of a parameter. */
typedef enum {
    ZI_PAGE_OWN = 0, /* the page has one of its own for it, or none */
    ZI_PAGE_MAIN,
    ZI_PAGE_MORE /* below "More settings" */
} zi_page_place;

/* A field of a struct that users fill: what front ends must know of it to offer, read and check
 * it. A column that is 0 or NULL does not apply. */
typedef struct {
    const char *name; /* of a request's field; the option's has '-' for '_'. NULL ends a table */
    zi_parameter_type type;
    size_t offset;     /* in the struct, which is zi_generation for generation parameters */
    size_t given;      /* offset of a bool that is set when the parameter is given */
    double min, max;   /* of a number; of a text its bytes, where a max of 0 is no limit */
    double server_max; /* what servers take instead of max */
    int multiple;      /* an int must be a multiple of it */
    const char *const *choices; /* by index; NULL ends them, and the first one is the default */
    bool required;
    bool api_only;            /* no option of the command line sets it */
    bool zero_off;            /* 0, the default, switches it off */
    double default_value;     /* of a number */
    const char *default_text; /* the default in words, where no constant says it */
    const char *help;         /* a phrase of at most 90 bytes */
    /* On the command line: the short option, and what help calls the value. */
    char letter;
    const char *argument;
    /* On the page: a name, a sentence to stand below the control, and the control's place. A number
     * with a usual range is a slider from low to high. */
    const char *label, *note;
    zi_page_place place;
    double low, high, step;
} zi_parameter;

/* The table of the generation parameters. */
extern const zi_parameter zi_parameters[];

/* The generation parameter of that name; NULL: there is none. */
const zi_parameter *zi_parameter_find(const char *name);

/* The largest number, or the most bytes of a text (0: no limit), for the library or for servers. */
double zi_parameter_max(const zi_parameter *parameter, bool server);

/* Describes the default ("9", "the model's, 3") in buffer; "" when there is none. */
void zi_parameter_print_default(const zi_parameter *parameter, char buffer[64]);

/* Whether a number is one that the parameter takes, up to max. The error's subject is the
 * parameter's name; its text has the range. */
bool zi_parameter_check(const zi_parameter *parameter, double value, double max,
                        zi_error *error) ZI_CHECKED;

/* The same for a text of at most max bytes. */
bool zi_parameter_check_text(const zi_parameter *parameter, const char *text, double max,
                             zi_error *error) ZI_CHECKED;

/* *index becomes that of a choice. */
bool zi_parameter_choose(const zi_parameter *parameter, const char *choice, int *index,
                         zi_error *error) ZI_CHECKED;

/* Checks all parameters that are given, with the limits of the library or of servers. Models can
 * have limits of their own, which zi_generate checks. */
bool zi_generation_check(const zi_generation *generation, bool server, zi_error *error) ZI_CHECKED;

/* Sets numbers that are not given to their defaults, unless these depend on the model. */
void zi_generation_fill_defaults(zi_generation *generation);

/* The infotext of a picture as A1111 writes it ("prompt\nSteps: 9, Seed: 42, ..."); free() it.
 * NULL when memory is short. width and height must be the picture's. */
char *zi_infotext(const zi_model *model, const zi_request *request);

/* ---- better prompts ---- */

/* A language model. options->path: a GGUF file, a folder of Hugging Face's or MLX's, or an image
 * model, whose text encoder is one. Qwen2, Qwen3 and Llama are known. Free it before the engine.
 * Several threads may use it at the same time. */
typedef struct zi_llm zi_llm;
bool zi_llm_load(zi_engine *engine, const zi_model_options *options, zi_llm **out,
                 zi_error *error) ZI_CHECKED;
void zi_llm_free(zi_llm *llm);

typedef struct {
    const char *prompt;       /* UTF-8, required, not empty */
    const char *instructions; /* text with {prompt} where the prompt goes; NULL: the library's */
    bool raw;                 /* continue the prompt as it stands: special tokens in it count */
    int max_tokens;           /* of the answer, 1 to 500; raw: 1 and up; 0 means 400 */
    double temperature;       /* 0: always the likeliest token */
    int top_k;                /* likeliest tokens that are considered; 0: all */
    double top_p;             /* of these, those that make up this share; 0 or 1: all */
    double min_p;             /* and those of this share of the likeliest; 0: all */
    double penalty;           /* on tokens that were there, 1 and up; 0 or 1: none */
    uint64_t seed;
    const zi_model_options
        *model; /* of the image model that shall take the whole answer: its tokens
                   count for the limit of 512; NULL: the language model's do */
    /* Called with what is new in the answer, whole characters; return false to stop. May be NULL.
     * The result may be cut shorter, and have sentences appended. */
    bool (*text)(void *user, const char *text);
    bool (*should_continue)(void *user); /* asked in every layer; false: stop. May be NULL */
    void *user;
} zi_enhance_request;

/* Everything at its default; only the prompt is missing. */
zi_enhance_request zi_enhance_default(void);

typedef struct {
    char *text;   /* the answer, cleaned; raw: all of it */
    int32_t *ids; /* [count]: the tokens that were generated */
    size_t count, prompt_tokens;
    double read_seconds, write_seconds; /* for the prompt's tokens, and for the answer's */
} zi_enhanced;

/* A richer prompt for the same picture, in the same language. What stands in quotation marks is in
 * the answer letter by letter: where the model lost it, a sentence that says so is appended. An
 * answer that has no end, is empty or in another language is an error. */
bool zi_enhance(zi_llm *llm, const zi_enhance_request *request, zi_enhanced *out,
                zi_error *error) ZI_CHECKED;
void zi_enhanced_free(zi_enhanced *enhanced);

/* A prompt out of word lists, the same for the same seed; free() it. NULL when memory is short. */
char *zi_random_prompt(uint64_t seed);

/* ---- inspection ---- */

typedef enum { ZI_MODEL_IMAGE = 0, ZI_MODEL_LANGUAGE, ZI_MODEL_OTHER } zi_model_kind;

typedef enum {
    ZI_HEALTH_GOOD = 0,
    ZI_HEALTH_INCOMPLETE,  /* works with what another model lends */
    ZI_HEALTH_UNSUPPORTED, /* well-formed, but nothing that zimage can use */
    ZI_HEALTH_DAMAGED
} zi_health;

/* "good", "incomplete", "unsupported" or "damaged"; a constant. */
const char *zi_health_name(zi_health health);

/* A format of stored values and how many parameters have it. */
typedef struct {
    char *name; /* "BF16", "F8_E4M3 scaled", "8-bit MLX groups of 64" */
    double parameters;
} zi_value_format;

/* The tensors of one component, or of one file. */
typedef struct {
    size_t files; /* 0: its tensors could not be read, or it has none */
    size_t tensors;
    double parameters; /* as the model has them, however they are packed */
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

/* "transformer", "text_encoder", "vae", "tokenizer" or "scheduler"; a constant. */
const char *zi_component_name(zi_component component);

typedef struct {
    zi_error_code code;
    char *subject, *text; /* as in zi_error */
} zi_problem;

/* What is known about a model's folder or file. Nothing in it changes. */
typedef struct {
    char *path;
    zi_model_kind kind;
    char *layout;       /* "diffusers", "MLX", "ComfyUI file", ...; NULL: unknown */
    char *architecture; /* "Z-Image", "Z-Image transformer", "Stable Diffusion XL", ...; NULL */
    /* Of the transformer, or else of the first component that has tensors; NULL: none has. */
    const char *precision;
    int native_size; /* pixels; this and the next four are 0 where they are unknown */
    int transformer_layers, transformer_width;
    int text_encoder_layers, text_encoder_width;
    bool has_components; /* else it is of another architecture, and `other` describes it */
    struct {
        bool present;
        bool missing; /* and needed */
        zi_tensor_summary tensors;
    } components[ZI_COMPONENTS];
    zi_tensor_summary other;
    zi_health health;
    bool usable;          /* as it is, without another model */
    zi_problem *problems; /* [problem_count]: those that no other model helps against come first */
    size_t problem_count;
    char **remarks; /* [remark_count] */
    size_t remark_count;
} zi_inspection;

/* What is at path. Anything recognised is described, damaged or not; only what is unreadable or
 * unknown is an error. Free the result with zi_inspection_free. */
bool zi_inspect(const char *path, zi_inspection **out, zi_error *error) ZI_CHECKED;
void zi_inspection_free(zi_inspection *inspection);

/* The same as JSON text that the caller frees; NULL when memory is short. */
char *zi_inspection_json(const zi_inspection *inspection);

/* ---- verification ---- */

typedef struct {
    const char *name; /* a constant */
    bool passed;
    zi_error_code code; /* why it failed */
    char *text;         /* what was found, or why it failed */
} zi_verification_check;

typedef struct {
    char *path;
    bool passed;                   /* all checks */
    zi_verification_check *checks; /* [check_count], as far as they could be run */
    size_t check_count;
} zi_verification;

/* Whether a model works: weights are read, small images generated. against, when not NULL, is the
 * path of the model that this one was made from, whose image it should generate. progress and user:
 * as in a request. A check that fails is no error. Free the result with zi_verification_free. */
bool zi_verify(zi_engine *engine, const zi_model_options *options, const char *against,
               zi_progress_fn progress, void *user, zi_verification **out,
               zi_error *error) ZI_CHECKED;
void zi_verification_free(zi_verification *verification);

/* The same as JSON text that the caller frees; NULL when memory is short. */
char *zi_verification_json(const zi_verification *verification);

/* ---- conversion ---- */

/* A layout to write. */
typedef enum {
    ZI_LAYOUT_SAME = 0,  /* the source's own */
    ZI_LAYOUT_MLX,       /* a folder */
    ZI_LAYOUT_DIFFUSERS, /* a folder */
    ZI_LAYOUT_COMFYUI,   /* one safetensors file */
    ZI_LAYOUT_GGUF       /* one file: the transformer, or a text encoder that comes alone */
} zi_layout_kind;

/* Original keeps stored types where the layout has them (what it lacks becomes 16-bit). The last
 * three quantize matrices of the transformer whose rows are whole groups of 64 (in GGUF: of 32):
 * FP8 is float8_e4m3fn in diffusers (a plain cast) and ComfyUI (with scales), and 8-bit groups in
 * MLX; Q8 and Q4 are groups of 64 in MLX, Q8_0 and Q4_0 in GGUF. */
typedef enum {
    ZI_PRECISION_ORIGINAL = 0,
    ZI_PRECISION_FP16,
    ZI_PRECISION_BF16,
    ZI_PRECISION_FP8,
    ZI_PRECISION_Q8,
    ZI_PRECISION_Q4
} zi_precision;

/* Their names by number ("same", "mlx", ...; "original", "fp16", ...), with a NULL behind the last:
 * options, requests and messages have these. */
extern const char *const zi_layout_names[], *const zi_precision_names[];

/* Whether models in a layout can have a precision; that of ZI_LAYOUT_SAME is known only of a
 * source. The error tells which ones it can have. */
bool zi_layout_check(zi_layout_kind layout, zi_precision precision, zi_error *error) ZI_CHECKED;

typedef struct {
    const char *source, *destination; /* nothing, or an empty folder, is at the destination */
    zi_layout_kind layout;
    zi_precision precision;
    const char *vae, *text_encoder; /* NULL, or a file or folder to take this part from */
    const char *reference; /* NULL, or a diffusers or MLX folder that lends what the source lacks */
    int threads;           /* 0: as many as the machine has to give */
    zi_progress_fn progress; /* stage ZI_STAGE_CONVERT */
    void *user;
} zi_convert_options;

/* Writes a model, or a part that comes alone, in another layout or precision. The destination
 * appears only when it is whole. */
bool zi_convert(const zi_convert_options *options, zi_error *error) ZI_CHECKED;

/* ---- models from a hub ---- */

/* A hub of Hugging Face's kind, and where its files are kept. Strings are borrowed. */
typedef struct {
    const char *endpoint; /* NULL: https://huggingface.co. Plain http only where this says so */
    const char *token;    /* NULL: none. Goes to the endpoint alone */
    const char *cache;    /* the hub's cache, a folder shared with other programs */
    const char *ca_file;  /* certificates to trust; NULL: the system's */
    const char *proxy;    /* NULL: none */
    int timeout;          /* seconds of silence after which a connection is given up; 0: 20 */
    bool offline;         /* ask no one: only what is in the cache */
} zi_hub;

typedef struct {
    const char *name; /* in the repository */
    uint64_t done, size;
} zi_hub_file;

typedef struct {
    const zi_hub_file *files; /* all that are wanted */
    size_t count, finished;
    uint64_t done, size; /* bytes of all */
} zi_hub_progress;

/* Called often, also while nothing comes, from the thread that called. Return false to stop. */
typedef bool (*zi_hub_progress_fn)(void *user, const zi_hub_progress *progress);

typedef struct {
    zi_hub hub;
    const char *repo;      /* OWNER/NAME or OWNER/NAME@REVISION; NULL: Z-Image-Turbo;
                              "prompt-enhancer": Qwen2.5-1.5B-Instruct */
    const char *file;      /* this file alone; NULL: those that a model takes */
    const char *local_dir; /* a folder to put them in; NULL: the hub's cache */
    zi_hub_progress_fn progress;
    void *user;
} zi_download_options;

typedef struct {
    char *path;       /* the model's folder, or the file; free() it */
    uint64_t fetched; /* bytes that came over the network */
    bool from_cache;  /* the hub could not be asked, or was not to be: this is what was there */
} zi_downloaded;

/* Fetches what is not there yet, several files at a time, and checks sizes and digests. What an
 * interrupted call has fetched is kept and goes on in the next one; files appear under their names,
 * and a model in the cache, only when whole. */
bool zi_download(const zi_download_options *options, zi_downloaded *out,
                 zi_error *error) ZI_CHECKED;

/* The folder in the cache of a model that is there as a whole; repo as in zi_download_options.
 * *path is NULL when it is not there; free() it. */
bool zi_hub_find(const zi_hub *hub, const char *repo, char **path, zi_error *error) ZI_CHECKED;

/* Removes a repository from the cache. */
bool zi_hub_remove(const zi_hub *hub, const char *repo, zi_error *error) ZI_CHECKED;

/* ---- the model registry ---- */

/* All models that can be named: those in the models folder, those in the hub's cache, and the demo
 * model. FOLDER/mlx, pytorch and comfyui hold image models, FOLDER/prompt_enhancer a language model
 * or several; a model in the hub's cache is called OWNER/NAME. Several threads may use one registry
 * at the same time. */
typedef struct zi_registry zi_registry;

typedef struct {
    const char *folder; /* the models folder; it need not be there */
    zi_hub hub;
    const char *demo;       /* path of the demo model; NULL: there is none */
    const char *model;      /* path of a model that is the default, whatever was chosen; or NULL */
    const char *cache_file; /* keeps what inspections find; NULL: they are kept in memory */
    /* Only names are found, no paths, and of the folder nothing that lies elsewhere, to which a
     * link leads. For names that come from strangers. */
    bool names_only;
} zi_registry_options;

/* The strings of options must outlive the registry. */
bool zi_registry_open(const zi_registry_options *options, zi_registry **out,
                      zi_error *error) ZI_CHECKED;
void zi_registry_close(zi_registry *registry);

/* Where models are. */
typedef enum {
    ZI_SECTION_MLX = 0,
    ZI_SECTION_PYTORCH,
    ZI_SECTION_COMFYUI,
    ZI_SECTION_PROMPT_ENHANCER,
    ZI_SECTION_HUB,   /* in the hub's cache */
    ZI_SECTION_NAMED, /* zi_registry_options.model, where that is in no other section */
    ZI_SECTION_DEMO
} zi_section;

/* "mlx", "pytorch", "comfyui", "prompt_enhancer", "hub", "named" or "demo"; a constant. */
const char *zi_section_name(zi_section section);

typedef struct {
    char *name; /* "mlx/NAME", "OWNER/NAME", "demo", ...: no other one is called so */
    char *path;
    zi_section section;
    zi_model_kind kind;
    bool is_default;           /* it was chosen */
    uint64_t bytes;            /* of its files */
    zi_inspection *inspection; /* NULL: see zi_registry_inspect_all */
} zi_registry_entry;

/* Part of a model on the disk: of no use but to the call that goes on with it. */
typedef struct {
    char *name;    /* ".incoming/NAME", or "mlx/NAME.part-1-0" */
    bool download; /* one that has not ended; false: left by a call that was killed */
    uint64_t bytes;
} zi_partial_model;

typedef struct {
    char *default_name;         /* the one that was chosen; NULL: none was */
    zi_registry_entry *entries; /* [count], by section and name */
    size_t count, unknown; /* unknown: models that are new or have changed, and were not inspected
                              since; entries of the hub's cache among them may be of other kinds */
    zi_partial_model *partial; /* [partial_count] */
    size_t partial_count;
} zi_registry_list;

/* All models. Reads folders, but no model: inspections come from the cache. Free the result with
 * zi_registry_list_free. */
bool zi_registry_read(zi_registry *registry, zi_registry_list *out, zi_error *error) ZI_CHECKED;
void zi_registry_list_free(zi_registry_list *list);

/* Inspects what zi_registry_read would call unknown, and keeps what was found. inspected, which may
 * be NULL, is called after each; it returns false to stop. */
bool zi_registry_inspect_all(zi_registry *registry, bool (*inspected)(void *user), void *user,
                             zi_error *error) ZI_CHECKED;

/* Why a model was found. */
typedef enum {
    ZI_FOUND_NAMED = 0,  /* it was asked for */
    ZI_FOUND_CHOSEN,     /* it is the default */
    ZI_FOUND_ONLY,       /* it is the only image model in the folder */
    ZI_FOUND_DOWNLOADED, /* the folder has none; it is Z-Image-Turbo in the hub's cache */
    ZI_FOUND_DEMO        /* there is no other */
} zi_found_as;

typedef struct {
    char *name; /* as in the list; of a path that path */
    char *path;
    zi_found_as as;
} zi_found;

/* What the cache has of a path: the inspection, to be freed, or NULL. */
zi_inspection *zi_registry_known(zi_registry *registry, const char *path);

/* The model that is meant by a name: a path as it stands, else one in the folder (NAME or
 * mlx/NAME), else one in the hub's cache. NULL: the default, else the only one in the folder, else
 * Z-Image-Turbo in the hub's cache if the folder has none, else the demo model. Several without a
 * default are an error that lists them. Free the result with zi_found_free. */
bool zi_registry_find(zi_registry *registry, const char *name, zi_found *out,
                      zi_error *error) ZI_CHECKED;
void zi_found_free(zi_found *found);

/* The language model of a name, or NULL: the one in FOLDER/prompt_enhancer, else the one in the
 * hub's cache. *path is NULL when there is none; free() it. */
bool zi_registry_find_language(zi_registry *registry, const char *name, char **path,
                               zi_error *error) ZI_CHECKED;

/* Makes a model the default, from now on (FOLDER/default.txt has its name), or until the registry
 * is closed. It must be an image model. */
bool zi_registry_choose(zi_registry *registry, const char *name, bool lasting,
                        zi_error *error) ZI_CHECKED;

/* Where a new model of that file name goes: path and name ("comfyui/FILE") are free()d by the
 * caller. The folder is made; something that is there already is an error. */
bool zi_registry_place(zi_registry *registry, zi_section section, const char *file, char **path,
                       char **name, zi_error *error) ZI_CHECKED;

/* Removes a model from the folder or from the hub's cache, or what is partial. Of a link only the
 * link goes. */
bool zi_registry_remove(zi_registry *registry, const char *name, zi_error *error) ZI_CHECKED;

/* A model that lay in the models folder itself, as they once did. */
typedef struct {
    char *from, *to;
    char *problem; /* why it stays; NULL: it was moved */
} zi_migrated_model;

typedef struct {
    zi_migrated_model *models; /* [count] */
    size_t count;
} zi_migration;

/* Moves such models to where they belong; dry: only says so. Free the result with
 * zi_migration_free. */
bool zi_registry_migrate(zi_registry *registry, bool dry, zi_migration *out,
                         zi_error *error) ZI_CHECKED;
void zi_migration_free(zi_migration *migration);

typedef enum { ZI_IMPORT_COPY = 0, ZI_IMPORT_LINK, ZI_IMPORT_MOVE } zi_import_mode;

typedef struct {
    const char *source; /* a file or folder */
    const char *name;   /* NULL: the source's */
    zi_import_mode mode;
    bool convert; /* to this layout and precision, instead of the mode */
    zi_layout_kind layout;
    zi_precision precision;
    const char *reference;   /* as for zi_convert */
    int threads;             /* 0: as many as the machine has to give */
    zi_progress_fn progress; /* stages ZI_STAGE_COPY and ZI_STAGE_CONVERT */
    void *user;
} zi_import_options;

/* Puts a model, or a part of one, into the folder; *path, which the caller frees, is where it is.
 * What is no part of Z-Image and no language model is refused by its name. */
bool zi_registry_import(zi_registry *registry, const zi_import_options *options, char **path,
                        zi_error *error) ZI_CHECKED;

/* Downloads a model into the folder, converted where `import` has a layout or a precision (its
 * source, mode and convert have no meaning). Of an original that is converted, files go as soon as
 * they have been, and while others come, unless it was in the cache: progress of the download comes
 * first, then that of what is left to convert. */
bool zi_registry_download(zi_registry *registry, const zi_download_options *options,
                          const zi_import_options *import, zi_downloaded *out,
                          zi_error *error) ZI_CHECKED;

/* For those who have no model yet: the precision in which Z-Image-Turbo suits this machine as an
 * MLX folder, and a sentence on what it takes to get it so; free() it. NULL when memory is short.
 */
char *zi_registry_hint(const zi_registry *registry, zi_precision *precision);

/* ---- measuring ---- */

typedef struct {
    int width, height;   /* pixels; 0: 512 */
    int layers;          /* of the transformer's 30 and the text encoder's 35; 0: all */
    const char *weights; /* how the made-up weights of the transformer are stored: "bf16" (NULL),
                            "fp16", "fp32", "fp8" (eight bits in groups of 64) or "q4" */
    int threads;         /* these three as in zi_engine_options */
    const char *cpu, *scratch;
    zi_compute compute;
    int repeat; /* how often each stage runs, 1 to 1000; 0: once */
} zi_bench_options;

typedef struct {
    double seconds; /* wall clock, the median of the repetitions */
    double flop;    /* multiplications and additions that the matrix products ask for */
    double share;   /* of what the f32 peak, measured right before and after, would have done; the
                       median */
} zi_bench_stage;

typedef struct {
    zi_bench_stage encode; /* a prompt of 64 tokens */
    zi_bench_stage step;   /* one call of the transformer */
    zi_bench_stage block;  /* one of its layers */
    zi_bench_stage decode; /* latents to picture */
    double peak_f32;       /* multiplications and additions a second that all threads reach together
                              in registers, the most that was measured */
    double peak_integer;   /* the same for the integer instructions that fast arithmetic uses */
    size_t memory;         /* bytes of working memory beside the weights */
    bool memory_in_file;   /* whether those were in a file, see scratch in zi_engine_options */
    int threads;
    const char *tier; /* of kernels; a constant */
    bool fast;        /* whether integers were used */
} zi_bench_result;

/* Times the stages at the shapes of Z-Image-Turbo, with random weights made in memory. */
bool zi_bench(const zi_bench_options *options, zi_bench_result *out, zi_error *error) ZI_CHECKED;

typedef struct {
    const char *type;        /* of the weights, as it is called in files; a constant */
    double bytes_per_second; /* of weights, the median of the repetitions */
    double share;            /* of the bandwidth, measured right before and after; the median */
} zi_bench_products;

enum { ZI_BENCH_TYPES = 3 };

typedef struct {
    double bytes_per_second; /* that all threads read together from memory, in its order; the most
                                that was measured */
    zi_bench_products products[ZI_BENCH_TYPES]; /* of one row of input, as for a token's decoding */
    int threads;
    const char *tier; /* of kernels; a constant */
} zi_bench_memory_result;

/* Measures what decoding with a language model is bound by, and how near to it the products come,
 * at the shapes of Qwen2.5-1.5B. Of options only threads, cpu and repeat count. */
bool zi_bench_memory(const zi_bench_options *options, zi_bench_memory_result *out,
                     zi_error *error) ZI_CHECKED;

#endif
