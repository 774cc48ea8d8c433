/* Streaming conversion: converts a model while it is downloaded. The headers of all weights are
 * downloaded first, which is enough to plan the output. Then a thread converts each safetensors
 * file when it has been downloaded, and frees its disk space. At most two files of weights are on
 * the disk at a time. An interrupted call is resumed: neither downloaded nor converted data is
 * lost. */
#ifndef ZI_REGISTRY_STREAMING_CONVERSION_H
#define ZI_REGISTRY_STREAMING_CONVERSION_H

#include "hub/download.h"

typedef struct zi_streaming_conversion zi_streaming_conversion;

/* Prepares the conversion of a download into the folder `work`. import has layout, precision and
 * reference; with import->convert false, the hooks only check after the metadata that the download
 * is a supported model. tokenizer: the folder of one for a model without; NULL: none. All three
 * must outlive *out. Creates no file and starts no thread yet. False: out of memory; *out is
 * unchanged. */
bool zi_streaming_conversion_create(const char *work, const zi_import_options *import,
                                    const char *tokenizer, zi_streaming_conversion **out,
                                    zi_error *error) ZI_CHECKED;

/* The hooks for zi_download_with_hooks, owned by the conversion; NULL if the layout cannot be
 * written in a stream (GGUF). With NULL, and for a repository that the hooks do not accept, all is
 * downloaded; zi_streaming_conversion_finish then gives a NULL path, and the caller converts. */
const zi_download_hooks *zi_streaming_conversion_hooks(const zi_streaming_conversion *conversion);

/* Whether the conversion has ended with an error, so that the download should be cancelled.
 * Thread-safe. */
bool zi_streaming_conversion_failed(zi_streaming_conversion *conversion);

/* Ends the conversion; call it once after the download. downloaded: waits, and reports progress to
 * import->progress, whose false cancels; else stops it. *path: the converted model, borrowed, which
 * the caller moves away; NULL: nothing was converted; undefined after false. False: the download or
 * the conversion failed, and *error is set by a failure of the conversion, else kept. */
bool zi_streaming_conversion_finish(zi_streaming_conversion *conversion, bool downloaded,
                                    const char **path, zi_error *error);

/* Frees the conversion and its memory; no file is removed. NULL is allowed. Call
 * zi_streaming_conversion_finish first if the hooks have been called. */
void zi_streaming_conversion_free(zi_streaming_conversion *conversion);

#endif
