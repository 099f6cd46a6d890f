/*
 * lost_pages.c - the SIGBUS handler; see hf/lost_pages.h.
 *
 * It knows no store: which file the page belongs to is read from /proc/self/maps at the fault, so
 * nothing has to be kept in step with maps that grow and are opened anew. Only what is safe in a
 * handler is called here; a jump out of it is, because the signal is that of a read of this thread
 * which holds nothing (guarded.h). SIGBUS is not blocked meanwhile, or it would be after the jump.
 */
#include "hf/lost_pages.h"

#include "guarded.h"
#include "hf/types.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define LINE_MAX_BYTES 8192u
#define COPIED_MAX 64u /* pages of lock.mdb, which has 17 */

static size_t page_bytes;
static int maps_fd = -1; /* open from the start on: there may be no descriptor left at a fault */
static atomic_flag inside = ATOMIC_FLAG_INIT; /* guards what follows, and the reading of the maps */
static uintptr_t copied[COPIED_MAX];
static uint32_t copied_count;

static atomic_uint_fast64_t lost;
static _Thread_local volatile sig_atomic_t copying; /* the page under the copy may be lost, too */
static _Thread_local volatile sig_atomic_t looking; /* a fault meanwhile is none to outlive */

/* Of one line of /proc/self/maps. */
enum mapped { MAPPED_ELSE, MAPPED_DATA, MAPPED_LOCK };

/* ---- whose page it is ---- */

static bool ends_with(struct hf_slice s, struct hf_slice end)
{
    return s.len >= end.len && hf_slice_eq(hf_slice_of(s.data + s.len - end.len, end.len), end);
}

static uintptr_t take_hex(struct hf_slice *s)
{
    uintptr_t n = 0;
    for (; s->len > 0; s->data++, s->len--) {
        uint8_t c = s->data[0];
        if (c >= '0' && c <= '9') {
            n = n * 16 + (c - '0');
        } else if (c >= 'a' && c <= 'f') {
            n = n * 16 + (c - 'a' + 10u);
        } else {
            break;
        }
    }
    return n;
}

/* "7f0c12345000-7f0c12346000 r--s 00001000 fe:00 1234    /path", see proc(5). */
static bool line_has(struct hf_slice line, uintptr_t at)
{
    uintptr_t begin = take_hex(&line);
    if (line.len == 0) {
        return false;
    }
    line = hf_slice_of(line.data + 1, line.len - 1);
    return at >= begin && at < take_hex(&line);
}

static enum mapped line_maps(struct hf_slice line)
{
    if (ends_with(line, hf_slice_str("/data.mdb"))) {
        return MAPPED_DATA;
    }
    return ends_with(line, hf_slice_str("/lock.mdb")) ? MAPPED_LOCK : MAPPED_ELSE;
}

static enum mapped find(uintptr_t at)
{
    static uint8_t text[LINE_MAX_BYTES];
    enum mapped found = MAPPED_ELSE;
    size_t len = 0;
    ssize_t n;
    if (maps_fd < 0 || lseek(maps_fd, 0, SEEK_SET) != 0) {
        return MAPPED_ELSE;
    }
    while (found == MAPPED_ELSE && len < sizeof(text) &&
           (n = read(maps_fd, text + len, sizeof(text) - len)) > 0) {
        size_t begin = 0;
        len += (size_t)n;
        for (const uint8_t *end; (end = memchr(text + begin, '\n', len - begin)) != NULL;) {
            struct hf_slice line = hf_slice_of(text + begin, (size_t)(end - text) - begin);
            if (line_has(line, at)) {
                found = line_maps(line);
                break;
            }
            begin += line.len + 1;
        }
        len -= begin;
        memmove(text, text + begin, len);
    }
    return found;
}

/* ---- what to do about it ---- */

static void say_once(atomic_flag *said, const char *text)
{
    if (!atomic_flag_test_and_set(said)) {
        ssize_t n = write(STDERR_FILENO, text, strlen(text));
        (void)n; /* there is nobody else to tell */
    }
}

struct copy {
    uint8_t *from, *to;
};

static void copy_page(void *ctx)
{
    struct copy *c = ctx;
    memcpy(c->to, c->from, page_bytes);
}

/* Moved there whole: other threads see the old page or the new one, and both are the same. Nobody
 * writes meanwhile, for every write of it ends here. What cannot even be read cannot be replaced:
 * it says which commit is the newest, and who reads what. */
static bool copy_instead(uint8_t *page)
{
    struct copy c = {.from = page};
    c.to = mmap(NULL, page_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (c.to == MAP_FAILED) {
        return false;
    }
    copying = 1;
    bool read = hf_guarded(copy_page, &c);
    copying = 0;
    if (!read) {
        (void)munmap(c.to, page_bytes);
        return false;
    }
    return mremap(c.to, page_bytes, page_bytes, MREMAP_MAYMOVE | MREMAP_FIXED, page) != MAP_FAILED;
}

static bool is_copied(uintptr_t page)
{
    for (uint32_t i = 0; i < copied_count && i < COPIED_MAX; i++) {
        if (copied[i] == page) {
            return true;
        }
    }
    return false;
}

/* Whose page it is, and for one of the lock file, that it can be written from now on. */
static enum mapped look(uint8_t *page)
{
    uintptr_t at = (uintptr_t)page;
    while (atomic_flag_test_and_set(&inside)) {
        /* for some microseconds */
    }
    enum mapped of = find(at);
    if (of == MAPPED_LOCK && copy_instead(page)) {
        copied[copied_count++ % COPIED_MAX] = at;
    } else if (of == MAPPED_LOCK) {
        of = MAPPED_ELSE;
    } else if (of == MAPPED_ELSE && is_copied(at)) {
        of = MAPPED_LOCK; /* by another thread that was faster */
    }
    atomic_flag_clear(&inside);
    return of;
}

static bool outlives(const siginfo_t *info)
{
    static atomic_flag said_data = ATOMIC_FLAG_INIT;
    static atomic_flag said_lock = ATOMIC_FLAG_INIT;
    uintptr_t at = (uintptr_t)info->si_addr;
    if (info->si_code != BUS_ADRERR) {
        return false;
    }
    if (copying) {
        hf_guarded_leave();
    }
    if (looking) {
        return false;
    }
    looking = 1;
    enum mapped of = look((uint8_t *)(at - at % page_bytes));
    looking = 0;
    atomic_fetch_add(&lost, 1);
    if (of == MAPPED_DATA) {
        say_once(&said_data, "error store: the disk does not give a page of the state; what lies "
                             "there is damaged, the rest is served on\n");
        hf_guarded_leave();
    } else if (of == MAPPED_LOCK) {
        say_once(&said_lock, "error store: the disk takes nothing any more, not even LMDB's table "
                             "of readers; reads go on with a table in memory\n");
        return true;
    }
    return false;
}

static void on_sigbus(int number, siginfo_t *info, void *context)
{
    int e = errno;
    (void)context;
    if (!outlives(info)) {
        signal(number, SIG_DFL);
        raise(number);
    }
    errno = e;
}

/* ---- for everybody ---- */

void hf_lost_pages_outlive(void)
{
    struct sigaction a = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO | SA_NODEFER};
    long bytes = sysconf(_SC_PAGESIZE);
    page_bytes = bytes > 0 ? (size_t)bytes : 4096;
    maps_fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    (void)look(NULL); /* its code is in memory from now on */
    sigemptyset(&a.sa_mask);
    sigaction(SIGBUS, &a, NULL);
}

uint64_t hf_lost_pages_count(void)
{
    return atomic_load(&lost);
}
