/* Parts of the server's history that requests cannot reach at will: the memory for images that
 * cannot be saved, the order of ids, and opening the database again. */
#include "server/history_private.h"
#include "harness.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SIDE = 16 };

/* Adds an image of noise, so that its file has about the size of its pixels. */
static bool add_image(zi_history *history, char id[ZI_IMAGE_ID])
{
    static unsigned noise = 1;
    uint8_t pixels[SIDE * SIDE * 3];
    zi_error error;
    const zi_image image = {.width = SIDE, .height = SIDE, .pixels = pixels};
    for (size_t i = 0; i < sizeof pixels; i++) {
        noise = noise * 1664525u + 1013904223u;
        pixels[i] = (uint8_t)(noise >> 24);
    }
    return CHECK_OK(zi_history_add_image(history, &image, "noise\nSteps: 1", 1, id, &error), error);
}

/* Whether clients can read the file of an image. */
static bool has_file(zi_history *history, const char *id)
{
    uint8_t *data;
    size_t size;
    zi_error error;
    bool ok = CHECK_OK(zi_history_read_file(history, id, &data, &size, &error), error) && data;
    free(data);
    return ok;
}

/* The number of images in the list. */
static int count_images(zi_history *history)
{
    zi_error error;
    zi_history_query query = {.limit = 100};
    cJSON *list = zi_history_list(history, &query, &error);
    int count = cJSON_GetArraySize(cJSON_GetObjectItem(list, "images"));
    CHECK(list && cJSON_GetObjectItem(list, "total")->valueint == count);
    cJSON_Delete(list);
    return count;
}

static void memory_for_unsaved_images(void)
{
    enum { COUNT = 5 };
    char ids[COUNT][ZI_IMAGE_ID], command[300];
    zi_error error;
    zi_history *history;
    zi_storage storage;
    const char *folder = zi_test_path("unsaved");
    if (!CHECK_OK(zi_history_open(folder, NULL, &history, &error), error)) return;
    snprintf(command, sizeof command, "rm -r '%s'", folder);
    CHECK(system(command) == 0);
    history->unsaved_max = 3 * SIDE * SIDE * 3;
    for (int i = 0; i < COUNT; i++)
        if (!add_image(history, ids[i])) return;
    zi_history_check_storage(history, &storage);
    CHECK(storage.count == 1 && storage.problems[0].kind == ZI_STORAGE_OUTPUT_MISSING);
    CHECK(history->unsaved_bytes <= history->unsaved_max);
    size_t kept = storage.unsaved;
    CHECK(kept == 2 && count_images(history) == 2); /* three are a little too large */
    for (size_t i = 0; i < COUNT; i++) CHECK(has_file(history, ids[i]) == (i >= COUNT - kept));

    /* The newest is kept in any case. */
    history->unsaved_max = 10;
    CHECK(add_image(history, ids[0]));
    CHECK(count_images(history) == 1 && has_file(history, ids[0]));

    CHECK(mkdir(folder, 0777) == 0);
    CHECK(zi_history_tick(history));
    zi_history_check_storage(history, &storage);
    CHECK(!storage.count && !storage.unsaved && !history->unsaved && !history->unsaved_bytes);
    CHECK(count_images(history) == 1 && has_file(history, ids[0]));
    zi_history_close(history);

    /* Images in memory are written on closing, if that is possible then. */
    if (!CHECK_OK(zi_history_open(folder, NULL, &history, &error), error)) return;
    snprintf(command, sizeof command, "mv '%s' '%s-away'", folder, folder);
    CHECK(system(command) == 0 && add_image(history, ids[1]) && history->unsaved);
    snprintf(command, sizeof command, "mv '%s-away' '%s'", folder, folder);
    CHECK(system(command) == 0);
    zi_history_close(history);
    if (!CHECK_OK(zi_history_open(folder, NULL, &history, &error), error)) return;
    CHECK(count_images(history) == 2 && has_file(history, ids[0]) && has_file(history, ids[1]));
    zi_history_close(history);
}

