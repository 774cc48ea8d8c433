/* Lists and searches the history. */
#include "server/history_private.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

enum { MAX_SEARCH_WORDS = 20 };

/* Writes length bytes in lowercase and a NUL to out, which has room for them. False: the text has
 * characters beyond ASCII, and out is incomplete. */
static bool fold_ascii(const char *text, size_t length, char *out)
{
    bool ascii = true;
    for (size_t i = 0; ascii && i < length; i++) {
        bool capital = text[i] >= 'A' && text[i] <= 'Z';
        out[i] = (char)(capital ? text[i] + ('a' - 'A') : text[i]);
        ascii = !(text[i] & 0x80);
    }
    out[length] = 0;
    return ascii;
}

/* Case-folded and composed text (NFC), NUL-terminated in new memory; a text with invalid UTF-8 is
 * copied unchanged as a whole. NULL: out of memory. ASCII takes a fast path: utf8proc needs 20 us
 * for a long prompt, which adds up over thousands. */
static char *fold_text(const char *text, size_t length)
{
    char *out = malloc(length + 1);
    if (!out || fold_ascii(text, length, out)) return out;
    utf8proc_uint8_t *all = NULL;
    utf8proc_map((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)length, &all,
                 UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_CASEFOLD);
    if (!all) return memcpy(out, text, length); /* invalid UTF-8 is kept unchanged */
    free(out);
    return (char *)all;
}

/* The SQL function fold(TEXT): the argument as fold_text gives it; NULL gives NULL. Out of memory:
 * an SQL error. */
static void sql_fold(sqlite3_context *context, int count, sqlite3_value **values)
{
    (void)count;
    const char *text = (const char *)sqlite3_value_text(values[0]);
    char *out = text ? fold_text(text, (size_t)sqlite3_value_bytes(values[0])) : NULL;
    if (text && !out)
        sqlite3_result_error_nomem(context);
    else
        sqlite3_result_text(context, out, -1, free);
}

bool zi_history_register_fold(zi_history *history, zi_error *error)
{
    int flags = SQLITE_UTF8 | SQLITE_DETERMINISTIC;
    return sqlite3_create_function(history->db, "fold", 1, flags, NULL, sql_fold, NULL, NULL) ==
               SQLITE_OK ||
           zi_db_error_set(history, error);
}

typedef struct {
    zi_text where;
    char *values[MAX_SEARCH_WORDS + 3];
    int count;
} filter;

/* Adds " AND before ?N after" to the conditions, with the value for ?N, numbered from 1; f->values
 * must have room. Takes over the value; NULL (out of memory) becomes SQL's NULL, which nothing
 * matches. No memory for the text sets f->where.failed. */
static void add_condition(filter *f, const char *before, char *value, const char *after)
{
    f->values[f->count++] = value;
    zi_text_printf(&f->where, " AND %s?%d%s", before, f->count, after);
}

/* The WHERE conditions of a query, except for its cursor and limit: all of its first 20 words, in
 * any letter case, occur in the prompts, model or seed; model and seed equal, with case. The caller
 * frees values and where. Out of memory: a value is NULL, or where.failed is set. */
static filter create_filter(const zi_history_query *query)
{
    filter f = {.count = 0};
    zi_text_init(&f.where, 1 << 14);
    zi_text_puts(&f.where, "");
    for (const char *word = query->words; word && *word && f.count < MAX_SEARCH_WORDS;) {
        size_t length = strcspn(word, " \t\n");
        if (length)
            add_condition(&f,
                          "instr(fold(prompt || ' ' || ifnull(original, '') || ' ' || "
                          "ifnull(negative, '') || ' ' || model || ' ' || seed), ",
                          fold_text(word, length), ") > 0");
        word += length + (word[length] != 0);
    }
    if (query->model) add_condition(&f, "model = ", strdup(query->model), "");
    if (query->seed) add_condition(&f, "seed = ", strdup(query->seed), "");
    return f;
}

/* Sets *total to the number of rows that match and are not deleted. False: *error is set, and
 * *total is of no use. The mutex is held. */
static bool count_matches(zi_history *h, const filter *f, double *total, zi_error *error)
{
    zi_text sql;
    sqlite3_stmt *s = NULL;
    zi_text_init(&sql, 1 << 15);
    zi_text_printf(&sql, "SELECT count(*) %s%s", zi_history_source(h), f->where.data);
    bool ok = (!sql.failed || zi_error_no_memory(error, sql.size)) &&
              zi_db_prepare(h, sql.data, &s, error);
    if (ok) {
        zi_db_bind_texts(s, f->count, (const char *const *)f->values);
        ok = sqlite3_step(s) == SQLITE_ROW || zi_db_error_set(h, error);
        *total = sqlite3_column_double(s, 0);
    }
    sqlite3_finalize(s);
    zi_text_free(&sql);
    return ok;
}

/* Adds "images", at most `limit` rows (1 or more), newest first, and "next" to list: the id of the
 * last of them, or null if no more follow (it reads one row more to know). False: *error is set,
 * and list is incomplete. The mutex is held. */
