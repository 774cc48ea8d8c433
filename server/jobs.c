#include "server/jobs_private.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_ENDED = 100 };

zi_jobs *zi_jobs_create(zi_server *server)
{
    zi_jobs *jobs = calloc(1, sizeof *jobs);
    if (!jobs) return NULL;
    jobs->server = server;
    jobs->latest = (uint64_t)(zi_wall_seconds() * 1000)
                   << 8; /* ids are unique, also over restarts */
    pthread_mutex_init(&jobs->mutex, NULL);
    pthread_cond_init(&jobs->added, NULL);
    return jobs;
}

void zi_job_status_free(zi_job_status *status)
{
    free(status->images);
    free(status->preview.png);
    *status = (zi_job_status){.state = ZI_JOB_UNKNOWN};
}

/* Frees a job (not NULL) with all that it owns. It must be in no list any more. */
static void free_job(zi_job *job)
{
    char *owned[] = {job->paths.model,        job->paths.against,   job->paths.vae,
                     job->paths.text_encoder, job->paths.reference, job->paths.new_model,
                     job->paths.new_name,     job->model,           job->json};
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++) free(owned[i]);
    zi_params_free_texts(job->kind->params, &job->params);
    zi_job_status_free(&job->status);
    zi_text_free(&job->text);
    zi_verification_free(job->verification);
    free(job);
}

/* Frees a linked list of jobs; NULL is an empty one. */
static void free_jobs(zi_job *job)
{
    while (job) {
        zi_job *next = job->next;
        free_job(job);
        job = next;
    }
}

void zi_jobs_free(zi_jobs *jobs)
{
    if (!jobs) return;
    free_jobs(jobs->waiting);
    for (int queue = 0; queue < ZI_QUEUES; queue++) free_jobs(jobs->running[queue]);
    free_jobs(jobs->ended);
    pthread_cond_destroy(&jobs->added);
    pthread_mutex_destroy(&jobs->mutex);
    free(jobs);
}

/* ---- lookup; callers hold the mutex ---- */

/* Returns the job's position in its queue, from 1; 0: not queued. The caller holds the mutex. */
static int queue_position(const zi_jobs *jobs, const zi_job *job)
{
    int position = 0;
    for (const zi_job *at = jobs->waiting; at; at = at->next) {
        if (at->kind->queue == job->kind->queue) position++;
        if (at == job) return position;
    }
    return 0;
}

enum { LISTS = ZI_QUEUES + 2 };

/* Sets lists to the first jobs (NULL: none) of all lists: running ones by queue, queued ones, ended
 * ones. The caller holds the mutex. */
static void get_all_lists(const zi_jobs *jobs, zi_job *lists[LISTS])
{
    for (int queue = 0; queue < ZI_QUEUES; queue++) lists[queue] = jobs->running[queue];
    lists[ZI_QUEUES] = jobs->waiting;
    lists[ZI_QUEUES + 1] = jobs->ended;
}

/* Returns the running, queued or ended job of that id, borrowed; NULL: none. The caller holds the
 * mutex. */
static zi_job *find_job(const zi_jobs *jobs, uint64_t id)
{
    zi_job *lists[LISTS];
    get_all_lists(jobs, lists);
    for (int i = 0; i < LISTS; i++)
        for (zi_job *job = lists[i]; job; job = job->next)
            if (job->id == id) return job;
    return NULL;
}

/* Calls visit for all jobs: first running ones, then queued ones in order, then ended ones, the
 * latest first. The caller holds the mutex. */
static void visit_all(zi_jobs *jobs, zi_job_visitor visit, void *user)
{
    zi_job *lists[LISTS];
    get_all_lists(jobs, lists);
    for (int i = 0; i < LISTS; i++)
        for (const zi_job *job = lists[i]; job; job = job->next)
            visit(user, job, queue_position(jobs, job));
}

/* ---- reading ---- */

