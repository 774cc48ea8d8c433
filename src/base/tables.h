/* Tables that the library shares with the front ends of this repository. They are no part of the
 * shared library's interface, which has functions for them. */
#ifndef ZI_BASE_TABLES_H
#define ZI_BASE_TABLES_H

#include "zimage.h"

enum { ZI_MAX_PARAMETERS = 64 /* rows in a table */ };

/* The generation parameters; the name of the last row is NULL. */
extern const zi_parameter zi_parameters[];

/* Names of zi_layout_kind and zi_precision by value; the last one is NULL. */
extern const char *const zi_layout_names[], *const zi_precision_names[];

#endif
