/* zi_enhance: prompt enhancement by a language model, and checks of its answer. */
#include "internal.h"
#include "base/file.h"
#include "base/text.h"
#include "model/answer.h"
#include "lm_generate.h"

#include <stdlib.h>
#include <string.h>

enum {
    ENCODER_TOKENS = 500, /* the text encoder's 512, less the chat format's */
    DEFAULT_TOKENS = 400,
    FEWEST_TOKENS = 1000, /* a vocabulary below that is one of a few words, like the demo model's */
    MAX_ANSWER = 1 << 20  /* bytes */
};

struct zi_llm {
    zi_engine *engine; /* borrowed */
    zi_lm lm;
};

/* Default instructions, by the language of the prompt. */
static const char instructions_english[] =
    "Rewrite the request below as one detailed prompt for an image generator.\n"
    "- Keep everything it asks for: subjects and their number, colours, actions, style.\n"
    "- Add what it leaves open: details of the subject, the place, light, colours, composition, "
    "and a style or mood that fits.\n"
    "- Write in the language of the request.\n"
    "- Text in quotation marks is to be drawn: repeat it letter by letter, in quotation marks.\n"
    "- One paragraph of plain description, at most 100 words.\n"
    "Answer with the prompt alone.\n\n"
    "Request: {prompt}";
static const char instructions_chinese[] =
    "请把下面的要求改写成一段详细的图像生成提示词。\n"
    "- 保留要求中的一切：主体及其数量、颜色、动作、风格。\n"
    "- 补充没有说明的内容：主体的细节、地点、光线、色彩、构图，以及合适的风格或氛围。\n"
    "- 用中文书写。\n"
    "- 引号中的文字是要画出来的：逐字保留，并加引号。\n"
    "- 只写一段描述，不超过150个字。\n"
    "只回答提示词本身。\n\n"
    "要求：{prompt}";
static const char prompt_placeholder[] = "{prompt}";

zi_enhance_request zi_enhance_default(void)
{
    return (zi_enhance_request){.max_tokens = DEFAULT_TOKENS,
                                .temperature = 0.7,
                                .top_k = 20,
                                .top_p = 0.8,
                                .penalty = 1.05};
}

bool zi_llm_load(zi_engine *engine, const zi_model_options *options, zi_llm **out, zi_error *error)
{
    if (!ZI_CHECK_RESERVED(options, error)) return false;
    if (!options->path || !options->path[0])
        return zi_error_set_in(error, ZI_ERROR_INVALID_ARGUMENT, NULL, "llm",
                               "no language model was named; name its folder or GGUF file");
    zi_llm *llm = calloc(1, sizeof *llm);
    if (!llm) return zi_error_no_memory(error, sizeof *llm);
    llm->engine = engine;
    if (!zi_lm_load(options, engine->backend, &llm->lm, error)) {
        zi_llm_free(llm);
        return false;
    }
    *out = llm;
    return true;
}

void zi_llm_free(zi_llm *llm)
{
    if (!llm) return;
    zi_lm_free(&llm->lm);
    free(llm);
}

void zi_enhance_result_free(zi_enhance_result *result)
{
    if (!result) return;
    free(result->text);
    free(result->ids);
    *result = (zi_enhance_result){0};
}

/* ---- the request ---- */

/* Sets *out to the instructions with their first {prompt} replaced, in new memory. False, with
 * *error set and nothing to free: they have no {prompt} (ZI_ERROR_INVALID_ARGUMENT, the subject
 * "instructions"), or out of memory. */
static bool insert_prompt(const char *instructions, const char *prompt, char **out, zi_error *error)
{
    const char *at = strstr(instructions, prompt_placeholder);
    if (!at)
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "instructions",
                            "have no %s; put it where the prompt is to stand", prompt_placeholder);
    zi_text text;
    zi_text_init(&text, 64 << 20);
    zi_text_append(&text, instructions, (size_t)(at - instructions));
    zi_text_puts(&text, prompt);
    zi_text_puts(&text, at + strlen(prompt_placeholder));
    *out = zi_text_take(&text);
    return *out || zi_error_no_memory(error, strlen(prompt));
}

