/* What was done in earlier calls: a text file of lines, the first of which says for what. */
#ifndef ZI_HUB_JOURNAL_H
#define ZI_HUB_JOURNAL_H

#include "base/error.h"

typedef struct {
    char *path, *text; /* text: all lines; NULL: there are none */
} zi_journal;

/* Reads the journal at path, unless its first line is another purpose. Free it in any case. */
bool zi_journal_open(zi_journal *journal, const char *path, const char *purpose,
                     zi_error *error) ZI_CHECKED;

/* Adds a line, which is on the disk then. The first one is the purpose. */
bool zi_journal_add(zi_journal *journal, const char *line, zi_error *error) ZI_CHECKED;

bool zi_journal_has(const zi_journal *journal, const char *line);

/* Begins anew with the next line. */
void zi_journal_forget(zi_journal *journal);

void zi_journal_free(zi_journal *journal);

#endif
