/*
 * mark.c - reading and replacing the high-water mark file; the format is in the header.
 */
#include "core/mark.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define MARK_BYTES_MAX 160u
#define PATH_BYTES_MAX 1024u

static enum hf_err mark_parse(char *text, struct hf_position *at)
{
    char *seq = strchr(text, ' ');
    char *chain = seq == NULL ? NULL : strchr(seq + 1, ' ');
    char *end = chain == NULL ? NULL : strchr(chain + 1, '\n');
    if (end == NULL || end[1] != '\0') {
        return HF_MALFORMED;
    }
    *seq++ = *chain++ = *end = '\0';
    char *rest;
    errno = 0;
    uint64_t n = strtoull(seq, &rest, 10);
    if (errno != 0 || rest == seq || *rest != '\0') {
        return HF_MALFORMED;
    }
    struct hf_position p = {.seq = n};
    if (hf_unhex(text, p.epoch_id.b, HF_ID_BYTES) != HF_OK ||
        hf_unhex(chain, p.chain.b, HF_HASH_BYTES) != HF_OK) {
        return HF_MALFORMED;
    }
    *at = p;
    return HF_OK;
}

enum hf_err hf_mark_read(const char *path, struct hf_position *at)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return errno == ENOENT ? HF_NOTFOUND : HF_IO;
    }
    char text[MARK_BYTES_MAX + 1];
    ssize_t n = read(fd, text, MARK_BYTES_MAX);
    close(fd);
    if (n < 0) {
        return HF_IO;
    }
    text[n] = '\0';
    return mark_parse(text, at);
}

enum hf_err hf_mark_set_aside(const char *path)
{
    char aside[PATH_BYTES_MAX];
    int n = snprintf(aside, sizeof(aside), "%s.unreadable", path);
    if (n < 0 || (size_t)n >= sizeof(aside)) {
        return HF_ARG;
    }
    /* One that is there already may be what proves a rollback. */
    if (link(path, aside) != 0) {
        return errno == EEXIST ? HF_EXISTS : HF_IO;
    }
    return unlink(path) == 0 ? HF_OK : HF_IO;
}

enum hf_err hf_mark_write(const char *path, const struct hf_position *at)
{
    char epoch[2 * HF_ID_BYTES + 1];
    char chain[2 * HF_HASH_BYTES + 1];
    char text[MARK_BYTES_MAX];
    char temporary[PATH_BYTES_MAX];
    hf_hex(at->epoch_id.b, HF_ID_BYTES, epoch);
    hf_hex(at->chain.b, HF_HASH_BYTES, chain);
    int len = snprintf(text, sizeof(text), "%s %" PRIu64 " %s\n", epoch, at->seq, chain);
    int path_len = snprintf(temporary, sizeof(temporary), "%s.new", path);
    if (len < 0 || path_len < 0 || (size_t)path_len >= sizeof(temporary)) {
        return HF_ARG;
    }
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) {
        return HF_IO;
    }
    ssize_t n = write(fd, text, (size_t)len);
    close(fd);
    if (n != len || rename(temporary, path) != 0) {
        unlink(temporary);
        return HF_IO;
    }
    return HF_OK;
}
