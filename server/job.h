/* The record of a job: what was asked for, and what has become of it. */
#ifndef ZI_SERVER_JOB_H
#define ZI_SERVER_JOB_H

#include "server/history.h"
#include "server/params.h"

#include "base/text.h"

#include <stdatomic.h>

typedef struct zi_server zi_server;
typedef struct zi_worker zi_worker;
typedef struct zi_job zi_job;

/* ---- kinds (kinds.c) ---- */

/* Lanes go on side by side; of each lane one job runs at a time. */
typedef enum {
    ZI_QUEUE_COMPUTE,  /* all that draws, writes and computes */
    ZI_QUEUE_DOWNLOAD, /* what waits for a hub, for an hour maybe */
    ZI_QUEUES
} zi_job_queue;

typedef struct {
    const char *name; /* NULL ends the table */
    zi_job_queue queue;
    const zi_parameter *params; /* the table of its member of zi_job_params */
    const char *schema;         /* of these in the OpenAPI file; NULL: another kind's row has it */
    /* Looks up models and fills in what must be known before the job waits. */
    bool (*resolve)(zi_server *server, zi_job *job, zi_http_error *http_error);
    /* Does the job, in the lane's thread. */
    bool (*run)(zi_worker *worker, zi_job *job, zi_error *error);
} zi_job_kind;

extern const zi_job_kind zi_job_kinds[];

/* NULL: there is none of that name. */
const zi_job_kind *zi_job_kind_find(const char *name);

/* ---- requests ---- */

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

/* The member of the job's kind. */
typedef union {
    zi_generation generate;
    zi_convert_params convert; /* and quantize */
    zi_import_params import;
    zi_download_params download;
    zi_verify_params verify;
    zi_enhance_params enhance;
    zi_load_params load;
} zi_job_params;

/* A job that is asked for. The texts in params are whoever's made it. */
typedef struct {
    const zi_job_kind *kind;
    zi_job_params params;
    zi_fields fields; /* that params had */
} zi_job_request;

/* ---- what becomes of a job ---- */

typedef enum {
    ZI_JOB_QUEUED,
    ZI_JOB_RUNNING,
    ZI_JOB_DONE,
    ZI_JOB_FAILED,
    ZI_JOB_CANCELLED,
    ZI_JOB_UNKNOWN /* there is no such job */
} zi_job_state;

enum { ZI_MAX_FILE_NAME = 404 /* bytes of a file's name in a repository */ };

typedef struct {
    const char *stage;              /* a constant; NULL: the job has not begun */
    int image, images, step, steps; /* image: from 1 */
    double fraction, seconds_left;  /* of the whole job; seconds_left < 0: unknown */
    /* Of a download; size 0: nothing is known, file "": none is under way. */
    uint64_t done, size;
    char file[ZI_MAX_FILE_NAME];
} zi_job_progress;

/* The latest preview. */
typedef struct {
    int image, step, width, height;
    uint8_t *png; /* [size] bytes of a file; NULL: there is none */
    size_t size;
} zi_job_preview;

typedef struct {
    zi_job_state state;
    double created, started, finished; /* seconds since 1970; 0: not yet */
    zi_job_progress progress;
    char (*images)[ZI_IMAGE_ID]; /* [image_count] ids of those that are finished */
    size_t image_count;
    zi_job_preview preview;
    zi_http_error error; /* of one that failed */
} zi_job_status;

/* Frees what a status has, not itself. */
void zi_job_status_free(zi_job_status *status);

/* ---- the record ---- */

struct zi_job {
    uint64_t id;
    const zi_job_kind *kind;
    zi_job_params params; /* with texts of its own */
    zi_fields fields;     /* of params that clients see */
    /* Of what params name, looked up; NULL: nothing is named. */
    struct {
        char *model; /* of model or source */
        char *against, *vae, *text_encoder, *reference;
        char *new_model, *new_name; /* of a model that is to be written */
    } paths;
    atomic_bool cancel, skip; /* the whole job, or the image that is generated now */
    /* The rest is the queue's, under its mutex. */
    zi_job_status status;
    zi_text text;                  /* of an enhance job */
    char *model;                   /* the name of a model that the job has made; NULL: none */
    zi_verification *verification; /* NULL: none yet */
    char *json; /* of one that has ended, its description; NULL: memory was short */
    zi_job *next;
};

#endif
