/* The state of the history's storage: whether the folder is there and can be written, the disk is
 * full, or the database is read-only; and what to do when that is over. */
#include "server/history_private.h"

#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { PROBE_BYTES = 64 << 10, CHECK_SECONDS = 1, RETRY_SECONDS = 1, SHARE_SECONDS = 30 };

const char *zi_storage_kind_name(zi_storage_kind kind)
{
    static const char *const names[] = {[ZI_STORAGE_OUTPUT_MISSING] = "output_missing",
                                        [ZI_STORAGE_OUTPUT_NOT_WRITABLE] = "output_not_writable",
                                        [ZI_STORAGE_DISK_FULL] = "disk_full",
                                        [ZI_STORAGE_DATABASE_NOT_WRITABLE] =
                                            "database_not_writable"};
    return names[kind];
}

void zi_storage_note_failure(zi_history *history)
{
    snprintf(history->database_error, sizeof history->database_error, "%s",
             sqlite3_errmsg(history->db));
}

/* ---- the folder ---- */

bool zi_storage_is_other_disk(zi_history *history)
{
    struct stat folder, db;
    char *path = zi_path_join(history->folder, "history.db");
    pthread_mutex_lock(&history->mutex);
    bool other = path && history->folder_device && stat(path, &db) != 0 && errno == ENOENT &&
                 stat(history->folder, &folder) == 0 &&
                 (uint64_t)folder.st_dev != history->folder_device;
    pthread_mutex_unlock(&history->mutex);
    free(path);
    return other;
}

/* Writes a file of 64 KiB in the folder and removes it; errno, or 0 if that was possible. */
static int probe_folder(const zi_history *h)
{
    static const char bytes[PROBE_BYTES];
    char name[40];
    snprintf(name, sizeof name, ".probe.part-%ld", (long)getpid());
    char *path = zi_path_join(h->folder, name);
    if (!path) return ENOMEM;
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0666), why = 0;
    if (fd < 0) why = errno;
    for (size_t done = 0; !why && done < sizeof bytes;) {
        ssize_t count = write(fd, bytes + done, sizeof bytes - done);
        if (count < 0 && errno != EINTR) why = errno;
        if (count > 0) done += (size_t)count;
    }
    if (fd >= 0 && close(fd) != 0 && !why) why = errno;
    if (fd >= 0) unlink(path);
    free(path);
    return why;
}

/* Whether the disk has no room for the file of the oldest unsaved image. */
static bool has_no_room(const zi_history *h)
{
    struct statvfs disk;
    const zi_unsaved *one = zi_unsaved_oldest_file(h);
    return one && statvfs(h->folder, &disk) == 0 &&
           (double)disk.f_bavail * (double)disk.f_frsize < one->record.bytes + PROBE_BYTES;
}

/* Appends a problem to *storage, which must have room; its message is formatted as by printf. */
ZI_PRINTF(3, 4)
static void add_problem(zi_storage *storage, zi_storage_kind kind, const char *format, ...)
{
    zi_storage_problem *problem = &storage->problems[storage->count++];
    va_list args;
    problem->kind = kind;
    va_start(args, format);
    vsnprintf(problem->message, sizeof problem->message, format, args);
    va_end(args);
}