/* Encodes raw text to be continued, names of added tokens in it included, with the
 * begin-of-sequence token in front if the model has one and it is not the first token already. The
 * caller frees *ids with free(). False, with *error set: *ids must not be used or freed. */
static bool encode_with_bos(const zi_lm *lm, const char *prompt, int32_t **ids, size_t *count,
                            zi_error *error)
{
    if (!zi_tokenizer_encode(lm->tokenizer, prompt, strlen(prompt), ids, count, error))
        return false;
    if (lm->bos < 0 || (*count && **ids == lm->bos)) return true;
    int32_t *grown = realloc(*ids, (*count + 1) * sizeof *grown);
    if (!grown) {
        free(*ids);
        return zi_error_no_memory(error, *count);
    }
    memmove(grown + 1, grown, (*count)++ * sizeof *grown);
    *grown = lm->bos;
    *ids = grown;
    return true;
}

/* Encodes the request: the raw prompt, or the prompt within the given or (by its language) built-in
 * English or Chinese instructions, in the model's chat format. The caller frees *ids with free().
 * False, with *error set: *ids must not be used or freed. */
static bool encode_request(const zi_lm *lm, const zi_enhance_request *r, int32_t **ids,
                           size_t *count, zi_error *error)
{
    if (r->raw) return encode_with_bos(lm, r->prompt, ids, count, error);
    zi_chat_format chat;
    char *question = NULL;
    const char *default_instructions =
        zi_is_chinese(r->prompt) ? instructions_chinese : instructions_english;
    if (!zi_chat_format_detect(lm->path, lm->chat_template, lm->tokenizer, &chat, error) ||
        !insert_prompt(r->instructions ? r->instructions : default_instructions, r->prompt,
                       &question, error))
        return false;
    bool ok = zi_chat_encode(&chat, lm->tokenizer, question, ids, count, error);
    free(question);
    return ok;
}

/* ---- the answer ---- */

typedef struct {
    const zi_lm *lm;
    const zi_enhance_request *request;
    zi_utf8_stream output;
    size_t reported;    /* bytes of the answer passed to the caller so far */
    bool begins_inside; /* the model may begin within a thought, which only </think> shows */
} answer_reader;

/* Sets *out, which need not be set before, to the answer so far: when raw all output, else as
 * zi_clean_answer makes it, without thoughts. ended: no more output comes. The caller frees it,
 * also after false (memory is short), which sets no error. */
static bool current_answer(const answer_reader *l, bool ended, zi_text *out)
{
    zi_text_init(out, MAX_ANSWER);
    const char *output = l->output.text.data ? l->output.text.data : "";
    if (l->request->raw)
        zi_text_puts(out, output);
    else
        zi_clean_answer(output, ended, out);
    return !l->output.text.failed && !out->failed;
}

/* Passes what the answer has grown by since the last call, whole characters, to request->text, if
 * that is set and there is any. False, without an error: the caller cancels. When memory is short,
 * nothing is passed, and true is returned. */
static bool report_new_text(answer_reader *l)
{
    zi_text answer;
    bool ok = true;
    if (!l->request->text) return true;
    const char *output = l->output.text.data ? l->output.text.data : "";
    if (l->begins_inside && !strstr(output, "</think>")) return true;
    if (current_answer(l, false, &answer) && answer.size > l->reported) {
        ok = l->request->text(l->request->user, answer.data + l->reported);
        l->reported = answer.size;
    }
    zi_text_free(&answer);
    return ok;
}

/* zi_lm_request.layer_done; user: the answer_reader. Returns what request->should_continue returns;
 * true if that is NULL. */
static bool ask_should_continue(void *user, double fraction)
{
    const zi_enhance_request *r = ((const answer_reader *)user)->request;
    (void)fraction;
    return !r->should_continue || r->should_continue(r->user);
}

