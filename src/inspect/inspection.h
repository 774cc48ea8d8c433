/* Building, sharing and serializing zi_inspection objects. */
#ifndef ZI_INSPECT_INSPECTION_H
#define ZI_INSPECT_INSPECTION_H

#include "zimage_models.h"
#include "base/error.h"

#include <cjson/cJSON.h>

/* An empty inspection of path with one owner; zi_inspection_free it. NULL: memory is short. */
zi_inspection *zi_inspection_create(const char *path);

/* Adds an owner, who must call zi_inspection_free, too. Returns the inspection. Thread-safe. */
zi_inspection *zi_inspection_retain(zi_inspection *inspection);

/* Setters, which copy their texts. Return false when memory is short. at: index of the new problem.
 */
bool zi_inspection_set(char **field, const char *text);
bool zi_inspection_add_remark(zi_inspection *inspection, const char *text);
bool zi_inspection_add_problem(zi_inspection *inspection, const zi_problem *problem, size_t at);
bool zi_summary_add_format(zi_tensor_summary *summary, const char *name, double parameters);

/* The format that most parameters have; NULL: there are no parameters. */
const char *zi_summary_main_format(const zi_tensor_summary *summary);

/* Whether a reference model can provide what is missing. It cannot provide a transformer. */
bool zi_problem_is_fixable_by_reference(const zi_problem *problem);

/* Sets precision, health and usable from the other fields. */
void zi_inspection_update_health(zi_inspection *inspection);

/* An inspection that records the error of a failed zi_inspect; NULL: memory is short. */
zi_inspection *zi_inspection_create_failed(const char *path, const zi_error *why);

/* Inspects path as a language model, by loading it. Fails if it is none. */
bool zi_inspect_llm(const char *path, zi_inspection **out, zi_error *error) ZI_CHECKED;

/* Serializes to JSON for storage, and back. NULL: not an inspection, or memory is short. */
cJSON *zi_inspection_to_json(const zi_inspection *inspection);
zi_inspection *zi_inspection_from_json(const cJSON *json);

#endif