/* Ids rise from the highest that there is, whatever the clock says. */
static void order_of_ids(void)
{
    static const struct {
        const char *latest;
        bool above; /* whether new ids can be above it */
    } rows[] = {{"", true},
                {"20991231-235959-f423f000", true}, /* the last microsecond of the year */
                {"20990230-256199-00000fff", true}, /* no date */
                {"99991231-235959-f423ffff", false}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char first[ZI_IMAGE_ID], second[ZI_IMAGE_ID], folder[40];
        zi_history *history;
        zi_error error;
        snprintf(folder, sizeof folder, "ids-%zu", i);
        if (!CHECK_OK(zi_history_open(zi_test_path(folder), NULL, &history, &error), error)) return;
        strcpy(history->latest, rows[i].latest);
        if (!add_image(history, first) || !add_image(history, second)) return;
        CHECK_MSG(zi_image_id_valid(first) && zi_image_id_valid(second), "%s, %s", first, second);
        CHECK_MSG((strcmp(first, rows[i].latest) > 0) == rows[i].above, "%s", first);
        CHECK_MSG(strcmp(second, first) > 0, "%s after %s", second, first);
        CHECK(count_images(history) == 2);
        zi_history_close(history);
        /* The ids of the next run rise, too. */
        if (!CHECK_OK(zi_history_open(zi_test_path(folder), NULL, &history, &error), error)) return;
        if (rows[i].above) CHECK(add_image(history, first) && strcmp(first, second) > 0);
        zi_history_close(history);
    }
}

/* Runs SQL on the database in a folder that no history has open. */
static void run_sql(const char *folder, const char *sql)
{
    char path[300];
    sqlite3 *db = NULL;
    snprintf(path, sizeof path, "%s/history.db", folder);
    CHECK(sqlite3_open(path, &db) == SQLITE_OK);
    CHECK_MSG(sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK, "%s", sqlite3_errmsg(db));
    sqlite3_close(db);
}

/* Calls zi_history_tick as if a second had passed since the last time. */
static void tick(zi_history *history)
{
    history->retried = 0;
    zi_history_tick(history);
}

/* A database that can be opened for one process alone, as on a full disk, and an image without a
 * row: the row is added, and sharing is tried again, but not all the time. */
static void database_for_one_process(void)
{
    char id[ZI_IMAGE_ID], other[ZI_IMAGE_ID], index[300];
    zi_error error;
    zi_history *history;
    zi_storage storage;
    const char *folder = zi_test_path("exclusive");
    if (!CHECK_OK(zi_history_open(folder, NULL, &history, &error), error)) return;
    CHECK(add_image(history, id));
    zi_history_close(history);
    run_sql(folder, "DELETE FROM images");
    snprintf(index, sizeof index, "%s/history.db-shm", folder);
    CHECK(symlink("missing/index", index) == 0); /* where the index that processes share would be */

    if (!CHECK_OK(zi_history_open(folder, NULL, &history, &error), error)) return;
    CHECK(history->exclusive && count_images(history) == 1 && has_file(history, id));
    CHECK(add_image(history, other)); /* before the storage was checked */
    zi_history_check_storage(history, &storage);
    CHECK(!storage.count && history->exclusive && count_images(history) == 2);
    tick(history); /* tries to share it */
    CHECK(history->exclusive && count_images(history) == 2);
    double wait = history->share_wait;
    history->share_next = 0;
    tick(history); /* once more, after twice the time */
    CHECK(history->exclusive && wait > 0 && history->share_wait == 2 * wait);
    CHECK(unlink(index) == 0);
    tick(history);
    CHECK(history->exclusive); /* later */
    history->share_next = 0;
    tick(history);
    CHECK(!history->exclusive && count_images(history) == 2);
    zi_history_close(history);
}

