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
 * It reads a map of its own, and only inside of it, so it cannot die of what it finds, except of a
 * disk that does not give its bytes back. The layout is LMDB's published one (0.9, 64 bit), without
 * duplicates, which we do not use: a page is
 *   u64 number, u16 pad, u16 flags, u16 lower, u16 upper, u16 offset of each entry; or, for values
 *   that do not fit a page, u32 count of pages in place of lower and upper, then the bytes;
 * an entry is
 *   u16 low, u16 high, u16 flags, u16 bytes of the key, key, value
 *   leaf: low and high are the bytes of the value, which is a page number with flag 1 and the
 *   48-byte record of a table with flag 2; branch: low, high and flags are the number of the child;
 * the record of a table is
 *   u32 pad, u16 flags, u16 depth, u64 branch, leaf, overflow pages, u64 entries, u64 root.
 *
 * It must not write. Read shape.c for the size of the file, verify.c for what the tables say.
 */
#include "state_impl.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define HEAD_BYTES 16u
#define ENTRY_BYTES 8u
#define TABLE_BYTES 48u
#define META_BYTES 152u
#define META_FREE_AT 40u /* the record of the list of free pages; its pad is the page size */
#define META_MAIN_AT 88u
#define META_LAST_AT 136u
#define META_TXN_AT 144u
#define PAGE_BRANCH 1u
#define PAGE_LEAF 2u
#define PAGE_OVERFLOW 4u
#define ENTRY_BIG 1u
#define ENTRY_TABLE 2u
#define DEPTH_MAX 32u

struct pages {
    const uint8_t *map;
    uint64_t page_bytes;
    uint64_t count; /* pages that exist and that the transaction knows of */
    uint8_t *used;  /* owned; a bit for each */
    struct hf_error *e;
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
};

struct entry {
    struct hf_slice key;
    struct hf_slice value; /* of a leaf */
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
    if (first < 2 || first >= p->count || count > p->count - first)
        return bad(p, first, "it is named but does not exist");
    for (uint64_t page = first; page < first + count; page++) {
        uint8_t bit = (uint8_t)(1u << (page % 8));
        if ((p->used[page / 8] & bit) != 0)
            return bad(p, page, "it is named twice");
        p->used[page / 8] |= bit;
    }
    return true;
}

/* ---- entries ---- */

static int key_order(const struct tree *t, struct hf_slice a, struct hf_slice b)
{
    if (t->kind != TREE_FREE)
        return hf_slice_cmp(a, b);
    uint64_t x = hf_load64(a.data);
    uint64_t y = hf_load64(b.data);
    return (x > y) - (x < y);
}

/* A value that has pages of its own. */
static bool big_value(struct pages *p, const uint8_t *at, uint64_t bytes, struct hf_slice *value)
{
    uint64_t first = hf_load64(at);
    uint64_t needed = (HEAD_BYTES - 1 + bytes) / p->page_bytes + 1;
    if (first < 2 || first >= p->count)
        return bad(p, first, "a value lies there but the page does not exist");
    const uint8_t *page = page_at(p, first);
    uint64_t count = hf_load32(page + 12);
    if (hf_load64(page) != first || load16(page + 10) != PAGE_OVERFLOW || count < needed)
        return bad(p, first, "it is not the beginning of a long value");
    *value = hf_slice_of(page + HEAD_BYTES, bytes);
    return take(p, first, count);
}

/* Entry i of a page whose lower and upper are good. `room` counts what they take. */
static bool entry_read(struct pages *p, uint64_t number, uint32_t i, struct entry *out,
                       uint64_t *room)
{
    const uint8_t *page = page_at(p, number);
    bool leaf = load16(page + 10) == PAGE_LEAF;
    uint64_t offset = load16(page + HEAD_BYTES + 2 * i);
    if (offset < load16(page + 14) || offset % 2 != 0 || offset + ENTRY_BYTES > p->page_bytes)
        return bad(p, number, "an entry lies outside of it");
    const uint8_t *at = page + offset;
    uint64_t number_of = (uint64_t)load16(at) | (uint64_t)load16(at + 2) << 16;
    uint16_t flags = load16(at + 4);
    uint64_t key_bytes = load16(at + 6);
    bool big = leaf && (flags & ENTRY_BIG) != 0;
    uint64_t value_bytes = !leaf ? 0 : big ? 8 : number_of;
    uint64_t bytes = ENTRY_BYTES + key_bytes + value_bytes;
    if (offset + bytes > p->page_bytes)
        return bad(p, number, "an entry ends outside of it");
    *room += bytes + bytes % 2;
    out->key = hf_slice_of(at + ENTRY_BYTES, key_bytes);
    out->child = number_of | (uint64_t)flags << 32;
    out->value = hf_slice_of(at + ENTRY_BYTES + key_bytes, value_bytes);
    return !big || big_value(p, out->value.data, number_of, &out->value);
}

