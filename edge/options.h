/*
 * options.h - the settings of holdfast-edge: one table for file, command line, --help and example.
 */
#ifndef HF_EDGE_OPTIONS_H
#define HF_EDGE_OPTIONS_H

#include "hf/config.h"
#include "hf/edge.h"
#include "hf/world.h"

struct edge_options {
    char data[256];
    char join[HF_TOKEN_TEXT_MAX + 1];
    char core[HF_URL_MAX + 1];
    char core_key[2 * HF_KEY_BYTES + 1];
    char name[HF_NAME_MAX + 1];
    char import[512];
    char resp[64];
    enum hf_level log;
    uint64_t catchup_connections;
    uint64_t catchup_share;
    uint64_t catchup_rate_max;
    uint64_t map_bytes;
    uint64_t hold_bytes;
    uint64_t clients_max;
    hf_ms beacon_ms;
    hf_ms scrub_ms;
    bool example;
};

extern const struct hf_config_table edge_options_table;

#endif