uint64_t zi_jobs_visit(zi_jobs *jobs, uint64_t id, zi_job_visitor visit, void *user)
{
    pthread_mutex_lock(&jobs->mutex);
    const zi_job *job = id ? find_job(jobs, id) : NULL;
    if (job) visit(user, job, queue_position(jobs, job));
    if (!id) visit_all(jobs, visit, user);
    uint64_t latest = zi_events_latest(jobs->server->events);
    pthread_mutex_unlock(&jobs->mutex);
    return latest;
}

/* Replaces the pointer *pointer_to_data by one to a copy of its size bytes in new memory; the
 * original is not freed. A NULL pointer, or size 0, gives NULL. False: out of memory, and it is
 * NULL. */
static bool copy_bytes(void *pointer_to_data, size_t size)
{
    void **data = pointer_to_data, *copy = *data && size ? malloc(size) : NULL;
    bool ok = copy || !*data || !size;
    if (copy) memcpy(copy, *data, size);
    *data = copy;
    return ok;
}

/* A zi_job_visitor that makes a copy of the job's status in the zi_job_status `user`, to be freed.
 * Out of memory: its state is ZI_JOB_UNKNOWN. */
static void copy_status(void *user, const zi_job *job, int position)
{
    (void)position;
    zi_job_status *status = user;
    *status = job->status;
    status->interrupted = atomic_load(&job->interrupt);
    status->skipped = atomic_load(&job->skip);
    bool images = copy_bytes(&status->images, status->image_count * sizeof *status->images);
    bool preview = copy_bytes(&status->preview.png, status->preview.size);
    if (!images || !preview) zi_job_status_free(status);
}

void zi_jobs_status(zi_jobs *jobs, uint64_t id, zi_job_status *out, uint64_t *cursor)
{
    *out = (zi_job_status){.state = ZI_JOB_UNKNOWN};
    uint64_t latest = zi_jobs_visit(jobs, id, copy_status, out);
    if (cursor) *cursor = latest;
}

zi_job_state zi_jobs_state(zi_jobs *jobs, uint64_t id, zi_http_error *error)
{
    pthread_mutex_lock(&jobs->mutex);
    const zi_job *job = find_job(jobs, id);
    zi_job_state state = job ? job->status.state : ZI_JOB_UNKNOWN;
    if (state == ZI_JOB_FAILED && error) *error = job->status.error;
    pthread_mutex_unlock(&jobs->mutex);
    return state;
}

/* The running generate job of A1111's API; NULL: none. The caller holds the mutex. */
static zi_job *running_a1111_job(const zi_jobs *jobs)
{
    zi_job *job = jobs->running[ZI_QUEUE_COMPUTE];
    return job && job->a1111 && job->kind == zi_job_kind_find("generate") ? job : NULL;
}

zi_jobs_counts zi_jobs_count(zi_jobs *jobs)
{
    zi_jobs_counts counts = {0};
    pthread_mutex_lock(&jobs->mutex);
    for (int queue = 0; queue < ZI_QUEUES; queue++) {
        counts.queued += jobs->queued[queue];
        counts.running += jobs->running[queue] != NULL;
    }
    const zi_job *job = running_a1111_job(jobs);
    if (job) counts.a1111 = job->id;
    memcpy(counts.ended, jobs->count, sizeof counts.ended);
    pthread_mutex_unlock(&jobs->mutex);
    return counts;
}

/* ---- submitting ---- */

/* Makes a job from copies of the request's texts, and validates and resolves it. It has no id yet
 * and is in no list; the caller owns it. NULL: *http_error is filled. */