/* Whether a token is a control token of the vocabulary ("<|im_start|>"), other than those around a
 * thought, and so no part of an answer. */
static bool is_control_token(const zi_tokenizer *tokenizer, int32_t id, const char *bytes,
                             size_t size)
{
    char name[64];
    if (size < 3 || size >= sizeof name || !strchr("<[", *bytes) || !strchr(">]", bytes[size - 1]))
        return false;
    memcpy(name, bytes, size);
    name[size] = 0;
    return strcmp(name, "<think>") != 0 && strcmp(name, "</think>") != 0 &&
           zi_tokenizer_added_token(tokenizer, name) == id;
}

/* Whether the model's thoughts may begin before its output: it has a token that ends one, and the
 * request, which ends with the start of its turn, has not turned thinking off. */
static bool may_begin_inside(const zi_lm *lm, const zi_enhance_request *r, const int32_t *ids,
                             size_t count)
{
    int32_t close = zi_tokenizer_added_token(lm->tokenizer, "</think>");
    bool closed = false;
    for (size_t i = count > 8 ? count - 8 : 0; i < count; i++) closed |= ids[i] == close;
    return !r->raw && close >= 0 && !closed;
}

/* zi_lm_request.token; user: the answer_reader. Adds the token's bytes to the answer, unless it is
 * a control token and the request is not raw, and passes new text to the caller. False: the caller
 * cancels. When memory is short, l->output.text.failed is set, and true is returned. */
static bool report_token(void *user, int32_t id)
{
    answer_reader *l = user;
    const char *bytes;
    size_t size;
    if (zi_tokenizer_bytes(l->lm->tokenizer, id, &bytes, &size) &&
        (l->request->raw || !is_control_token(l->lm->tokenizer, id, bytes, size)))
        zi_utf8_stream_add(&l->output, bytes, size);
    return report_new_text(l);
}

/* ---- checking the answer ---- */

/* Appends a sentence to `out`, in Chinese or English as the prompt is, for every quoted text of the
 * prompt (see zi_quote_next) that neither the answer nor `out` has. Sets out->failed when memory is
 * short. */
static void append_missing_quotes(const char *prompt, const char *answer, zi_text *out)
{
    bool chinese = zi_is_chinese(prompt);
    zi_quote quote;
    for (const char *at = prompt; zi_quote_next(&at, &quote);) {
        char *copy = strndup(quote.data, quote.size);
        if (copy && !strstr(answer, copy) && !(out->data && strstr(out->data, copy)))
            zi_text_printf(out, chinese ? "画面中写着“%s”。" : " It shows the text \"%s\".", copy);
        if (!copy) out->failed = true;
        free(copy);
    }
}

/* Sets *out to the number of tokens of text plus those of appended, encoded separately, without a
 * begin-of-sequence token. False, with *error set: *out is undefined. */
static bool count_tokens(const zi_tokenizer *tokenizer, const char *text, const char *appended,
                         size_t *out, zi_error *error)
{
    *out = 0;
    const char *parts[] = {text, appended};
    for (int i = 0; i < 2; i++) {
        int32_t *ids;
        size_t count;
        if (!zi_tokenizer_encode(tokenizer, parts[i], strlen(parts[i]), &ids, &count, error))
            return false;
        free(ids);
        *out += count;
    }
    return true;
}

/* Truncates the answer in place, at an end of a sentence or word, until answer and appended text
 * have at most ENCODER_TOKENS tokens. False, with *error set: it cannot be cut further
 * (ZI_ERROR_UNSUPPORTED), or encoding failed; the answer may be truncated even then. */
