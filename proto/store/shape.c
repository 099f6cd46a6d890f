/*
 * shape.c - measures the data file before it is mapped.
 *
 * A file shorter than its meta pages promise kills the process by SIGBUS when the missing part is
 * touched, so its size is compared with them first. Short is not yet wrong: LMDB does not write a
 * page that was freed in the transaction that took it, and such a page can be the last one. A short
 * file is therefore walked in a child process, which may die of it; only if the child comes back
 * well is the file made longer, and opened.
 *
 * It reads LMDB's meta pages (lmdb_layout.h) and writes nothing but the size.
 * Read env.c for where it is called.
 */
#include "lmdb_layout.h"
#include "state_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct shape {
    uint64_t file_bytes;
    uint64_t needed; /* by the newer of the two meta pages */
};

static enum hf_err read_meta(int fd, uint8_t meta[LMDB_META_BYTES], uint64_t at)
{
    ssize_t n = pread(fd, meta, LMDB_META_BYTES, (off_t)at);
    if (n < 0) {
        return hf_env_error(errno);
    }
    return n == (ssize_t)LMDB_META_BYTES ? HF_OK : HF_CORRUPT;
}

static enum hf_err read_shape(int fd, struct shape *out)
{
    uint8_t m[2][LMDB_META_BYTES];
    uint64_t last[2];
    uint64_t txn[2];
    uint32_t magic;
    uint32_t psize;
    struct stat st;
    if (fstat(fd, &st) != 0) {
        return HF_IO;
    }
    out->file_bytes = (uint64_t)st.st_size;
    enum hf_err err = read_meta(fd, m[0], 0);
    if (err != HF_OK) {
        return err;
    }
    memcpy(&psize, m[0] + LMDB_META_FREE_AT, sizeof(psize));
    if (psize < 512 || psize > 65536 || (psize & (psize - 1)) != 0) {
        return HF_CORRUPT;
    }
    err = read_meta(fd, m[1], psize);
    if (err != HF_OK) {
        return err;
    }
    for (int i = 0; i < 2; i++) {
        memcpy(&magic, m[i] + LMDB_META_MAGIC_AT, sizeof(magic));
        memcpy(&last[i], m[i] + LMDB_META_LAST_AT, sizeof(last[i]));
        memcpy(&txn[i], m[i] + LMDB_META_TXN_AT, sizeof(txn[i]));
        if (magic != LMDB_META_MAGIC || last[i] > UINT64_MAX / 65536 - 1) {
            return HF_CORRUPT;
        }
    }
    out->needed = (last[txn[1] > txn[0]] + 1) * psize;
    return HF_OK;
}

/* What a child that walks ends with; also by a signal, it has met damage. */
enum walked { WALKED_ALL, WALKED_INTO_DAMAGE, NOT_WALKED };

/* Touches every page that the newest transaction can reach, the list of free pages included. */
static enum walked walk_all(const struct hf_state *s)
{
    MDB_env *env = NULL;
    MDB_txn *txn = NULL;
    MDB_dbi table[HF_TABLE_COUNT + 1] = {0}; /* the last one is LMDB's own list of free pages, 0 */
    enum hf_err e = hf_env_new(s, s->dir, MDB_RDONLY | MDB_NOLOCK | MDB_NOTLS, &env);
    if (e != HF_OK) {
        return e == HF_CORRUPT ? WALKED_INTO_DAMAGE : NOT_WALKED;
    }
    int rc = mdb_txn_begin(env, NULL, MDB_RDONLY, &txn);
    if (rc != 0) {
        return NOT_WALKED;
    }
    rc = hf_tables_open(txn, 0, table);
    if (rc != 0) {
        return rc == ENOMEM ? NOT_WALKED : WALKED_INTO_DAMAGE;
    }
    for (unsigned i = 0; i <= HF_TABLE_COUNT; i++) {
        MDB_cursor *c;
        MDB_val k;
        MDB_val v;
        rc = mdb_cursor_open(txn, table[i], &c);
        while (rc == 0 && (rc = hf_lmdb_cursor_get(c, &k, &v, MDB_NEXT)) == 0) {
            for (size_t at = 0; at < v.mv_size; at += 512) {
                (void)((const volatile uint8_t *)v.mv_data)[at];
            }
        }
        if (rc != MDB_NOTFOUND) {
            return rc == ENOMEM ? NOT_WALKED : WALKED_INTO_DAMAGE;
        }
    }
    return WALKED_ALL;
}

/* HF_CORRUPT; anything else: it could not be tried. */
static enum hf_err walk_in_child(const struct hf_state *s)
{
    int status = 0;
    pid_t parent = getpid();
    pid_t child = fork();
    if (child == 0) {
        hf_child_ends_with(parent);
        signal(SIGBUS, SIG_DFL);
        signal(SIGSEGV, SIG_DFL);
        signal(SIGABRT, SIG_DFL);
        _exit(walk_all(s));
    }
    if (child < 0) {
        return hf_env_error(errno);
    }
    while (waitpid(child, &status, 0) < 0) {
        if (errno != EINTR) {
            return HF_IO;
        }
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) != WALKED_INTO_DAMAGE) {
        return WEXITSTATUS(status) == WALKED_ALL ? HF_OK : HF_IO;
    }
    /* Nothing that it meets kills it so: somebody else did, for want of memory say. */
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL ? HF_IO : HF_CORRUPT;
}

enum hf_err hf_shape_check(struct hf_state *s, const char *path, struct hf_error *e)
{
    struct shape shape = {0, 0};
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        return hf_error_set(e, hf_env_error(errno), "%s: %s", path, strerror(errno));
    }
    enum hf_err err = read_shape(fd, &shape);
    if (err != HF_OK) {
        hf_error_set(e, err, "%s: the first two pages of the store %s", path,
                     err == HF_CORRUPT ? "are damaged" : "cannot be read");
    } else if (shape.file_bytes < shape.needed) {
        err = walk_in_child(s);
        if (err == HF_OK && ftruncate(fd, (off_t)shape.needed) != 0) {
            err = hf_env_error(errno);
        }
        if (err != HF_OK) {
            hf_error_set(e, err, "%s: the file has %llu bytes and should have %llu", path,
                         (unsigned long long)shape.file_bytes, (unsigned long long)shape.needed);
        }
    }
    close(fd);
    while (err == HF_OK && s->map_bytes < shape.needed) {
        s->map_bytes *= 2; /* an earlier run has grown it */
    }
    return err;
}
