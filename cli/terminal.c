/* What the terminal can do: escape sequences, width, and a line of status that is written over. */
#include "cli.h"

#include "base/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

bool zi_terminal_has_escapes(int fd)
{
    const char *term = getenv("TERM");
    return isatty(fd) && term && *term && strcmp(term, "dumb") != 0;
}

int zi_terminal_columns(int fd)
{
    struct winsize size = {0};
    const char *columns = getenv("COLUMNS");
    if (ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
    int count = columns ? atoi(columns) : 0;
    return count > 0 ? count : 80;
}

bool zi_stderr_wants_lines(void)
{
    struct stat st;
    if (isatty(STDERR_FILENO)) return !zi_terminal_has_escapes(STDERR_FILENO);
    return fstat(STDERR_FILENO, &st) == 0 && S_ISREG(st.st_mode);
}

bool zi_stderr_wants_bar(void)
{
    return zi_terminal_has_escapes(STDERR_FILENO);
}

void zi_print_status(const char *text)
{
    size_t size = 0;
    /* One column stays free: some terminals begin a new line after the last one. */
    for (int left = zi_terminal_columns(STDERR_FILENO) - 1; text[size] && left > 0; left--) {
        size_t bytes = zi_utf8_sequence(text + size, strlen(text + size));
        size += bytes ? bytes : 1;
    }
    fprintf(stderr, "\r%.*s\033[K", (int)size, text);
    fflush(stderr);
}

void zi_clear_status(void)
{
    fputs("\r\033[K", stderr);
}

const char *zi_format_bar(double fraction, int width, char bar[ZI_BAR_WIDTH + 4])
{
    int cells = width > ZI_BAR_WIDTH ? ZI_BAR_WIDTH : width;
    bar[0] = 0;
    if (cells < 4) return bar;
    bar[0] = ' ';
    bar[1] = '[';
    for (int i = 0; i < cells; i++) bar[2 + i] = i < (int)(fraction * cells + 0.5) ? '#' : '.';
    bar[2 + cells] = ']';
    bar[3 + cells] = 0;
    return bar;
}