static bool shorten_to_encoder(const zi_tokenizer *tokenizer, char *answer, const char *appended,
                               zi_error *error)
{
    size_t count;
    for (;;) {
        if (!count_tokens(tokenizer, answer, appended, &count, error)) return false;
        if (count <= ENCODER_TOKENS) return true;
        size_t size = strlen(answer), cut = zi_text_cut_point(answer, size * 9 / 10);
        if (!cut)
            return zi_error_set_in(error, ZI_ERROR_UNSUPPORTED, NULL, "llm",
                                   "the answer of the language model is too long, and cannot be "
                                   "cut to the %d tokens that the text encoder takes; try again "
                                   "with another seed, or use another language model",
                                   ENCODER_TOKENS);
        answer[cut] = 0;
    }
}

/* Sets *out to the final prompt, for free(): the answer, truncated in place if it has too many
 * tokens, followed by a sentence for each quoted text of the prompt that the truncated answer
 * lacks. False, with *error set: *out is NULL. */
static bool make_final_prompt(const zi_tokenizer *tokenizer, const char *prompt, char *answer,
                              char **out, zi_error *error)
{
    zi_text quotes, text;
    zi_text_init(&quotes, MAX_ANSWER);
    zi_text_init(&text, MAX_ANSWER);
    append_missing_quotes(prompt, answer, &quotes);
    bool ok = !quotes.failed || zi_error_no_memory(error, quotes.size);
    ok = ok && shorten_to_encoder(tokenizer, answer, quotes.data ? quotes.data : "", error);
    zi_text_free(&quotes);
    zi_text_init(&quotes, MAX_ANSWER);
    if (ok) append_missing_quotes(prompt, answer, &quotes); /* truncation may have removed more */
    zi_text_puts(&text, answer);
    if (quotes.data) zi_text_puts(&text, quotes.data);
    *out = ok ? zi_text_take(&text) : NULL;
    bool failed = ok && (!*out || quotes.failed);
    zi_text_free(&quotes);
    zi_text_free(&text);
    return failed ? zi_error_no_memory(error, strlen(answer)) : ok;
}

/* Fails with ZI_ERROR_UNSUPPORTED, with the subject "llm", if the cleaned answer was not ended by a
 * stop token, is empty, or (with the built-in instructions) is not Chinese while the prompt is, see
 * zi_is_chinese. */
static bool check_answer(const zi_lm_result *result, const zi_enhance_request *r,
                         const char *answer, zi_error *error)
{
    if (!result->ended)
        return zi_error_set_in(
            error, ZI_ERROR_UNSUPPORTED, NULL, "llm",
            "the language model did not finish its answer within %zu tokens; try again with "
            "another seed or a shorter prompt, or use another language model",
            result->count);
    if (!*answer)
        return zi_error_set_in(error, ZI_ERROR_UNSUPPORTED, NULL, "llm",
                               "the language model gave an empty answer; try again with another "
                               "seed, or use another language model");
    if (!r->instructions && zi_is_chinese(r->prompt) && !zi_is_chinese(answer))
        return zi_error_set_in(
            error, ZI_ERROR_UNSUPPORTED, NULL, "llm",
            "the prompt is Chinese, but the language model answered in another language; try again "
            "with another seed, or use another language model");
    return true;
}

/* Ends the stream of output and sets *out to the request's result, for free(): when raw the whole
 * output, else the checked answer, with lost quotes and truncated to the tokens that
 * request->model's encoder takes (NULL: counted by the language model's tokenizer). False, with
 * *error set: *out has nothing to free. request->text is not called. */
static bool make_result_text(answer_reader *l, const zi_lm_result *result, char **out,
                             zi_error *error)
{
    const zi_enhance_request *r = l->request;
    zi_text answer;
    zi_tokenizer *encoder = NULL;
    zi_utf8_stream_finish(&l->output);
    if (!current_answer(l, true, &answer)) {
        zi_text_free(&answer);
        return zi_error_no_memory(error, l->output.text.size);
    }
    zi_text_puts(&answer, ""); /* never NULL */
    bool ok = true;
    if (r->raw) {
        ok = (*out = zi_text_take(&answer)) || zi_error_no_memory(error, answer.size);
    } else {
        ok = check_answer(result, r, answer.data, error);
        if (ok && r->model) ok = zi_assembly_tokenizer(r->model, NULL, &encoder, error);
        ok = ok && make_final_prompt(encoder ? encoder : l->lm->tokenizer, r->prompt, answer.data,
                                     out, error);
    }
    zi_tokenizer_free(encoder);
    zi_text_free(&answer);
    return ok;
}