static zi_job *create_job(zi_jobs *jobs, const zi_job_request *request, zi_http_error *http_error)
{
    zi_job *job = calloc(1, sizeof *job);
    if (!job) {
        zi_http_error_no_memory(http_error);
        return NULL;
    }
    job->kind = request->kind;
    job->params = request->params;
    job->fields = request->fields;
    job->a1111 = request->a1111;
    job->status.created = zi_wall_seconds();
    job->submitted = zi_monotonic_seconds();
    zi_text_init(&job->text, ZI_JOB_MAX_TEXT);
    bool ok = zi_params_copy_texts(job->kind->params, &job->params)
                  ? job->kind->resolve(jobs->server, job, http_error)
                  : zi_http_error_no_memory(http_error);
    if (ok) return job;
    free_job(job);
    return NULL;
}

/* Sets status 429: the queue has ZI_QUEUE_CAPACITY jobs; returns false. */
static bool set_full_error(zi_http_error *http_error)
{
    return zi_http_error_set(http_error, 429, NULL,
                             "the queue is full: %d jobs are waiting; try again later, or cancel "
                             "some of them",
                             ZI_QUEUE_CAPACITY);
}

/* Gives a job its id, which *id becomes too, appends it to its queue, which owns it then, publishes
 * "queued" and wakes the workers. Takes the mutex. False: the queue is full (429), or zi_jobs_close
 * was called (503); *http_error is filled and nothing else has changed. */
static bool enqueue(zi_jobs *jobs, zi_job *job, uint64_t *id, zi_http_error *http_error)
{
    zi_job **end = &jobs->waiting;
    size_t *queued = &jobs->queued[job->kind->queue];
    pthread_mutex_lock(&jobs->mutex);
    bool ok = jobs->closed ? zi_http_error_shutting_down(http_error)
                           : *queued < ZI_QUEUE_CAPACITY || set_full_error(http_error);
    if (ok) {
        *id = job->id = ++jobs->latest;
        while (*end) end = &(*end)->next;
        *end = job;
        zi_publish_queued(jobs->server->events, job, (int)++*queued);
        pthread_cond_broadcast(&jobs->added);
    }
    pthread_mutex_unlock(&jobs->mutex);
    return ok;
}

bool zi_jobs_submit(zi_jobs *jobs, const zi_job_request *request, uint64_t *id,
                    zi_http_error *http_error)
{
    zi_job *job = create_job(jobs, request, http_error);
    if (!job) return false;
    if (enqueue(jobs, job, id, http_error)) return true;
    free_job(job);
    return false;
}

double zi_job_time(const zi_job *job)
{
    return job->status.created + (zi_monotonic_seconds() - job->submitted);
}

/* ---- moving jobs between lists; callers hold the mutex ---- */

/* Takes a job, which must be queued, out of the list of queued jobs. Its state does not change. The
 * caller holds the mutex. */
static void remove_from_queue(zi_jobs *jobs, zi_job *job)
{
    zi_job **at = &jobs->waiting;
    while (*at != job) at = &(*at)->next;
    *at = job->next;
    job->next = NULL;
    jobs->queued[job->kind->queue]--;
}

/* Publishes "queued" with the present position of each job that waits in a queue. The caller holds
 * the mutex. */
static void publish_positions(zi_jobs *jobs, zi_job_queue queue)
{
    int position = 1;
    for (const zi_job *job = jobs->waiting; job; job = job->next)
        if (job->kind->queue == queue) zi_publish_queued(jobs->server->events, job, position++);
}

/* Removes the oldest ended job from its list, and frees it. There must be one. The caller holds the
 * mutex. */
static void free_oldest_ended(zi_jobs *jobs)
{
    zi_job **last = &jobs->ended;
    while ((*last)->next) last = &(*last)->next;
    free_job(*last);
    *last = NULL;
    jobs->ended_count--;
}

/* Ends a job that is in no list: sets its state, end time and final JSON (NULL: out of memory),
 * frees its preview, puts it first among the ended jobs, publishes its end, and frees the oldest
 * ended job if there are more than 100. The error of a failed one must be set before. The caller
 * holds the mutex. */
