/* Routes of /api/jobs, /api/events and /api/enhance. */
#include "server/http.h"
#include "server/job_json.h"

#include <stdlib.h>
#include <string.h>

/* Replies 404; the message names the id in the path. */
static zi_handler_result reply_no_job(zi_server_request *req)
{
    return zi_reply_error(req, 404, NULL, "%s: no such job; GET /api/jobs lists the jobs",
                          req->parameters[0]);
}

/* Sets *id to the job id in the path. False: it is no id, or there is no such job; a 404 was sent,
 * and the handler returns *result. *id is then of no use. */
static bool read_job_id(zi_server_request *req, uint64_t *id, zi_handler_result *result)
{
    if (zi_job_id_parse(req->parameters[0], id) &&
        zi_jobs_state(req->server->jobs, *id, NULL) != ZI_JOB_UNKNOWN)
        return true;
    *result = reply_no_job(req);
    return false;
}

/* GET /api/jobs: all jobs, without previews, as {"jobs": [...]}: running ones, then queued ones in
 * order, then the ended ones that are kept, the latest first. */
static zi_handler_result list_jobs(zi_server_request *req)
{
    return zi_reply_json(req, 200, zi_jobs_list_json(req->server->jobs));
}

/* POST /api/jobs: queues a job of any kind and replies 202 with its description, without waiting
 * for it; it goes on when the client disconnects. Replies with the error of an invalid request
 * (400, 404 or 409), 429 when the queue is full, or 503 at shutdown. */
static zi_handler_result submit_job(zi_server_request *req)
{
    zi_jobs *jobs = req->server->jobs;
    zi_job_request request;
    zi_http_error http_error;
    uint64_t id;
    if (!zi_job_request_read(req->json, &request, &http_error) ||
        !zi_jobs_submit(jobs, &request, &id, &http_error))
        return zi_reply_http_error(req, &http_error);
    cJSON *job = zi_jobs_find_json(jobs, id, false);
    if (job) return zi_reply_json(req, 202, job);
    zi_http_error_forgotten_job(&http_error);
    return zi_reply_http_error(req, &http_error);
}

/* GET /api/jobs/{id}: the job's description with its latest preview; 404 if there is none. */
static zi_handler_result get_job(zi_server_request *req)
{
    uint64_t id;
    cJSON *job = zi_job_id_parse(req->parameters[0], &id)
                     ? zi_jobs_find_json(req->server->jobs, id, true)
                     : NULL;
    return job ? zi_reply_json(req, 200, job) : reply_no_job(req);
}

/* DELETE /api/jobs/{id}: cancels a queued job at once, a running one soon after, and replies with
 * its description, in which the latter may still run. 404: no such job; 409: it has ended. */
static zi_handler_result cancel_job(zi_server_request *req)
{
    uint64_t id;
    zi_handler_result result;
    if (!read_job_id(req, &id, &result)) return result;
    zi_job_state before = zi_jobs_cancel(req->server->jobs, id);
    if (before > ZI_JOB_RUNNING)
        return zi_reply_error(
            req, 409, NULL,
            "the job has ended already; only a queued or running one can be cancelled");
    cJSON *job = zi_jobs_find_json(req->server->jobs, id, false);
    return job ? zi_reply_json(req, 200, job) : reply_no_job(req);
}

/* ---- events ---- */

/* Sets stream->resumes, and if true stream->cursor, from the header Last-Event-ID (sent by browsers
 * that reconnect), or if that is absent from the query's last_event_id. Absent or malformed:
 * resumes is false. Returns false when the query is not valid UTF-8: a 400 was sent, and the
 * handler returns *result. */
static bool read_cursor(zi_server_request *req, zi_event_stream_options *stream,
                        zi_handler_result *result)
{
    const char *header = zi_server_request_header(req, "Last-Event-ID"), *query;
    if (!zi_server_request_query(req, "last_event_id", &query, result)) return false;
    const char *text = header ? header : query;
    stream->resumes = text && *text && strlen(text) < 20 && zi_seed_parse(text, &stream->cursor);
    return true;
}

/* GET /api/events: an endless stream of all events. Begins with a snapshot of all jobs unless the
 * client resumes after an event id (read_cursor) and no event since then was dropped. */
static zi_handler_result stream_events(zi_server_request *req)
{
    zi_handler_result result;
    zi_event_stream_options stream = {.job = 0};
    if (!read_cursor(req, &stream, &result)) return result;
    return zi_reply_event_stream(req, &stream);
}

/* A callback of zi_events_read: sets *user, a bool, to true and ends the reading. */
static bool stop_at_first_event(void *user, const zi_event *event)
{
    (void)event;
    *(bool *)user = true;
    return false;
}

/* GET /api/jobs/{id}/events: the job's events until it ends, after a snapshot unless the client
 * resumes; of an ended job the snapshot alone. 204 when it resumes and has all events of an ended
 * job; 404: no such job. */
static zi_handler_result stream_job_events(zi_server_request *req)
{
    zi_handler_result result;
    zi_event_stream_options stream = {.job = 0};
    if (!read_job_id(req, &stream.job, &result) || !read_cursor(req, &stream, &result))
        return result;
    if (stream.resumes && zi_jobs_state(req->server->jobs, stream.job, NULL) > ZI_JOB_RUNNING) {
        bool more = false;
        uint64_t cursor = stream.cursor;
        if (zi_events_read(req->server->events, stream.job, &cursor, stop_at_first_event, &more) &&
            !more)
            return zi_reply_nothing(req); /* 204 stops browsers from reconnecting */
    }
    return zi_reply_event_stream(req, &stream);
}

/* POST /api/enhance: submits an enhance job with the body as parameters and streams its events
 * until it ends. The job is cancelled if the client disconnects. A job that is not accepted gives
 * an error instead of a stream: 400, 404 or 429. */
static zi_handler_result submit_and_stream_enhance(zi_server_request *req)
{
    zi_job_request request;
    zi_http_error http_error;
    zi_event_stream_options stream = {.resumes = true, .cancels_job = true};
    stream.cursor = zi_events_latest(req->server->events);
    if (!zi_job_params_read("enhance", req->json, &request, &http_error) ||
        !zi_jobs_submit(req->server->jobs, &request, &stream.job, &http_error))
        return zi_reply_http_error(req, &http_error);
    return zi_reply_event_stream(req, &stream);
}

const zi_route zi_jobs_routes[] = {
    {"GET", "/api/jobs", list_jobs, 0, 0},
    {"POST", "/api/jobs", submit_job, ZI_ROUTE_JSON, ZI_BODY_JSON},
    {"GET", "/api/jobs/{id}", get_job, 0, 0},
    {"DELETE", "/api/jobs/{id}", cancel_job, 0, 0},
    {"GET", "/api/jobs/{id}/events", stream_job_events, 0, 0},
    {"GET", "/api/events", stream_events, 0, 0},
    {"POST", "/api/enhance", submit_and_stream_enhance, ZI_ROUTE_JSON, ZI_BODY_JSON},
    {0}};