/* An image that is in memory alone can be deleted, whatever is where its file would be. */
static void deleting_unsaved_images(void)
{
    char id[ZI_IMAGE_ID], command[600];
    bool found = false;
    zi_error error;
    zi_history *history;
    const char *folder = zi_test_path("deleting");
    if (!CHECK_OK(zi_history_open(folder, NULL, &history, &error), error)) return;
    snprintf(command, sizeof command, "mv '%s' '%s-away' && touch '%s'", folder, folder, folder);
    CHECK(system(command) == 0 && add_image(history, id) && count_images(history) == 1);
    CHECK_OK(zi_history_delete(history, id, &found, &error), error);
    CHECK(found && !history->unsaved && count_images(history) == 0);
    zi_history_close(history);
}

/* The number of rows in the database of a folder. */
static int count_rows(const char *folder)
{
    char path[300];
    sqlite3 *db = NULL;
    sqlite3_stmt *statement = NULL;
    snprintf(path, sizeof path, "%s/history.db", folder);
    CHECK(sqlite3_open(path, &db) == SQLITE_OK);
    CHECK(sqlite3_prepare_v2(db, "SELECT count(*) FROM images", -1, &statement, NULL) == SQLITE_OK);
    CHECK(sqlite3_step(statement) == SQLITE_ROW);
    int count = sqlite3_column_int(statement, 0);
    sqlite3_finalize(statement);
    sqlite3_close(db);
    return count;
}

/* An image whose row another program locks is deleted at once, and its row later. */
static void deleting_locked_rows(void)
{
    char ids[2][ZI_IMAGE_ID], path[300];
    bool found = false;
    zi_error error;
    zi_history *history;
    sqlite3 *other = NULL;
    const char *folder = zi_test_path("locked");
    if (!CHECK_OK(zi_history_open(folder, NULL, &history, &error), error)) return;
    CHECK(add_image(history, ids[0]) && add_image(history, ids[1]));
    snprintf(path, sizeof path, "%s/history.db", folder);
    CHECK(sqlite3_open(path, &other) == SQLITE_OK);
    CHECK(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL) == SQLITE_OK);
    sqlite3_busy_timeout(history->db, 10);
    CHECK_OK(zi_history_delete(history, ids[0], &found, &error), error);
    CHECK(found && !history->unsaved && count_images(history) == 1 && count_rows(folder) == 2);
    CHECK_OK(zi_history_delete(history, ids[0], &found, &error), error);
    CHECK(!found);
    tick(history); /* too early */
    CHECK(count_images(history) == 1 && count_rows(folder) == 2);
    CHECK(sqlite3_exec(other, "ROLLBACK", NULL, NULL, NULL) == SQLITE_OK);
    sqlite3_close(other);
    tick(history);
    CHECK(count_images(history) == 1 && count_rows(folder) == 1 && has_file(history, ids[1]));
    CHECK(!history->removed && !history->database_error[0]);
    zi_history_close(history);
}

/* zi_history_tick tells once of a problem with the folder, and once of its end. */
static void changes_of_the_storage(void)
{
    char away[300], probe[300];
    zi_error error;
    zi_history *history;
    zi_storage storage;
    const char *folder = zi_test_path("changes");
    if (!CHECK_OK(zi_history_open(folder, NULL, &history, &error), error)) return;
    zi_history_tick(history);
    CHECK(!zi_history_tick(history));
    snprintf(away, sizeof away, "%s-away", folder);
    for (int i = 0; i < 2; i++) {
        CHECK(rename(i ? away : folder, i ? folder : away) == 0);
        history->checked = 0;
        zi_history_check_storage(history, &storage);
        CHECK(storage.count == (i ? 0 : 1));
        CHECK(zi_history_tick(history));
        history->retried = 0;
        CHECK(!zi_history_tick(history));
    }
    snprintf(probe, sizeof probe, "%s/.probe.part-%ld", folder, (long)getpid());
    CHECK(access(probe, F_OK) != 0); /* the check leaves nothing */
    zi_history_close(history);
}

