/* Images in the terminal: the protocols of kitty and iTerm2, and sixels. */
#include "generate.h"

#include "server/base64.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

enum {
    MAX_SIDE = 512,     /* pixels of the image that is shown */
    KITTY_CHUNK = 4096, /* bytes of base64 in one sequence */
    ANSWER_MS = 300,    /* how long the terminal may take to say what it can */
};

/* ---- what the terminal can do ---- */

/* The value of an environment variable; "" when it is not set. */
static const char *env(const char *name)
{
    const char *value = getenv(name);
    return value ? value : "";
}

/* Whether the answer to "what are you" (ESC [ ? 6 2 ; 4 ; 6 c) lists sixels: the attribute 4. */
static bool lists_sixels(const char *answer)
{
    const char *at = strstr(answer, "\033[?");
    if (!at) return false;
    for (at += 3; *at && *at != 'c'; at++)
        if (at[0] == ';' && at[1] == '4' && (at[2] == ';' || at[2] == 'c')) return true;
    return false;
}

/* Asks the terminal of the stream for its attributes and waits for the answer. Does not ask, and
 * returns false, as a background job, or when something was typed that would be read as the answer.
 */
static bool terminal_has_sixels(FILE *stream)
{
    struct termios before, raw;
    struct pollfd wait = {.fd = STDIN_FILENO, .events = POLLIN};
    char answer[128] = "";
    size_t size = 0;
    if (!isatty(STDIN_FILENO) || tcgetpgrp(STDIN_FILENO) != getpgrp() ||
        tcgetattr(STDIN_FILENO, &before) != 0)
        return false;
    raw = before;
    raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    raw.c_cc[VMIN] = 0;
    raw.c_cc[VTIME] = 0;
    if (tcsetattr(STDIN_FILENO, TCSANOW, &raw) != 0) return false;
    if (poll(&wait, 1, 0) == 0) {
        fputs("\033[c", stream);
        fflush(stream);
        while (size < sizeof answer - 1 && !strchr(answer, 'c') && poll(&wait, 1, ANSWER_MS) > 0) {
            ssize_t got = read(STDIN_FILENO, answer + size, sizeof answer - 1 - size);
            if (got <= 0) break;
            size += (size_t)got;
            answer[size] = 0;
        }
    }
    tcsetattr(STDIN_FILENO, TCSANOW, &before);
    return lists_sixels(answer);
}

/* The protocol of the stream's terminal, by its variables or by asking; ZI_SHOW_OFF: none. Within
 * tmux or screen only sixels can work, if the terminal says so. */
static int detect_protocol(FILE *stream)
{
    const char *term = env("TERM"), *program = env("TERM_PROGRAM");
    bool nested = *env("TMUX") || !strncmp(term, "screen", 6) || !strncmp(term, "tmux", 4);
    if (!nested) {
        if (*env("KITTY_WINDOW_ID") || !strcmp(term, "xterm-kitty") ||
            !strcmp(term, "xterm-ghostty") || !strcmp(program, "ghostty"))
            return ZI_SHOW_KITTY;
        if (!strcmp(program, "iTerm.app") || !strcmp(program, "WezTerm") ||
            !strcmp(env("LC_TERMINAL"), "iTerm2"))
            return ZI_SHOW_ITERM2;
    }
    return terminal_has_sixels(stream) ? ZI_SHOW_SIXEL : ZI_SHOW_OFF;
}

/* ---- protocols ---- */

/* Prints base64 of a PNG file in kitty's graphics protocol, without an answer. */
static void print_kitty(const char *text, FILE *stream)
{
    size_t left = strlen(text);
    for (bool first = true; left; first = false) {
        size_t size = left < KITTY_CHUNK ? left : KITTY_CHUNK;
        left -= size;
        fprintf(stream, "\033_G%sm=%d;%.*s\033\\", first ? "a=T,f=100,q=2," : "", left > 0,
                (int)size, text);
        text += size;
    }
    fputc('\n', stream);
}

