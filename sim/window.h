/*
 * window.h - writes to files on tmpfs by a copy into a mapping, without a call of the kernel.
 *
 * The stores of 200 edges commit some thousand pages a virtual second, and the kernel's share of a
 * pwrite of one page is several times the copy of it. What is written here is where a write would
 * have put it: whoever reads the file or maps it sees it at once. Only bytes within the present end
 * of a file are written so; whatever makes it longer is for the kernel, which says so when there is
 * no room.
 *
 * A mapping belongs to a descriptor's number. Whoever closes the descriptor, lets it mean another
 * file, or makes its file shorter, says so first; disk.h, which has the place of close and
 * ftruncate, does. Lifetime: until then. One thread writes; forgetting a descriptor that was never
 * written to is safe in any.
 */
#ifndef HF_SIM_WINDOW_H
#define HF_SIM_WINDOW_H

#include <stdbool.h>
#include <sys/uio.h>

/* False: nothing was written, and it is the kernel's to do: the range goes beyond the end of the
 * file, or it is no regular file that may be mapped for writing. */
bool window_write(int fd, const struct iovec *parts, int count, off_t at);

/* The descriptor is about to be closed, or its file to become shorter. */
void window_forget(int fd);

/* ---- the position: LMDB seeks before each run of pages, and writes that from there ---- */

/* The next window_write_here begins at `at`, and the kernel is not told before window_settle.
 * False: nothing is mapped, and it is the kernel's to do. */
bool window_seek(int fd, off_t at);

/* From the position that window_seek has set, and moves it. False as window_write, or nothing was
 * set. */
bool window_write_here(int fd, const struct iovec *parts, int count);

/* Before the kernel reads, writes or tells at the descriptor's position. */
void window_settle(int fd);

#endif
