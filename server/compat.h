/* Functions that the compatibility APIs (OpenAI, AUTOMATIC1111) share: they make a request wait for
 * its job, and encode images in base64. */
#ifndef ZI_SERVER_COMPAT_H
#define ZI_SERVER_COMPAT_H

#include "server/http.h"

/* Submits a job, with copies of the texts in *request, and stores its id in req->job. The job is
 * cancelled if the client disconnects before it ends. Returns false and fills *http_error when the
 * job was not accepted; req->job is then unchanged. */
bool zi_compat_submit(zi_server_request *req, const zi_job_request *request,
                      zi_http_error *http_error) ZI_CHECKED;

/* Submits a "generate" job, as zi_compat_submit does. Parameters that are 0, false or NULL count as
 * not given and get their defaults; seed 0 counts if seed_given is set. The texts are copied. */
bool zi_compat_submit_generate(zi_server_request *req, const zi_generation *generation,
                               zi_http_error *http_error) ZI_CHECKED;

/* Reads the state of req->job. True: it has ended (ZI_JOB_UNKNOWN: its record was discarded);
 * *http_error is filled when it failed, else unchanged. False while it waits or runs: the request
 * is then suspended, and the handler must return *result and is called again later. *state is set
 * in both cases. */
bool zi_compat_job_ended(zi_server_request *req, zi_job_state *state, zi_http_error *http_error,
                         zi_handler_result *result);

/* Appends the image `id` of the history, with its infotext, in base64 without quotes; a PNG is the
 * stored file itself. quality: 1 to 100, for JPEG and WebP. False: *error is set and out unchanged;
 * ZI_ERROR_NOT_FOUND when it has no file. A lack of memory may set out->failed alone. */
bool zi_compat_append_image(zi_server *server, const char *id, zi_format format, int quality,
                            zi_text *out, zi_error *error) ZI_CHECKED;

/* Appends object as JSON without its closing brace, so that large members can be appended as text;
 * {} gives "{" alone. Deletes object. Sets out->failed when out of memory, or object is NULL. */
void zi_compat_append_open_object(cJSON *object, zi_text *out);

/* Replies 200 (application/json) with the text in `out`, which is emptied in any case; it is not
 * checked. Closes the connection when out->failed is set. */
zi_handler_result zi_compat_reply_json_text(zi_server_request *req, zi_text *out);

/* Finds an image model by what a client calls it: full name, last path component, that without
 * extension, or one of these followed by A1111's " [hash]", which is not checked. Of several, the
 * first in the registry. Skips models known to be unusable. "default" (in any letter case) and
 * "sd-cpp-local", which is stable-diffusion.cpp's name for its model, mean the default model unless
 * there is one of that name. Returns the full name in new memory; NULL: there is none, or out of
 * memory. */
char *zi_compat_find_model(zi_server *server, const char *requested);

/* The last path component of a model's name without .safetensors or .gguf, in new memory; NULL when
 * out of memory. */
char *zi_compat_short_name(const char *name);

#endif