/* Opening the database again while files are written: temporary files stay, and the row of an
 * image whose file is found before its row is stored has the times that are stored then. */
static void opening_again_while_writing(void)
{
    static const char *const names[] = {".upload.part-1-1", ".probe.part-1",
                                        "20260131-235959-0123abcd.png.part-1-1",
                                        ".thumbnails/a.webp.part-1-1", ".encodings/a.part-1-1"};
    enum { COUNT = sizeof names / sizeof *names };
    char id[ZI_IMAGE_ID], path[COUNT][300], encodings[300], db[300];
    zi_error error;
    zi_history *history;
    const char *folder = zi_test_path("writing");
    if (!CHECK_OK(zi_history_open(folder, NULL, &history, &error), error)) return;
    snprintf(encodings, sizeof encodings, "%s/.encodings", folder);
    CHECK(mkdir(encodings, 0777) == 0 && add_image(history, id));
    for (size_t i = 0; i < COUNT; i++) {
        snprintf(path[i], sizeof path[i], "%s/%s", folder, names[i]);
        FILE *file = fopen(path[i], "w");
        if (CHECK(file)) fclose(file);
    }
    snprintf(db, sizeof db, "%s/history.db", folder);
    CHECK(unlink(db) == 0);
    history->database_error[0] = '?';
    tick(history);
    CHECK(access(db, F_OK) == 0 && count_images(history) == 1);
    for (size_t i = 0; i < COUNT; i++) CHECK_MSG(access(path[i], F_OK) == 0, "%s", names[i]);

    cJSON *row = NULL;
    zi_image_record record = {.created = 1000, .seconds = 2, .infotext = ""};
    memcpy(record.id, id, sizeof id);
    CHECK_OK(zi_unsaved_store(history, &record, NULL, &error), error);
    record.created = record.seconds = 3; /* it has them now */
    CHECK_OK(zi_unsaved_store(history, &record, NULL, &error), error);
    CHECK_OK(zi_history_get_row(history, id, &row, &error), error);
    CHECK(cJSON_GetNumberValue(cJSON_GetObjectItem(row, "seconds")) == 2);
    CHECK(cJSON_GetNumberValue(cJSON_GetObjectItem(row, "created")) == 1000);
    const char *prompt = cJSON_GetStringValue(cJSON_GetObjectItem(row, "prompt"));
    CHECK(prompt && !strncmp(prompt, "noise", 5));
    cJSON_Delete(row);
    zi_history_close(history);

    if (!CHECK_OK(zi_history_open(folder, NULL, &history, &error), error)) return;
    for (size_t i = 0; i < COUNT; i++) CHECK_MSG(access(path[i], F_OK) != 0, "%s", names[i]);
    zi_history_close(history);
}

/* Whether the list has the image of that id with text as its member "unsaved"; NULL: null. */
static bool is_listed(zi_history *history, const char *id, const char *text)
{
    zi_error error;
    cJSON *row = NULL;
    if (!CHECK_OK(zi_history_get_row(history, id, &row, &error), error) || !row) return false;
    const char *unsaved = cJSON_GetStringValue(cJSON_GetObjectItem(row, "unsaved"));
    bool same = text ? unsaved && strstr(unsaved, text) : !unsaved;
    cJSON_Delete(row);
    return same;
}

/* Neither the file of one image nor a locked database keeps the files of other images in memory,
 * also on closing. */
