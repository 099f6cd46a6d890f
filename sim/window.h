/*
 * window.h - writes to files on tmpfs by a copy into a mapping, without a call of the kernel.
 *
 * The stores of 200 edges commit some thousand pages a virtual second, and the kernel's share of a
 * pwrite of one page is several times the copy of it. What is written here is where a write would
 * have put it: whoever reads the file or maps it sees it at once. Only bytes within the present end
 * of a file are written so; whatever makes it longer is for the kernel, which says so when there is
 * no room.
 *
 * A mapping belongs to a descriptor's number, and is used only while fstat says that it is still
 * that file. One thread.
 */
#ifndef HF_SIM_WINDOW_H
#define HF_SIM_WINDOW_H

#include <stdbool.h>
#include <sys/uio.h>

/* False: nothing was written, and it is the kernel's to do: the range goes beyond the end of the
 * file, or it is no regular file that may be mapped for writing. */
bool window_write(int fd, const struct iovec *parts, int count, off_t at);

#endif
