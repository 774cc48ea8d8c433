/* The worker threads that run jobs, one per queue, and the models in memory. */
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
    /* Used only by the thread of ZI_QUEUE_COMPUTE. */
    zi_model *model; /* NULL: none is loaded */
    char *model_path;
    zi_llm *llm;
    char *llm_path;
    /* For other threads, under the mutex. */
    pthread_mutex_t mutex;
    char *loaded; /* name of `model`; NULL: none */
};

/* Starts a thread per queue. *out may be set on failure, too; then call join and free. */
bool zi_worker_start(zi_server *server, zi_worker **out, zi_error *error) ZI_CHECKED;

/* Waits until the threads have ended, after zi_jobs_close. zi_worker_loaded_name may still be
 * called. */
void zi_worker_join(zi_worker *worker);
void zi_worker_free(zi_worker *worker);

/* ---- models in memory ---- */

/* The name of the loaded model in new memory, or NULL. */
char *zi_worker_loaded_name(zi_worker *worker);

/* Load options for the model at path: the server's options; --vae and --text-encoder apply only to
 * the model that the server was started with. Borrows path. */
zi_model_options zi_worker_model_options(const zi_worker *worker, const char *path);

/* Loads the model at path unless it is loaded already; unloads any other first. name is what
 * clients call it. */
bool zi_worker_load_model(zi_worker *worker, const char *name, const char *path,
                          zi_error *error) ZI_CHECKED;
void zi_worker_unload_model(zi_worker *worker);

/* ---- progress ---- */

/* Converts progress of the library into progress events of a job, at most four per second. */
typedef struct {
    zi_worker *worker;
    zi_job *job;
    zi_job_progress progress;
    double began, reported;
    double first;       /* fraction of the job that was done before `began` */
    double done, units; /* of work, where encoding, each step and decoding are one unit */
    bool encoded;
} zi_job_reporter;

/* Publishes the first stage of a job. */
zi_job_reporter zi_job_reporter_start(zi_worker *worker, zi_job *job, const char *stage);

/* Publishes reporter->progress with this fraction (0 to 1) of the whole job, and estimates the time
 * left. now: even if the last update was less than 0.25 s ago. */
void zi_job_reporter_update(zi_job_reporter *reporter, double fraction, bool now);

/* Whether the last update is at least that many seconds old; if so, counts as an update now. */
bool zi_job_reporter_is_due(zi_job_reporter *reporter, double seconds);

/* ---- runners of job kinds (run_generate.c, run_models.c) ---- */

bool zi_run_generate_job(zi_worker *worker, zi_job *job, zi_error *error) ZI_CHECKED;
bool zi_run_load_job(zi_worker *worker, zi_job *job, zi_error *error) ZI_CHECKED;
bool zi_run_unload_job(zi_worker *worker, zi_job *job, zi_error *error) ZI_CHECKED;
bool zi_run_enhance_job(zi_worker *worker, zi_job *job, zi_error *error) ZI_CHECKED;
bool zi_run_convert_job(zi_worker *worker, zi_job *job, zi_error *error) ZI_CHECKED;
bool zi_run_import_job(zi_worker *worker, zi_job *job, zi_error *error) ZI_CHECKED;
bool zi_run_download_job(zi_worker *worker, zi_job *job, zi_error *error) ZI_CHECKED;
bool zi_run_verify_job(zi_worker *worker, zi_job *job, zi_error *error) ZI_CHECKED;

#endif
