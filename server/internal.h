/* The server's state, shared by its files. */
#ifndef ZI_SERVER_INTERNAL_H
#define ZI_SERVER_INTERNAL_H

#include "server/server.h"
#include "server/assets.h"
#include "server/connections.h"
#include "server/events.h"
#include "server/access.h"
#include "server/history.h"
#include "server/jobs.h"
#include "server/links.h"
#include "server/log.h"
#include "server/models.h"
#include "server/scanner.h"

#include <stdatomic.h>

struct zi_server {
    zi_server_options options;
    char url[300];
    zi_asset *assets; /* the web page */
    char *openapi;    /* the OpenAPI description as JSON text */
    double began;     /* Unix time of the start */
    double started;   /* zi_monotonic_seconds() at the start */
    zi_engine *engine;
    zi_access *access;
    zi_events *events;
    zi_log *log;
    zi_history *history;
    zi_links *links;
    zi_registry *registry;
    zi_scanner *scanner;
    zi_jobs *jobs;
    zi_worker *worker;
    zi_connections *connections;
    struct MHD_Daemon *daemon;
    /* Counters for /api/metrics; rejected: for host, origin or key; images: generated; failures:
     * 5xx. */
    atomic_ullong requests, rejected, images, failures;
};

#endif
