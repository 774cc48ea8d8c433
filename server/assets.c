/* No page yet: the table is empty. */
#include "server/assets.h"

const zi_asset zi_assets[] = {{0}};