static bool free_pages(struct pages *p, uint64_t number, struct hf_slice value)
{
    uint64_t count = value.len < 8 ? UINT64_MAX : hf_load64(value.data);
    uint64_t above = UINT64_MAX;
    if (count > value.len / 8 - 1)
        return bad(p, number, "a list of free pages is longer than its entry");
    for (uint64_t i = 1; i <= count; i++) {
        uint64_t page = hf_load64(value.data + 8 * i);
        if (page >= above)
            return bad(p, number, "a list of free pages is out of order");
        above = page;
        if (page >= p->count) {
            /* LMDB need not have written a page that was free again by the commit. */
            if (page > hf_load64(page_at(p, 0) + META_LAST_AT) &&
                page > hf_load64(page_at(p, 1) + META_LAST_AT))
                return bad(p, page, "it is free but does not exist");
        } else if (!take(p, page, 1)) {
            return false;
        }
    }
    return true;
}

/* ---- pages ---- */

static bool check_tree(struct pages *p, enum tree_kind kind, const uint8_t *record);

static bool check_value(struct pages *p, struct tree *t, uint64_t number, uint32_t i,
                        const struct entry *entry)
{
    const uint8_t *page = page_at(p, number);
    uint16_t flags = load16(page + load16(page + HEAD_BYTES + 2 * i) + 4);
    t->entries++;
    switch (t->kind) {
    case TREE_MAIN:
        if (flags != ENTRY_TABLE || entry->value.len != TABLE_BYTES)
            return bad(p, number, "an entry is not that of a table");
        return check_tree(p, TREE_TABLE, entry->value.data);
    case TREE_TABLE:
        return (flags & ~ENTRY_BIG) == 0 || bad(p, number, "an entry has flags that we do not use");
    case TREE_FREE:
        return free_pages(p, number, entry->value);
    }
    HF_UNREACHABLE();
}

static bool check_head(struct pages *p, const struct tree *t, uint64_t number, uint32_t level)
{
    const uint8_t *page = page_at(p, number);
    uint16_t lower = load16(page + 12);
    uint16_t upper = load16(page + 14);
    if (hf_load64(page) != number)
        return bad(p, number, "it has the number of another");
    if (load16(page + 10) != (level == t->depth ? PAGE_LEAF : PAGE_BRANCH))
        return bad(p, number, "it is not of the kind that its place in the tree asks for");
    if (lower < HEAD_BYTES || lower % 2 != 0 || lower > upper || upper > p->page_bytes)
        return bad(p, number, "its bounds are not good");
    return true;
}

/* The keys of branch entry 0 is not one: LMDB never reads it. */
static bool check_key(struct pages *p, const struct tree *t, uint64_t number, struct hf_slice key,
                      const struct bounds *b)
{
    if (t->kind == TREE_FREE ? key.len != 8 : key.len == 0 || key.len > HF_STORE_KEY_MAX + 31)
        return bad(p, number, "a key has a length that no key has");
    if (b->low.data != NULL && key_order(t, key, b->low) < 0)
        return bad(p, number, "a key lies before its place");
    if (b->high.data != NULL && key_order(t, key, b->high) >= 0)
        return bad(p, number, "a key lies behind its place");
    return true;
}

static bool check_page(struct pages *p, struct tree *t, uint64_t number, uint32_t level,
                       const struct bounds *b)
{
    struct entry entry;
    struct entry next = {.child = 0};
    uint64_t room = 0;
    if (!take(p, number, 1) || !check_head(p, t, number, level))
        return false;
    uint32_t count = (load16(page_at(p, number) + 12) - HEAD_BYTES) / 2;
    bool leaf = level == t->depth;
    if (count == 0 && !leaf)
        return bad(p, number, "a branch without entries");
    if (count > 0 && !entry_read(p, number, 0, &next, &room))
        return false;
    for (uint32_t i = 0; i < count; i++) {
        struct bounds inner = *b;
        entry = next;
        if (leaf || i > 0)
            inner.low = entry.key;
        if ((leaf || i > 0) && !check_key(p, t, number, entry.key, b))
            return false;
        if (i + 1 < count) {
            if (!entry_read(p, number, i + 1, &next, &room))
                return false;
            inner.high = next.key;
            if ((leaf || i > 0) && !check_key(p, t, number, entry.key, &inner))
                return false;
        }
        if (leaf ? !check_value(p, t, number, i, &entry)
                 : !check_page(p, t, entry.child, level + 1, &inner))
            return false;
    }
    if (room > p->page_bytes - load16(page_at(p, number) + 14))
        return bad(p, number, "its entries overlap");
    return true;
}
