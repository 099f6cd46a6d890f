/*
 * seeds.h - a file of runs that failed once, and must never fail again.
 *
 * One run a line: DATE COMMIT RULE and the options of `holdfast-sim run`; '#' begins a comment:
 *
 *     2026-11-21 e991b65 G9 --seed 90 --edges 4 --duration 40 --every 1000 --faults disk-error
 *
 * A change of how faults are drawn gives an old seed another run. It is kept all the same: it costs
 * little, and says what was found and when.
 */
#ifndef HF_SIM_SEEDS_H
#define HF_SIM_SEEDS_H

#include "sim/trial.h"

/* The second word of a line can be no other: one word, of at most SEEDS_COMMIT_MAX bytes. */
#define SEEDS_COMMIT_MAX 64u
bool seeds_is_commit(const char *text);
/* Adds a line. False with a message on stderr. */
bool seeds_append(const char *path, const char *commit, const struct outcome *o);
/* Runs all of a file, each apart. Prints those that fail; returns the exit status: 0 none, 1 some,
 * 2 the file cannot be read (with a message that names the line). */
int seeds_replay(const char *path, uint32_t limit_s);

#endif
