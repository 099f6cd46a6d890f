/*
 * options.c - the settings table of holdfast-core. A new setting is one row here and one field.
 *
 * Where a bound is not obvious its help says why.
 * What an operator rarely needs has no command line option, only a place in the file.
 */
#include "core/options.h"

/* Ten years: more is a slip of the pen. */
#define AGE_MS_MAX (UINT64_C(3650) * 24 * 3600 * 1000)
#define AT(field) offsetof(struct core_options, field)

static const struct hf_config_row rows[] = {
    {"core", "data", HF_CONFIG_TEXT, AT(data), NULL, 1, 255, "data", "DIR",
     "where this core keeps its key, its streams and its socket"},
    {"core", "listen", HF_CONFIG_URL, AT(listen), "tcp://127.0.0.1:7410", 1, HF_URL_MAX, "listen",
     "URL", "where edges connect: the stream; control is the next port; port 0 picks a free pair"},
    {"core", "advertise", HF_CONFIG_URL, AT(advertise), NULL, 0, HF_URL_MAX, "advertise", "URL",
     "the URL that join tokens name, when edges reach this core by another one"},
    {"core", "resp", HF_CONFIG_ADDRESS, AT(resp), "127.0.0.1:7412", 1, 63, "resp", "ADDR:PORT",
     "where local clients connect; off: only DIR/holdfast.sock"},
    {"core", "stream", HF_CONFIG_NAME, AT(stream), "main", 1, HF_NAME_MAX, "stream", "NAME",
     "the stream; its data is in DIR/NAME"},
    {"core", "mark", HF_CONFIG_TEXT, AT(mark), NULL, 0, 255, "mark", "FILE",
     "high-water mark, best kept on another disk than DIR: it finds out a disk that was rolled "
     "back"},
    {"core", "log", HF_CONFIG_LEVEL, AT(log), "info", 0, 0, "log", "LEVEL",
     "error, warn, info or debug"},
    {"core", "clients_max", HF_CONFIG_UINT, AT(clients_max), "1024", 1, 100000, NULL, NULL,
     "local clients connected at once"},
    {"core", "output_max", HF_CONFIG_BYTES, AT(output_bytes), "64MiB", 32u << 20, 1u << 30, NULL,
     NULL,
     "bytes of replies that a local client may leave unread, four times that of all of them; more "
     "is refused"},
    {"core", "dictionary", HF_CONFIG_BOOL, AT(dictionary), "on", 0, 0, NULL, NULL,
     "train a dictionary from the stream's small batches, where that makes them smaller"},
    {"core", "pool_threads", HF_CONFIG_UINT, AT(pool_threads), "2", 1, 64, NULL, NULL,
     "threads that read for edges that fetch"},
    {"link", "beacon", HF_CONFIG_TIME, AT(beacon_ms), "1s", 100, 60000, "beacon", "TIME",
     "an idle stream says this often that it is idle; edges must be told the same"},
    {"link", "contexts", HF_CONFIG_UINT, AT(contexts), "1024", 1, 8192, NULL, NULL,
     "requests of edges answered at once"},
    {"link", "pipes_per_address", HF_CONFIG_UINT, AT(pipes_per_address), "8192", 1, 65536, NULL,
     NULL, "connections from one address; an edge has two, and 16 more while it catches up"},
    {"link", "pipes_max", HF_CONFIG_UINT, AT(pipes_max), "16384", 2, 65536, NULL, NULL,
     "connections in all"},
    {"retention", "log_bytes", HF_CONFIG_BYTES, AT(log_bytes), "1GiB", 1u << 20, UINT64_C(1) << 46,
     "log-bytes", "SIZE",
     "changelog kept for edges that catch up batch by batch, in whole files; the oldest go first"},
    {"retention", "log_age", HF_CONFIG_TIME, AT(log_age_ms), "7d", 1000, AGE_MS_MAX, "log-age",
     "TIME", "and for how long: a file goes when its last batch is older than this"},
    {"retention", "tombstone_retention", HF_CONFIG_TIME, AT(tombstone_ms), "30d", 1000, AGE_MS_MAX,
     "tombstone-retention", "TIME",
     "deletes are remembered for so long, or until every edge has them and they are 100,000 "
     "batches old; an edge further behind gets a snapshot"},
    {"retention", "delta_batches", HF_CONFIG_UINT, AT(delta_batches), "0", 0, UINT64_C(1) << 40,
     "delta-batches", "N", "and for so many batches at most, whoever needs them; 0: no such bound"},
    {"store", "segment", HF_CONFIG_BYTES, AT(segment_bytes), "16MiB", 1u << 20, 1u << 30, NULL,
     NULL, "size of a changelog file; the log is trimmed by whole ones"},
    {"store", "map", HF_CONFIG_BYTES, AT(map_bytes), "16GiB", 1u << 20, UINT64_C(1) << 46, NULL,
     NULL, "first size of the LMDB map; it is address space, not disk, and doubles when full"},
    {"store", "waiting", HF_CONFIG_BYTES, AT(waiting_bytes), "128MiB", 8u << 20, UINT64_C(1) << 36,
     NULL, NULL, "memory of writes that wait for the disk; more are answered BUSY"},
    {"store", "commit", HF_CONFIG_TIME, AT(commit_ms), "1s", 10, 60000, NULL, NULL,
     "the state is committed at least this often; the changelog has it at once"},
    {"store", "commit_changes", HF_CONFIG_UINT, AT(commit_changes), "50000", 1, 10000000, NULL,
     NULL, "and after so many changes"},
    {"store", "scrub", HF_CONFIG_TIME, AT(scrub_ms), "7d", 0, (uint64_t)366 * 24 * 3600 * 1000,
     "scrub", "TIME", "every record is read and its checksum verified once in this time; 0: never"},
    {"core", "example_config", HF_CONFIG_BOOL, AT(example), "no", 0, 0, "example-config", NULL,
     "print a commented config file with every setting at its default, and exit"},
};

const struct hf_config_table core_options_table = {rows, sizeof rows / sizeof rows[0]};
