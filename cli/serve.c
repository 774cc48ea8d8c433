/* zimage serve: runs the HTTP server. */
#include "cli.h"

#include "base/file.h"
#include "server/server.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Waits for one of the signals and takes it; repeats after errors. They must be blocked in all
 * threads, so that none is lost. */
static void wait_for_signal(const sigset_t *signals)
{
    int number;
    while (sigwait(signals, &number) != 0) continue;
}

/* Sets *signals to SIGINT, SIGTERM and SIGHUP, and blocks these in this thread and those that it
 * starts later, not in those that run already. They stay blocked. */
static void block_signals(sigset_t *signals)
{
    sigemptyset(signals);
    sigaddset(signals, SIGINT);
    sigaddset(signals, SIGTERM);
    sigaddset(signals, SIGHUP);
    pthread_sigmask(SIG_BLOCK, signals, NULL);
}

/* Prints notes on the model that requests without one get, and on models that are not used, unless
 * a default is set. Nothing if there is none such: each request then says why. */
static void print_model_notes(const zi_server_options *o, const zi_user_registry *models)
{
    zi_resolved_model found;
    zi_error error;
    if (o->registry.model || !zi_find_model(models, NULL, &found, &error)) return;
    if (found.as != ZI_RESOLVED_DEFAULT) zi_print_model_notes(models, &found, false);
    zi_resolved_model_free(&found);
}

/* Blocks the signals SIGINT, SIGTERM and SIGHUP for good, starts a server, prints notes and its
 * URLs (to standard output), waits for one of them and stops the server. models: for the notes.
 * False: it did not start; *error is set. */
static bool run_server(const zi_server_options *o, const zi_user_registry *models, zi_error *error)
{
    zi_server *server = NULL;
    sigset_t signals;
    block_signals(&signals);
    if (!zi_server_start(o, &server, error)) return false;
    print_model_notes(o, models);
    puts(zi_server_url(server));
    if (o->public_url) puts(o->public_url);
    zi_flush_output();
    wait_for_signal(&signals);
    zi_server_stop(server);
    return true;
}

/* Reads the API key from a file, without the line end behind it; path NULL leaves *key as it is.
 * *text, which *key then points to, is for the caller to free, also after a failure. False: *error
 * is set; the file cannot be read, or has no key. */
static bool read_key_file(const char *path, const char **key, char **text, zi_error *error)
{
    enum { MAX_FILE = 1 << 16 };
    size_t size;
    *text = NULL;
    if (!path) return true;
    if (!zi_file_read(path, MAX_FILE, text, &size, error)) return false;
    while (size && ((*text)[size - 1] == '\r' || (*text)[size - 1] == '\n')) size--;
    (*text)[size] = 0;
    if (!size)
        return zi_error_set(error, ZI_ERROR_BAD_FORMAT, path,
                            "is empty; write the API key into it, on one line");
    if (strcspn(*text, "\r\n") != size)
        return zi_error_set(error, ZI_ERROR_BAD_FORMAT, path,
                            "has several lines, or a NUL byte; write the API key alone into it");
    *key = *text;
    return true;
}

/* Finds the model of -m (NULL: none was given, the server chooses) and the components that options
 * name, sets o->registry, whose strings are freed before the return, and runs the server until a
 * signal arrives. The server opens a registry of its own, in which clients find models by name
 * only. folder: the models folder; NULL: ./models. False: *error is set. */
static bool resolve_model_and_serve(zi_server_options *o, const char *folder, const char *model,
                                    zi_error *error)
{
    zi_user_registry models;
    zi_resolved_model found = {0};
    zi_used_parts parts = {0};
    if (!zi_user_registry_open(folder, &o->load, &models, error)) return false;
    bool ok = zi_resolve_parts(&models, &o->load, &parts, error) &&
              (!model || zi_registry_resolve(models.registry, model, &found, error));
    o->registry = models.options;
    o->registry.model = found.path;
    o->registry.names_only = true;
    zi_prepare_engine(&models, true, &o->engine);
    ok = ok && run_server(o, &models, error);
    zi_resolved_model_free(&found);
    zi_user_registry_close(&models);
    zi_used_parts_free(&parts);
    return ok;
}

