/* zimage serve: the page and the API. */
#include "cli.h"

#include "server/server.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

/* Waits for a signal to end; they are blocked in all threads, so that none is lost. */
static void wait_for_end(const sigset_t *signals)
{
    int number;
    while (sigwait(signals, &number) != 0) continue;
}

static void block_signals(sigset_t *signals)
{
    sigemptyset(signals);
    sigaddset(signals, SIGINT);
    sigaddset(signals, SIGTERM);
    sigaddset(signals, SIGHUP);
    pthread_sigmask(SIG_BLOCK, signals, NULL);
}

static bool run(const zi_server_options *o, zi_error *error)
{
    zi_server *server = NULL;
    sigset_t signals;
    block_signals(&signals);
    if (!zi_server_start(o, &server, error)) return false;
    puts(zi_server_url(server));
    fflush(stdout);
    wait_for_end(&signals);
    zi_server_stop(server);
    return true;
}

/* model: what -m says, or NULL. The server has a registry of its own, in which clients find models
 * by their names alone. */
static bool serve(zi_server_options *o, const char *folder, const char *model, zi_error *error)
{
    zi_user_registry models;
    zi_found found = {0};
    if (!zi_user_registry_open(folder, &models, error)) return false;
    bool ok = !model || zi_registry_find(models.registry, model, &found, error);
    o->registry = models.options;
    o->registry.model = found.path;
    o->registry.names_only = true;
    ok = ok && run(o, error);
    zi_found_free(&found);
    zi_user_registry_close(&models);
    return ok;
}

int cmd_serve(int argc, char **argv)
{
    zi_server_options o = {.port = 7860, .output = "output"};
    const char *model = NULL, *folder = NULL;
    o.engine.scratch = getenv("TMPDIR");
    const zi_option options[] = {
        {"host", 0, ZI_OPTION_TEXT, &o.host, 0, 0, "ADDRESS",
         "where to listen (127.0.0.1: this machine only)", NULL},
        {"port", 'p', ZI_OPTION_INT, &o.port, 0, 65535, "N", "(7860); 0: one that is free", NULL},
        {"api-key", 0, ZI_OPTION_TEXT, &o.key, 0, 0, "KEY", "that clients must send", NULL},
        {"insecure", 0, ZI_OPTION_FLAG, &o.insecure, 0, 0, NULL,
         "listen beyond this machine without a key", NULL},
        {"models", 0, ZI_OPTION_TEXT, &folder, 0, 0, "DIR", "the models folder (models)", NULL},
        {"output", 'o', ZI_OPTION_TEXT, &o.output, 0, 0, "DIR",
         "where pictures and their history are kept (output)", NULL},
        {"import", 0, ZI_OPTION_TEXT, &o.import, 0, 0, "DIR",
         "clients may import models from below this folder, too", NULL},
        {"model", 'm', ZI_OPTION_TEXT, &model, 0, 0, "MODEL",
         "draws when none is chosen (the only one in the models folder, or the demo model)", NULL},
        {"vae", 0, ZI_OPTION_TEXT, &o.load.vae, 0, 0, "PATH", "MODEL's VAE is here", NULL},
        {"text-encoder", 0, ZI_OPTION_TEXT, &o.load.text_encoder, 0, 0, "PATH",
         "MODEL's text encoder is here", NULL},
        {"reference", 0, ZI_OPTION_TEXT, &o.load.reference, 0, 0, "DIR",
         "a folder that lends what models lack", NULL},
        {"threads", 't', ZI_OPTION_INT, &o.engine.threads, 1, 1024, "N", "(all the machine has)",
         NULL},
        {"cpu", 0, ZI_OPTION_TEXT, &o.engine.cpu, 0, 0, "TIER", "kernels to use (the best)", NULL},
        {0},
    };
    const zi_command command = {
        "serve", "Serves a page to draw with, and an API, until it is interrupted.", NULL, options};
    zi_error error = {0};
    int code;
    if (!zi_options_parse(&command, argc, argv, NULL, &code)) return code;
    return serve(&o, folder, model, &error) ? 0 : zi_report(&command, &error);
}
