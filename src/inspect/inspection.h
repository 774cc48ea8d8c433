/* Building, sharing and serializing zi_inspection objects. */
#ifndef ZI_INSPECT_INSPECTION_H
#define ZI_INSPECT_INSPECTION_H

#include "zimage_models.h"
#include "base/error.h"

#include <cjson/cJSON.h>

/* An inspection that has a copy of path (not NULL) and is else zero, so of kind ZI_MODEL_IMAGE,
 * with one owner; zi_inspection_free it. NULL: memory is short. */
zi_inspection *zi_inspection_create(const char *path);

/* Adds an owner, who must call zi_inspection_free, too: the last one frees it. Returns the
 * inspection, which must not be NULL. Thread-safe. */
zi_inspection *zi_inspection_retain(zi_inspection *inspection);

/* Frees *field and replaces it by a copy of text; text NULL: by NULL. False: memory is short, and
 * *field is unchanged. */
bool zi_inspection_set(char **field, const char *text);

/* Appends a copy of text to the remarks. False: memory is short, and nothing is added. */
bool zi_inspection_add_remark(zi_inspection *inspection, const char *text);

/* Inserts a copy of the problem, texts included, at index `at`, from 0 to problem_count (not
 * checked), and moves up those behind it. False: memory is short, and nothing is added. */
bool zi_inspection_add_problem(zi_inspection *inspection, const zi_problem *problem, size_t at);

/* Adds a number of parameters to the format of that name, of which a copy is appended if it is new.
 * The summary's total stays. False: memory is short, and the summary is unchanged. */
bool zi_summary_add_format(zi_tensor_summary *summary, const char *name, double parameters);

/* The name of the format that most parameters have (of equals, the first), borrowed from the
 * summary; NULL: it has no formats. */
const char *zi_summary_main_format(const zi_tensor_summary *summary);

/* Whether a component, config or pad token, the problem's subject, is missing (ZI_ERROR_INCOMPLETE)
 * that a reference model can provide. It cannot provide a transformer. */
bool zi_problem_is_fixable_by_reference(const zi_problem *problem);

/* Sets precision (borrowed from a format; NULL: there are none), usable and health from problems,
 * components and `other`. Call it when those are complete, and again when they change. */
void zi_inspection_update_health(zi_inspection *inspection);

/* An inspection of a copy of path, of kind ZI_MODEL_OTHER, with one problem, a copy of the error of
 * a failed zi_inspect, and the health that follows from it; zi_inspection_free it. NULL: memory is
 * short. */
zi_inspection *zi_inspection_create_failed(const char *path, const zi_error *why);

/* Inspects path as a language model, by loading it; of the weights, some values are read
 * (zi_source_sample_values). *out, for zi_inspection_free, says only that it is a good one: path,
 * kind ZI_MODEL_LANGUAGE, health. False: it is none or does not load, or memory is short; *error is
 * set, *out unchanged. */
bool zi_inspect_llm(const char *path, zi_inspection **out, zi_error *error) ZI_CHECKED;

/* The inspection as JSON for storage, for cJSON_Delete: what users get (zi_inspection_json), and
 * what zi_inspection_from_json needs besides. When memory is short, it lacks members or is NULL. */
cJSON *zi_inspection_to_json(const zi_inspection *inspection);

/* The inspection that zi_inspection_to_json (not zi_inspection_json) wrote, with one owner;
 * zi_inspection_free it. Health, usable and precision are computed anew. NULL: not an inspection,
 * or memory is short. */
zi_inspection *zi_inspection_from_json(const cJSON *json);

#endif
