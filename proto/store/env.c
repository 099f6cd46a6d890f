/*
 * env.c - the LMDB environment under the state: lock, creation, checks before the map, grow,
 * reopen.
 *
 * DIR/lock is locked by flock for as long as the store is open: LMDB itself lets two writers wait
 * for each other, and two daemons on one directory must not. DIR/data.mdb appears by rename from
 * DIR/new, whole and synced, because a crash in LMDB's own first creation leaves a file that it
 * cannot read.
 *
 * shape.c measures an existing file before it is mapped.
 *
 * Nothing here may be called while a view is live, other than through the gate. MDB_NOSYNC and
 * MDB_WRITEMAP are never set: what a power cut leaves of such a file cannot be told from a good
 * one.
 */
#include "hf/bytes.h"
#include "hf/doctor.h"
#include "lmdb_layout.h"
#include "state_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAP_BYTES_DEFAULT (16ull << 30)
#define READERS_MAX 1024u

/* Names of the tables, in the order of enum hf_table. */
static const char *const table_names[HF_TABLE_COUNT] = {
    "state.0", "byseq.0", "state.1", "byseq.1",    "chain",
    "inbox",   "object",  "request", "requestseq", "meta",
};

enum hf_err hf_env_error(int rc)
{
    switch (rc) {
    case 0:
        return HF_OK;
    case MDB_NOTFOUND:
        return HF_NOTFOUND;
    case MDB_KEYEXIST:
        return HF_EXISTS;
    case MDB_MAP_FULL:
        return HF_MAP_FULL;
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
    case MDB_INVALID:
    case MDB_PAGE_FULL:   /* a page that contradicts itself: what fits by its head does not */
    case MDB_CURSOR_FULL: /* deeper than 32 pages: a branch that leads back up */
    /* LMDB marks a transaction that met such a page, and says no more than this from then on. The
     * marks of failed writes are not seen here: after the first one nothing is asked any more. */
    case MDB_BAD_TXN:
        return HF_CORRUPT;
    case MDB_VERSION_MISMATCH:
        return HF_MISMATCH;
    case MDB_READERS_FULL:
        return HF_BUSY;
    case ENOSPC:
    case EDQUOT:
        return HF_FULL;
    case ENOMEM:
    case MDB_TXN_FULL:
        return HF_NOMEM;
    case EACCES:
    case EPERM:
        return HF_PERMISSION;
    default:
        return HF_IO; /* MDB_PANIC, EIO, EROFS and what else a disk can say */
    }
}

struct hf_path hf_path_of(const char *dir, const char *name)
{
    struct hf_path p;
    int n = snprintf(p.text, sizeof(p.text), "%s/%s", dir, name);
    HF_ASSERT(n > 0 && (size_t)n < sizeof(p.text)); /* hf_state_open refuses longer ones */
    return p;
}

/* LMDB says EIO for a short write, which is how a disk usually turns out to be full, by quota or by
 * space. A few pages written to a file of our own tell the two apart. */
enum hf_err hf_env_judge(const struct hf_state *s, enum hf_err e)
{
    static const uint8_t pages[64 << 10];
    if (e != HF_IO) {
        return e;
    }
    struct hf_path p = hf_path_of(s->dir, "probe");
    int fd = open(p.text, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    ssize_t n = fd < 0 ? -1 : pwrite(fd, pages, sizeof(pages), 0);
    bool full = n < 0 ? errno == ENOSPC || errno == EDQUOT : (size_t)n < sizeof(pages);
    if (fd >= 0) {
        close(fd);
    }
    unlink(p.text);
    return full ? HF_FULL : HF_IO;
}

/* ---- the gate: views against grow and reopen ---- */

/* Entered and not left by this thread; of all gates, which is as good as of one. */
static _Thread_local uint32_t inside;

/* The owner that closes waits for those who are inside. A thread that is, and comes again, must not
 * wait for the owner, who waits for it. */
void hf_gate_enter(struct hf_gate *g)
{
    pthread_mutex_lock(&g->mutex);
    while (g->closed && (g->live == 0 || inside == 0)) {
        pthread_cond_wait(&g->changed, &g->mutex);
    }
    g->live++;
    inside++;
    pthread_mutex_unlock(&g->mutex);
}

void hf_gate_leave(struct hf_gate *g)
{
    pthread_mutex_lock(&g->mutex);
    HF_ASSERT(g->live > 0 && inside > 0);
    inside--;
    if (--g->live == 0) {
        pthread_cond_broadcast(&g->changed);
    }
    pthread_mutex_unlock(&g->mutex);
}

void hf_gate_close(struct hf_gate *g)
{
    pthread_mutex_lock(&g->mutex);
    g->closed = true;
    while (g->live > 0) {
        pthread_cond_wait(&g->changed, &g->mutex);
    }
    pthread_mutex_unlock(&g->mutex);
}

bool hf_gate_closing(struct hf_gate *g)
{
    pthread_mutex_lock(&g->mutex);
    bool closing = g->closed;
    pthread_mutex_unlock(&g->mutex);
    return closing;
}

void hf_gate_open(struct hf_gate *g)
{
    pthread_mutex_lock(&g->mutex);
    g->closed = false;
    pthread_cond_broadcast(&g->changed);
    pthread_mutex_unlock(&g->mutex);
}

/* ---- the lock ---- */

static enum hf_err sync_path(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return hf_env_error(errno);
    }
    enum hf_err e = fsync(fd) == 0 ? HF_OK : hf_env_error(errno);
    close(fd);
    return e;
}

