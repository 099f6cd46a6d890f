/*
 * keyfile.c - identities on disk.
 *
 *   file = "holdfast-key-v1 " and 64 lower-case hex digits (the Ed25519 seed), and a line end
 *
 * Invariant: a key that others could have read or replaced is not used: the file is opened without
 * following a link, and what was opened (not what the path names later) must be a regular file of
 * the effective user with no permission for anyone else. A new key has its name only once it is on
 * disk, and never takes the place of another.
 *
 * Must not: print or return key material, or leave it in memory that is not guarded: text and seed
 * are kept in one block of hf_secret_new, which is wiped when it is freed.
 *
 * Read next: include/hf/seal.h, hf_identity_from_seed.
 */
#include "hf/keyfile.h"

#include <sodium.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define PREFIX "holdfast-key-v1 "
#define PREFIX_BYTES (sizeof(PREFIX) - 1)
#define SEED_BYTES 32u
#define HEX_BYTES (2 * SEED_BYTES)
#define LINE_BYTES (PREFIX_BYTES + HEX_BYTES + 1)

struct secret_text {
    uint8_t seed[SEED_BYTES];
    char line[LINE_BYTES + 2]; /* one more than the line, to see that nothing follows, and a zero */
};

static enum hf_err errno_error(struct hf_error *e, const char *what, const char *path)
{
    int error = errno;
    enum hf_err code = HF_IO;
    if (error == ENOENT) {
        code = HF_NOTFOUND;
    } else if (error == EACCES || error == EPERM || error == ELOOP) {
        code = HF_PERMISSION;
    } else if (error == ENOSPC || error == EDQUOT) {
        code = HF_FULL;
    }
    return hf_error_set(e, code, "key file %s: %s: %s", path, what,
                        error == ELOOP ? "it is a symbolic link" : strerror(error));
}

/* ---- loading ---- */

static enum hf_err check_file(int fd, const char *path, struct hf_error *e)
{
    struct stat st;
    if (fstat(fd, &st) != 0) {
        return errno_error(e, "stat", path);
    }
    if (!S_ISREG(st.st_mode)) {
        return hf_error_set(e, HF_PERMISSION, "key file %s: not a regular file", path);
    }
    if (st.st_uid != geteuid()) {
        return hf_error_set(e, HF_PERMISSION,
                            "key file %s: owned by user %lu, but this process runs as %lu", path,
                            (unsigned long)st.st_uid, (unsigned long)geteuid());
    }
    if ((st.st_mode & 077) != 0) {
        return hf_error_set(e, HF_PERMISSION,
                            "key file %s: mode %04o lets others in, it must be 0600", path,
                            (unsigned)(st.st_mode & 07777));
    }
    return HF_OK;
}

/* The whole file, if it is no longer than a key line and one byte. */
static enum hf_err read_text(int fd, const char *path, struct secret_text *t, size_t *len,
                             struct hf_error *e)
{
    size_t at = 0;
    while (at < LINE_BYTES + 1) {
        ssize_t n = read(fd, t->line + at, LINE_BYTES + 1 - at);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return errno_error(e, "read", path);
        }
        if (n == 0) {
            break;
        }
        at += (size_t)n;
    }
    *len = at;
    return HF_OK;
}

static enum hf_err parse_text(struct secret_text *t, size_t len, const char *path,
                              struct hf_error *e)
{
    if (len == LINE_BYTES && t->line[len - 1] == '\n') {
        len--;
    }
    bool ok = len == LINE_BYTES - 1 && memcmp(t->line, PREFIX, PREFIX_BYTES) == 0;
    t->line[len] = '\0';
    if (!ok || hf_unhex(t->line + PREFIX_BYTES, t->seed, SEED_BYTES) != HF_OK) {
        return hf_error_set(e, HF_CORRUPT,
                            "key file %s: expected \"" PREFIX "\" and %u lower-case hex digits",
                            path, (unsigned)HEX_BYTES);
    }
    return HF_OK;
}

