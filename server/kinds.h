/* The kinds of jobs: what they take, how that is settled, and who does it. */
#ifndef ZI_SERVER_KINDS_H
#define ZI_SERVER_KINDS_H

#include "server/internal.h"

struct zi_kind {
    const char *name;
    zi_lane lane;
    const zi_param *params;
    /* Looks up models and fills in what is settled before the job waits. */
    bool (*settle)(zi_server *server, zi_job *job, zi_refusal *refusal);
    bool (*run)(zi_worker *worker, zi_job *job, zi_error *error);
};

extern const zi_kind zi_kinds[]; /* name NULL ends the table */

/* The layouts by their numbers, and the precisions that each of them has ("one|two"). The first is
 * to keep what there is: it has none of its own. */
enum { ZI_LAYOUT_OFFERS = ZI_LAYOUT_GGUF + 1 };
typedef struct {
    const char *name, *precisions;
} zi_layout_offer;
extern const zi_layout_offer zi_layout_offers[ZI_LAYOUT_OFFERS];

/* worker.c, work_models.c */
bool zi_work_generate(zi_worker *worker, zi_job *job, zi_error *error) ZI_CHECKED;
bool zi_work_load(zi_worker *worker, zi_job *job, zi_error *error) ZI_CHECKED;
bool zi_work_unload(zi_worker *worker, zi_job *job, zi_error *error) ZI_CHECKED;
bool zi_work_enhance(zi_worker *worker, zi_job *job, zi_error *error) ZI_CHECKED;
bool zi_work_convert(zi_worker *worker, zi_job *job, zi_error *error) ZI_CHECKED;
bool zi_work_import(zi_worker *worker, zi_job *job, zi_error *error) ZI_CHECKED;
bool zi_work_download(zi_worker *worker, zi_job *job, zi_error *error) ZI_CHECKED;
bool zi_work_verify(zi_worker *worker, zi_job *job, zi_error *error) ZI_CHECKED;

#endif
