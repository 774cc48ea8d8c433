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
    zi_format format;   /* ZI_FORMAT_BY_NAME: by the extension .png, .jpg, .jpeg or .webp */
    int quality;        /* JPEG and WebP, 1 to 100; 0 means 95 */
    const char *recipe; /* UTF-8 text stored in the picture in the A1111 way; NULL for none */
} zi_save_options;

/* Writes the picture; the file appears under its name only when it is whole.
 * options may be NULL: format by name, no recipe. */
bool zi_image_save(const zi_image *image, const char *path, const zi_save_options *options,
                   zi_error *error) ZI_CHECKED;

/* Reads a PNG, JPEG or WebP picture as RGB (alpha is laid over black, grey is spread).
 * recipe, when not NULL, receives the stored recipe text or NULL; free() it. */
bool zi_image_load(const char *path, zi_image **out, char **recipe, zi_error *error) ZI_CHECKED;

void zi_image_free(zi_image *image);

/* The same without files: a picture as the bytes of its file (free() them), and back. A format must
 * be named. A picture of more than `pixels` is refused before it takes memory; 0: any will do. */
bool zi_image_to_bytes(const zi_image *image, const zi_save_options *options, uint8_t **data,
                       size_t *size, zi_error *error) ZI_CHECKED;
bool zi_image_from_bytes(const void *data, size_t size, size_t pixels, zi_image **out,
                         char **recipe, zi_error *error) ZI_CHECKED;

/* What a picture's recipe says. */
typedef struct {
    const char *prompt, *negative, *model, *schedule; /* UTF-8 */
    const char *original; /* the prompt before a language model rewrote it */
    int steps, width, height;
    uint64_t seed;
    double cfg; /* neg + c (pos - neg): 1 where our own guidance is 0 */
    double shift;
} zi_recipe_fields;

/* Reads any A1111 text. What it does not state is 0 or "", and unknown keys are ignored; a value
 * that is no number where one belongs is an error. Without a line of settings at the end all is
 * prompt. The strings live in *storage: free() it after use. */
bool zi_recipe_parse(const char *text, zi_recipe_fields *out, char **storage,
                     zi_error *error) ZI_CHECKED;

/* A picture's "width", "height", "recipe" and its "fields", with "guidance" as in a request and the
 * seed as text, as JSON text that the caller frees; NULL when memory is short. recipe may be NULL.
 */
char *zi_image_describe(const zi_image *image, const char *recipe);

/* The settings in any A1111 text as they stand there, one by one ("Steps", "9"). False: memory is
 * short. */
bool zi_recipe_settings(const char *text,
                        void (*each)(void *user, const char *key, const char *value), void *user);

/* ---- engine ---- */

/* What computes: the processor's threads, and what is kept between requests. Models are loaded for
 * an engine, which must outlive them. Several threads may generate with one engine, and with one
 * model, at the same time; they share its threads. */
typedef struct zi_engine zi_engine;