static bool read_page(zi_history *h, const filter *f, int limit, cJSON *list, zi_error *error)
{
    zi_text sql;
    sqlite3_stmt *s = NULL;
    cJSON *images = cJSON_AddArrayToObject(list, "images");
    int rows = 0, step = SQLITE_DONE;
    zi_text_init(&sql, 1 << 15);
    zi_text_printf(&sql, "SELECT %s %s%s ORDER BY id DESC LIMIT %d", zi_history_columns,
                   zi_history_source(h), f->where.data, limit + 1);
    bool ok = (!sql.failed || zi_error_no_memory(error, sql.size)) &&
              zi_db_prepare(h, sql.data, &s, error);
    if (ok) zi_db_bind_texts(s, f->count, (const char *const *)f->values);
    while (ok && rows <= limit && (step = sqlite3_step(s)) == SQLITE_ROW)
        if (rows++ < limit) cJSON_AddItemToArray(images, zi_history_row_json(h, s));
    if (ok && step != SQLITE_DONE && step != SQLITE_ROW) ok = zi_db_error_set(h, error);
    const cJSON *last = cJSON_GetArrayItem(images, limit - 1);
    cJSON_AddItemToObject(list, "next",
                          rows > limit ? cJSON_Duplicate(cJSON_GetObjectItem(last, "id"), true)
                                       : cJSON_CreateNull());
    sqlite3_finalize(s);
    zi_text_free(&sql);
    return ok;
}

cJSON *zi_history_list(zi_history *history, const zi_history_query *query, zi_error *error)
{
    double total = 0;
    cJSON *list = cJSON_CreateObject();
    filter f = create_filter(query);
    pthread_mutex_lock(&history->mutex);
    bool ok = count_matches(history, &f, &total, error);
    if (query->cursor) add_condition(&f, "id < ", strdup(query->cursor), "");
    ok = ok && read_page(history, &f, query->limit, list, error);
    pthread_mutex_unlock(&history->mutex);
    cJSON_AddNumberToObject(list, "total", total);
    for (int i = 0; i < f.count; i++) free(f.values[i]);
    zi_text_free(&f.where);
    if (ok) return list;
    cJSON_Delete(list);
    return NULL;
}

/* ---- the cached page ---- */

/* Changes with every change of the database: SQLite's data_version (commits of others) in the
 * upper half, changes of this connection in the lower. -1: unknown. The mutex is held. */
static int64_t data_version(zi_history *h)
{
    sqlite3_stmt *s = NULL;
    int64_t version = -1;
    if (sqlite3_prepare_v2(h->db, "PRAGMA data_version", -1, &s, NULL) == SQLITE_OK &&
        sqlite3_step(s) == SQLITE_ROW)
        version = (int64_t)sqlite3_column_int(s, 0) << 32 | (uint32_t)sqlite3_total_changes(h->db);
    sqlite3_finalize(s);
    return version;
}

/* A text in new memory that is the same for equal queries, limit and cursor included, and different
 * for others; NULL when out of memory. */
static char *query_key(const zi_history_query *query)
{
    const char *const parts[] = {query->cursor, query->words, query->model, query->seed};
    zi_text text;
    zi_text_init(&text, 1 << 16);
    zi_text_printf(&text, "%d", query->limit);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (parts[i]) {
            zi_text_printf(&text, " %zu:%zu:", i, strlen(parts[i]));
            zi_text_puts(&text, parts[i]);
        }
    return zi_text_take(&text);
}

/* Replaces the cached page by a copy of text; takes ownership of key. key NULL, or no memory for
 * the copy: no page is then found. Locks the mutex. */
static void cache_page(zi_history *h, char *key, const char *text, int64_t version)
{
    pthread_mutex_lock(&h->mutex);
    free(h->page.query);
    free(h->page.text);
    h->page = (zi_history_page){key, strdup(text), version};
    pthread_mutex_unlock(&h->mutex);
}

/* The cached page in new memory if it is of this query and the rows have not changed, else, or when
 * out of memory, NULL. *version: data_version now, in any case; -1 never matches. key may be NULL.
 * Locks the mutex. */
static char *get_cached_page(zi_history *h, const char *key, int64_t *version)
{
    pthread_mutex_lock(&h->mutex);
    const zi_history_page *p = &h->page;
    *version = data_version(h);
    /* Why an image is not saved is no part of the version. */
    bool same = key && p->query && p->text && *version >= 0 && *version == p->version &&
                !strcmp(key, p->query) && !h->unsaved;
    char *text = same ? strdup(p->text) : NULL;
    pthread_mutex_unlock(&h->mutex);
    return text;
}

char *zi_history_list_text(zi_history *history, const zi_history_query *query, zi_error *error)
{
    int64_t version; /* from before reading, so that a change meanwhile invalidates the page */
    char *key = query_key(query), *text = get_cached_page(history, key, &version);
    if (text) {
        free(key);
        return text;
    }
    cJSON *list = zi_history_list(history, query, error);
    if (list && !(text = cJSON_PrintUnformatted(list))) zi_error_no_memory(error, 1);
    cJSON_Delete(list);
    if (text)
        cache_page(history, key, text, version);
    else
        free(key);
    return text;
}