/* Copies the request to *r, where 0 in max_tokens, top_p and penalty becomes the default, and
 * checks the texts, which stay borrowed, and max_tokens. False, with *error set: *r may be set,
 * too. Other sampling parameters are not checked here. */
static bool resolve_request(const zi_enhance_request *request, zi_enhance_request *r,
                            zi_error *error)
{
    *r = *request;
    if (!r->prompt || !r->prompt[0])
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "prompt", "is empty; give a text");
    if (!zi_utf8_valid(r->prompt, strlen(r->prompt)))
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "prompt",
                            "is not valid UTF-8 text; give it in UTF-8");
    if (r->instructions && !zi_utf8_valid(r->instructions, strlen(r->instructions)))
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "instructions",
                            "are not valid UTF-8 text; save them as UTF-8");
    if (!r->max_tokens) r->max_tokens = DEFAULT_TOKENS;
    if (r->top_p == 0) r->top_p = 1;
    if (r->penalty == 0) r->penalty = 1;
    int max = r->raw ? 1 << 20 : ENCODER_TOKENS;
    if (r->max_tokens < 1 || r->max_tokens > max)
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "max_tokens",
                            "%d is out of range; it must be from 1 to %d", r->max_tokens, max);
    return true;
}

/* Fails with ZI_ERROR_UNSUPPORTED, with the subject "encoder", if the language model is the text
 * encoder of an image model that knows too few words to write prompts. */
static bool check_vocabulary(const zi_lm *lm, zi_error *error)
{
    int count = lm->qwen.config.vocab;
    return !lm->encoder || count >= FEWEST_TOKENS ||
           zi_error_set_in(error, ZI_ERROR_UNSUPPORTED, lm->path, "encoder",
                           "the text encoder of this model knows only %d words and parts of words, "
                           "too few to write prompts; download the language model "
                           "prompt-enhancer, which is then used unless you name another one",
                           count);
}

bool zi_enhance(zi_llm *llm, const zi_enhance_request *request, zi_enhance_result *out,
                zi_error *error)
{
    if (!ZI_CHECK_RESERVED(request, error)) return false;
    zi_enhance_request r;
    int32_t *ids = NULL;
    size_t count = 0;
    if (!resolve_request(request, &r, error) || (!r.raw && !check_vocabulary(&llm->lm, error)) ||
        !encode_request(&llm->lm, &r, &ids, &count, error))
        return false;
    answer_reader l = {
        .lm = &llm->lm, .request = &r, .begins_inside = may_begin_inside(&llm->lm, &r, ids, count)};
    zi_text_init(&l.output.text, MAX_ANSWER);
    zi_lm_request lm_request = {
        .ids = ids,
        .count = count,
        .max_tokens = (size_t)r.max_tokens,
        .sampling = {r.temperature, r.top_k, r.top_p, r.min_p, r.penalty, r.seed},
        .token = report_token,
        .layer_done = ask_should_continue,
        .user = &l};
    zi_lm_result result = {0};
    zi_enhance_result enhanced = {.prompt_tokens = count};
    bool ok = zi_lm_generate(llm->engine, &llm->lm, &lm_request, &result, error) &&
              make_result_text(&l, &result, &enhanced.text, error);
    zi_text_free(&l.output.text);
    free(ids);
    if (!ok) {
        free(result.ids);
        return false;
    }
    enhanced.ids = result.ids;
    enhanced.count = result.count;
    enhanced.read_seconds = result.read_seconds;
    enhanced.write_seconds = result.write_seconds;
    *out = enhanced;
    return true;
}