enum hf_err hf_keyfile_load(const char *path, struct hf_identity *id, struct hf_error *e)
{
    /* O_NONBLOCK: opening a pipe must fail the check below, not wait for a writer. */
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) {
        return errno_error(e, "open", path);
    }
    enum hf_err rc = HF_NOMEM;
    size_t len = 0;
    struct secret_text *t = hf_secret_new(sizeof(*t));
    if (t == NULL) {
        hf_error_set(e, rc, "key file %s: no guarded memory", path);
        goto out;
    }
    rc = check_file(fd, path, e);
    if (rc == HF_OK) {
        rc = read_text(fd, path, t, &len, e);
    }
    if (rc == HF_OK) {
        rc = parse_text(t, len, path, e);
    }
    if (rc == HF_OK && hf_identity_from_seed(id, t->seed) != HF_OK) {
        rc = hf_error_set(e, HF_NOMEM, "key file %s: no guarded memory", path);
    }
out:
    hf_secret_free(t);
    close(fd);
    return rc;
}

/* ---- creating ---- */

static bool write_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, data, len);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return false;
        }
        data += n;
        len -= (size_t)n;
    }
    return true;
}

bool hf_sync_folder_of(const char *path)
{
    char folder[PATH_MAX];
    snprintf(folder, sizeof(folder), "%s", path);
    char *slash = strrchr(folder, '/');
    if (slash == NULL) {
        snprintf(folder, sizeof(folder), ".");
    } else {
        slash[slash == folder ? 1 : 0] = '\0';
    }
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool ok = fd >= 0 && fsync(fd) == 0;
    if (fd >= 0) {
        int saved = errno;
        close(fd);
        errno = saved;
    }
    return ok;
}

/* Gives the file its name unless the name is taken. Plain rename would replace another key. */
static bool rename_new(const char *from, const char *to)
{
    if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0) {
        return true;
    }
    if (errno != EINVAL && errno != ENOSYS) {
        return false;
    }
    /* Some network file systems know no flags; a link does not replace either. */
    if (link(from, to) != 0) {
        return false;
    }
    unlink(from);
    return true;
}

static enum hf_err write_file(const char *path, const struct secret_text *t, struct hf_error *e)
{
    char temporary[PATH_MAX];
    int n = snprintf(temporary, sizeof(temporary), "%s.new.%ld", path, (long)getpid());
    if (n < 0 || (size_t)n >= sizeof(temporary)) {
        return hf_error_set(e, HF_ARG, "key file %s: the path is too long", path);
    }
    int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) {
        return errno_error(e, "create", temporary);
    }
    /* fchmod, because the umask may have taken bits from the owner too. */
    bool ok = fchmod(fd, 0600) == 0 && write_all(fd, t->line, LINE_BYTES) && fsync(fd) == 0;
    enum hf_err rc = ok ? HF_OK : errno_error(e, "write", temporary);
    close(fd);
    if (rc == HF_OK && !rename_new(temporary, path)) {
        rc = errno == EEXIST ? hf_error_set(e, HF_EXISTS, "key file %s: already exists", path)
                             : errno_error(e, "rename", path);
    }
    if (rc != HF_OK) {
        unlink(temporary);
        return rc;
    }
    return hf_sync_folder_of(path) ? HF_OK : errno_error(e, "sync of the folder", path);
}

enum hf_err hf_keyfile_create(const char *path, struct hf_identity *id, struct hf_error *e)
{
    struct secret_text *t = hf_secret_new(sizeof(*t));
    if (t == NULL) {
        return hf_error_set(e, HF_NOMEM, "key file %s: no guarded memory", path);
    }
    randombytes_buf(t->seed, SEED_BYTES);
    memcpy(t->line, PREFIX, PREFIX_BYTES);
    hf_hex(t->seed, SEED_BYTES, t->line + PREFIX_BYTES);
    t->line[LINE_BYTES - 1] = '\n';
    enum hf_err rc = write_file(path, t, e);
    if (rc == HF_OK && hf_identity_from_seed(id, t->seed) != HF_OK) {
        rc = hf_error_set(e, HF_NOMEM, "key file %s: no guarded memory", path);
    }
    hf_secret_free(t);
    return rc;
}

enum hf_err hf_keyfile_ensure(const char *path, struct hf_identity *id, bool *created,
                              struct hf_error *e)
{
    bool made = false;
    enum hf_err rc = hf_keyfile_load(path, id, e);
    if (rc == HF_NOTFOUND) {
        rc = hf_keyfile_create(path, id, e);
        made = rc == HF_OK;
    }
    if (rc == HF_EXISTS) { /* Another process made it between the two. */
        rc = hf_keyfile_load(path, id, e);
    }
    if (created != NULL) {
        *created = made;
    }
    return rc;
}
