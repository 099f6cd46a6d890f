/*
 * lost_pages.c - the SIGBUS handler; see hf/lost_pages.h.
 *
 * It knows no store: which file the page belongs to is read from /proc/self/maps at the fault, so
 * nothing has to be kept in step with maps that grow and are opened anew. Only what is safe in a
 * handler is called here. One thread at a time is inside; another that faulted on the same page
 * finds it replaced and goes on.
 */
#include "hf/lost_pages.h"

#include "hf/types.h"
#include "lmdb_layout.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define LINE_MAX_BYTES 8192u

static size_t page_bytes;
static atomic_flag inside = ATOMIC_FLAG_INIT;
static atomic_uint_fast64_t lost;

/* Of one line of /proc/self/maps. */
enum mapped { MAPPED_ELSE, MAPPED_NOTHING, MAPPED_DATA, MAPPED_LOCK };

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

/* "7f0c12345000-7f0c12346000 r--s 00001000 fe:00 1234    /path", see proc(5). `base`: where the
 * beginning of that file would be. */
static bool line_has(struct hf_slice line, uintptr_t at, uintptr_t *base)
{
    uintptr_t begin = take_hex(&line);
    if (line.len == 0) {
        return false;
    }
    line = hf_slice_of(line.data + 1, line.len - 1);
    uintptr_t end = take_hex(&line);
    if (line.len < strlen(" r--s ")) {
        return false;
    }
    line = hf_slice_of(line.data + strlen(" r--s "), line.len - strlen(" r--s "));
    *base = begin - take_hex(&line);
    return at >= begin && at < end;
}

static enum mapped line_maps(struct hf_slice line)
{
    if (memchr(line.data, '/', line.len) == NULL) {
        return MAPPED_NOTHING; /* no file */
    }
    if (ends_with(line, hf_slice_str("/data.mdb"))) {
        return MAPPED_DATA;
    }
    return ends_with(line, hf_slice_str("/lock.mdb")) ? MAPPED_LOCK : MAPPED_ELSE;
}

static enum mapped find(uintptr_t at, uintptr_t *base)
{
    static uint8_t text[LINE_MAX_BYTES];
    enum mapped found = MAPPED_ELSE;
    size_t len = 0;
    ssize_t n;
    int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return MAPPED_ELSE;
    }
    while (found == MAPPED_ELSE && len < sizeof(text) &&
           (n = read(fd, text + len, sizeof(text) - len)) > 0) {
        size_t begin = 0;
        len += (size_t)n;
        for (const uint8_t *end; (end = memchr(text + begin, '\n', len - begin)) != NULL;) {
            struct hf_slice line = hf_slice_of(text + begin, (size_t)(end - text) - begin);
            if (line_has(line, at, base)) {
                found = line_maps(line);
                break;
            }
            begin += line.len + 1;
        }
        len -= begin;
        memmove(text, text + begin, len);
    }
    close(fd);
    return found;
}

/* ---- in its place ---- */

/* LMDB goes by the newer of its two meta pages, so without one of them it would go on from an older
 * commit, and write over the newest. */
static bool is_meta(uintptr_t at, uintptr_t base)
{
    uint32_t psize;
    memcpy(&psize, (const uint8_t *)base + LMDB_META_FREE_AT, sizeof(psize));
    return at - base < 2 * (uintptr_t)psize;
}

static bool zeros_instead(uint8_t *page)
{
    return mmap(page, page_bytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) !=
           MAP_FAILED;
}

/* Moved there whole: other threads see the old page or the new one, and both are the same. Nobody
 * writes meanwhile, for every write of it ends here. */
static bool copy_instead(uint8_t *page)
{
    void *copy = mmap(NULL, page_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (copy == MAP_FAILED) {
        return false;
    }
    memcpy(copy, page, page_bytes);
    return mremap(copy, page_bytes, page_bytes, MREMAP_MAYMOVE | MREMAP_FIXED, page) != MAP_FAILED;
}

static void say(const char *text)
{
    ssize_t n = write(STDERR_FILENO, text, strlen(text));
    (void)n; /* there is nobody else to tell */
}

static bool replace(uintptr_t at)
{
    static bool said_data, said_lock;
    uint8_t *page = (uint8_t *)(at - at % page_bytes);
    uintptr_t base = 0;
    enum mapped of = find(at, &base);
    bool replaced = (of == MAPPED_DATA && !is_meta(at, base) && zeros_instead(page)) ||
                    (of == MAPPED_LOCK && copy_instead(page));
    if (replaced) {
        atomic_fetch_add(&lost, 1);
    }
    if (replaced && of == MAPPED_DATA && !said_data) {
        said_data = true;
        say("error store: the disk does not give a page of the state; what lies there is damaged "
            "now, the rest is served on\n");
    }
    if (replaced && of == MAPPED_LOCK && !said_lock) {
        said_lock = true;
        say("error store: the disk takes nothing any more, not even LMDB's table of readers; reads "
            "go on with a table in memory\n");
    }
    /* Another thread was faster. Before any was replaced it is no page of ours. */
    return replaced || (of == MAPPED_NOTHING && atomic_load(&lost) > 0);
}

static void on_sigbus(int number, siginfo_t *info, void *context)
{
    int e = errno;
    (void)context;
    while (atomic_flag_test_and_set(&inside)) {
        /* for some microseconds */
    }
    bool goes_on = info->si_code == BUS_ADRERR && replace((uintptr_t)info->si_addr);
    atomic_flag_clear(&inside);
    if (!goes_on) {
        signal(number, SIG_DFL);
        raise(number);
    }
    errno = e;
}

/* ---- for everybody ---- */

void hf_lost_pages_outlive(void)
{
    struct sigaction a = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO};
    long bytes = sysconf(_SC_PAGESIZE);
    page_bytes = bytes > 0 ? (size_t)bytes : 4096;
    sigemptyset(&a.sa_mask);
    sigaction(SIGBUS, &a, NULL);
}

uint64_t hf_lost_pages_count(void)
{
    return atomic_load(&lost);
}
