/*
 * pages.c - checks the pages of the data file under the tables: what LMDB trusts without looking.
 *
 * Invariant: HF_OK means that LMDB can read and write the file without leaving it. Each page that
 * the newest transaction can reach says its own number and its right kind, its entries lie inside
 * of it and do not overlap, its keys ascend and lie between those of its parent, all leaves are at
 * the depth that the table says, and no page is used twice, nor used and in the list of free pages.
 * A branch key that is off by one bit makes LMDB miss records that a walk still finds; a page
 * number that is wrong in the page itself does nothing until a commit. Reading cannot tell either.
 *
 * It reads a map of its own, and only inside of it, so it cannot die of what it finds. The layout
 * is in lmdb_layout.h.
 *
 * It must not write. Read doctor.c for its use, shape.c for the size of the file, verify.c for what
 * the tables say.
 */
#include "hf/doctor.h"

#include "lmdb_layout.h"
#include "state_impl.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define KEY_MAX 511u
/* Pages that the file may lack: more than any one transaction takes. */
#define MISSING_MAX (1u << 20)

struct pages {
    const uint8_t *map;
    uint64_t page_bytes;
    uint64_t count;   /* pages that the newest transaction knows of */
    uint64_t present; /* and that the file has: the last may be free, and missing (shape.c) */
    uint8_t *used;    /* owned; a bit for each */
    struct hf_error *e;
    bool keys; /* their places count, too */
};

enum tree_kind {
    TREE_MAIN,  /* names -> tables */
    TREE_TABLE, /* one of ours */
    TREE_FREE,  /* transaction -> count and numbers of pages, descending; its keys are numbers */
};

struct tree {
    enum tree_kind kind;
    uint32_t depth;
    uint64_t entries; /* seen so far */
    uint64_t page;    /* looked at now, for the sentence that says what is wrong */
};

struct entry {
    struct hf_slice key;
    struct hf_slice value; /* of a leaf */
    uint16_t flags;        /* of a leaf */
    uint64_t child;        /* of a branch */
};

/* Keys of a page: at least `low`, below `high`; no data = no bound. */
struct bounds {
    struct hf_slice low;
    struct hf_slice high;
};

static uint16_t load16(const uint8_t *at)
{
    uint16_t v;
    memcpy(&v, at, sizeof(v));
    return le16toh(v);
}

static bool bad(struct pages *p, uint64_t page, const char *what)
{
    hf_error_set(p->e, HF_CORRUPT, "page %llu of the store: %s", (unsigned long long)page, what);
    return false;
}

static const uint8_t *page_at(const struct pages *p, uint64_t page)
{
    return p->map + page * p->page_bytes;
}

/* Nobody else may have them; the first two are the meta pages. */
static bool take(struct pages *p, uint64_t first, uint64_t count)
{
    if (first < 2 || first >= p->count || count > p->count - first) {
        return bad(p, first, "it is named but does not exist");
    }
    for (uint64_t page = first; page < first + count; page++) {
        uint8_t bit = (uint8_t)(1u << (page % 8));
        if ((p->used[page / 8] & bit) != 0) {
            return bad(p, page, "it is named twice");
        }
        p->used[page / 8] |= bit;
    }
    return true;
}

/* Those that are read, before they are. */
static bool in_file(struct pages *p, uint64_t first, uint64_t count)
{
    return (first < p->present && count <= p->present - first) ||
           bad(p, first, "the file ends before it");
}

/* ---- entries ---- */

static int key_order(const struct tree *t, struct hf_slice a, struct hf_slice b)
{
    if (t->kind != TREE_FREE) {
        return hf_slice_cmp(a, b);
    }
    uint64_t x = hf_load64(a.data);
    uint64_t y = hf_load64(b.data);
    return (x > y) - (x < y);
}

/* A value that has pages of its own. */
static bool big_value(struct pages *p, const uint8_t *at, uint64_t bytes, struct hf_slice *value)
{
    uint64_t first = hf_load64(at);
    uint64_t needed = (LMDB_HEAD_BYTES - 1 + bytes) / p->page_bytes + 1;
    if (first < 2 || first >= p->count) {
        return bad(p, first, "a value lies there but the page does not exist");
    }
    if (!in_file(p, first, needed)) {
        return false;
    }
    const uint8_t *page = page_at(p, first);
    uint64_t count = hf_load32(page + 12);
    if (hf_load64(page) != first || load16(page + 10) != LMDB_PAGE_OVERFLOW || count < needed) {
        return bad(p, first, "it is not the beginning of a long value");
    }
    *value = hf_slice_of(page + LMDB_HEAD_BYTES, bytes);
    return take(p, first, count);
}

