/* /api/jobs, /api/events, /api/enhance */
#include "server/http.h"
#include "server/job_json.h"

#include <stdlib.h>
#include <string.h>

static zi_answer no_job(zi_call *call)
{
    return zi_reply_error(call, 404, NULL, "%s: there is no such job", call->parameters[0]);
}

static bool find_job(zi_call *call, uint64_t *id, zi_answer *answer)
{
    if (zi_job_id_parse(call->parameters[0], id) &&
        zi_jobs_state(call->server->jobs, *id, NULL) != ZI_JOB_UNKNOWN)
        return true;
    *answer = no_job(call);
    return false;
}

static zi_answer list(zi_call *call)
{
    return zi_reply_json(call, 200, zi_jobs_json_list(call->server->jobs));
}

static zi_answer submit(zi_call *call)
{
    zi_jobs *jobs = call->server->jobs;
    zi_job_request request;
    zi_refusal refusal;
    uint64_t id;
    if (!zi_job_request_read(call->json, &request, &refusal) ||
        !zi_jobs_submit(jobs, &request, &id, &refusal))
        return zi_reply_refusal(call, &refusal);
    cJSON *job = zi_jobs_json(jobs, id, false);
    return job ? zi_reply_json(call, 202, job)
               : zi_reply_error(call, 500, NULL, "the job is over and forgotten");
}

static zi_answer get(zi_call *call)
{
    uint64_t id;
    cJSON *job = zi_job_id_parse(call->parameters[0], &id)
                     ? zi_jobs_json(call->server->jobs, id, true)
                     : NULL;
    return job ? zi_reply_json(call, 200, job) : no_job(call);
}

static zi_answer cancel(zi_call *call)
{
    uint64_t id;
    zi_answer answer;
    if (!find_job(call, &id, &answer)) return answer;
    zi_job_state before = zi_jobs_cancel(call->server->jobs, id);
    if (before > ZI_JOB_RUNNING)
        return zi_reply_error(call, 409, NULL, "the job has ended already");
    cJSON *job = zi_jobs_json(call->server->jobs, id, false);
    return job ? zi_reply_json(call, 200, job) : no_job(call);
}

/* ---- events ---- */

/* Where the client wants to go on, as a header (which reconnecting browsers send) or in the query.
 */
static bool read_cursor(zi_call *call, zi_stream_options *stream, zi_answer *answer)
{
    const char *header = zi_call_header(call, "Last-Event-ID"), *query;
    if (!zi_call_query(call, "last_event_id", &query, answer)) return false;
    const char *text = header ? header : query;
    stream->resumes = text && *text && strlen(text) < 20 && zi_seed_parse(text, &stream->cursor);
    return true;
}

static zi_answer events(zi_call *call)
{
    zi_answer answer;
    zi_stream_options stream = {.job = 0};
    if (!read_cursor(call, &stream, &answer)) return answer;
    return zi_reply_stream(call, &stream);
}

static bool none_left(void *user, const zi_event *event)
{
    (void)event;
    *(bool *)user = true;
    return false;
}

static zi_answer job_events(zi_call *call)
{
    zi_answer answer;
    zi_stream_options stream = {.job = 0};
    if (!find_job(call, &stream.job, &answer) || !read_cursor(call, &stream, &answer))
        return answer;
    if (stream.resumes && zi_jobs_state(call->server->jobs, stream.job, NULL) > ZI_JOB_RUNNING) {
        bool more = false;
        uint64_t cursor = stream.cursor;
        if (zi_events_read(call->server->events, stream.job, &cursor, none_left, &more) && !more)
            return zi_reply_nothing(call); /* which tells browsers not to reconnect */
    }
    return zi_reply_stream(call, &stream);
}

static zi_answer enhance(zi_call *call)
{
    zi_job_request request;
    zi_refusal refusal;
    zi_stream_options stream = {.resumes = true, .cancels_job = true};
    stream.cursor = zi_events_latest(call->server->events);
    if (!zi_job_params_read("enhance", call->json, &request, &refusal) ||
        !zi_jobs_submit(call->server->jobs, &request, &stream.job, &refusal))
        return zi_reply_refusal(call, &refusal);
    return zi_reply_stream(call, &stream);
}

const zi_route zi_jobs_routes[] = {{"GET", "/api/jobs", list, 0, 0},
                                   {"POST", "/api/jobs", submit, ZI_ROUTE_JSON, ZI_BODY_JSON},
                                   {"GET", "/api/jobs/{id}", get, 0, 0},
                                   {"DELETE", "/api/jobs/{id}", cancel, 0, 0},
                                   {"GET", "/api/jobs/{id}/events", job_events, 0, 0},
                                   {"GET", "/api/events", events, 0, 0},
                                   {"POST", "/api/enhance", enhance, ZI_ROUTE_JSON, ZI_BODY_JSON},
                                   {0}};
