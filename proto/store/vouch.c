/*
 * vouch.c - the word of a process that ended well, so that the next open need not check each page.
 *
 * The check of all pages (pages.c) finds what a disk did while nobody looked. Between a clean end
 * and the next start on the same boot there is nothing to be found: the kernel has seen every write
 * to the file. So a daemon that ends well leaves DIR/sound, one line:
 *   boot id, inode, bytes and time of the last change of data.mdb, LMDB's last transaction
 * and an open that finds the line as it would write it itself skips the check. Whoever writes to
 * the file, LMDB too, moves the time of its change, which cannot be set back as the other times
 * can; so nothing needs to be removed before the first write, or synced. A power cut brings another
 * boot.
 *
 * Invariant: a line is believed once. It is removed before it is acted on, so that a start after a
 * crash checks, even if nothing was written since: LMDB may have died of a page.
 *
 * What changed underneath in between, without a write, is left to what a running daemon has against
 * it: checksums of records, the scrub, the digest, and the check after the next unclean end.
 */
#include "hf/lost_pages.h"
#include "state_impl.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define LINE_MAX_BYTES 192u

/* One line of a small file; false when there is none. */
static bool line_read(const char *path, char line[LINE_MAX_BYTES])
{
    FILE *f = fopen(path, "re");
    if (f == NULL) {
        return false;
    }
    bool good = fgets(line, LINE_MAX_BYTES, f) != NULL && strchr(line, '\n') != NULL;
    fclose(f);
    line[good ? strcspn(line, "\n") : 0] = '\0';
    return good;
}

/* False when it cannot be told: then nothing is vouched for. The environment stays open. */
static bool describe(const struct hf_state *s, char line[LINE_MAX_BYTES])
{
    char boot[LINE_MAX_BYTES];
    MDB_envinfo info;
    struct stat st;
    int fd;
    if (s->env == NULL || mdb_env_get_fd(s->env, &fd) != 0 || fstat(fd, &st) != 0 ||
        mdb_env_info(s->env, &info) != 0 || !line_read("/proc/sys/kernel/random/boot_id", boot)) {
        return false;
    }
    int n = snprintf(line, LINE_MAX_BYTES, "%.40s %ju %jd %jd.%09ld %zu", boot,
                     (uintmax_t)st.st_ino, (intmax_t)st.st_size, (intmax_t)st.st_ctim.tv_sec,
                     st.st_ctim.tv_nsec, info.me_last_txnid);
    return n > 0 && (unsigned)n < LINE_MAX_BYTES;
}

void hf_state_vouch(struct hf_state *s)
{
    char line[LINE_MAX_BYTES];
    hf_gate_enter(&s->gate); /* the writer may be about to reopen it */
    bool good = !atomic_load(&s->doubtful) && hf_lost_pages_count() == 0 && describe(s, line);
    hf_gate_leave(&s->gate);
    if (!good) {
        return;
    }
    FILE *f = fopen(hf_path_of(s->dir, "sound").text, "we");
    if (f != NULL) {
        (void)fprintf(f, "%s\n", line); /* half a line is none, and the next open checks */
        fclose(f);
    }
}

bool hf_state_vouched(const struct hf_state *s)
{
    struct hf_path path = hf_path_of(s->dir, "sound");
    char line[LINE_MAX_BYTES];
    char now[LINE_MAX_BYTES];
    if (!line_read(path.text, line)) {
        return false;
    }
    return unlink(path.text) == 0 && describe(s, now) && strcmp(line, now) == 0;
}
