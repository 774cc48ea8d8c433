/* What was asked for: a bounded queue for each lane, and what became of it. */
#ifndef ZI_SERVER_JOBS_H
#define ZI_SERVER_JOBS_H

#include "server/events.h"
#include "server/history.h"
#include "server/params.h"
#include "server/refusal.h"

#include <stdatomic.h>

enum {
    ZI_QUEUE = 64, /* jobs that may wait in a lane */
    ZI_MAX_SIDE = 4096, /* pixels; 21:9 with a shorter side of 1280 has 2992 */
    ZI_MAX_PIXELS = 2048 * 2048,
    ZI_MAX_STEPS = 100,
    ZI_MAX_COUNT = 16,
    ZI_FILE_NAME = 404 /* bytes of a file's name in a repository */
};

typedef enum {
    ZI_JOB_QUEUED,
    ZI_JOB_RUNNING,
    ZI_JOB_DONE,
    ZI_JOB_FAILED,
    ZI_JOB_CANCELLED,
    ZI_JOB_UNKNOWN /* there is no such job */
} zi_job_state;

/* Lanes go on side by side; of each lane one job runs at a time. */
typedef enum {
    ZI_LANE_WORK,  /* all that draws, writes and computes */
    ZI_LANE_FETCH, /* what waits for a hub, for an hour maybe */
    ZI_LANES
} zi_lane;

typedef struct {
    const char *stage; /* a constant */
    int picture, pictures, step, steps;
    double fraction, seconds_left; /* of the whole job; seconds_left < 0: unknown */
    /* Of a download; size 0: nothing is known, file "": none is under way. */
    uint64_t done, size;
    char file[ZI_FILE_NAME];
} zi_job_progress;

/* What a kind of job was asked for: fields of its table in kinds.c. Texts live in the job's params.
 */
typedef struct {
    const char *prompt, *original, *negative, *model, *against, *llm;
    const char *source, *destination, *vae, *text_encoder, *reference, *repo;
    int width, height, steps, count, schedule, compute, layout, precision, mode, max_tokens;
    double shift, guidance, temperature;
    zi_seed seed;
    char *path, *other_path; /* of model or source, and of against */
    char *vae_path, *text_encoder_path, *reference_path;
    char *place, *name; /* of the new model */
} zi_order;

typedef struct zi_server zi_server;
typedef struct zi_kind zi_kind; /* kinds.h */
typedef struct zi_jobs zi_jobs;
typedef struct zi_worker zi_worker;

typedef struct zi_job {
    uint64_t id;
    const zi_kind *kind;
    cJSON *params; /* as submitted, with what was settled */
    zi_order order;
    atomic_bool cancel, skip; /* all of it, or the picture that is drawn */
    /* The rest is the queue's, under its mutex. */
    zi_job_state state;
    double created, started, finished;
    zi_job_progress progress; /* stage NULL: none yet */
    cJSON *images;            /* ids */
    cJSON *preview, *result;  /* NULL: none */
    zi_text text;
    zi_refusal error;
    char *described; /* of one that has ended; NULL: memory was short */
    struct zi_job *next;
} zi_job;

zi_jobs *zi_jobs_create(zi_server *server); /* NULL when memory is short */
void zi_jobs_free(zi_jobs *jobs);

/* ---- for those who ask ---- */

/* Takes params, an object as the OpenAPI file has it, over. */
bool zi_jobs_submit(zi_jobs *jobs, const char *kind, cJSON *params, uint64_t *id,
                    zi_refusal *refusal) ZI_CHECKED;

/* As Job in the OpenAPI file; NULL: there is no such job. */
cJSON *zi_jobs_describe(zi_jobs *jobs, uint64_t id, bool preview);
cJSON *zi_jobs_list(zi_jobs *jobs);

/* {"jobs"} of all or one, and the number of the latest event in it; ended: none is to come. */
cJSON *zi_jobs_snapshot(zi_jobs *jobs, uint64_t id, uint64_t *cursor, bool *ended);

/* Its state; error, which may be NULL, is filled when it failed. */
zi_job_state zi_jobs_state(zi_jobs *jobs, uint64_t id, zi_refusal *error);

/* Asks it to end; its state before. */
zi_job_state zi_jobs_cancel(zi_jobs *jobs, uint64_t id);

/* Asks the job that draws to leave its present picture out. */
void zi_jobs_skip(zi_jobs *jobs);

typedef struct {
    size_t queued, running;       /* of all lanes */
    size_t ended[ZI_JOB_UNKNOWN]; /* by state, since the start */
    uint64_t at_work;             /* the one that runs in ZI_LANE_WORK; 0: none */
} zi_jobs_counts;
zi_jobs_counts zi_jobs_count(zi_jobs *jobs);

/* "1a2b": ids in requests and replies. */
bool zi_job_id_parse(const char *text, uint64_t *id);
cJSON *zi_job_id_json(uint64_t id);

/* ---- for the worker ---- */

/* Waits for the next job of the lane; NULL: the server ends. */
zi_job *zi_jobs_take(zi_jobs *jobs, zi_lane lane);
void zi_jobs_end(zi_jobs *jobs, zi_job *job, zi_job_state state, const zi_refusal *error);

/* Remembers, and tells who listens. */
void zi_jobs_report(zi_jobs *jobs, zi_job *job, const zi_job_progress *progress);
void zi_jobs_event(zi_jobs *jobs, zi_job *job, const char *name, cJSON *data);
void zi_jobs_image(zi_jobs *jobs, zi_job *job, int picture, const char *id, cJSON *image);
void zi_jobs_text(zi_jobs *jobs, zi_job *job, const char *text, bool all);
void zi_jobs_result(zi_jobs *jobs, zi_job *job, cJSON *result);

/* A step is done: events "step", "progress" if told, and "preview" unless that is NULL, which wake
 * those who listen once. */
void zi_jobs_step(zi_jobs *jobs, zi_job *job, const zi_job_progress *progress, bool told,
                  cJSON *step, cJSON *preview);

/* Cancels everything and lets zi_jobs_take return NULL. */
void zi_jobs_close(zi_jobs *jobs);

#endif
