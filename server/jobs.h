/* All jobs: a bounded queue per worker thread, the running jobs, and the last 100 that ended. */
#ifndef ZI_SERVER_JOBS_H
#define ZI_SERVER_JOBS_H

#include "server/events.h"
#include "server/job.h"

enum {
    ZI_QUEUE_CAPACITY = 64, /* jobs that may wait in each queue */
    ZI_MAX_PIXELS = 2048 * 2048
};

typedef struct zi_jobs zi_jobs;

/* Borrows server, whose events and history the jobs use. NULL when out of memory. */
zi_jobs *zi_jobs_create(zi_server *server);
void zi_jobs_free(zi_jobs *jobs);

/* ---- for request handlers ---- */

/* Copies a request, validates it, resolves models and queues the job. *id: of the job. Fails with
 * 429 when its queue is full. */
bool zi_jobs_submit(zi_jobs *jobs, const zi_job_request *request, uint64_t *id,
                    zi_http_error *http_error) ZI_CHECKED;

/* Calls visit, with the mutex held, for the job of that id or for all (0): first running ones, then
 * queued ones in order, then ended ones, the latest first. position: in its queue, from 1; 0: not
 * queued. Returns the id of the latest event that the jobs' state includes. */
typedef void (*zi_job_visitor)(void *user, const zi_job *job, int position);
uint64_t zi_jobs_visit(zi_jobs *jobs, uint64_t id, zi_job_visitor visit, void *user);

/* Copies a job's status. *cursor, which may be NULL, becomes the latest event that it includes.
 * out->state is ZI_JOB_UNKNOWN when there is no such job, or out of memory. Free with
 * zi_job_status_free in any case. */
void zi_jobs_status(zi_jobs *jobs, uint64_t id, zi_job_status *out, uint64_t *cursor);

/* The state of a job. *error, which may be NULL, is filled when it is ZI_JOB_FAILED. */
zi_job_state zi_jobs_state(zi_jobs *jobs, uint64_t id, zi_http_error *error);

/* Cancels a job: a queued one at once, a running one soon (its thread notices). Returns its state
 * before. */
zi_job_state zi_jobs_cancel(zi_jobs *jobs, uint64_t id);

/* Makes the running generate job skip its current image. */
void zi_jobs_skip_image(zi_jobs *jobs);

typedef struct {
    size_t queued, running;       /* in all queues */
    size_t ended[ZI_JOB_UNKNOWN]; /* by state, since the start of the server */
    uint64_t generating;          /* id of the running generate job; 0: none */
} zi_jobs_counts;
zi_jobs_counts zi_jobs_count(zi_jobs *jobs);

/* ---- for worker threads ---- */

/* Waits for the next job of a queue and marks it as running. NULL: the server is shutting down. */
zi_job *zi_jobs_take_next(zi_jobs *jobs, zi_job_queue queue);

/* Moves a running job to the ended ones and publishes that. error: with ZI_JOB_FAILED, else NULL.
 */
void zi_jobs_finish(zi_jobs *jobs, zi_job *job, zi_job_state state, const zi_http_error *error);

/* Sets a running job's progress and publishes it. */
void zi_jobs_set_progress(zi_jobs *jobs, zi_job *job, const zi_job_progress *progress);

/* Publishes that the prompt of an image, counted from 1, is encoded. cached: the embedding cache
 * had it. The job's status does not change. */
void zi_jobs_publish_encoded(zi_jobs *jobs, zi_job *job, int image, bool cached);

/* After a step: progress and preview. with_progress: also publish "progress". Takes ownership of
 * preview->png, which may be NULL. */
void zi_jobs_set_step(zi_jobs *jobs, zi_job *job, const zi_job_progress *progress,
                      bool with_progress, const zi_job_preview *preview);

/* After image number `image` (from 1) was saved to the history under `id`. */
bool zi_jobs_add_image(zi_jobs *jobs, zi_job *job, int image, const char id[ZI_IMAGE_ID],
                       zi_error *error) ZI_CHECKED;

/* Appends to the text of an enhance job. */
void zi_jobs_add_text(zi_jobs *jobs, zi_job *job, const char *text);

/* The following only set results, which the end of the job publishes. set_text replaces the text so
 * far; the others take ownership. */
void zi_jobs_set_text(zi_jobs *jobs, zi_job *job, const char *text);
void zi_jobs_set_model(zi_jobs *jobs, zi_job *job, char *name);
void zi_jobs_set_verification(zi_jobs *jobs, zi_job *job, zi_verification *verification);

/* Cancels all jobs, and makes zi_jobs_take_next return NULL and zi_jobs_submit fail. */
void zi_jobs_close(zi_jobs *jobs);

#endif