/* Checks the folder, sets h->writable and appends what is wrong with it to *storage. */
static void check_folder(zi_history *h, zi_storage *storage)
{
    bool other = zi_storage_is_other_disk(h);
    int why = other ? ENODEV : probe_folder(h);
    h->writable = !why && !has_no_room(h);
    if (!h->writable || !storage->unsaved) h->image_failed = false;
    if (other)
        add_problem(storage, ZI_STORAGE_OUTPUT_MISSING,
                    "the disk of the server's output folder (option --output, or else the folder "
                    "output) is not mounted; mount it, or start the server again to use the "
                    "folder that is there now");
    else if (why == ENOENT || why == ENOTDIR)
        add_problem(
            storage, ZI_STORAGE_OUTPUT_MISSING,
            "the server's output folder (option --output, or else the folder output) is missing; "
            "create it again, or mount its disk");
    else if (why == ENOSPC || why == EDQUOT || (!why && !h->writable))
        add_problem(storage, ZI_STORAGE_DISK_FULL,
                    "the disk with the output folder is full; free space on it, or delete images");
    else if (why)
        add_problem(storage, ZI_STORAGE_OUTPUT_NOT_WRITABLE,
                    "the output folder cannot be written: %s; make it writable for the server",
                    strerror(why));
    else if (h->image_failed)
        add_problem(storage, ZI_STORAGE_OUTPUT_NOT_WRITABLE,
                    "an image cannot be written to the output folder; the server's log says why");
}

/* ---- the database ---- */

/* Whether the folder's database is another file than the one that is open, or is missing. */
static bool is_replaced(const zi_history *h)
{
    struct stat st;
    char *path = zi_path_join(h->folder, "history.db");
    bool same = path && stat(path, &st) == 0 && (uint64_t)st.st_dev == h->device &&
                (uint64_t)st.st_ino == h->inode;
    free(path);
    return !same;
}

/* Whether the database was opened read-only, but its files may be written now. */
static bool is_writable_again(const zi_history *h)
{
    static const char *const names[] = {"history.db", "history.db-wal", "history.db-shm"};
    if (sqlite3_db_readonly(h->db, "main") != 1) return false;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *path = zi_path_join(h->folder, names[i]);
        bool writable = path && (access(path, W_OK) == 0 || (i && errno == ENOENT));
        free(path);
        if (!writable) return false;
    }
    return true;
}

/* Whether a write could begin now; a lock of another program is no obstacle that lasts. If not,
 * sqlite3_errmsg says why. Writes nothing. */
static bool can_begin_write(zi_history *h)
{
    sqlite3_busy_timeout(h->db, 0);
    int result = sqlite3_exec(h->db, "BEGIN IMMEDIATE", NULL, NULL, NULL);
    if (result == SQLITE_OK) sqlite3_exec(h->db, "ROLLBACK", NULL, NULL, NULL);
    sqlite3_busy_timeout(h->db, ZI_DB_BUSY_MILLISECONDS);
    return result == SQLITE_OK || result == SQLITE_BUSY;
}

/* Checks the database and appends what is wrong with it to *storage. */
static void check_database(zi_history *h, zi_storage *storage)
{
    static const char message[] =
        "new images are saved as files, but history.db in the output folder cannot be written: %s; "
        "check the disk and this file, or stop the server and restore or remove history.db";
    if (sqlite3_db_readonly(h->db, "main") == 1)
        add_problem(storage, ZI_STORAGE_DATABASE_NOT_WRITABLE,
                    "new images are saved as files, but history.db in the output folder is "
                    "read-only; make history.db, history.db-wal and history.db-shm writable for "
                    "the server");
    else if (!can_begin_write(h))
        add_problem(storage, ZI_STORAGE_DATABASE_NOT_WRITABLE, message, sqlite3_errmsg(h->db));
    else if (h->database_error[0] && !storage->count)
        add_problem(storage, ZI_STORAGE_DATABASE_NOT_WRITABLE, message, h->database_error);
}

/* ---- both ---- */

/* Whether two states have the same problems. */
static bool has_same_problems(const zi_storage *a, const zi_storage *b)
{
    bool same = a->count == b->count;
    for (size_t i = 0; same && i < a->count; i++)
        same = a->problems[i].kind == b->problems[i].kind &&
               !strcmp(a->problems[i].message, b->problems[i].message);
    return same;
}

