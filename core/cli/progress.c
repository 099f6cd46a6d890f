/*
 * progress.c - how far a long command is, on stderr: one line that is written over on a terminal.
 *
 * The cursor is left at the beginning of the line, so that an error, which may come at any moment,
 * is not written behind it.
 *
 * It must not decide what is worth saying: import.c, export.c and carry.c do.
 */
#include "core/cli/progress.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

/* Often enough to look alive, too seldom to cost anything. */
#define TERMINAL_S 0.2
#define CLEAR_LINE "\r\033[K"

static double seconds_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

void hf_progress_begin(struct hf_progress *p, double lines_s)
{
    *p = (struct hf_progress){.terminal = isatty(STDERR_FILENO) != 0, .lines_s = lines_s};
    p->started = p->last = seconds_now();
}

double hf_progress_seconds(const struct hf_progress *p)
{
    return seconds_now() - p->started;
}

bool hf_progress_due(struct hf_progress *p)
{
    double every_s = p->terminal ? TERMINAL_S : p->lines_s;
    double now = seconds_now();

    if (every_s <= 0 || now - p->last < every_s) {
        return false;
    }
    p->last = now;
    return true;
}

void hf_progress_say(struct hf_progress *p, const char *format, ...)
{
    va_list args;

    if (p->terminal) {
        fputs(CLEAR_LINE, stderr);
    }
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputs(p->terminal ? "\r" : "\n", stderr);
    p->shown = p->terminal;
}

void hf_progress_end(struct hf_progress *p)
{
    if (p->shown) {
        fputs(CLEAR_LINE, stderr);
    }
    p->shown = false;
}
