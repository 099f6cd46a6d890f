/*
 * lmdb_layout.h - where things are in a data file of LMDB 0.9 on a 64-bit machine.
 *
 * For those who look at a file before LMDB may (shape.c), beside it (pages.c), or at what it has no
 * call for (sample.c). Without duplicates, which we do not use. Offsets are bytes from the
 * beginning of a page. From MDB_page, MDB_node, MDB_db and MDB_meta in mdb.c.
 *
 * - page: u64 number, u16 pad, u16 kind, u16 lower, u16 upper, u16 offset of each entry. Of values
 *   that do not fit a page: u32 count of pages in place of lower and upper, then the bytes.
 * - entry: u16 low, u16 high, u16 flags, u16 bytes of the key, key, value. In a leaf low and high
 *   are the bytes of the value. In a branch low, high and flags are the number of the child.
 * - record of a table: u32 pad, u16 flags, u16 depth, u64 branch pages, leaf pages, overflow pages,
 *   entries, root.
 * - meta page: the head of a page, u32 magic, u32 version, u64 address, u64 bytes of the map, the
 *   records of the list of free pages and of the table of tables, u64 last page, u64 transaction.
 */
#ifndef HF_STORE_LMDB_LAYOUT_H
#define HF_STORE_LMDB_LAYOUT_H

#define LMDB_HEAD_BYTES 16u /* of each page */
#define LMDB_ENTRY_BYTES 8u /* what an entry has before its key */

#define LMDB_ENTRY_BIG 1u   /* the value is the number of the first of its own pages */
#define LMDB_ENTRY_TABLE 2u /* the value is the record of a table */
#define LMDB_TABLE_BYTES 48u
#define LMDB_DEPTH_MAX 32u /* what a cursor has room for */

/* The kind of a page. */
#define LMDB_PAGE_BRANCH 1u
#define LMDB_PAGE_LEAF 2u
#define LMDB_PAGE_OVERFLOW 4u

/* The first two pages. */
#define LMDB_META_BYTES 152u
#define LMDB_META_MAGIC 0xBEEFC0DEu
#define LMDB_META_MAGIC_AT 16u
#define LMDB_META_FREE_AT 40u /* the record of the list of free pages; its pad is the page size */
#define LMDB_META_MAIN_AT 88u
#define LMDB_META_LAST_AT 136u /* number of the last page */
#define LMDB_META_TXN_AT 144u

#endif
