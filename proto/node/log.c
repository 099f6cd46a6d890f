/*
 * log.c - one line per event on stderr.
 *
 * Under a service manager that reads stderr into its journal (JOURNAL_STREAM names our stderr) a
 * line is "<3>unit: sentence key=value", for the journal has its own time; else it is
 * "2026-01-31T12:00:00.000Z error unit: sentence key=value".
 *
 * Invariant: one event is one line and one write(2) of at most LINE_MAX bytes, so lines of several
 * threads do not mix, and bytes of a peer inside the text cannot begin a line or steer a terminal.
 *
 * Must not: allocate, take a lock, change errno, or fail: an event that cannot be written is lost.
 *
 * Read next: include/hf/world.h, where `note` of a driver ends up here.
 */
#include "hf/log.h"

#include "hf/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LINE_MAX_BYTES 1000u

static _Atomic int lowest_level = HF_LEVEL_INFO;
static atomic_bool to_journal;

/* JOURNAL_STREAM is inherited by children whose stderr is another file, so it is compared. */
static bool stderr_is_journal(void)
{
    const char *text = getenv("JOURNAL_STREAM");
    unsigned long long device = 0;
    unsigned long long inode = 0;
    struct stat st;
    if (text == NULL || sscanf(text, "%llu:%llu", &device, &inode) != 2 ||
        fstat(STDERR_FILENO, &st) != 0) {
        return false;
    }
    return st.st_dev == device && st.st_ino == inode;
}

void hf_log_init(enum hf_level lowest)
{
    atomic_store(&lowest_level, (int)lowest);
    atomic_store(&to_journal, stderr_is_journal());
}

static const char *level_name(enum hf_level level)
{
    switch (level) {
    case HF_LEVEL_ERROR:
        return "error";
    case HF_LEVEL_WARN:
        return "warn";
    case HF_LEVEL_INFO:
        return "info";
    case HF_LEVEL_DEBUG:
        return "debug";
    }
    HF_UNREACHABLE();
}

bool hf_level_parse(const char *text, enum hf_level *level)
{
    for (int i = HF_LEVEL_ERROR; i <= HF_LEVEL_DEBUG; i++) {
        if (strcmp(text, level_name((enum hf_level)i)) == 0) {
            *level = (enum hf_level)i;
            return true;
        }
    }
    return false;
}

/* The syslog severities: err, warning, info, debug. */
static int journal_level(enum hf_level level)
{
    switch (level) {
    case HF_LEVEL_ERROR:
        return 3;
    case HF_LEVEL_WARN:
        return 4;
    case HF_LEVEL_INFO:
        return 6;
    case HF_LEVEL_DEBUG:
        return 7;
    }
    HF_UNREACHABLE();
}

static size_t write_prefix(char *line, size_t size, enum hf_level level)
{
    if (atomic_load(&to_journal)) {
        return (size_t)snprintf(line, size, "<%d>", journal_level(level));
    }
    struct timespec now = {0};
    struct tm t;
    char stamp[32] = "";
    clock_gettime(CLOCK_REALTIME, &now);
    if (gmtime_r(&now.tv_sec, &t) != NULL) {
        strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &t);
    }
    return (size_t)snprintf(line, size, "%s.%03ldZ %s ", stamp, now.tv_nsec / 1000000,
                            level_name(level));
}

/* Replaces C0 controls, DEL, and the C1 controls in their UTF-8 form (0xC2 0x80..0x9F). */
static void disarm(char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        unsigned char next = i + 1 < len ? (unsigned char)text[i + 1] : 0;
        if (c < 0x20 || c == 0x7f) {
            text[i] = '?';
        } else if (c == 0xc2 && next >= 0x80 && next < 0xa0) {
            text[i] = '?';
            text[i + 1] = '?';
        }
    }
}

void hf_log(enum hf_level level, const char *format, ...)
{
    if ((int)level > atomic_load(&lowest_level)) {
        return;
    }
    int saved = errno;
    char line[LINE_MAX_BYTES];
    size_t room = sizeof(line) - 1; /* for the line end */
    size_t at = write_prefix(line, room, level);
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line + at, room - at, format, args);
    va_end(args);
    size_t len = n < 0 ? 0 : (size_t)n;
    bool cut = len >= room - at;
    if (cut) {
        len = room - at - 1;
    }
    disarm(line + at, len);
    at += len;
    if (cut) {
        memcpy(line + at - 3, "...", 3);
    }
    line[at++] = '\n';
    (void)!write(STDERR_FILENO, line, at);
    errno = saved;
}
