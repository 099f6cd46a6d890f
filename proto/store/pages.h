/*
 * pages.h - the check of a data file's pages, for doctor.c.
 *
 * It holds for a file that nobody writes meanwhile: pages of an older transaction are reused under
 * it otherwise, and look like damage. Only doctor.c, in its child and under the lock of the store,
 * is in that position. Next: pages.c.
 */
#ifndef HF_STORE_PAGES_H
#define HF_STORE_PAGES_H

#include "state_impl.h"

/* HF_CORRUPT with the page and what is wrong with it in e; HF_NOMEM and HF_IO when it could not be
 * looked at. Time: one look at each page. */
enum hf_err hf_pages_check(const struct hf_state *s, struct hf_error *e);

#endif
