/* Job records: what was requested, and the state it is in. */
#ifndef ZI_SERVER_JOB_H
#define ZI_SERVER_JOB_H

#include "server/history.h"
#include "server/params.h"

#include "zimage_models.h"

#include "base/text.h"

#include <stdatomic.h>

typedef struct zi_server zi_server;
typedef struct zi_worker zi_worker;
typedef struct zi_job zi_job;

/* ---- kinds of jobs (job_kinds.c) ---- */

/* Queues run side by side, each with one worker thread, which runs one job at a time. */
typedef enum {
    ZI_QUEUE_COMPUTE,  /* everything but downloads; its thread owns the loaded model */
    ZI_QUEUE_DOWNLOAD, /* downloads, which mostly wait for the network */
    ZI_QUEUES
} zi_job_queue;

typedef struct {
    const char *name; /* NULL ends the table */
    zi_job_queue queue;
    const zi_parameter *params; /* the fields of its member of zi_job_params */
    const char *schema; /* name of their schema in openapi.json; NULL: that of another kind */
    /* Validates the parameters, looks up models and fills in what clients see before the job runs.
     * Called before the job is queued, without locks. False: *http_error is filled; the caller
     * frees the job. */
    bool (*resolve)(zi_server *server, zi_job *job, zi_http_error *http_error);
    /* Runs the job, in its queue's thread. False: it failed, or was cancelled
     * (ZI_ERROR_CANCELLED). */
    bool (*run)(zi_worker *worker, zi_job *job, zi_error *error);
} zi_job_kind;

/* All kinds; a row without a name ends the table. */
extern const zi_job_kind zi_job_kinds[];

/* Returns the kind of that name, a row of zi_job_kinds; NULL: there is none. */
const zi_job_kind *zi_job_kind_find(const char *name);

/* ---- parameters of each kind, as in openapi.json ---- */

typedef struct {
    const char *prompt, *llm;
    double temperature;
    int max_tokens;
    uint64_t seed;
    bool temperature_given, seed_given;
} zi_enhance_params;

typedef struct {
    const char *source, *destination, *vae, *text_encoder, *reference;
    zi_layout_kind layout;
    zi_precision precision;
} zi_convert_params;

typedef struct {
    const char *source, *name;
    zi_import_mode mode;
    zi_layout_kind layout;
    zi_precision precision;
} zi_import_params;

typedef struct {
    const char *repo, *name;
    zi_layout_kind layout;
    zi_precision precision;
} zi_download_params;

typedef struct {
    const char *model, *against;
} zi_verify_params;

typedef struct {
    const char *model;
} zi_load_params;

/* The parameters of a job; its kind tells which member. */
typedef union {
    zi_generation generate;
    zi_convert_params convert; /* and quantize */
    zi_import_params import;
    zi_download_params download;
    zi_verify_params verify;
    zi_enhance_params enhance;
    zi_load_params load;
} zi_job_params;

/* A request for a job. Borrows the texts in params. */
typedef struct {
    const zi_job_kind *kind;
    zi_job_params params;
    zi_fields fields; /* which fields of params were given */
    bool a1111;       /* from A1111's API: its interrupt, skip and progress are about this job */
} zi_job_request;

/* ---- state ---- */

typedef enum {
    ZI_JOB_QUEUED,
    ZI_JOB_RUNNING,
    ZI_JOB_DONE,
    ZI_JOB_FAILED,
    ZI_JOB_CANCELLED,
    ZI_JOB_UNKNOWN /* no such job */
} zi_job_state;

enum { ZI_MAX_FILE_NAME = 404 /* with its NUL */ };

typedef struct {
    const char *stage;              /* a constant; NULL: the job has not started */
    int image, images, step, steps; /* image: from 1; images: how many there will be */
    double fraction,
        seconds_left; /* of the whole job; fraction: 0 to 1; seconds_left < 0: unknown */
    /* Bytes and current file of a download; size 0: unknown; file "": none. */
    uint64_t done, size;
    char file[ZI_MAX_FILE_NAME];
} zi_job_progress;

/* The latest preview of the image in progress. */
typedef struct {
    int image, step, width, height;
    uint8_t *png; /* [size] bytes of a PNG file; NULL: none */
    size_t size;
} zi_job_preview;

typedef struct {
    zi_job_state state;
    /* Unix times, in this order even if the clock is set back meanwhile; 0: not yet */
    double created, started, finished;
    zi_job_progress progress;
    char (*images)[ZI_IMAGE_ID]; /* [image_count] ids of finished images */
    size_t image_count;
    zi_job_preview preview;
    zi_http_error error;       /* with ZI_JOB_FAILED */
    bool interrupted, skipped; /* asked to end early: the job, the current image */
} zi_job_status;

/* Frees what a status (not NULL) owns, not the struct, and resets it to zeros with state
 * ZI_JOB_UNKNOWN. */
void zi_job_status_free(zi_job_status *status);

/* ---- the record ---- */

struct zi_job {
    uint64_t id;
    const zi_job_kind *kind;
    zi_job_params params; /* owns its texts */
    zi_fields fields;     /* fields of params that are set and shown to clients */
    /* Resolved from the names in params; NULL: not named. */
    struct {
        char *model; /* of params' model, source, llm or import path */
        char *against, *vae, *text_encoder, *reference;
        char *new_model, *new_name; /* path and name of a model to be written */
    } paths;
    bool a1111;         /* as in zi_job_request */
    atomic_bool cancel; /* a request to end the job at once */
    /* Requests to end with the current step, and to keep the image so far: the job, or only the
     * current image. */
    atomic_bool interrupt, skip;
    /* The members below are protected by the mutex of zi_jobs. */
    zi_job_status status;
    zi_text text;                  /* output of an enhance job */
    char *model;                   /* name of the model that the job made; NULL: none */
    zi_verification *verification; /* result of a verify job; NULL: none yet */
    char *json;       /* of a job that has ended, as clients see it; NULL: out of memory */
    double submitted; /* zi_monotonic_seconds() at status.created */
    zi_job *next;
};

#endif
