/* A rig for the operations of any backend: sessions, random numbers, and memory in which every
 * tensor lies between sentinels.
 *
 * A case first describes the backend's memory (zi_rig_in, zi_rig_out, ...). zi_rig_start writes it:
 * the inputs, and everywhere else NaNs that are all different. Then come the operations.
 * zi_rig_finish reads all of it back: whatever no operation may change must be as it was. All that
 * the host sees of a backend's memory goes through zi_write and zi_read. */
#ifndef ZI_TEST_RIG_H
#define ZI_TEST_RIG_H

#include "backends.h"
#include "harness.h"

#include "backend/arena.h"

enum { ZI_RIG_HEAD = ZI_MAX_HEAD, ZI_RIG_DEPTH = 10240 }; /* largest head and depth of a session */

/* Words of 4 bytes of the backend's memory. */
typedef struct {
    size_t begin, end;
} zi_rig_span;

/* Memory that was imported for a case. */
typedef struct {
    zi_buffer *buffer;
    const unsigned char *data;
    size_t size;
    uint64_t sum; /* of its content */
} zi_rig_import;

/* A session with scratch memory of its own, and sentinels behind that. */
typedef struct {
    zi_exec *exec;
    zi_buffer *scratch;
} zi_rig_session;

typedef struct {
    const zi_test_backend *row;
    double operand_error; /* of the row, if the case is fast; else 0 */
    zi_backend *backend;
    zi_rig_session sessions[2]; /* exact and fast */
    zi_exec *exec;              /* one of these, as the case wants it */
    zi_buffer *memory;
    size_t used;              /* words of it that are described */
    uint32_t *before, *after; /* what it holds before and after the operations */
    uint8_t *may_change;      /* of each word, whether operations may change it */
    zi_rig_span *tensors, *workspaces;
    size_t tensor_count, workspace_count;
    zi_rig_import *imports;
    size_t import_count;
    void **owned; /* host memory of this case */
    size_t owned_count;
    uint64_t random; /* state of the generator */
    char what[160];  /* the case, for messages */
    double worst;    /* the largest error so far, as a share of its bound */
} zi_rig;

/* Whether only the short form runs: on a device for which shaders are compiled, each of which takes
 * as long as many operations. */
bool zi_rig_is_short(const zi_rig *rig);

/* Opens the row's backend with two sessions. False: it cannot be had, and *error says why. */
bool zi_rig_open(zi_rig *rig, const zi_test_backend *row, uint64_t seed, zi_error *error);

/* Checks the sentinels behind the sessions' scratch memory, and frees everything. */
void zi_rig_close(zi_rig *rig);

/* A further session, for operations within these limits, with scratch memory of its own. Exits the
 * program on failure. */
zi_rig_session zi_rig_begin_session(zi_rig *rig, bool fast, zi_exec_limits limits);

/* Ends the session, whatever it has recorded; checks its sentinels unless it has failed. */
void zi_rig_end_session(zi_rig *rig, zi_rig_session *session);

/* Begins a case and frees what the case before had: fast or exact, and its name (printf-like). */
void zi_rig_case(zi_rig *rig, bool fast, const char *what, ...) ZI_PRINTF(3, 4);

/* ---- the host's side ---- */

/* Host memory for the time of the case, not cleared; of just this size, so that sanitizers see what
 * reads behind its end. */
void *zi_rig_alloc(zi_rig *rig, size_t count, size_t size);

/* Random numbers: 64 bits; below n; in [-1, 1); n values in [-1, 1). */
uint64_t zi_rig_bits(zi_rig *rig);
size_t zi_rig_below(zi_rig *rig, size_t n);
float zi_rig_uniform(zi_rig *rig);
float *zi_rig_values(zi_rig *rig, size_t n);

/* ---- the backend's memory ---- */

/* Rows without content, which operations must not change. gap: elements between rows, of which also
 * the stride of a single row tells. Never aligned to more than 4 bytes on purpose. */
zi_view zi_rig_space(zi_rig *rig, size_t rows, size_t columns, size_t gap);

/* An input of f32; an output, which must not change but by an operation; and both at once. */
zi_view zi_rig_in(zi_rig *rig, const float *values, size_t rows, size_t columns, size_t gap);
zi_view zi_rig_out(zi_rig *rig, size_t rows, size_t columns, size_t gap);
zi_view zi_rig_inout(zi_rig *rig, const float *values, size_t rows, size_t columns, size_t gap);

/* The parts of these: sets what a view [rows, columns] of any type holds (values without gaps), and
 * allows operations to change it. */
void zi_rig_set(zi_rig *rig, zi_view view, const void *values);
void zi_rig_may_change(zi_rig *rig, zi_view view);

/* Rows of F64, and a view for moments, which may change; both as the arena aligns them. */
zi_view zi_rig_doubles(zi_rig *rig, const double *values, size_t rows, size_t columns, size_t gap);
zi_view zi_rig_moments(zi_rig *rig);

/* Memory of so many bytes, with whatever was there before, which is neither written nor read by the
 * rig; sentinels lie before and behind it. */
zi_view zi_rig_workspace(zi_rig *rig, size_t bytes);

/* A copy of host memory at an odd address, imported as a view of this type and shape. */
zi_view zi_rig_import_copy(zi_rig *rig, zi_dtype type, const void *data, size_t bytes, size_t rows,
                           size_t columns);

/* An imported vector of f32, as the model's vectors are: aligned to 4 bytes. */
zi_weight *zi_rig_vector(zi_rig *rig, const float *values, size_t n);

/* ---- running and checking ---- */

/* Writes all that is described to the backend's memory. */
void zi_rig_start(zi_rig *rig);

/* Reads it back and checks that nothing changed but what may. False: a check has failed. */
bool zi_rig_finish(zi_rig *rig);

/* The values of a view of F32 after zi_rig_finish, without gaps, for the time of the case. */
float *zi_rig_result(zi_rig *rig, zi_view view);

/* Checks that |got - wanted| is at most bound times the row's tolerance; index is for the message.
 * False: it is not, and the check has failed. */
bool zi_rig_near(zi_rig *rig, const char *what, size_t index, double got, double wanted,
                 double bound);

#endif
