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
    char model_hash[ZI_MODEL_HASH]; /* for infotexts; "": not known */
    zi_llm *llm;
    char *llm_path;
    /* For other threads, under the mutex. */
    pthread_mutex_t mutex;
    char *loaded; /* name of `model`; NULL: none */
};

/* Starts a thread per queue, which runs jobs of server->jobs. *out is set in any case, to NULL when
 * out of memory. False: *error is set; call zi_jobs_close, zi_worker_join and zi_worker_free all
 * the same, since some threads may run. */
bool zi_worker_start(zi_server *server, zi_worker **out, zi_error *error) ZI_CHECKED;

/* Waits until the threads have ended; call zi_jobs_close before. zi_worker_loaded_name may still be
 * called. worker may be NULL. */
void zi_worker_join(zi_worker *worker);

/* Frees the worker and the models in memory. The threads must have ended. worker may be NULL. */
void zi_worker_free(zi_worker *worker);

/* ---- models in memory ---- */

/* Returns the name of the loaded image model in new memory; NULL: none, or out of memory. Any
 * thread may call it. */
char *zi_worker_loaded_name(zi_worker *worker);

/* Sets *options for loading the model at path: those of the server, but --vae and --text-encoder
 * only if path equals, as text, that of the model that the server was started with, and *parts, for
 * zi_model_parts_free, to what the registry finds besides; logs the latter. Borrows path, the
 * server's strings and those of *parts. False: *error is set, and there is nothing to free. Only
 * for the thread of ZI_QUEUE_COMPUTE: it may inspect models. */
bool zi_worker_model_options(const zi_worker *worker, const char *path, zi_model_options *options,
                             zi_model_parts *parts, zi_error *error) ZI_CHECKED;

/* Loads the image model at path, which clients call name (both copied), unless it is loaded
 * already; unloads any other first, and logs that it is loaded. Publishes "models" after unloading
 * and after loading. False: *error is set and no image model is loaded. Only for the thread of
 * ZI_QUEUE_COMPUTE. */
bool zi_worker_load_model(zi_worker *worker, const char *name, const char *path,
                          zi_error *error) ZI_CHECKED;

/* Frees the image model in memory and publishes "models"; without one it does nothing. Only for the
 * thread of ZI_QUEUE_COMPUTE. */
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
    int stopped_at; /* the step that ended the current image early, from 1; 0: none */
} zi_job_reporter;

/* Returns a reporter whose clock starts now, and publishes the job's first stage (a constant), with
 * fraction 0 and unknown time left. */
zi_job_reporter zi_job_reporter_start(zi_worker *worker, zi_job *job, const char *stage);

/* Publishes reporter->progress with this fraction (0 to 1) of the whole job and an estimate of the
 * time left; does nothing, not even store the fraction, if the last update was less than 0.25 s
 * ago, unless `now`. */
void zi_job_reporter_update(zi_job_reporter *reporter, double fraction, bool now);

/* Whether the last update is at least that many seconds old, or there was none; if so, an update
 * counts as made now. Publishes nothing. */
bool zi_job_reporter_is_due(zi_job_reporter *reporter, double seconds);

/* ---- runners of job kinds (run_generate.c, run_models.c) ----
 *
 * Each runs a job whose names are resolved, reports its progress and stores its result in the job.
 * False: it failed, or was cancelled (ZI_ERROR_CANCELLED). */

/* Loads the model of a generate job, which stays loaded, generates its images and saves each to the
 * history and the job. Images that are skipped, even all, are left out. False: *error is set;
 * ZI_ERROR_CANCELLED: the job was cancelled. Images that were saved stay. */
bool zi_run_generate_job(zi_worker *worker, zi_job *job, zi_error *error) ZI_CHECKED;

/* Loads the model of a load job, unless it is in memory, in place of any other. Cannot be cancelled
 * while it loads. False: *error is set, and no image model is loaded. */
bool zi_run_load_job(zi_worker *worker, zi_job *job, zi_error *error) ZI_CHECKED;

/* Frees the image model in memory, if there is one. Always succeeds. */
bool zi_run_unload_job(zi_worker *worker, zi_job *job, zi_error *error) ZI_CHECKED;

/* Loads the language model of an enhance job unless it is loaded already, and sets the job's text
 * to the answer; publishes pieces of it meanwhile. False: *error is set, ZI_ERROR_CANCELLED:
 * cancelled; the text has the pieces until then, and is empty if there were none. */
bool zi_run_enhance_job(zi_worker *worker, zi_job *job, zi_error *error) ZI_CHECKED;

/* Converts the model of a convert or quantize job to job->paths.new_model, and records the new
 * model's name in the job. False: *error is set, ZI_ERROR_CANCELLED: cancelled; nothing is left at
 * the new path. */
bool zi_run_convert_job(zi_worker *worker, zi_job *job, zi_error *error) ZI_CHECKED;

/* Copies, links, moves or converts job->paths.model into the models folder, and records the new
 * model's name in the job. False: *error is set, ZI_ERROR_CANCELLED: cancelled; nothing new is left
 * in the folder, but a copy if the source of a move could not be removed. */
bool zi_run_import_job(zi_worker *worker, zi_job *job, zi_error *error) ZI_CHECKED;

/* Downloads a model into the models folder, converts it if the job has a layout or precision, and
 * records the new model's name in the job. False: *error is set, ZI_ERROR_CANCELLED: cancelled;
 * what was downloaded stays, and the next such job resumes it. */
bool zi_run_download_job(zi_worker *worker, zi_job *job, zi_error *error) ZI_CHECKED;

/* Verifies a model and stores the checks in the job; a check that fails is not a failure of the
 * job. False: *error is set, ZI_ERROR_CANCELLED: cancelled. */
bool zi_run_verify_job(zi_worker *worker, zi_job *job, zi_error *error) ZI_CHECKED;

#endif