static void move_to_ended(zi_jobs *jobs, zi_job *job, zi_job_state state)
{
    zi_job_status *status = &job->status;
    status->state = state;
    status->finished = zi_job_time(job);
    free(status->preview.png);
    status->preview = (zi_job_preview){.png = NULL};
    /* The description is final; clients that poll list all ended jobs, so it is printed once. */
    job->json = zi_job_json_text(job);
    jobs->count[state]++;
    job->next = jobs->ended;
    jobs->ended = job;
    zi_publish_end(jobs->server->events, job);
    if (++jobs->ended_count > MAX_ENDED) free_oldest_ended(jobs);
}

/* Returns the oldest job that waits in a queue, where it stays; NULL: none. The caller holds the
 * mutex. */
static zi_job *next_waiting_job(const zi_jobs *jobs, zi_job_queue queue)
{
    zi_job *job = jobs->waiting;
    while (job && job->kind->queue != queue) job = job->next;
    return job;
}

/* ---- cancelling ---- */

zi_job_state zi_jobs_cancel(zi_jobs *jobs, uint64_t id)
{
    pthread_mutex_lock(&jobs->mutex);
    zi_job *job = find_job(jobs, id);
    zi_job_state state = job ? job->status.state : ZI_JOB_UNKNOWN;
    if (state == ZI_JOB_RUNNING) atomic_store(&job->cancel, true);
    if (state == ZI_JOB_QUEUED) {
        zi_job_queue queue = job->kind->queue;
        remove_from_queue(jobs, job);
        move_to_ended(jobs, job, ZI_JOB_CANCELLED);
        publish_positions(jobs, queue);
    }
    pthread_mutex_unlock(&jobs->mutex);
    return state;
}

void zi_jobs_interrupt(zi_jobs *jobs)
{
    pthread_mutex_lock(&jobs->mutex);
    zi_job *job = running_a1111_job(jobs);
    if (job) atomic_store(&job->interrupt, true);
    pthread_mutex_unlock(&jobs->mutex);
}

void zi_jobs_skip_image(zi_jobs *jobs)
{
    pthread_mutex_lock(&jobs->mutex);
    zi_job *job = running_a1111_job(jobs);
    if (job) atomic_store(&job->skip, true);
    pthread_mutex_unlock(&jobs->mutex);
}

void zi_jobs_close(zi_jobs *jobs)
{
    pthread_mutex_lock(&jobs->mutex);
    jobs->closed = true;
    for (int queue = 0; queue < ZI_QUEUES; queue++)
        if (jobs->running[queue]) atomic_store(&jobs->running[queue]->cancel, true);
    while (jobs->waiting) {
        zi_job *job = jobs->waiting;
        remove_from_queue(jobs, job);
        move_to_ended(jobs, job, ZI_JOB_CANCELLED);
    }
    pthread_cond_broadcast(&jobs->added);
    pthread_mutex_unlock(&jobs->mutex);
}

/* ---- for worker threads ---- */

zi_job *zi_jobs_take_next(zi_jobs *jobs, zi_job_queue queue)
{
    zi_job *job;
    pthread_mutex_lock(&jobs->mutex);
    while (!(job = next_waiting_job(jobs, queue)) && !jobs->closed)
        pthread_cond_wait(&jobs->added, &jobs->mutex);
    if (job) {
        remove_from_queue(jobs, job);
        job->status.state = ZI_JOB_RUNNING;
        job->status.started = zi_job_time(job);
        jobs->running[queue] = job;
        zi_publish_started(jobs->server->events, job);
        publish_positions(jobs, queue);
    }
    pthread_mutex_unlock(&jobs->mutex);
    return job;
}

void zi_jobs_finish(zi_jobs *jobs, zi_job *job, zi_job_state state, const zi_http_error *error)
{
    pthread_mutex_lock(&jobs->mutex);
    if (error) job->status.error = *error;
    jobs->running[job->kind->queue] = NULL;
    move_to_ended(jobs, job, state);
    pthread_mutex_unlock(&jobs->mutex);
}
