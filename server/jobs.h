/* The jobs: a bounded queue for each lane, the running ones, and the latest that have ended. */
#ifndef ZI_SERVER_JOBS_H
#define ZI_SERVER_JOBS_H

#include "server/events.h"
#include "server/job.h"

enum {
    ZI_QUEUE_CAPACITY = 64, /* jobs that may wait in a lane */
    ZI_MAX_PIXELS = 2048 * 2048
};

typedef struct zi_jobs zi_jobs;

zi_jobs *zi_jobs_create(zi_server *server); /* NULL when memory is short */
void zi_jobs_free(zi_jobs *jobs);

/* ---- for clients' requests ---- */

/* Checks a request, looks up what it names and puts the job into the queue. */
bool zi_jobs_submit(zi_jobs *jobs, const zi_job_request *request, uint64_t *id,
                    zi_http_error *http_error) ZI_CHECKED;

/* Calls visit with the mutex held for the job of that id, or for all of them (0): first those that
 * run, then those that wait, then the ended ones, the latest first. position: in the queue of its
 * lane, 0 when it does not wait. Returns the number of the latest event that the jobs' state
 * includes. */
typedef void (*zi_job_visitor)(void *user, const zi_job *job, int position);
uint64_t zi_jobs_visit(zi_jobs *jobs, uint64_t id, zi_job_visitor visit, void *user);

/* A copy of a job's status and the number of the latest event that it includes; cursor may be NULL.
 * ZI_JOB_UNKNOWN is the state when there is no such job, or memory is short. Free it in any case.
 */
void zi_jobs_status(zi_jobs *jobs, uint64_t id, zi_job_status *out, uint64_t *cursor);

/* The state alone; error, which may be NULL, is filled when the job failed. */
zi_job_state zi_jobs_state(zi_jobs *jobs, uint64_t id, zi_http_error *error);

/* Asks it to end; its state before. */
zi_job_state zi_jobs_cancel(zi_jobs *jobs, uint64_t id);

/* Asks the job that generates to leave its present image out. */
void zi_jobs_skip_image(zi_jobs *jobs);

typedef struct {
    size_t queued, running;       /* of all lanes */
    size_t ended[ZI_JOB_UNKNOWN]; /* by state, since the start */
    uint64_t generating;          /* the job that generates images now; 0: none */
} zi_jobs_counts;
zi_jobs_counts zi_jobs_count(zi_jobs *jobs);

/* ---- for workers ---- */

/* Waits for the next job of the lane; NULL: the server ends. */
zi_job *zi_jobs_take_next(zi_jobs *jobs, zi_job_queue queue);

/* error: why it failed; NULL for other states. */
void zi_jobs_finish(zi_jobs *jobs, zi_job *job, zi_job_state state, const zi_http_error *error);

/* These record something and publish it as an event. */
void zi_jobs_set_progress(zi_jobs *jobs, zi_job *job, const zi_job_progress *progress);
void zi_jobs_publish_encoded(zi_jobs *jobs, zi_job *job, int image, bool cached);

/* A step is done. with_progress: as an event of its own, too. Takes over preview->png, which may be
 * NULL. */
void zi_jobs_set_step(zi_jobs *jobs, zi_job *job, const zi_job_progress *progress,
                      bool with_progress, const zi_job_preview *preview);

/* An image is finished and in the history. */
bool zi_jobs_add_image(zi_jobs *jobs, zi_job *job, int image, const char id[ZI_IMAGE_ID],
                       zi_error *error) ZI_CHECKED;

/* More of the text. */
void zi_jobs_add_text(zi_jobs *jobs, zi_job *job, const char *text);

/* These only record: the end of the job publishes them. The first replaces the text so far; the
 * others take over what they are given. */
void zi_jobs_set_text(zi_jobs *jobs, zi_job *job, const char *text);
void zi_jobs_set_model(zi_jobs *jobs, zi_job *job, char *name);
void zi_jobs_set_verification(zi_jobs *jobs, zi_job *job, zi_verification *verification);

/* Cancels everything and lets zi_jobs_take_next return NULL. */
void zi_jobs_close(zi_jobs *jobs);

#endif