/* Prints base64 of a PNG file of `size` bytes as iTerm2's inline image. */
static void print_iterm2(const char *text, size_t size, FILE *stream)
{
    fprintf(stream, "\033]1337;File=inline=1;size=%zu;preserveAspectRatio=1:%s\a\n", size, text);
}

char *zi_png_base64(const zi_image *image, size_t *size)
{
    zi_save_options save = {.format = ZI_FORMAT_PNG};
    uint8_t *png = NULL;
    if (!zi_image_encode(image, &save, &png, size, NULL)) return NULL;
    char *text = zi_base64_encode(png, *size);
    zi_free(png);
    return text;
}

/* Prints the image in one of the two protocols that take files. Without memory nothing. */
static void print_file(int protocol, const zi_image *image, FILE *stream)
{
    size_t size;
    char *text = zi_png_base64(image, &size);
    if (text && protocol == ZI_SHOW_KITTY) print_kitty(text, stream);
    if (text && protocol == ZI_SHOW_ITERM2) print_iterm2(text, size, stream);
    free(text);
}

/* ---- the image ---- */

zi_image *zi_image_reduce(const zi_image *image, int max_width, int max_height)
{
    double scale = 1;
    if (image->width > max_width) scale = (double)max_width / image->width;
    if (image->height * scale > max_height) scale = (double)max_height / image->height;
    int width = (int)(image->width * scale), height = (int)(image->height * scale);
    if (width < 1) width = 1;
    if (height < 1) height = 1;
    zi_image *out = calloc(1, sizeof *out);
    uint8_t *pixels = malloc((size_t)width * (size_t)height * 3);
    if (!out || !pixels) {
        free(out);
        free(pixels);
        return NULL;
    }
    *out = (zi_image){width, height, pixels};
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++) {
            int y0 = (int)((long)y * image->height / height),
                x0 = (int)((long)x * image->width / width);
            int y1 = (int)((long)(y + 1) * image->height / height);
            int x1 = (int)((long)(x + 1) * image->width / width);
            long sums[3] = {0}, count = (long)(y1 - y0) * (x1 - x0);
            for (int v = y0; v < y1; v++)
                for (int u = x0; u < x1; u++)
                    for (int c = 0; c < 3; c++)
                        sums[c] +=
                            image->pixels[((size_t)v * (size_t)image->width + (size_t)u) * 3 +
                                          (size_t)c];
            for (int c = 0; c < 3; c++) *pixels++ = (uint8_t)((sums[c] + count / 2) / count);
        }
    return out;
}

/* The width in pixels that an image may have in the terminal fd. */
static int pixel_width(int fd)
{
    struct winsize size = {0};
    int width = 8 * zi_terminal_columns(fd);
    if (ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_xpixel > 0) width = size.ws_xpixel;
    return width < MAX_SIDE ? width : MAX_SIDE;
}

void zi_show_image(const zi_generate_args *args, const zi_image *image, bool on_stdout)
{
    int protocol = args->show;
    FILE *stream = on_stdout ? stderr : stdout;
    if (protocol == ZI_SHOW_OFF || args->json) return;
    if (protocol == ZI_SHOW_AUTO &&
        (args->quiet || on_stdout || !zi_terminal_has_escapes(STDOUT_FILENO)))
        return;
    if (protocol == ZI_SHOW_AUTO || protocol == ZI_SHOW_ON) {
        static int detected = -1;
        if (detected < 0)
            detected =
                zi_terminal_has_escapes(fileno(stream)) ? detect_protocol(stream) : ZI_SHOW_OFF;
        protocol = detected;
        if (protocol == ZI_SHOW_OFF) {
            if (args->show == ZI_SHOW_ON)
                zi_print_note(args->quiet, "the image is not shown, since this terminal does not "
                                           "report that it can show images; if it can, choose how: "
                                           "--preview kitty, --preview iterm2 or --preview sixel");
            return;
        }
    }
    zi_image *small = zi_image_reduce(image, pixel_width(fileno(stream)), MAX_SIDE);
    if (small && protocol == ZI_SHOW_SIXEL) zi_print_sixels(small, stream);
    if (small && protocol != ZI_SHOW_SIXEL) print_file(protocol, small, stream);
    fflush(stream);
    zi_image_free(small);
}
