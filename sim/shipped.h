/*
 * shipped.h - the scenarios that come with the simulator: found by name, listed with their titles.
 *
 * They are installed as PREFIX/share/doc/holdfast/scenarios; a program that was built but not
 * installed finds those of its source tree. Threads: none.
 */
#ifndef HF_SIM_SHIPPED_H
#define HF_SIM_SHIPPED_H

#include <stddef.h>

#include "hf/err.h"

/* Prints name and title of each to stdout. HF_NOTFOUND when there are none, with where it looked.
 */
enum hf_err shipped_list(struct hf_error *e);
/* The file that `name` means: itself if there is such a file or it has a slash, else the shipped
 * scenario of that name if there is one, else itself, for the message that it cannot be read. */
void shipped_find(const char *name, char *path, size_t cap);

#endif
