/*
 * options.c - the settings table of holdfast-edge. A new setting is one row here and one field.
 */
#include "edge/options.h"

#define AT(field) offsetof(struct edge_options, field)

static const struct hf_config_row rows[] = {
    {"edge", "data", HF_CONFIG_TEXT, AT(data), NULL, 1, 255, "data", "DIR",
     "where this edge keeps its key, its state and its socket"},
    {"edge", "join", HF_CONFIG_TEXT, AT(join), NULL, 0, HF_TOKEN_TEXT_MAX, "join", "TOKEN",
     "enrol with this token of `holdfast edge invite`; needed once"},
    {"edge", "core", HF_CONFIG_URL, AT(core), NULL, 0, HF_URL_MAX, "core", "URL",
     "stream URL of the core, when it was told this edge's key by `holdfast edge add`"},
    {"edge", "core_key", HF_CONFIG_KEY, AT(core_key), NULL, 0, 64, "core-key", "KEY",
     "public key of that core, 64 hex digits"},
    {"edge", "name", HF_CONFIG_NAME, AT(name), NULL, 0, HF_NAME_MAX, "name", "NAME",
     "refuse to start with a token that was made out to another name"},
    {"edge", "import", HF_CONFIG_TEXT, AT(import), NULL, 0, 511, "import", "FILE",
     "apply a file of `holdfast export --for NAME` to DIR, whose daemon must not run, and exit"},
    {"edge", "resp", HF_CONFIG_ADDRESS, AT(resp), "127.0.0.1:7422", 1, 63, "resp", "ADDR:PORT",
     "where local readers connect; off: only DIR/holdfast.sock"},
    {"edge", "clients_max", HF_CONFIG_UINT, AT(clients_max), "1024", 1, 100000, NULL, NULL,
     "readers connected at once"},
    {"edge", "log", HF_CONFIG_LEVEL, AT(log), "info", 0, 0, "log", "LEVEL",
     "error, warn, info or debug"},
    {"link", "catchup_connections", HF_CONFIG_UINT, AT(catchup_connections), "16", 0, 32,
     "catchup-connections", "N",
     "connections opened at most to catch up: on a lossy link each makes a part of the rate; 0: "
     "only the one that is always there"},
    {"link", "catchup_share", HF_CONFIG_UINT, AT(catchup_share), "70", 1, 100, NULL, NULL,
     "percent of the link's measured rate for catching up while new batches are coming, too"},
    {"link", "catchup_rate_max", HF_CONFIG_BYTES, AT(catchup_rate_max), "0", 0, UINT64_C(1) << 40,
     NULL, NULL, "bytes a second for catching up at most; 0: no limit"},
    {"link", "beacon", HF_CONFIG_TIME, AT(beacon_ms), "1s", 100, 60000, NULL, NULL,
     "the core's beacon interval: three missed mean that the link is dead"},
    {"store", "map", HF_CONFIG_BYTES, AT(map_bytes), "16GiB", 1u << 20, UINT64_C(1) << 46, NULL,
     NULL, "first size of the LMDB map; it is address space, not disk, and doubles when full"},
    {"store", "hold", HF_CONFIG_BYTES, AT(hold_bytes), "32MiB", 1u << 20, UINT64_C(1) << 32, NULL,
     NULL, "memory for batches that arrived before their predecessors"},
    {"store", "scrub", HF_CONFIG_TIME, AT(scrub_ms), "7d", 0, (uint64_t)366 * 24 * 3600 * 1000,
     "scrub", "TIME", "every record is read and its checksum verified once in this time; 0: never"},
    {"edge", "example_config", HF_CONFIG_BOOL, AT(example), "no", 0, 0, "example-config", NULL,
     "print a commented config file with every setting at its default, and exit"},
};

const struct hf_config_table edge_options_table = {rows, sizeof(rows) / sizeof(rows[0])};
