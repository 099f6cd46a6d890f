/*
 * expand.h - the 1,024 lanes of an element, and the order in which this machine keeps lanes.
 *
 * Lanes are summed one by one, so their order in memory is free as long as it is the same all the
 * time. It is fixed for a process and never leaves it: save and load speak the order of
 * PROTOCOL.md section 5. Pure; any thread. Only digest.c and the tests include this.
 */
#ifndef HF_WIRE_EXPAND_H
#define HF_WIRE_EXPAND_H

#include "hf/digest.h"

/* lane += or -= the expansion of the element hash. */
void hf_expand_add(const struct hf_hash *element, uint16_t lane[HF_LTHASH_LANES]);
void hf_expand_sub(const struct hf_hash *element, uint16_t lane[HF_LTHASH_LANES]);

/* 2,048 bytes, u16 little-endian, lane 0 first. */
void hf_expand_save(const uint16_t lane[HF_LTHASH_LANES], uint8_t out[2048]);
void hf_expand_load(const uint8_t in[2048], uint16_t lane[HF_LTHASH_LANES]);

#endif
