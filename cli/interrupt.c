/* Signals: the first one asks the program to stop and starts a timer of half a second; the timer or
 * a second signal ends it at once. */
#include "cli.h"

#include "base/file.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/time.h>
#include <unistd.h>

enum { GRACE_MICROSECONDS = 500000 };

/* Atomic, since the handler may run in another thread than the reader. */
static atomic_int signal_count;
static bool on_terminal;

/* Removes temporary files, prints "zimage: cancelled" to standard error and exits with code 1;
 * async-signal-safe. */
static void exit_now(void)
{
    static const char text[] = "\nzimage: cancelled\n"; /* the newline ends a progress bar */
    int skip = on_terminal ? 0 : 1;
    zi_output_abandon_all();
    if (write(STDERR_FILENO, text + skip, sizeof text - 1 - (size_t)skip) < 0) _exit(1);
    _exit(1);
}

/* The signal handler. The first signal starts the timer of GRACE_MICROSECONDS; a second one, or the
 * timer's SIGALRM, ends the program at once. */
static void on_signal(int number)
{
    int saved = errno;
    if (number == SIGALRM || atomic_fetch_add(&signal_count, 1) > 0) exit_now();
    struct itimerval timer = {.it_value = {.tv_usec = GRACE_MICROSECONDS}};
    setitimer(ITIMER_REAL, &timer, NULL);
    errno = saved;
}

void zi_interrupt_install(void)
{
    static const int numbers[] = {SIGALRM, SIGINT, SIGTERM, SIGHUP};
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART}, before;
    sigemptyset(&action.sa_mask);
    on_terminal = isatty(STDERR_FILENO);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        /* Signals that are ignored at the start (nohup) stay ignored. */
        if (numbers[i] != SIGALRM && sigaction(numbers[i], NULL, &before) == 0 &&
            before.sa_handler == SIG_IGN)
            continue;
        sigaction(numbers[i], &action, NULL);
    }
}

bool zi_interrupted(void)
{
    return atomic_load(&signal_count) > 0;
}