/* Entry i of a page whose lower and upper are good. `room` counts what they take. */
static bool entry_read(struct pages *p, uint64_t number, uint32_t i, struct entry *out,
                       uint64_t *room)
{
    const uint8_t *page = page_at(p, number);
    bool leaf = load16(page + 10) == LMDB_PAGE_LEAF;
    uint64_t offset = load16(page + LMDB_HEAD_BYTES + 2 * i);
    if (offset < load16(page + 14) || offset % 2 != 0 ||
        offset + LMDB_ENTRY_BYTES > p->page_bytes) {
        return bad(p, number, "an entry lies outside of it");
    }
    const uint8_t *at = page + offset;
    uint64_t number_of = (uint64_t)load16(at) | (uint64_t)load16(at + 2) << 16;
    uint16_t flags = load16(at + 4);
    uint64_t key_bytes = load16(at + 6);
    bool big = leaf && (flags & LMDB_ENTRY_BIG) != 0;
    uint64_t value_bytes = !leaf ? 0 : big ? 8 : number_of;
    uint64_t bytes = LMDB_ENTRY_BYTES + key_bytes + value_bytes;
    if (offset + bytes > p->page_bytes) {
        return bad(p, number, "an entry ends outside of it");
    }
    *room += bytes + bytes % 2;
    out->key = hf_slice_of(at + LMDB_ENTRY_BYTES, key_bytes);
    out->flags = flags;
    out->child = number_of | (uint64_t)flags << 32;
    out->value = hf_slice_of(at + LMDB_ENTRY_BYTES + key_bytes, value_bytes);
    return !big || big_value(p, out->value.data, number_of, &out->value);
}

static bool free_pages(struct pages *p, uint64_t number, struct hf_slice value)
{
    uint64_t count = value.len < 8 ? UINT64_MAX : hf_load64(value.data);
    uint64_t above = UINT64_MAX;
    if (count > value.len / 8 - 1) {
        return bad(p, number, "a list of free pages is longer than its entry");
    }
    for (uint64_t i = 1; i <= count; i++) {
        uint64_t page = hf_load64(value.data + 8 * i);
        if (page >= above) {
            return bad(p, number, "a list of free pages is out of order");
        }
        if (!take(p, page, 1)) {
            return false;
        }
        above = page;
    }
    return true;
}

/* `after`: the key must not only be at least b->low, but above it. */
static bool check_key(struct pages *p, const struct tree *t, struct hf_slice key,
                      const struct bounds *b, bool after)
{
    if (t->kind == TREE_FREE ? key.len != 8 : key.len == 0 || key.len > KEY_MAX) {
        return bad(p, t->page, "a key has a length that no key has");
    }
    if (!p->keys) {
        return true;
    }
    if (b->low.data != NULL && key_order(t, key, b->low) < (after ? 1 : 0)) {
        return bad(p, t->page, "a key lies before its place");
    }
    if (b->high.data != NULL && key_order(t, key, b->high) >= 0) {
        return bad(p, t->page, "a key lies behind its place");
    }
    return true;
}

/* ---- pages ---- */

static bool check_tree(struct pages *p, enum tree_kind kind, const uint8_t *record);

static bool check_value(struct pages *p, struct tree *t, const struct entry *entry)
{
    t->entries++;
    switch (t->kind) {
    case TREE_MAIN:
        if (entry->flags != LMDB_ENTRY_TABLE || entry->value.len != LMDB_TABLE_BYTES) {
            return bad(p, t->page, "an entry is not that of a table");
        }
        return check_tree(p, TREE_TABLE, entry->value.data);
    case TREE_TABLE:
        return (entry->flags & ~LMDB_ENTRY_BIG) == 0 ||
               bad(p, t->page, "an entry has flags that we do not use");
    case TREE_FREE:
        return (entry->flags & ~LMDB_ENTRY_BIG) == 0
                   ? free_pages(p, t->page, entry->value)
                   : bad(p, t->page, "an entry has unknown flags");
    }
    HF_UNREACHABLE();
}

static bool check_room(struct pages *p, uint64_t number, uint64_t room)
{
    return room <= p->page_bytes - load16(page_at(p, number) + 14) ||
           bad(p, number, "its entries overlap");
}

static bool check_leaf(struct pages *p, struct tree *t, uint64_t number, uint32_t count,
                       const struct bounds *b)
{
    struct bounds rest = *b;
    struct entry entry;
    uint64_t room = 0;
    for (uint32_t i = 0; i < count; i++) {
        t->page = number;
        if (!entry_read(p, number, i, &entry, &room) || !check_key(p, t, entry.key, &rest, i > 0) ||
            !check_value(p, t, &entry)) {
            return false;
        }
        rest.low = entry.key;
    }
    return check_room(p, number, room);
}

static bool check_page(struct pages *p, struct tree *t, uint64_t number, uint32_t level,
                       const struct bounds *b);

/* The key of the first entry is none: LMDB never reads it. */
static bool check_branch(struct pages *p, struct tree *t, uint64_t number, uint32_t level,
                         const struct bounds *b)
{
    struct bounds inner = *b;
    struct entry entry;
    struct entry next;
    uint64_t room = 0;
    uint32_t count = (load16(page_at(p, number) + 12) - LMDB_HEAD_BYTES) / 2;
    if (count == 0) {
        return bad(p, number, "a branch without entries");
    }
    if (!entry_read(p, number, 0, &next, &room)) {
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        entry = next;
        inner.high = b->high;
        t->page = number;
        if (i + 1 < count && (!entry_read(p, number, i + 1, &next, &room) ||
                              !check_key(p, t, next.key, &inner, i > 0))) {
            return false;
        }
        if (i + 1 < count) {
            inner.high = next.key;
        }
        if (!check_page(p, t, entry.child, level + 1, &inner)) {
            return false;
        }
        inner.low = next.key;
    }
    return check_room(p, number, room);
}

