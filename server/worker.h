/* The threads that do the jobs, one for each lane. */
#ifndef ZI_SERVER_WORKER_H
#define ZI_SERVER_WORKER_H

#include "server/internal.h"

#include <pthread.h>

typedef struct {
    zi_worker *worker;
    zi_lane lane;
    pthread_t thread;
    bool started;
} zi_hand;

struct zi_worker {
    zi_server *server;
    zi_hand hands[ZI_LANES];
    /* For the thread of ZI_LANE_WORK alone: it owns the model. */
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
void zi_worker_end(zi_worker *worker);
void zi_worker_free(zi_worker *worker);

/* ---- models in memory ---- */

/* The name of the model in memory, or NULL; free() it. */
char *zi_worker_loaded(zi_worker *worker);

/* What to load for models at path: the options of the server, with its own parts where it is the
 * server's own model. */
zi_model_options zi_worker_options(const zi_worker *worker, const char *path);

/* Makes the model at path the one in memory; name is what clients call it. */
bool zi_worker_load(zi_worker *worker, const char *name, const char *path,
                    zi_error *error) ZI_CHECKED;
void zi_worker_unload(zi_worker *worker);

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
} zi_watch;

zi_watch zi_watch_start(zi_worker *worker, zi_job *job, const char *stage);

/* Something has changed: fraction of the whole job. now: without waiting for its time. */
void zi_watch_report(zi_watch *watch, double fraction, bool now);

/* Whether the latest report is that many seconds old; then the next one counts as made. */
bool zi_watch_is_due(zi_watch *watch, double seconds);

/* ---- what does a job of each kind (work_generate.c, work_models.c) ---- */

bool zi_work_generate(zi_worker *worker, zi_job *job, zi_error *error) ZI_CHECKED;
bool zi_work_load(zi_worker *worker, zi_job *job, zi_error *error) ZI_CHECKED;
bool zi_work_unload(zi_worker *worker, zi_job *job, zi_error *error) ZI_CHECKED;
bool zi_work_enhance(zi_worker *worker, zi_job *job, zi_error *error) ZI_CHECKED;
bool zi_work_convert(zi_worker *worker, zi_job *job, zi_error *error) ZI_CHECKED;
bool zi_work_import(zi_worker *worker, zi_job *job, zi_error *error) ZI_CHECKED;
bool zi_work_download(zi_worker *worker, zi_job *job, zi_error *error) ZI_CHECKED;
bool zi_work_verify(zi_worker *worker, zi_job *job, zi_error *error) ZI_CHECKED;

#endif
