#include "hub/journal.h"
#include "base/file.h"
#include "base/text.h"
#include "hub/disk.h"

#include <stdlib.h>
#include <string.h>

enum { MOST = 1 << 20 };

bool zi_journal_open(zi_journal *journal, const char *path, const char *purpose, zi_error *error)
{
    size_t size, length = strlen(purpose);
    *journal = (zi_journal){.path = strdup(path)};
    if (!journal->path) return zi_error_no_memory(error, strlen(path));
    if (!zi_is_file(path)) return true;
    if (!zi_file_read(path, MOST, &journal->text, &size, error)) return false;
    if (strncmp(journal->text, purpose, length) != 0 || journal->text[length] != '\n')
        zi_journal_forget(journal);
    return true;
}

bool zi_journal_add(zi_journal *journal, const char *line, zi_error *error)
{
    zi_text text;
    zi_output output = {0};
    zi_text_init(&text, MOST);
    zi_text_printf(&text, "%s%s\n", journal->text ? journal->text : "", line);
    free(journal->text);
    journal->text = zi_text_take(&text);
    if (!journal->text) return zi_error_no_memory(error, strlen(line));
    bool ok = zi_make_parent_folders(journal->path, error) &&
              zi_output_open(&output, journal->path, error) &&
              zi_output_write(&output, journal->text, strlen(journal->text), error) &&
              zi_output_commit(&output, error);
    zi_output_discard(&output);
    return ok;
}

void zi_journal_forget(zi_journal *journal)
{
    free(journal->text);
    journal->text = NULL;
}

bool zi_journal_has(const zi_journal *journal, const char *line)
{
    size_t length = strlen(line);
    for (const char *at = journal->text; at && (at = strchr(at, '\n'));) {
        at++;
        if (!strncmp(at, line, length) && at[length] == '\n') return true;
    }
    return false;
}

void zi_journal_free(zi_journal *journal)
{
    free(journal->path);
    free(journal->text);
    *journal = (zi_journal){0};
}
