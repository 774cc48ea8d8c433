/* What the text encoder made of prompts: the latest in memory, more on disk. */
#ifndef ZI_SERVER_ENCODINGS_H
#define ZI_SERVER_ENCODINGS_H

#include "base/error.h"

typedef struct zi_known_texts zi_known_texts;

/* Files lie in output/.encodings. NULL: memory is short. Used by one thread. */
zi_known_texts *zi_known_texts_create(const char *output);
void zi_known_texts_free(zi_known_texts *texts);

/* For zi_request. */
const zi_encodings *zi_known_texts_encodings(zi_known_texts *texts);

/* Whether the latest question was answered. */
bool zi_known_texts_hit(const zi_known_texts *texts);

#endif
