/* Signals: the first one asks the program to stop and starts a timer of half a second; the timer or
 * a second signal ends it at once. In both cases the program dies of the first signal, so that a
 * shell's loop ends with it. */
#include "cli.h"

#include "base/file.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

enum { GRACE_MICROSECONDS = 500000 };

/* Atomic, since the handler may run in another thread than the reader. */
static atomic_int signal_count, first_signal;
static atomic_bool reported;
static bool on_terminal;

bool zi_interrupt_claim_report(void)
{
    return !atomic_exchange(&reported, true);
}

/* Gives the signal its default effect and sends it to this process, which dies of it;
 * async-signal-safe. Ends the process by _exit if it survives. */
static void die_of(int number)
{
    sigset_t set;
    signal(number, SIG_DFL);
    sigemptyset(&set);
    sigaddset(&set, number);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    kill(getpid(), number);
    _exit(128 + number);
}

/* Removes temporary files, says "cancelled" if nobody did, as a line on standard error or an event
 * on standard output, and dies of the first signal; async-signal-safe. */
static void exit_now(void)
{
    static const char text[] = "\nzimage: cancelled\n"; /* the newline ends a progress bar */
    static const char event[] = "{\"event\":\"cancelled\"}\n";
    int skip = on_terminal ? 0 : 1;
    ssize_t written = 0;
    zi_output_abandon_all();
    if (zi_interrupt_claim_report()) {
        if (!zi_json_messages())
            written = write(STDERR_FILENO, text + skip, sizeof text - 1 - (size_t)skip);
        else if (!zi_event_in_progress())
            written = write(STDOUT_FILENO, event, sizeof event - 1);
    }
    (void)written; /* there is nobody to tell */
    die_of(atomic_load(&first_signal));
}

/* Lets SIGALRM come after GRACE_MICROSECONDS; async-signal-safe. */
static void start_timer(void)
{
    struct itimerval timer = {.it_value = {.tv_usec = GRACE_MICROSECONDS}};
    setitimer(ITIMER_REAL, &timer, NULL);
}

/* The signal handler. The first signal starts the timer of GRACE_MICROSECONDS; a second one, or the
 * timer's SIGALRM, ends the program at once. But once the program says that it is cancelled, a
 * second one does nothing: it would cut that line, and the program ends after it. */
static void on_signal(int number)
{
    int saved = errno, none = 0;
    if (number != SIGALRM) atomic_compare_exchange_strong(&first_signal, &none, number);
    bool first = number != SIGALRM && atomic_fetch_add(&signal_count, 1) == 0;
    if (number == SIGALRM || (!first && !atomic_load(&reported))) exit_now();
    if (first) start_timer();
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

void zi_interrupt_finish(void)
{
    if (!zi_interrupted()) return;
    zi_output_abandon_all();
    die_of(atomic_load(&first_signal));
}