typedef struct {
    int threads;     /* 0: as many as the machine has to give */
    const char *cpu; /* kernel tier: NULL for the best this machine has; "ref", "avx2", "avx512" */
    const char *scratch; /* folder on a disk for working memory that is large beside what the
                            machine has free, as for images of 2048 x 2048; NULL: /var/tmp */
    /* Folder in which the text encoder's output for the latest prompts is kept, so that a prompt
     * that comes again is not encoded again; NULL: it is kept in memory only. */
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

/* The name that stands in recipes: the last part of the path it was loaded from, or the
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
    ZI_STAGE_COPY     /* of zi_store_import */
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
    const char *prompt;   /* UTF-8, required, not empty */
    const char *original; /* what was asked for before zi_enhance, for the recipe; NULL: the same */
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

/* The recipe of a picture as A1111 writes it ("prompt\nSteps: 9, Seed: 42, ..."); free() it.
 * NULL when memory is short. width and height must be the picture's. */
char *zi_recipe(const zi_model *model, const zi_request *request);

/* ---- better prompts ---- */

/* A language model. options->path: a GGUF file, a folder of Hugging Face's or MLX's, or an image
 * model, whose text encoder is one. Qwen2, Qwen3 and Llama are known. */
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
    bool (*goes_on)(void *user); /* asked in every layer; false: stop. May be NULL */
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

/* What is at path (layout, architecture, precision, components, sizes, what is missing; of a
 * picture, its size and recipe), as JSON text that the caller frees. Anything recognised is
 * described; only unreadable or unknown things are an error. A model's "health" is "good",
 * "incomplete" (it works with what another model lends), "unsupported" or "damaged". */
bool zi_inspect(const char *path, char **json, zi_error *error) ZI_CHECKED;

/* ---- health ---- */

/* Whether a model works, as JSON text that the caller frees: "passed", and "checks", a list of
 * "name", "passed" and "says". Weights are read, small pictures drawn; against, when not NULL, is
 * the path of the model that this one was made from, whose picture it should draw. progress and
 * user: as in a request. A check that is not passed is no error. */
bool zi_verify(zi_engine *engine, const zi_model_options *options, const char *against,
               zi_progress_fn progress, void *user, char **json, zi_error *error) ZI_CHECKED;

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
    bool unasked;     /* the hub could not be asked, or was not to be: this is what was there */
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

/* ---- the models folder ---- */

/* FOLDER/mlx, pytorch and comfyui hold models, FOLDER/prompt_enhancer a language model or several.
 * Beside them there are the models in the hub's cache, which are called OWNER/NAME. */
typedef struct {
    const char *folder; /* it need not be there */
    zi_hub hub;
} zi_store;

typedef struct {
    char *path;    /* NULL: there is none; free() it */
    size_t models; /* in the folder, where none was named */
    bool chosen;   /* it is the default, not just the only one */
} zi_found;

/* The model of a name: a path as it stands, else one in the folder (NAME or mlx/NAME), else one in
 * the cache. NULL: the default, else the only one in the folder, else Z-Image-Turbo in the cache if
 * the folder has none; finding none of these is no error. */
bool zi_store_find(const zi_store *store, const char *name, zi_found *out,
                   zi_error *error) ZI_CHECKED;

/* The language model in the folder, else the one in the cache; *path is NULL when there is none. */
bool zi_store_find_llm(const zi_store *store, char **path, zi_error *error) ZI_CHECKED;

/* All models as JSON text that the caller frees: "folder", "default" and "models", a list of
 * "name", "path", "kind" (image or language), "layout", "architecture", "precision", "bytes",
 * "default", "health" and "problems"; and "incomplete", a list of "name", "kind" and "bytes":
 * downloads that have not ended ("download"), and what killed calls left of models that they wrote
 * ("leftover"). */
bool zi_store_list(const zi_store *store, char **json, zi_error *error) ZI_CHECKED;

/* Makes a model the default; it must be in the folder or in the cache. */
bool zi_store_choose(const zi_store *store, const char *name, zi_error *error) ZI_CHECKED;

/* Removes a model from the folder or from the cache, or what is incomplete.
 * Where it is a link, only the link. */
bool zi_store_remove(const zi_store *store, const char *name, zi_error *error) ZI_CHECKED;

/* Moves models that lie in the folder itself, as they once did, to where they belong; dry: only
 * says so. JSON text that the caller frees: a list of "from", and "to" or "problem". */
bool zi_store_migrate(const zi_store *store, bool dry, char **json, zi_error *error) ZI_CHECKED;

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
bool zi_store_import(const zi_store *store, const zi_import_options *options, char **path,
                     zi_error *error) ZI_CHECKED;

/* Downloads a model into the folder, converted where `import` has a layout or a precision (its
 * source, mode and convert have no meaning). Of an original that is converted, files go as soon as
 * they have been, and while others come, unless it was in the cache: progress of the download comes
 * first, then that of what is left to convert. */
bool zi_store_download(const zi_store *store, const zi_download_options *options,
                       const zi_import_options *import, zi_downloaded *out,
                       zi_error *error) ZI_CHECKED;

/* For those who have no model yet: the precision in which Z-Image-Turbo suits this machine as an
 * MLX folder, and a sentence on what it takes to get it so; free() it. NULL when memory is short.
 */
char *zi_store_advice(const zi_store *store, zi_precision *precision);

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
