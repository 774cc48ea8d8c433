/* What jobs.c (queues) and job_records.c (updates by workers) share. */
#ifndef ZI_SERVER_JOBS_PRIVATE_H
#define ZI_SERVER_JOBS_PRIVATE_H

#include "server/internal.h"
#include "server/job_json.h"

#include <pthread.h>

enum { ZI_JOB_MAX_TEXT = 1 << 20 /* maximum bytes of a job's text */ };

struct zi_jobs {
    zi_server *server;
    pthread_mutex_t mutex;
    pthread_cond_t added;       /* a job was queued, or closed was set */
    uint64_t latest;            /* id of the newest job */
    zi_job *waiting;            /* queued jobs of all queues, oldest first */
    zi_job *running[ZI_QUEUES]; /* NULL: none */
    zi_job *ended;              /* newest first */
    size_t queued[ZI_QUEUES], ended_count;
    size_t count[ZI_JOB_UNKNOWN]; /* ended jobs by state, since the start */
    bool closed;
};

#endif