void zi_storage_check(zi_history *history)
{
    zi_storage now = {.unsaved = history->storage.unsaved};
    history->checked = zi_monotonic_seconds();
    check_folder(history, &now);
    check_database(history, &now);
    if (now.count) history->share_next = history->share_wait = 0; /* when that is over, at once */
    if (has_same_problems(&now, &history->storage)) return;
    for (size_t i = 0; i < now.count; i++)
        zi_log_line(history->log, ZI_LOG_WARNING, "%s", now.problems[i].message);
    if (!now.count) zi_log_line(history->log, ZI_LOG_INFO, "images can be saved again");
    history->storage = now;
    history->changed = true;
}

void zi_history_check_storage(zi_history *history, zi_storage *out)
{
    pthread_mutex_lock(&history->mutex);
    if (zi_monotonic_seconds() - history->checked >= CHECK_SECONDS) zi_storage_check(history);
    *out = history->storage;
    pthread_mutex_unlock(&history->mutex);
}

/* Opens the folder's database in place of the one that is open. If that fails, opens one in memory,
 * so that the unsaved images are listed, and returns false: *error is set. */
static bool reopen(zi_history *h, bool replaced, zi_error *error)
{
    /* A replaced database must not touch the new one's files when it is closed. */
    if (replaced) sqlite3_db_config(h->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    sqlite3_close(h->db);
    h->db = NULL;
    free(h->page.query);
    h->page.query = NULL;
    h->changed = true;
    if (zi_history_lock(h, error) && zi_history_open_db(h, error)) {
        if (zi_history_reconcile(h, false, error)) return true;
        sqlite3_close(h->db);
        h->db = NULL;
    }
    zi_error why;
    if (!zi_history_open_memory(h, &why)) zi_log_line(h->log, ZI_LOG_ERROR, "%s", why.text);
    return false;
}

/* Tells whether to try now to share a database that is open for this process alone, and if so, sets
 * when to try next: when nothing is wrong any more; if it still cannot be shared, after
 * SHARE_SECONDS, and twice as long each time after that, as there are disks on which it never can.
 */
static bool take_turn_to_share(zi_history *h)
{
    double now = zi_monotonic_seconds();
    if (!h->exclusive || !h->checked || h->storage.count || now < h->share_next) return false;
    h->share_wait = h->share_wait > 0 ? h->share_wait * 2 : SHARE_SECONDS;
    h->share_next = now + h->share_wait;
    return true;
}

bool zi_storage_reopen_if_needed(zi_history *history)
{
    zi_error error;
    bool replaced = is_replaced(history), shareable = take_turn_to_share(history);
    if (!replaced && !shareable && !is_writable_again(history)) return true;
    if (!zi_is_dir(history->folder) || zi_storage_is_other_disk(history)) return false;
    if (reopen(history, replaced, &error)) {
        if (replaced || !history->exclusive)
            zi_log_line(history->log, ZI_LOG_INFO, "history.db can be used again");
        history->database_error[0] = 0;
        return true;
    }
    zi_log_rate_limited(history->log, "%s", error.text);
    snprintf(history->database_error, sizeof history->database_error, "it cannot be opened");
    return false;
}

bool zi_history_tick(zi_history *history)
{
    double now = zi_monotonic_seconds();
    pthread_mutex_lock(&history->mutex);
    bool work = history->storage.count || history->unsaved || history->removed ||
                (history->exclusive && now >= history->share_next) || history->database_error[0];
    if (work && now - history->retried >= RETRY_SECONDS) {
        history->retried = now;
        zi_storage_check(history);
        zi_error why;
        bool open = zi_storage_reopen_if_needed(history);
        /* Files need no database, but the folder must be this server's. */
        if (history->writable && (open || zi_history_lock(history, &why)))
            zi_unsaved_write_files(history);
        if (history->writable && open) {
            /* Requests wait meanwhile: the next call tries again. */
            sqlite3_busy_timeout(history->db, 0);
            zi_unsaved_write_rows(history);
            sqlite3_busy_timeout(history->db, ZI_DB_BUSY_MILLISECONDS);
        }
        zi_storage_check(history);
    }
    bool changed = history->changed;
    history->changed = false;
    pthread_mutex_unlock(&history->mutex);
    return changed;
}
