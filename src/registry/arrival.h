/* A model that is converted while it is downloaded. The headers of its weights come first, and with
 * them the plan of what is to be made; then each file of weights is converted when it has come, and
 * leaves the disk. At no time are more than two of them there. An interrupted call is gone on with:
 * neither what came nor what was made of it is lost. */
#ifndef ZI_REGISTRY_ARRIVAL_H
#define ZI_REGISTRY_ARRIVAL_H

#include "hub/guide.h"

typedef struct zi_streaming_conversion zi_streaming_conversion;

/* For a download into the folder `work`; import tells what is to be made of it (convert false: only
 * see that it is a model of ours). The options must outlive it. */
bool zi_streaming_conversion_create(const char *work, const zi_import_options *import,
                                    zi_streaming_conversion **out, zi_error *error) ZI_CHECKED;

/* What the download is to be given. It may turn out to be of no use for a repository; then all is
 * downloaded as it is. */
const zi_download_hooks *zi_streaming_conversion_hooks(const zi_streaming_conversion *arrival);

/* Whether the conversion has failed, and the download need not go on. */
bool zi_streaming_conversion_failed(zi_streaming_conversion *arrival);

/* Ends the conversion: waits for it, or (downloaded false) stops it. *path is what was made, to be
 * moved away, and belongs to the arrival; NULL: nothing, because it was not of use. False: it
 * failed or was stopped; an error of its own is told, a stop is not. */
bool zi_streaming_conversion_finish(zi_streaming_conversion *arrival, bool downloaded,
                                    const char **path, zi_error *error);

void zi_streaming_conversion_free(zi_streaming_conversion *arrival);

#endif
