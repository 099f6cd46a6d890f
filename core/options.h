/*
 * options.h - the settings of holdfast-core: one table for file, command line, --help and example.
 */
#ifndef HF_CORE_OPTIONS_H
#define HF_CORE_OPTIONS_H

#include "hf/config.h"
#include "hf/seal.h"
#include "hf/world.h"

struct core_options {
    char data[256];
    char listen[HF_URL_MAX + 1];
    char advertise[HF_URL_MAX + 1];
    char resp[64];
    char stream[HF_NAME_MAX + 1];
    char mark[256];
    enum hf_level log;
    uint64_t clients_max;
    uint64_t output_bytes;
    uint64_t contexts;
    uint64_t pipes_per_address;
    uint64_t pipes_max;
    uint64_t log_bytes;
    uint64_t segment_bytes;
    hf_ms log_age_ms;
    hf_ms tombstone_ms;
    uint64_t delta_batches;
    uint64_t map_bytes;
    uint64_t waiting_bytes;
    uint64_t commit_changes;
    hf_ms commit_ms;
    hf_ms beacon_ms;
    hf_ms scrub_ms;
    uint64_t pool_threads;
    bool example;
    bool dictionary;
};

extern const struct hf_config_table core_options_table;

#endif