static void images_that_hold_up_others(void)
{
    enum { COUNT = 3 };
    char ids[COUNT][ZI_IMAGE_ID], away[300], place[400];
    zi_error error;
    zi_history *history;
    zi_storage storage;
    sqlite3 *other = NULL;
    const char *folder = zi_test_path("holding-up");
    snprintf(away, sizeof away, "%s-away", folder);
    for (int closing = 0; closing < 2; closing++) {
        if (!CHECK_OK(zi_history_open(folder, NULL, &history, &error), error)) return;
        CHECK(rename(folder, away) == 0);
        for (int i = 0; i < COUNT; i++)
            if (!add_image(history, ids[i])) return;
        CHECK(rename(away, folder) == 0);
        snprintf(place, sizeof place, "%s/%s.png", folder, ids[0]);
        CHECK(mkdir(place, 0777) == 0);
        snprintf(place, sizeof place, "%s/history.db", folder);
        CHECK(sqlite3_open(place, &other) == SQLITE_OK);
        CHECK(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL) == SQLITE_OK);
        sqlite3_busy_timeout(history->db, 0);
        if (!closing) {
            /* A problem of the database is not given as the reason why a file is not written. */
            history->checked = 0;
            strcpy(history->database_error, "?");
            zi_history_check_storage(history, &storage);
            CHECK(storage.count == 1 &&
                  storage.problems[0].kind == ZI_STORAGE_DATABASE_NOT_WRITABLE);
            CHECK(is_listed(history, ids[0], "in a moment"));
            tick(history);
            CHECK(history->storage.unsaved == 1 && is_listed(history, ids[0], "log says why"));
            CHECK(is_listed(history, ids[1], NULL) && is_listed(history, ids[2], NULL));
            sqlite3_busy_timeout(history->db, 0); /* the check has set it */
        }
        zi_history_close(history);
        sqlite3_close(other);
        for (int i = 0; i < COUNT; i++) {
            snprintf(place, sizeof place, "%s/%s.png", folder, ids[i]);
            struct stat st;
            CHECK_MSG(stat(place, &st) == 0 && !!S_ISREG(st.st_mode) == (i > 0), "image %d", i);
        }
    }
}

/* Another file system at the folder's path, without a database, as when the folder's disk is not
 * mounted: nothing is written there, also on closing. */
static void folder_on_another_disk(void)
{
    char ids[2][ZI_IMAGE_ID], db[300], away[300], path[300];
    zi_error error;
    zi_history *history;
    zi_storage storage;
    struct stat st;
    const char *folder = zi_test_path("mounted");
    snprintf(db, sizeof db, "%s/history.db", folder);
    snprintf(away, sizeof away, "%s/away.db", folder);
    for (int closing = 0; closing < 2; closing++) {
        if (!CHECK_OK(zi_history_open(folder, NULL, &history, &error), error)) return;
        history->folder_device++;                /* what it was */
        if (!add_image(history, ids[0])) return; /* the other disk has a history, too */
        CHECK(!history->unsaved && rename(db, away) == 0);
        if (!add_image(history, ids[1])) return;
        zi_history_store_thumbnail(history, ids[1], "", 1);
        tick(history);
        zi_history_check_storage(history, &storage);
        CHECK(storage.count == 1 && storage.problems[0].kind == ZI_STORAGE_OUTPUT_MISSING);
        CHECK(storage.unsaved == 1 && has_file(history, ids[1]) && access(db, F_OK) != 0);
        if (!closing) {
            history->folder_device--; /* mounted again */
            CHECK(rename(away, db) == 0);
            tick(history);
            CHECK(!history->storage.count && !history->unsaved && has_file(history, ids[1]));
        }
        zi_history_close(history);
        for (int i = 0; i < 2; i++) {
            snprintf(path, sizeof path, "%s/%s.png", folder, ids[i]);
            CHECK_MSG((stat(path, &st) == 0) == (!i || !closing), "image %d", i);
        }
        snprintf(path, sizeof path, "%s/.thumbnails/%s.webp", folder, ids[1]);
        CHECK(access(path, F_OK) != 0);
    }
}

int main(void)
{
    RUN(memory_for_unsaved_images);
    RUN(order_of_ids);
    RUN(database_for_one_process);
    RUN(deleting_unsaved_images);
    RUN(deleting_locked_rows);
    RUN(changes_of_the_storage);
    RUN(opening_again_while_writing);
    RUN(images_that_hold_up_others);
    RUN(folder_on_another_disk);
    return zi_test_result();
}
