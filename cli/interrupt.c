/* Ctrl-C: the first one asks, and stops waiting for an answer after half a second; the second one
 * does not ask. */
#include "cli.h"

#include "base/file.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/time.h>
#include <unistd.h>

enum { PATIENCE_MICROSECONDS = 500000 };

/* Not sig_atomic_t: the handler may run in another thread than the one that looks. */
static atomic_int signals;
static bool on_terminal;

static void leave(void)
{
    static const char text[] = "\nzimage: cancelled\n"; /* the newline ends a bar */
    int skip = on_terminal ? 0 : 1;
    zi_output_abandon_all();
    if (write(STDERR_FILENO, text + skip, sizeof text - 1 - (size_t)skip) < 0) _exit(1);
    _exit(1);
}

static void handle(int number)
{
    int saved = errno;
    if (number == SIGALRM || atomic_fetch_add(&signals, 1) > 0) leave();
    struct itimerval timer = {.it_value = {.tv_usec = PATIENCE_MICROSECONDS}};
    setitimer(ITIMER_REAL, &timer, NULL);
    errno = saved;
}

void zi_interrupt_install(void)
{
    static const int numbers[] = {SIGALRM, SIGINT, SIGTERM, SIGHUP};
    struct sigaction action = {.sa_handler = handle, .sa_flags = SA_RESTART}, before;
    sigemptyset(&action.sa_mask);
    on_terminal = isatty(STDERR_FILENO);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        /* Who starts a program with a signal ignored (nohup) wants it to stay so. */
        if (numbers[i] != SIGALRM && sigaction(numbers[i], NULL, &before) == 0 &&
            before.sa_handler == SIG_IGN)
            continue;
        sigaction(numbers[i], &action, NULL);
    }
}

bool zi_interrupted(void)
{
    return atomic_load(&signals) > 0;
}