static enum hf_err lock_dir(struct hf_state *s, struct hf_error *e)
{
    struct hf_path p = hf_path_of(s->dir, "lock");
    s->lock_fd = open(p.text, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (s->lock_fd < 0) {
        return hf_error_set(e, hf_env_error(errno), "%s: %s", p.text, strerror(errno));
    }
    if (flock(s->lock_fd, LOCK_EX | LOCK_NB) == 0) {
        /* The number is for the sentence below only; the lock is what counts. */
        char pid[32];
        int n = snprintf(pid, sizeof(pid), "%ld\n", (long)getpid());
        if (ftruncate(s->lock_fd, 0) != 0 || pwrite(s->lock_fd, pid, (size_t)n, 0) != n) {
            return HF_OK; /* on a full disk the sentence has no number, and that is all */
        }
        return HF_OK;
    }
    if (errno != EWOULDBLOCK) {
        return hf_error_set(e, HF_IO, "%s: cannot lock: %s", p.text, strerror(errno));
    }
    char owner[32] = "";
    ssize_t n = pread(s->lock_fd, owner, sizeof(owner) - 1, 0);
    owner[n > 0 ? strcspn(owner, "\n") : 0] = '\0';
    return hf_error_set(e, HF_LOCKED, "%s is in use by another process (pid %s)", s->dir,
                        owner[0] != '\0' ? owner : "unknown");
}

/* ---- opening ---- */

/* Readahead stays on: the sets are meant to fit memory, and a cold first touch costs 11 ms whether
 * it brings one page or many. */
enum hf_err hf_env_new(const struct hf_state *s, const char *path, unsigned flags, MDB_env **env)
{
    int rc = mdb_env_create(env);
    if (rc != 0) {
        return hf_env_error(rc);
    }
    rc = mdb_env_set_assert(*env, hf_lmdb_assert);
    if (rc == 0) {
        rc = mdb_env_set_mapsize(*env, s->map_bytes);
    }
    if (rc == 0) {
        rc = mdb_env_set_maxreaders(*env, READERS_MAX);
    }
    if (rc == 0) {
        rc = mdb_env_set_maxdbs(*env, HF_TABLE_COUNT);
    }
    if (rc == 0) {
        rc = mdb_env_open(*env, path, flags, 0600);
    }
    if (rc != 0) {
        mdb_env_close(*env);
        *env = NULL;
    }
    return hf_env_error(rc);
}

const char *hf_table_name(enum hf_table table)
{
    return table_names[table];
}

int hf_tables_open(MDB_txn *txn, unsigned flags, MDB_dbi table[HF_TABLE_COUNT])
{
    int rc = 0;
    for (unsigned i = 0; i < HF_TABLE_COUNT && rc == 0; i++) {
        rc = mdb_dbi_open(txn, table_names[i], flags, &table[i]);
    }
    return rc;
}

static int meta_put(MDB_txn *txn, MDB_dbi meta, const char *name, const void *bytes, size_t len)
{
    MDB_val k = {strlen(name), (void *)(uintptr_t)name};
    MDB_val v = {len, (void *)(uintptr_t)bytes};
    return mdb_put(txn, meta, &k, &v, 0);
}

/* The first transaction: all tables, the format, and the empty state at seq 0. */
static enum hf_err fill_new(MDB_env *env, uint32_t number)
{
    static const struct hf_head empty;
    struct hf_lthash lanes;
    MDB_dbi table[HF_TABLE_COUNT];
    MDB_txn *txn;
    uint8_t format[4];
    uint8_t head[HF_META_HEAD_MAX];
    uint8_t sum[HF_META_LANES];
    struct hf_head h = empty;
    hf_lthash_clear(&lanes);
    h.at.digest = hf_lthash_digest(&lanes);
    hf_lanes_encode(&lanes, 0, sum);
    hf_store32(format, number);
    size_t head_len = hf_head_encode(&h, head);
    int rc = mdb_txn_begin(env, NULL, 0, &txn);
    if (rc != 0) {
        return hf_env_error(rc);
    }
    rc = hf_tables_open(txn, MDB_CREATE, table);
    if (rc == 0) {
        rc = meta_put(txn, table[HF_TABLE_META], "format", format, sizeof(format));
    }
    if (rc == 0) {
        rc = meta_put(txn, table[HF_TABLE_META], "view", head, head_len);
    }
    if (rc == 0) {
        rc = meta_put(txn, table[HF_TABLE_META], "lanes", sum, sizeof(sum));
    }
    if (rc == 0) {
        return hf_env_error(mdb_txn_commit(txn));
    }
    mdb_txn_abort(txn);
    return hf_env_error(rc);
}

/* What an earlier creation left behind in DIR/new, or this one. */
static void remove_new(const char *dir)
{
    struct hf_path sub = hf_path_of(dir, "new");
    unlink(hf_path_of(sub.text, "data.mdb").text);
    unlink(hf_path_of(sub.text, "lock.mdb").text);
    rmdir(sub.text);
}

static enum hf_err create(struct hf_state *s, struct hf_error *e)
{
    struct hf_path sub = hf_path_of(s->dir, "new");
    struct hf_path made = hf_path_of(sub.text, "data.mdb");
    struct hf_path final = hf_path_of(s->dir, "data.mdb");
    MDB_env *env = NULL;
    remove_new(s->dir);
    if (mkdir(sub.text, 0700) != 0) {
        return hf_error_set(e, hf_env_error(errno), "%s: %s", sub.text, strerror(errno));
    }
    enum hf_err err = hf_env_new(s, sub.text, MDB_NOTLS, &env);
    if (err == HF_OK) {
        err = fill_new(env, s->tombstone_index ? FORMAT_TOMBSTONES : FORMAT_FULL_INDEX);
    }
    if (env != NULL) {
        mdb_env_close(env);
    }
    if (err == HF_OK) {
        err = sync_path(made.text);
    }
    if (err == HF_OK) {
        err = sync_path(sub.text);
    }
    if (err == HF_OK && rename(made.text, final.text) != 0) {
        err = hf_env_error(errno);
    }
    if (err == HF_OK) {
        err = sync_path(s->dir);
    }
    err = hf_env_judge(s, err);
    remove_new(s->dir);
    if (err != HF_OK) {
        return hf_error_set(e, err, "%s: cannot create the store: %s", s->dir, hf_err_text(err));
    }
    return HF_OK;
}

/* ---- open, close, grow, reopen ---- */

/* What every store has. */
static enum hf_err missing(int rc)
{
    return rc == MDB_NOTFOUND ? HF_CORRUPT : hf_env_error(rc);
}

/* Newer tables are not guessed at; they are not even opened before the format is known. */
static enum hf_err check_format(MDB_txn *txn, struct hf_state *s, struct hf_error *e)
{
    MDB_dbi meta;
    MDB_val k = {strlen("format"), (void *)(uintptr_t) "format"};
    MDB_val v;
    int rc = mdb_dbi_open(txn, table_names[HF_TABLE_META], 0, &meta);
    if (rc == 0) {
        rc = hf_lmdb_get(txn, meta, &k, &v);
    }
    if (rc == 0 && v.mv_size != 4) {
        rc = MDB_NOTFOUND;
    }
    if (rc != 0) {
        return hf_error_set(e, missing(rc), "%s: the store does not say its format", s->dir);
    }
    uint32_t format = hf_load32(v.mv_data);
    if (format < FORMAT_FULL_INDEX || format > HF_STATE_FORMAT) {
        return hf_error_set(e, HF_MISMATCH, "%s: store format %u, this software knows %u to %u",
                            s->dir, (unsigned)format, FORMAT_FULL_INDEX, HF_STATE_FORMAT);
    }
    s->tombstone_index = format == FORMAT_TOMBSTONES;
    rc = hf_tables_open(txn, 0, s->table);
    if (rc != 0) {
        return hf_error_set(e, missing(rc), "%s: a table is missing: %s", s->dir, mdb_strerror(rc));
    }
    return HF_OK;
}

/* The file is there and as it should be. `first`: no reopen. */
static enum hf_err open_checked(struct hf_state *s, bool first, struct hf_error *e)
{
    MDB_txn *txn = NULL;
    s->meta_synced = false;
    enum hf_err err = hf_env_new(s, s->dir, MDB_NOTLS, &s->env);
    if (err != HF_OK) {
        return hf_error_set(e, err, "%s: cannot open the store: %s", s->dir, hf_err_text(err));
    }
    /* A disk may have changed what nobody looked at since. LMDB trusts its pages: one bit of them
     * can hide a key or end the process, from the first one on in which it looks for a table, and
     * no checksum of ours is on the way to a record. */
    if (first && !hf_state_vouched(s)) {
        err = hf_state_check_pages(s, true, e);
        if (err != HF_OK) {
            goto fail;
        }
    }
    int dead = 0;
    mdb_reader_check(s->env, &dead);
    int rc = mdb_txn_begin(s->env, NULL, MDB_RDONLY, &txn);
    if (rc != 0) {
        err = hf_error_set(e, hf_env_error(rc), "%s: %s", s->dir, mdb_strerror(rc));
        goto fail;
    }
    err = check_format(txn, s, e);
    if (err != HF_OK) {
        mdb_txn_abort(txn);
        goto fail;
    }
    rc = mdb_txn_commit(txn); /* keeps the table handles, for all later transactions */
    err = rc == 0 ? hf_state_load(s, e) : hf_error_set(e, hf_env_error(rc), "%s: commit", s->dir);
    if (err == HF_OK) {
        hf_held_renew(s);
        return HF_OK;
    }
fail:
    mdb_env_close(s->env);
    s->env = NULL;
    return err;
}

static uint64_t newest_of_meta(const uint8_t *pages, size_t page_bytes)
{
    uint64_t a = hf_load64(pages + LMDB_META_TXN_AT);
    uint64_t b = hf_load64(pages + page_bytes + LMDB_META_TXN_AT);
    return a > b ? a : b;
}

static enum hf_err open_first(struct hf_state *s, struct hf_error *e)
{
    struct hf_path data = hf_path_of(s->dir, "data.mdb");
    enum hf_err err = HF_OK;
    if (access(data.text, F_OK) != 0) {
        /* Only where there is none: a new one takes the place of whatever has the name. */
        err = errno == ENOENT
                  ? create(s, e)
                  : hf_error_set(e, hf_env_error(errno), "%s: %s", data.text, strerror(errno));
    }
    if (err == HF_OK) {
        err = hf_shape_check(s, data.text, e);
    }
    return err == HF_OK ? open_checked(s, true, e) : err;
}

/* Makes what LMDB reads as its meta pages durable, by writing the same bytes again: what the kernel
 * has and what the disk has may differ. A write of one that failed may have reached the disk all
 * the same, and LMDB put the old bytes back into the kernel's copy. It would go on from that, and
 * reuse pages of the tree that the disk names; a power cut would leave that tree, overwritten. The
 * kernel may forget that copy until it is written, and then shows what LMDB, open, does not know.
 */
enum hf_err hf_env_meta_sync(struct hf_state *s)
{
    if (s->meta_synced) {
        return HF_OK;
    }
    MDB_stat st;
    int fd;
    if (mdb_env_get_fd(s->env, &fd) != 0 || mdb_env_stat(s->env, &st) != 0) {
        return HF_IO;
    }
    size_t bytes = 2 * (size_t)st.ms_psize;
    uint8_t *pages = malloc(bytes);
    if (pages == NULL) {
        return HF_NOMEM;
    }
    errno = 0;
    s->meta_synced = pread(fd, pages, bytes, 0) == (ssize_t)bytes &&
                     newest_of_meta(pages, st.ms_psize) + 1 == mdb_txn_id(s->txn) &&
                     pwrite(fd, pages, bytes, 0) == (ssize_t)bytes && fdatasync(fd) == 0;
    enum hf_err err = s->meta_synced ? HF_OK : hf_env_error(errno != 0 ? errno : EIO);
    free(pages);
    return hf_env_judge(s, err);
}

enum hf_err hf_state_open(const struct hf_state_config *c, struct hf_state **out,
                          struct hf_error *e)
{
    *out = NULL;
    if (c->dir == NULL || strlen(c->dir) + sizeof("/new/data.mdb") > PATH_MAX) {
        return hf_error_set(e, HF_ARG, "store directory: no path, or too long");
    }
    struct hf_state *s = calloc(1, sizeof(*s));
    if (s == NULL) {
        return hf_error_set(e, HF_NOMEM, "store: out of memory");
    }
    s->lock_fd = -1;
    s->map_bytes = c->map_bytes != 0 ? c->map_bytes : MAP_BYTES_DEFAULT;
    s->chainless = c->chainless;
    s->tombstone_index = c->tombstone_index; /* if it is made anew */
    pthread_mutexattr_t recursive;
    pthread_mutexattr_init(&recursive);
    pthread_mutexattr_settype(&recursive, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&s->held.mutex, &recursive);
    pthread_mutexattr_destroy(&recursive);
    pthread_mutex_init(&s->gate.mutex, NULL);
    pthread_cond_init(&s->gate.changed, NULL);
    s->dir = strdup(c->dir);
    /* Its first generation is its only one, so this is all that is ever summed up. */
    s->tree[0].adder = c->adds_beside ? hf_adder_new() : NULL;
    enum hf_err err = HF_OK;
    if (s->dir == NULL) {
        err = hf_error_set(e, HF_NOMEM, "store: out of memory");
    } else if (mkdir(s->dir, 0700) != 0 && errno != EEXIST) {
        err = hf_error_set(e, hf_env_error(errno), "%s: %s", s->dir, strerror(errno));
    }
    if (err == HF_OK) {
        err = lock_dir(s, e);
    }
    if (err == HF_OK) {
        err = open_first(s, e);
    }
    if (err == HF_OK && c->tombstone_index && !s->tombstone_index) {
        err = hf_index_change_over(s, e);
    }
    if (err != HF_OK) {
        hf_state_close(s);
        return err;
    }
    *out = s;
    return HF_OK;
}

void hf_state_close(struct hf_state *s)
{
    if (s == NULL) {
        return;
    }
    HF_ASSERT(s->views == NULL);
    hf_state_abort(s);
    hf_held_drop(s);
    if (s->env != NULL) {
        mdb_env_close(s->env);
    }
    if (s->lock_fd >= 0) {
        close(s->lock_fd); /* and with it the lock */
    }
    for (int i = 0; i < 2; i++) {
        hf_moves_free(&s->tree[i].moves);
        hf_adder_free(s->tree[i].adder);
    }
    pthread_cond_destroy(&s->gate.changed);
    pthread_mutex_destroy(&s->gate.mutex);
    pthread_mutex_destroy(&s->held.mutex);
    for (unsigned i = 0; i < HF_STAGE_PARTS_MAX; i++) {
        free(s->fragment[i]);
    }
    free(s->scratch);
    free(s->range);
    free(s->dir);
    free(s);
}

/* Whether there are as many addresses. LMDB unmaps before it maps, and has no map at all when it
 * then finds that there are not: the next reader would end the process. */
static bool map_fits(uint64_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return p != MAP_FAILED && munmap(p, bytes) == 0;
}

enum hf_err hf_state_grow(struct hf_state *s)
{
    HF_ASSERT(!s->open);
    if (s->env == NULL || s->broken) {
        return HF_IO; /* what readers have is all there is, see hf_held_renew */
    }
    if (s->map_bytes > SIZE_MAX / 4) {
        return HF_TOO_BIG;
    }
    size_t bytes = s->map_bytes * 2;
    hf_gate_close(&s->gate);
    hf_held_drop(s);
    int rc = map_fits(bytes) ? mdb_env_set_mapsize(s->env, bytes) : ENOMEM;
    if (rc == 0) {
        s->map_bytes = bytes;
    }
    hf_held_renew(s);
    hf_gate_open(&s->gate);
    return hf_env_error(rc);
}

enum hf_err hf_state_reopen(struct hf_state *s, struct hf_error *e)
{
    struct hf_path data = hf_path_of(s->dir, "data.mdb");
    hf_state_abort(s);
    atomic_store(&s->doubtful, true);
    /* A file system that failed may let nothing be opened any more, or not for writing. Readers go
     * on with what is open and in memory (G9), so it is not closed before one can hope. */
    enum hf_err err = hf_shape_check(s, data.text, e);
    if (err != HF_OK) {
        s->broken = true;
        return err;
    }
    hf_gate_close(&s->gate);
    hf_views_detach(s);
    hf_held_drop(s);
    if (s->env != NULL) {
        mdb_env_close(s->env);
    }
    s->env = NULL;
    err = open_checked(s, false, e);
    s->broken = err != HF_OK;
    hf_gate_open(&s->gate);
    return err;
}

void hf_state_reap_readers(struct hf_state *s)
{
    int dead = 0;
    hf_gate_enter(&s->gate);
    if (s->env != NULL) {
        mdb_reader_check(s->env, &dead);
    }
    hf_gate_leave(&s->gate);
}
