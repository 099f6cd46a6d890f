/*
 * record_box.h - recordings for the tests of sim/record.c and sim/report.c, and what an edge is
 * like in one sample: well, cut off, stopped.
 */
#ifndef HF_TESTS_RECORD_BOX_H
#define HF_TESTS_RECORD_BOX_H

#include "hf/replica.h"
#include "sim/record.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

/* Of edges that are called edge1, edge2... */
static inline struct record *record_of(uint32_t edges)
{
    char name[16];
    struct record *r = record_new();
    for (uint32_t i = 1; i <= edges; i++) {
        snprintf(name, sizeof(name), "edge%u", i);
        assert_int_equal(record_add(r, name), i);
    }
    return r;
}

static const struct record_sample well = {
    .head = 10, .applied = 10, .staleness_ms = 1000, .state = HF_REPLICA_LIVE};

static inline struct record_sample cut(struct record_sample s)
{
    s.cut_down = s.cut_up = true;
    return s;
}

static inline struct record_sample stopped(struct record_sample s)
{
    s.state = RECORD_NOT_RUNNING;
    s.staleness_ms = RECORD_UNKNOWN;
    return s;
}

#endif
