/*
 * log.h - one line per event on stderr: "level unit: sentence key=value".
 *
 * Lines are written with one write(2), cut at 1,000 bytes, and control bytes in them are replaced,
 * so that nothing from the network can forge a line. With a service manager (JOURNAL_STREAM) the
 * level is a "<3>" prefix and there is no time; otherwise the line begins with UTC time. Any
 * thread.
 */
#ifndef HF_LOG_H
#define HF_LOG_H

#include "hf/world.h"

/* "error", "warn", "info" or "debug"; false for anything else. */
bool hf_level_parse(const char *text, enum hf_level *level);
void hf_log_init(enum hf_level lowest);
void hf_log(enum hf_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
