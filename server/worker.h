/* The threads that do the jobs, one for each lane. */
#ifndef ZI_SERVER_WORKER_H
#define ZI_SERVER_WORKER_H

#include "server/internal.h"

#include <pthread.h>

typedef struct {
    zi_worker *worker;
    zi_job_queue queue;
    pthread_t thread;
    bool started;
} zi_worker_thread;

struct zi_worker {
    zi_server *server;
    zi_worker_thread threads[ZI_QUEUES];
    /* For the thread of ZI_QUEUE_COMPUTE alone: it owns the model. */
    zi_model *model; /* NULL: none is loaded */
    char *model_path;
    zi_llm *llm;
    char *llm_path;
    /* For those who ask from other threads. */
    pthread_mutex_t mutex;
    char *loaded; /* the model's name; NULL: none */
};

/* When it fails, what has started is in out, to be ended and freed. */
bool zi_worker_start(zi_server *server, zi_worker **out, zi_error *error) ZI_CHECKED;

/* After zi_jobs_close: waits for all that runs. Others may still ask what is loaded. */
void zi_worker_join(zi_worker *worker);
void zi_worker_free(zi_worker *worker);

/* ---- models in memory ---- */

/* The name of the model in memory, or NULL; free() it. */
char *zi_worker_loaded_name(zi_worker *worker);

/* What to load for models at path: the options of the server, with its own parts where it is the
 * server's own model. */
zi_model_options zi_worker_model_options(const zi_worker *worker, const char *path);

/* Makes the model at path the one in memory; name is what clients call it. */
bool zi_worker_load_model(zi_worker *worker, const char *name, const char *path,
                          zi_error *error) ZI_CHECKED;
void zi_worker_unload_model(zi_worker *worker);

/* ---- progress ---- */

/* A progress callback's memory: reports when something is new, four times a second at most. */
typedef struct {
    zi_worker *worker;
    zi_job *job;
    zi_job_progress progress;
    double began, reported;
    double first;       /* fraction of the job that was done before it began */
    double done, units; /* of work: encoding, a step and decoding are one each */
    bool encoded;
} zi_job_reporter;

zi_job_reporter zi_job_reporter_start(zi_worker *worker, zi_job *job, const char *stage);

/* Something has changed: fraction of the whole job. now: without waiting for its time. */
void zi_job_reporter_update(zi_job_reporter *reporter, double fraction, bool now);

/* Whether the latest report is that many seconds old; then the next one counts as made. */
bool zi_job_reporter_is_due(zi_job_reporter *reporter, double seconds);

/* ---- what does a job of each kind (work_generate.c, work_models.c) ---- */

bool zi_run_generate_job(zi_worker *worker, zi_job *job, zi_error *error) ZI_CHECKED;
bool zi_run_load_job(zi_worker *worker, zi_job *job, zi_error *error) ZI_CHECKED;
bool zi_run_unload_job(zi_worker *worker, zi_job *job, zi_error *error) ZI_CHECKED;
bool zi_run_enhance_job(zi_worker *worker, zi_job *job, zi_error *error) ZI_CHECKED;
bool zi_run_convert_job(zi_worker *worker, zi_job *job, zi_error *error) ZI_CHECKED;
bool zi_run_import_job(zi_worker *worker, zi_job *job, zi_error *error) ZI_CHECKED;
bool zi_run_download_job(zi_worker *worker, zi_job *job, zi_error *error) ZI_CHECKED;
bool zi_run_verify_job(zi_worker *worker, zi_job *job, zi_error *error) ZI_CHECKED;

#endif
