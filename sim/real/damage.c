/*
 * damage.c - a disk that changes what it was given: a bit of a record's checksum, in the file of
 * the running edge, which does not notice by itself.
 *
 * The edge is asked for a key's value, and the file for the place where those bytes are; in front
 * of a stored value stands its checksum (proto/store/state.c). Copies that LMDB has left behind are
 * changed as well, to no effect.
 */
#include "sim/real/real.h"

#include "hf/err.h"
#include "sim/workload.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define RECORD_HEAD 24     /* bytes in front of a value; the last is of its checksum */
#define SOUGHT_BYTES 1024u /* of a value: no two have so many in common, and a page holds them */
#define TRIES_MAX 50u      /* for a key that the edge has */

struct damage {
    struct real_node *edge;
    uint64_t left;
    unsigned tries;
};

static size_t flip_all(int fd, const uint8_t *file, size_t size, const char *value, size_t len)
{
    size_t found = 0;
    const uint8_t *at = file;
    while ((at = memmem(at, size - (size_t)(at - file), value, len)) != NULL) {
        if (at - file >= RECORD_HEAD) {
            uint8_t flipped = at[-1] ^ 0x10;
            found += pwrite(fd, &flipped, 1, at - file - 1) == 1;
        }
        at += len;
    }
    return found;
}

static bool damage_value(struct real_node *n, const char *value, size_t len)
{
    char path[REAL_DIR_MAX + 32];
    struct stat st;
    size_t found = 0;
    snprintf(path, sizeof(path), "%s/main/state/data.mdb", n->dir);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0) {
        real_fail(n->run, "%s: %s", path, strerror(errno));
        return false;
    }
    uint8_t *file = malloc((size_t)st.st_size);
    HF_ASSERT(file != NULL);
    if (pread(fd, file, (size_t)st.st_size, 0) == st.st_size) {
        found =
            flip_all(fd, file, (size_t)st.st_size, value, len < SOUGHT_BYTES ? len : SOUGHT_BYTES);
    }
    free(file);
    close(fd);
    if (found == 0) {
        real_fail(n->run, "%s: a value that %s shows is nowhere in it", path, n->name);
    }
    return found > 0;
}

static void next(struct damage *d);

static void on_value(void *ctx, const redisReply *reply)
{
    struct damage *d = ctx;
    bool good = true;
    if (reply != NULL && reply->type == REDIS_REPLY_STRING) {
        good = damage_value(d->edge, reply->str, (size_t)reply->len);
        d->left--;
        d->tries = 0;
    }
    if (!good) {
        d->left = 0;
    }
    next(d);
}

static void next(struct damage *d)
{
    char key[WORKLOAD_KEY_BYTES];
    const char *const words[] = {"GET", key, NULL};
    struct real_node *n = d->edge;
    if (d->left == 0 || d->tries++ == TRIES_MAX) {
        if (d->left > 0) {
            real_fail(n->run, "%s shows no key whose record could be damaged", n->name);
        }
        free(d);
        return;
    }
    workload_key((uint32_t)rng_below(&n->rng, n->run->script->load.keys), key);
    if (!real_client_say(&n->status, on_value, d, words)) {
        real_fail(n->run, "%s cannot be asked for a key to damage: it does not run", n->name);
        free(d);
    }
}

void real_damage(struct real_node *n, uint64_t count)
{
    struct damage *d = malloc(sizeof(*d));
    HF_ASSERT(d != NULL);
    *d = (struct damage){.edge = n, .left = count};
    next(d);
}
