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

/* Creates an empty set of jobs. Borrows server, whose events and history the jobs use. NULL: out of
 * memory. */
zi_jobs *zi_jobs_create(zi_server *server);

/* Frees all jobs in whatever state and the set itself, without publishing anything. Worker threads
 * must have ended. jobs may be NULL. */
void zi_jobs_free(zi_jobs *jobs);

/* ---- for request handlers ---- */

/* Makes a job from copies of a request's texts, validates it, finds its models and appends it to
 * its queue; *id becomes its id. False: *http_error is filled, there is no job, and *id is
 * unchanged; 429 when its queue is full, 503 after zi_jobs_close. */
bool zi_jobs_submit(zi_jobs *jobs, const zi_job_request *request, uint64_t *id,
                    zi_http_error *http_error) ZI_CHECKED;

/* A callback of zi_jobs_visit. position: of the job in its queue, from 1; 0: not queued. */
typedef void (*zi_job_visitor)(void *user, const zi_job *job, int position);

/* Calls visit for the job of that id (not at all if there is none) or for all (0): first running
 * ones, then queued ones in order, then ended ones, the latest first. The mutex is held meanwhile:
 * visit must not call functions of this file. Returns the id of the latest event that the jobs'
 * state includes. */
uint64_t zi_jobs_visit(zi_jobs *jobs, uint64_t id, zi_job_visitor visit, void *user);

/* Copies a job's status to *out. *cursor, which may be NULL, becomes in any case the id of the
 * latest event that it includes. out->state is ZI_JOB_UNKNOWN when there is no such job, or out of
 * memory. Free it with zi_job_status_free in any case. */
void zi_jobs_status(zi_jobs *jobs, uint64_t id, zi_job_status *out, uint64_t *cursor);

/* Returns the state of a job; ZI_JOB_UNKNOWN: no such job. *error, which may be NULL, is filled
 * when the state is ZI_JOB_FAILED, else unchanged. */
zi_job_state zi_jobs_state(zi_jobs *jobs, uint64_t id, zi_http_error *error);

/* Cancels a job: a queued one ends at once, a running one soon, when its thread notices; an ended
 * one stays as it is. Returns its state before; ZI_JOB_UNKNOWN: no such job. */
zi_job_state zi_jobs_cancel(zi_jobs *jobs, uint64_t id);

/* Asks the running generate job of A1111's API to end with its current step: the image so far is
 * kept, and the job ends as cancelled. Without a step so far there is no image. Has no effect
 * without such a job. */
void zi_jobs_interrupt(zi_jobs *jobs);

/* Asks the running generate job of A1111's API to end its current image with the current step. The
 * image so far is kept, and the job goes on with its next image. Has no effect before the first
 * image has begun. */
void zi_jobs_skip_image(zi_jobs *jobs);

typedef struct {
    size_t queued, running;       /* in all queues */
    size_t ended[ZI_JOB_UNKNOWN]; /* by state, since the start of the server */
    uint64_t a1111;               /* id of the running generate job of A1111's API; 0: none */
} zi_jobs_counts;

/* Counts the jobs of all queues by state (ended ones since the start of the server), and finds the
 * running generate job of A1111's API, 0 if there is none. */
zi_jobs_counts zi_jobs_count(zi_jobs *jobs);

/* ---- for worker threads ---- */

/* Blocks until a queue has a job, marks the oldest one as running and publishes "started" and the
 * new positions of the others. Returns it, still owned by jobs; the caller ends it with
 * zi_jobs_finish. NULL: zi_jobs_close was called. */
zi_job *zi_jobs_take_next(zi_jobs *jobs, zi_job_queue queue);

/* The Unix time now by the clock of the time when the job was submitted: it never goes back. */
double zi_job_time(const zi_job *job);

/* Ends a running job in state ZI_JOB_DONE, ZI_JOB_FAILED or ZI_JOB_CANCELLED, and publishes that.
 * *error, of a failed job, is copied; else it is NULL. The caller must not use the job any more. */
void zi_jobs_finish(zi_jobs *jobs, zi_job *job, zi_job_state state, const zi_http_error *error);

/* Sets a running job's progress to a copy, and publishes it as "progress". */
void zi_jobs_set_progress(zi_jobs *jobs, zi_job *job, const zi_job_progress *progress);

/* Publishes "encoded": the prompt of an image, counted from 1, is encoded. cached: the embedding
 * cache had it. The job's status does not change. */
void zi_jobs_publish_encoded(zi_jobs *jobs, zi_job *job, int image, bool cached);

/* After a step: sets the job's progress and publishes "step"; with_progress: also "progress".
 * Unless preview->png is NULL, it also replaces the job's preview, of which it takes ownership, and
 * publishes "preview"; else the earlier preview stays. */
void zi_jobs_set_step(zi_jobs *jobs, zi_job *job, const zi_job_progress *progress,
                      bool with_progress, const zi_job_preview *preview);

/* Records that image number `image` (from 1) was saved to the history under `id`: appends the id to
 * the job's images and publishes "image" with its row of the history. False: *error is set and the
 * id was not added: the row was deleted (ZI_ERROR_NOT_FOUND) or cannot be read, or out of memory,
 * when "image" may be published all the same. */
bool zi_jobs_add_image(zi_jobs *jobs, zi_job *job, int image, const char id[ZI_IMAGE_ID],
                       zi_error *error) ZI_CHECKED;

/* Appends a piece to the text of an enhance job, and publishes the piece as "text". A piece that
 * exceeds ZI_JOB_MAX_TEXT or the memory is published, but left out of the job's text whole and
 * silently, and so are all later ones. */
void zi_jobs_add_text(zi_jobs *jobs, zi_job *job, const char *text);

/* Replaces the text of an enhance job by a copy of text, or by an empty one if text exceeds
 * ZI_JOB_MAX_TEXT or the memory. Publishes nothing; the end of the job does. */
void zi_jobs_set_text(zi_jobs *jobs, zi_job *job, const char *text);

/* Sets the name of the model that the job made, and takes ownership of it; NULL: none. To be called
 * once at most. Publishes nothing; the end of the job does. */
void zi_jobs_set_model(zi_jobs *jobs, zi_job *job, char *name);

/* Sets the result of a verify job, and takes ownership of it. To be called once at most. Publishes
 * nothing; the end of the job does. */
void zi_jobs_set_verification(zi_jobs *jobs, zi_job *job, zi_verification *verification);

/* Cancels all jobs (queued ones at once; running ones are asked to stop, without waiting), makes
 * zi_jobs_take_next return NULL, and zi_jobs_submit fail with 503. */
void zi_jobs_close(zi_jobs *jobs);

#endif
