/*
 * netns.h - the namespaces of the emulated network and their TUN devices, as descriptors.
 *
 * Invariant: a namespace made here has no name; it lives as long as a descriptor or a process in
 * it. It must not change the namespaces of the calling process: a child makes them and passes them
 * on. Next: loop.c.
 */
#ifndef HF_WAN_NETNS_H
#define HF_WAN_NETNS_H

#include "hf/err.h"

struct hf_wan_node {
    int tun;        /* packets of this node, one a read */
    int netns;      /* for setns */
    int statistics; /* its /proc/net/dev */
};

/* Fills node[0] to node[count - 1], all -1 before; on failure some may be open, and *e says why. */
enum hf_err hf_wan_nodes_open(struct hf_wan_node *node, unsigned count, const char *congestion,
                              struct hf_error *e);
void hf_wan_node_close(struct hf_wan_node *node);

#endif
