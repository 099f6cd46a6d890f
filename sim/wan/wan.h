/*
 * wan.h - an emulated wide-area network: real kernel TCP between network namespaces, joined by a
 * forwarder in user space.
 *
 * Node 0 is the core, nodes 1 to N are edges; each has a namespace of its own with one TUN device,
 * whose other end is held here, and reaches nobody but the core (edges: the core; core: all edges).
 * Each edge has a link of two directions, each shaped by itself (shaper.h), changed at any time.
 * Before the links to the edges there may be one that they share: the hub, what the core can send.
 * The devices have an MTU of 1,500 and no offloads, so that what is lost is a packet as a real link
 * loses it, and checksums are computed by the kernel at both ends.
 *
 * Invariant: nothing outlives the process. Namespaces have no name, only descriptors; a device goes
 * with its descriptor; also after kill -9. Memory is fixed at hf_wan_new.
 *
 * Needs CAP_SYS_ADMIN, or a user namespace (hf_wan_privilege), and /dev/net/tun. One thread. It
 * must not know what runs in the nodes. Files: shaper.c the model, netns.c namespaces and devices,
 * flight.c packets under way, loop.c the forwarder, control.c changes at run time, link.c commands.
 */
#ifndef HF_WAN_H
#define HF_WAN_H

#include "hf/err.h"
#include "sim/wan/shaper.h"

#define HF_WAN_EDGES_MAX 250u
#define HF_WAN_MTU 1500u
#define HF_WAN_ADDRESS_BYTES 16u
#define HF_WAN_HUB_QUEUE_NS (100 * HF_WAN_MS) /* at first; as that of links */

enum hf_wan_way {
    HF_WAN_DOWN, /* core to edge */
    HF_WAN_UP,
    HF_WAN_WAYS
};

struct hf_wan;

struct hf_wan_config {
    unsigned edges; /* 1 to HF_WAN_EDGES_MAX */
    uint64_t seed;  /* of all random draws; timing stays real, so runs still differ */
    struct hf_wan_profile profile; /* of every link, both ways */
    uint64_t hub_bps;              /* of the core to all edges together; 0 = no limit */
    const char *congestion;        /* TCP congestion control in all nodes; NULL = the system's */
};

/* Makes sure that this process may make namespaces: as it is, or by entering a user namespace of
 * its own in which it is root. Once, before any thread. HF_PERMISSION with *e saying what is
 * missing. */
enum hf_err hf_wan_privilege(struct hf_error *e);

/* Makes namespaces, devices and links. All descriptors are close-on-exec. */
enum hf_err hf_wan_new(const struct hf_wan_config *config, struct hf_wan **out, struct hf_error *e);
void hf_wan_free(struct hf_wan *w);

unsigned hf_wan_edges(const struct hf_wan *w);
/* One direction of the link of an edge (1 to N): profile, cut and counters may be changed and read
 * between steps. Borrowed for the life of w. */
struct hf_wan_shaper *hf_wan_link(struct hf_wan *w, unsigned edge, enum hf_wan_way way);
/* The edge's connections become half-open: what they send vanishes from now on, and new ones work
 * (middlebox.h). It lasts, and may come again. */
void hf_wan_half_open(struct hf_wan *w, unsigned edge);
/* What all packets of the core pass before the link of their edge. Only its rate and its queue may
 * be changed: links draw losses and delays. What it drops counts as overflowed at the edge's link,
 * and what a link then loses or swallows has had its share of the hub. Borrowed like a link. */
struct hf_wan_shaper *hf_wan_hub(struct hf_wan *w);
/* The network namespace of a node (0 to N), for setns. Borrowed. */
int hf_wan_netns(const struct hf_wan *w, unsigned node);
/* "198.18.0.1": the address of a node; out has HF_WAN_ADDRESS_BYTES. */
void hf_wan_address(unsigned node, char *out);
/* Packets that the kernel dropped because the forwarder did not read in time: more than 0 means
 * that the machine is too busy for what is asked, and that figures of this run are void. */
uint64_t hf_wan_overrun(const struct hf_wan *w, unsigned node);
/* Packets that had nowhere to go: not IPv4, or from edge to edge. */
uint64_t hf_wan_stray(const struct hf_wan *w);

/* Calls ready(ctx) from hf_wan_step when fd is readable; a few at a time, false when full. */
bool hf_wan_watch(struct hf_wan *w, int fd, void (*ready)(void *ctx, int fd), void *ctx);
void hf_wan_unwatch(struct hf_wan *w, int fd);
/* Waits until a packet comes or is due or a watched descriptor is readable, and handles that. */
void hf_wan_step(struct hf_wan *w);

#endif
