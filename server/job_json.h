/* JSON of jobs, as in openapi.json: reads requests, makes descriptions and events. */
#ifndef ZI_SERVER_JOB_JSON_H
#define ZI_SERVER_JOB_JSON_H

#include "server/jobs.h"

/* ---- requests ---- */

/* Reads the body of POST /api/jobs, {"kind", "params"}. out borrows texts from body. */
bool zi_job_request_read(const cJSON *body, zi_job_request *out,
                         zi_http_error *http_error) ZI_CHECKED;

/* Reads a body that holds the params alone, of a job of this kind. out borrows texts from params.
 */
bool zi_job_params_read(const char *kind, const cJSON *params, zi_job_request *out,
                        zi_http_error *http_error) ZI_CHECKED;

/* ---- ids, in hexadecimal: "1a2b" ---- */

/* Returns false when text is not 1 to 16 lowercase hexadecimal digits, or is 0, which no job has. */
bool zi_job_id_parse(const char *text, uint64_t *id);
cJSON *zi_job_id_json(uint64_t id);

/* ---- descriptions ---- */

/* The job of that id, as schema Job or JobWithPreview; NULL: no such job. */
cJSON *zi_jobs_find_json(zi_jobs *jobs, uint64_t id, bool preview);

/* All jobs as {"jobs": [...]}, as listed by zi_jobs_visit. */
cJSON *zi_jobs_list_json(zi_jobs *jobs);

/* All jobs (id 0) or one, with their previews, as {"jobs": [...]}. *cursor becomes the latest event
 * that it includes. *ended: whether that one job has ended and has no further events. */
cJSON *zi_jobs_snapshot_json(zi_jobs *jobs, uint64_t id, uint64_t *cursor, bool *ended);

/* A job that is not queued, as JSON text in new memory; NULL: out of memory. The caller holds the
 * mutex of zi_jobs. */
char *zi_job_json_text(const zi_job *job);

/* ---- events: publish the present state of a job; the caller holds the mutex of zi_jobs ---- */

void zi_publish_queued(zi_events *events, const zi_job *job, int position);
void zi_publish_started(zi_events *events, const zi_job *job);
void zi_publish_encoded(zi_events *events, const zi_job *job, int image, bool cached);
void zi_publish_progress(zi_events *events, const zi_job *job);

/* Publishes "step" and, if asked for, "progress" and "preview", and resumes waiters once. */
void zi_publish_step(zi_events *events, const zi_job *job, bool progress, bool preview);

/* row: the image's row in the history; it is deleted. */
void zi_publish_image(zi_events *events, const zi_job *job, int image, cJSON *row);
void zi_publish_text(zi_events *events, const zi_job *job, const char *text);

/* Publishes "done", "failed" or "cancelled". */
void zi_publish_end(zi_events *events, const zi_job *job);

#endif
