/*
 * stdio.h - the three descriptors that a program is given, and whether its output arrived.
 *
 * Main thread only.
 */
#ifndef HF_STDIO_H
#define HF_STDIO_H

#include <stdbool.h>

/* Puts something in place of 0, 1 and 2 where the caller closed them, on which reading and writing
 * fail. Else the next file or socket would take the number, and a message for people would be
 * written into it. To be called before anything is opened. */
void hf_stdio_open(void);
/* Flushes stdout. False when not all of the output arrived, after "name: cannot write the output";
 * without that message when it was a pipe whose reader had seen enough (`| head -1`). */
bool hf_stdio_finish(const char *name);

#endif
