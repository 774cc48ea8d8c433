/* The API of AUTOMATIC1111's web UI: what its two files share. */
#ifndef ZI_SERVER_A1111_H
#define ZI_SERVER_A1111_H

#include "server/foreign.h"

/* Seconds since 1970 as job_timestamp has them; 0: "0". */
void zi_a1111_timestamp(double when, char text[20]);

/* As zi_reply_refusal: a field that is wrong is 422 there. */
zi_answer zi_a1111_refuse(zi_call *call, const zi_refusal *refusal);

/* POST /sdapi/v1/txt2img */
zi_answer zi_a1111_txt2img(zi_call *call);

#endif
