/*
 * record_impl.h - what record.c and record_events.c share; for these two only.
 */
#ifndef HF_SIM_RECORD_IMPL_H
#define HF_SIM_RECORD_IMPL_H

#include "sim/record.h"

__attribute__((format(printf, 4, 5))) void
record_event_add(struct record_track *t, hf_ms at, enum record_kind kind, const char *format, ...);

#endif
