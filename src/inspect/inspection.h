/* How a zi_inspection is made, shared and kept. */
#ifndef ZI_INSPECT_INSPECTION_H
#define ZI_INSPECT_INSPECTION_H

#include "base/error.h"

#include <cjson/cJSON.h>

/* An empty inspection of what is at path; NULL: memory is short. */
zi_inspection *zi_inspection_create(const char *path);

/* One more owner: it is freed when the last one frees it. */
zi_inspection *zi_inspection_retain(zi_inspection *inspection);

/* These copy their texts. False: memory is short. */
bool zi_inspection_set(char **field, const char *text);
bool zi_inspection_add_remark(zi_inspection *inspection, const char *text);
bool zi_inspection_add_problem(zi_inspection *inspection, const zi_problem *problem, size_t at);
bool zi_summary_add_format(zi_tensor_summary *summary, const char *name, double parameters);

/* The format of most parameters; NULL: there are none. */
const char *zi_summary_main_format(const zi_tensor_summary *summary);

/* Whether a problem goes away when another model lends what is missing; none lends a transformer.
 */
bool zi_problem_is_fixable_by_reference(const zi_problem *problem);

/* Fills in precision, health and usable from the rest. */
void zi_inspection_update_health(zi_inspection *inspection);

/* What is at path when zi_inspect cannot tell, because of `why`; NULL: memory is short. */
zi_inspection *zi_inspection_create_failed(const char *path, const zi_error *why);

/* What is at path as a language model, which it may turn out not to be. */
bool zi_inspect_llm(const char *path, zi_inspection **out, zi_error *error) ZI_CHECKED;

/* All of it as JSON and back, for a file that keeps it; NULL: it is no inspection, or memory is
 * short. */
cJSON *zi_inspection_to_json(const zi_inspection *inspection);
zi_inspection *zi_inspection_from_json(const cJSON *json);

#endif
