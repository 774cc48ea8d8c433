/* Jobs as JSON: requests are read here, and descriptions and events made, as the OpenAPI file has
 * them. */
#ifndef ZI_SERVER_JOB_JSON_H
#define ZI_SERVER_JOB_JSON_H

#include "server/jobs.h"

/* ---- requests ---- */

/* Reads the body of POST /api/jobs, {"kind", "params"}, which must live as long as the request. */
bool zi_job_request_read(const cJSON *body, zi_job_request *out,
                         zi_http_error *http_error) ZI_CHECKED;

/* The same where the kind is known and the body is its params. */
bool zi_job_params_read(const char *kind, const cJSON *params, zi_job_request *out,
                        zi_http_error *http_error) ZI_CHECKED;

/* ---- ids: "1a2b" ---- */

bool zi_job_id_parse(const char *text, uint64_t *id);
cJSON *zi_job_id_json(uint64_t id);

/* ---- descriptions ---- */

/* The job of that id, as Job or JobWithPreview; NULL: there is none. */
cJSON *zi_jobs_find_json(zi_jobs *jobs, uint64_t id, bool preview);

/* {"jobs"} of all. */
cJSON *zi_jobs_list_json(zi_jobs *jobs);

/* {"jobs"} of all (0) or one with their previews, and the number of the latest event in it.
 * *ended: no event of that one job is to come. */
cJSON *zi_jobs_snapshot_json(zi_jobs *jobs, uint64_t id, uint64_t *cursor, bool *ended);

/* A job that does not wait, as text in new memory; NULL: memory is short. */
char *zi_job_json_text(const zi_job *job);

/* ---- events: published with the mutex of the jobs held, of a job as it stands ---- */

void zi_publish_queued(zi_events *events, const zi_job *job, int position);
void zi_publish_started(zi_events *events, const zi_job *job);
void zi_publish_encoded(zi_events *events, const zi_job *job, int image, bool cached);
void zi_publish_progress(zi_events *events, const zi_job *job);

/* "step", and with it "progress" and "preview" where asked for; listeners are woken once. */
void zi_publish_step(zi_events *events, const zi_job *job, bool progress, bool preview);

/* row: the image in the history, which is taken over. */
void zi_publish_image(zi_events *events, const zi_job *job, int image, cJSON *row);
void zi_publish_text(zi_events *events, const zi_job *job, const char *text);

/* "done", "failed" or "cancelled". */
void zi_publish_end(zi_events *events, const zi_job *job);

#endif
