/* What jobs.c and job_records.c share. */
#ifndef ZI_SERVER_JOBS_PRIVATE_H
#define ZI_SERVER_JOBS_PRIVATE_H

#include "server/internal.h"
#include "server/job_json.h"

#include <pthread.h>

enum { ZI_JOB_MAX_TEXT = 1 << 20 /* most bytes of a job's text */ };

struct zi_jobs {
    zi_server *server;
    pthread_mutex_t mutex;
    pthread_cond_t added;
    uint64_t latest;            /* id */
    zi_job *waiting;            /* of all lanes, as they came */
    zi_job *running[ZI_QUEUES]; /* NULL: none */
    zi_job *ended;              /* the latest first */
    size_t queued[ZI_QUEUES], ended_count;
    size_t count[ZI_JOB_UNKNOWN]; /* of ended ones, by state, since the start */
    bool closed;
};

#endif
