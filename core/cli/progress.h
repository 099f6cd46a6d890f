/*
 * progress.h - how far a long command is, on stderr: one line that is written over on a terminal.
 */
#ifndef HF_CLI_PROGRESS_H
#define HF_CLI_PROGRESS_H

#include "hf/types.h"

struct hf_progress {
    bool terminal;  /* stderr is one; a caller may clear it */
    bool shown;     /* a line stands on it */
    double lines_s; /* without a terminal: a line each so many seconds; 0 = none */
    double started, last;
};

void hf_progress_begin(struct hf_progress *p, double lines_s);
double hf_progress_seconds(const struct hf_progress *p);
/* True when the next line is due, which the caller then says. */
bool hf_progress_due(struct hf_progress *p);
void hf_progress_say(struct hf_progress *p, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Takes the line off the terminal. */
void hf_progress_end(struct hf_progress *p);

#endif
