/* Updates of running jobs by worker threads, each published as an event. */
#include "server/jobs_private.h"

#include <stdlib.h>
#include <string.h>

void zi_jobs_set_progress(zi_jobs *jobs, zi_job *job, const zi_job_progress *progress)
{
    pthread_mutex_lock(&jobs->mutex);
    job->status.progress = *progress;
    zi_publish_progress(jobs->server->events, job);
    pthread_mutex_unlock(&jobs->mutex);
}

void zi_jobs_publish_encoded(zi_jobs *jobs, zi_job *job, int image, bool cached)
{
    pthread_mutex_lock(&jobs->mutex);
    zi_publish_encoded(jobs->server->events, job, image, cached);
    pthread_mutex_unlock(&jobs->mutex);
}

void zi_jobs_set_step(zi_jobs *jobs, zi_job *job, const zi_job_progress *progress,
                      bool with_progress, const zi_job_preview *preview)
{
    pthread_mutex_lock(&jobs->mutex);
    job->status.progress = *progress;
    if (preview->png) {
        free(job->status.preview.png);
        job->status.preview = *preview;
    }
    zi_publish_step(jobs->server->events, job, with_progress, preview->png != NULL);
    pthread_mutex_unlock(&jobs->mutex);
}

/* Appends a copy of an id to the finished images. False: out of memory; *error is set and nothing
 * has changed. The caller holds the mutex. */
static bool append_image(zi_job_status *status, const char id[ZI_IMAGE_ID], zi_error *error)
{
    size_t size = (status->image_count + 1) * sizeof *status->images;
    void *grown = realloc(status->images, size);
    if (!grown) return zi_error_no_memory(error, size);
    status->images = grown;
    memcpy(status->images[status->image_count++], id, ZI_IMAGE_ID);
    return true;
}

bool zi_jobs_add_image(zi_jobs *jobs, zi_job *job, int image, const char id[ZI_IMAGE_ID],
                       zi_error *error)
{
    struct cJSON *row;
    if (!zi_history_get_row(jobs->server->history, id, &row, error)) return false;
    if (!row) return zi_error_set(error, ZI_ERROR_NOT_FOUND, id, "the image was deleted");
    pthread_mutex_lock(&jobs->mutex);
    bool ok = append_image(&job->status, id, error);
    if (ok) zi_publish_image(jobs->server->events, job, image, row);
    pthread_mutex_unlock(&jobs->mutex);
    if (!ok) cJSON_Delete(row);
    return ok;
}

void zi_jobs_add_text(zi_jobs *jobs, zi_job *job, const char *text)
{
    pthread_mutex_lock(&jobs->mutex);
    zi_text_puts(&job->text, text);
    zi_publish_text(jobs->server->events, job, text);
    pthread_mutex_unlock(&jobs->mutex);
}

void zi_jobs_set_text(zi_jobs *jobs, zi_job *job, const char *text)
{
    pthread_mutex_lock(&jobs->mutex);
    zi_text_free(&job->text);
    zi_text_init(&job->text, ZI_JOB_MAX_TEXT);
    zi_text_puts(&job->text, text);
    pthread_mutex_unlock(&jobs->mutex);
}

void zi_jobs_set_model(zi_jobs *jobs, zi_job *job, char *name)
{
    pthread_mutex_lock(&jobs->mutex);
    job->model = name;
    pthread_mutex_unlock(&jobs->mutex);
}

void zi_jobs_set_verification(zi_jobs *jobs, zi_job *job, zi_verification *verification)
{
    pthread_mutex_lock(&jobs->mutex);
    job->verification = verification;
    pthread_mutex_unlock(&jobs->mutex);
}