static bool check_page(struct pages *p, struct tree *t, uint64_t number, uint32_t level,
                       const struct bounds *b)
{
    if (!take(p, number, 1) || !in_file(p, number, 1)) {
        return false;
    }
    const uint8_t *page = page_at(p, number);
    uint16_t lower = load16(page + 12);
    uint16_t upper = load16(page + 14);
    bool leaf = level == t->depth;
    if (hf_load64(page) != number) {
        return bad(p, number, "it has the number of another");
    }
    if (load16(page + 10) != (leaf ? LMDB_PAGE_LEAF : LMDB_PAGE_BRANCH)) {
        return bad(p, number, "it is not of the kind that its place in the tree asks for");
    }
    if (lower < LMDB_HEAD_BYTES || lower % 2 != 0 || lower > upper || upper > p->page_bytes) {
        return bad(p, number, "its bounds are not good");
    }
    return leaf ? check_leaf(p, t, number, (lower - LMDB_HEAD_BYTES) / 2u, b)
                : check_branch(p, t, number, level, b);
}

/* ---- trees ---- */

static bool check_tree(struct pages *p, enum tree_kind kind, const uint8_t *record)
{
    static const struct bounds none;
    struct tree t = {.kind = kind, .depth = load16(record + 6)};
    uint64_t entries = hf_load64(record + 32);
    uint64_t root = hf_load64(record + 40);
    if (kind == TREE_TABLE && load16(record + 4) != 0) {
        return bad(p, root, "its table has flags that we do not use");
    }
    if (root == UINT64_MAX) {
        return (entries == 0 && t.depth == 0) || bad(p, 0, "a table lost its root");
    }
    if (t.depth == 0 || t.depth > LMDB_DEPTH_MAX) {
        return bad(p, root, "its table has no such depth");
    }
    if (!check_page(p, &t, root, 1, &none)) {
        return false;
    }
    return t.entries == entries || bad(p, root, "its table has another count of entries");
}

/* Records lie at any even address of the map, which is why nothing here reads through a struct. */
static bool check_all(struct pages *p, uint64_t file_bytes)
{
    if (file_bytes < LMDB_META_BYTES) {
        return bad(p, 0, "the file has no meta page");
    }
    p->page_bytes = hf_load32(p->map + LMDB_META_FREE_AT);
    if (p->page_bytes < 512 || p->page_bytes > 65536 ||
        (p->page_bytes & (p->page_bytes - 1)) != 0 ||
        file_bytes < p->page_bytes + LMDB_META_BYTES) {
        return bad(p, 0, "it does not say a size of pages");
    }
    const uint8_t *meta = page_at(p, 0);
    if (hf_load64(page_at(p, 1) + LMDB_META_TXN_AT) > hf_load64(meta + LMDB_META_TXN_AT)) {
        meta = page_at(p, 1);
    }
    p->count = hf_load64(meta + LMDB_META_LAST_AT) + 1;
    p->present = file_bytes / p->page_bytes;
    if (p->count < 2 || p->count > p->present + MISSING_MAX) {
        return bad(p, p->count - 1, "the file ends before it");
    }
    p->used = calloc(p->count / 8 + 1, 1);
    if (p->used == NULL) {
        hf_error_set(p->e, HF_NOMEM, "no memory for a bit for each page of the store");
        return false;
    }
    return check_tree(p, TREE_MAIN, meta + LMDB_META_MAIN_AT) &&
           check_tree(p, TREE_FREE, meta + LMDB_META_FREE_AT);
}

struct looking {
    struct pages *p;
    size_t bytes;
    bool good;
};

static void look(void *ctx)
{
    struct looking *l = ctx;
    l->good = check_all(l->p, l->bytes);
}

enum hf_err hf_state_check_pages(const struct hf_state *s, bool keys, struct hf_error *e)
{
    struct pages p = {.e = e, .keys = keys};
    struct stat st;
    int fd;
    if (s->env == NULL || mdb_env_get_fd(s->env, &fd) != 0 || fstat(fd, &st) != 0) {
        return hf_error_set(e, HF_IO, "%s: cannot look at its file", s->dir);
    }
    size_t bytes = (size_t)st.st_size;
    void *map = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED) {
        return hf_error_set(e, HF_NOMEM, "%s: cannot map its file", s->dir);
    }
    p.map = map;
    struct looking l = {.p = &p, .bytes = bytes};
    if (!hf_guarded(look, &l)) {
        hf_error_set(e, HF_CORRUPT, "the disk does not give a page of the store");
    }
    free(p.used);
    munmap(map, bytes);
    return l.good ? HF_OK : hf_error_wrap(e, "%s", s->dir);
}
