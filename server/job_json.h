/* JSON of jobs, as in openapi.json: reads requests, makes descriptions and events. */
#ifndef ZI_SERVER_JOB_JSON_H
#define ZI_SERVER_JOB_JSON_H

#include "server/jobs.h"

/* ---- requests ---- */

/* Reads the body of POST /api/jobs, which must be an object, {"kind", "params"}, into *out, which
 * borrows texts from body. False: a member is missing, unknown or duplicate, or a value is not
 * valid; *http_error is a 400 that names the field, and *out has no meaning. */
bool zi_job_request_read(const cJSON *body, zi_job_request *out,
                         zi_http_error *http_error) ZI_CHECKED;

/* Reads a body that holds the params alone, for the kind of job of that name, into *out, which
 * borrows texts from params; out->fields tells which are present. False: unknown kind (field
 * "kind"), not an object or NULL (field "params"), or a field is not valid or missing; *http_error
 * is a 400 that names the field, and *out has no meaning. */
bool zi_job_params_read(const char *kind, const cJSON *params, zi_job_request *out,
                        zi_http_error *http_error) ZI_CHECKED;

/* ---- ids, in hexadecimal: "1a2b" ---- */

/* Parses an id. False: text is not 1 to 16 lowercase hexadecimal digits, or is 0 (no job has it);
 * *id is then unchanged, or 0. */
bool zi_job_id_parse(const char *text, uint64_t *id);

/* Returns the id as a new JSON string, without leading zeros; NULL: out of memory. */
cJSON *zi_job_id_json(uint64_t id);

/* ---- descriptions ---- */

/* Returns the job of that id as new JSON: schema Job, or with `preview` schema JobWithPreview.
 * NULL: no such job, or out of memory, when members may also be missing. Takes the mutex of
 * zi_jobs. */
cJSON *zi_jobs_find_json(zi_jobs *jobs, uint64_t id, bool preview);

/* Returns all jobs without previews as new JSON {"jobs": [...]}, in the order of zi_jobs_visit.
 * Takes the mutex of zi_jobs. Out of memory: NULL, or jobs are missing. */
cJSON *zi_jobs_list_json(zi_jobs *jobs);

/* Returns all jobs (id 0) or one, with previews, as new JSON {"jobs": [...]}; an unknown id gives
 * an empty array. *cursor becomes the id of the latest event that it includes. *ended: id is not 0
 * and that job has ended, or does not exist: no event of it follows. Out of memory: NULL, or jobs
 * are missing; *cursor and *ended are set all the same. */
cJSON *zi_jobs_snapshot_json(zi_jobs *jobs, uint64_t id, uint64_t *cursor, bool *ended);

/* Returns a job that is not queued, without preview, as JSON text in new memory; NULL: out of
 * memory. The caller holds the mutex of zi_jobs. */
char *zi_job_json_text(const zi_job *job);

/* ---- events ---- */

/* Each of these appends an event with the job's id and kind, and resumes the connections that wait
 * for the job's events. None changes the job. The caller holds the mutex of zi_jobs. */

/* Publishes "queued" with the job's params and its position in its queue, from 1; also when the
 * position has changed. The caller holds the mutex of zi_jobs. */
void zi_publish_queued(zi_events *events, const zi_job *job, int position);

/* Publishes "started", with the job's id and kind alone. The caller holds the mutex of zi_jobs. */
void zi_publish_started(zi_events *events, const zi_job *job);

/* Publishes "encoded": the prompt of image number `image` (from 1) is encoded. cached: its
 * embeddings were in the cache. The caller holds the mutex of zi_jobs. */
void zi_publish_encoded(zi_events *events, const zi_job *job, int image, bool cached);

/* Publishes "progress" with job->status.progress, which replaces the job's earlier "progress"
 * event, and resumes waiters. The caller holds the mutex of zi_jobs. */
void zi_publish_progress(zi_events *events, const zi_job *job);

/* Publishes "step" with the numbers of job->status.progress and, if asked for, "progress" and
 * "preview" (job->status.preview), and resumes waiters once for all. The caller holds the mutex of
 * zi_jobs. */
void zi_publish_step(zi_events *events, const zi_job *job, bool progress, bool preview);

/* Publishes "image": image number `image` (from 1) was saved. row: its row in the history, of which
 * this takes ownership. The caller holds the mutex of zi_jobs. */
void zi_publish_image(zi_events *events, const zi_job *job, int image, cJSON *row);

/* Publishes "text" with the new piece of an enhance job's answer. job->text is not read. The caller
 * holds the mutex of zi_jobs. */
void zi_publish_text(zi_events *events, const zi_job *job, const char *text);

/* Publishes "done", "failed" or "cancelled", by job->status.state, which must be one of these: with
 * the error of a failed job, else with the ids of the images; "done" also with text and result. The
 * caller holds the mutex of zi_jobs. */
void zi_publish_end(zi_events *events, const zi_job *job);

#endif