int cmd_serve(int argc, char **argv)
{
    zi_server_options o = {.port = 7860, .output = "output"};
    const char *model = NULL, *folder = NULL, *key_file = NULL;
    char *key_text = NULL;
    zi_option_list origins = {.count = 0}, hosts = {.count = 0}, proxies = {.count = 0};
    o.engine.scratch = getenv("TMPDIR");
    const zi_option options[] = {
        {"host", 0, ZI_OPTION_TEXT, &o.host, 0, 0, "ADDRESS",
         "address to listen on (127.0.0.1: this machine only)", NULL},
        {"port", 'p', ZI_OPTION_INT, &o.port, 0, 65535, "N", "port (7860); 0: any free one", NULL},
        {"api-key", 0, ZI_OPTION_TEXT, &o.key, 0, 0, "KEY",
         "API key that clients must send; other users of this machine can see it in the command "
         "line; to hide it, use --api-key-file or the environment variable ZIMAGE_API_KEY",
         NULL},
        {"api-key-file", 0, ZI_OPTION_TEXT, &key_file, 0, 0, "FILE", "read the API key from a file",
         NULL},
        {"insecure", 0, ZI_OPTION_FLAG, &o.insecure, 0, 0, NULL,
         "allow access without a key from other machines, and with * as --allow-origin or "
         "--allow-host",
         NULL},
        {"allow-origin", 0, ZI_OPTION_LIST, &origins, 0, 0, "ORIGIN",
         "let web pages of this origin, such as https://app.example, use the API (CORS); may be "
         "given several times; *: all pages (needs an API key, or --insecure)",
         NULL},
        {"allow-host", 0, ZI_OPTION_LIST, &hosts, 0, 0, "NAME",
         "also accept this name of the server in the Host header; may be given several times; *: "
         "all names (needs an API key, or --insecure)",
         NULL},
        {"public-url", 0, ZI_OPTION_TEXT, &o.public_url, 0, 0, "URL",
         "URL by which clients reach the server, for the links to images", NULL},
        {"trusted-proxy", 0, ZI_OPTION_LIST, &proxies, 0, 0, "ADDRESS",
         "believe the headers X-Forwarded-For, X-Forwarded-Host and X-Forwarded-Proto of the "
         "reverse proxy at this address, or of everybody in a network (ADDRESS/BITS), which must "
         "have no clients in it; may be given several times",
         NULL},
        zi_models_option(&folder),
        {"output", 'o', ZI_OPTION_TEXT, &o.output, 0, 0, "DIR",
         "folder of images and their history (output)", NULL},
        {"import", 0, ZI_OPTION_TEXT, &o.import, 0, 0, "DIR",
         "also allow clients to import models from below this folder", NULL},
        {"model", 'm', ZI_OPTION_TEXT, &model, 0, 0, "MODEL",
         "model of requests that name none (that of `zimage models default`, else the only "
         "complete one in the models folder, else the demo model)",
         NULL},
        {"vae", 0, ZI_OPTION_TEXT, &o.load.vae, 0, 0, "MODEL", "VAE to use instead of MODEL's",
         NULL},
        {"text-encoder", 0, ZI_OPTION_TEXT, &o.load.text_encoder, 0, 0, "MODEL",
         "text encoder to use instead of MODEL's", NULL},
        {"reference", 0, ZI_OPTION_TEXT, &o.load.reference, 0, 0, "MODEL",
         "model, or folder of a tokenizer, to take missing components from", NULL},
        {"threads", 't', ZI_OPTION_INT, &o.engine.threads, 1, 1024, "N",
         "number of threads (all processors)", NULL},
        zi_cpu_option(&o.engine.cpu),
        zi_device_option(&o.engine.device),
        zi_vram_option(&o.engine.vram),
        {"max-guidance", 0, ZI_OPTION_REAL, &o.max_guidance, 0, 100, "G",
         "lower requests for more guidance with Z-Image-Turbo to this; 0: none", &o.cap_guidance},
        {0},
    };
    const zi_command command = {
        "serve", "Runs a web page and HTTP API until it is interrupted, and prints its URL.", NULL,
        options};
    zi_error error = {0};
    int code;
    if (zi_options_parse(&command, argc, argv, NULL, &code)) {
        o.allow_origins = (const char *const *)origins.items;
        o.allow_hosts = (const char *const *)hosts.items;
        o.trusted_proxies = (const char *const *)proxies.items;
        bool ok = zi_check_exclusive(&command, &error) &&
                  read_key_file(key_file, &o.key, &key_text, &error) &&
                  resolve_model_and_serve(&o, folder, model, &error);
        code = ok ? 0 : zi_report_error(&command, &error);
    }
    free(key_text);
    zi_option_list_free(&origins);
    zi_option_list_free(&hosts);
    zi_option_list_free(&proxies);
    return code;
}
