/*
 * transport.c - helpers of the transport: URLs, errors and messages of nng.
 *
 * A core has two ports, the stream's P and the control's P+1, and only P is configured. The URLs
 * that we accept are tcp://host:port with an IPv6 host in brackets; everything else about them is
 * left to nng. tls+tcp:// is refused: nng would need a certificate from us, its 1.5.2 does not tell
 * which peer it has verified, never gives up a handshake that has stopped, and such a listener
 * cannot be probed (fault A). Batches and requests are signed and sealed without it.
 *
 * Must not: hold state.
 *
 * Read next: dialer.c, listener.c.
 */
#include "proto/node/transport_impl.h"

#include <netinet/in.h>
#include <stdio.h>

/* The digits after the last colon, which must not be one inside [::1]. NULL when there are none. */
static const char *port_text(const char *url)
{
    const char *colon = strrchr(url, ':');
    const char *host = strstr(url, "://");

    if (colon == NULL || host == NULL || colon == host) {
        return NULL;
    }
    if (strchr(host, '[') != NULL && colon[-1] != ']') {
        return NULL;
    }
    if (colon[1] == '\0' || strspn(colon + 1, "0123456789") != strlen(colon + 1)) {
        return NULL;
    }
    return strlen(colon + 1) <= 5 ? colon + 1 : NULL;
}

void hf_sp_greeting(enum hf_sp self, uint8_t out[HF_SP_BYTES])
{
    static const uint8_t none[HF_SP_BYTES] = {0, 'S', 'P', 0, 0, 0, 0, 0};

    memcpy(out, none, sizeof(none));
    out[4] = (uint8_t)((unsigned)self >> 8);
    out[5] = (uint8_t)((unsigned)self & 0xffu);
}

enum hf_err hf_transport_port(const char *url, uint32_t *port)
{
    const char *digits;
    uint32_t value = 0;

    if (url == NULL || strncmp(url, "tcp://", 6) != 0 || strlen(url) >= HF_URL_BYTES) {
        return HF_ARG;
    }
    digits = port_text(url);
    if (digits == NULL) {
        return HF_ARG;
    }
    for (; *digits != '\0'; digits++) {
        value = value * 10u + (uint32_t)(*digits - '0');
    }
    if (value > UINT16_MAX) {
        return HF_ARG;
    }
    *port = value;
    return HF_OK;
}

enum hf_err hf_url_check(const char *url, struct hf_error *e)
{
    uint32_t port = 0;

    if (strncmp(url, "tls+tcp://", 10) == 0 || strncmp(url, "tls://", 6) == 0) {
        return hf_error_set(e, HF_ARG,
                            "%s: TLS is not supported; use tcp://, whose batches and requests are "
                            "signed and sealed, inside WireGuard where nobody may see who talks",
                            url);
    }
    if (hf_transport_port(url, &port) != HF_OK) {
        return hf_error_set(e, HF_ARG, "%s is not tcp://host:port", url);
    }
    return HF_OK;
}

enum hf_err hf_transport_url(const char *url, uint32_t port, char *out, size_t cap)
{
    const char *digits = port_text(url);
    int n;

    HF_ASSERT(digits != NULL);
    n = snprintf(out, cap, "%.*s%u", (int)(digits - url), url, port);
    return n > 0 && (size_t)n < cap ? HF_OK : HF_TOO_BIG;
}

enum hf_err hf_url_control(const char *stream_url, char *control_url, size_t cap)
{
    uint32_t port = 0;
    enum hf_err err = hf_transport_port(stream_url, &port);

    if (err != HF_OK) {
        return err;
    }
    if (port == 0 || port == UINT16_MAX) {
        return HF_ARG;
    }
    return hf_transport_url(stream_url, port + 1u, control_url, cap);
}

struct hf_endpoint hf_endpoint_of_nng(const nng_sockaddr *a)
{
    struct hf_endpoint e = {.family = 0};

    if (a->s_family == NNG_AF_INET) {
        e.family = AF_INET;
        e.port = ntohs(a->s_in.sa_port);
        memcpy(e.address, &a->s_in.sa_addr, sizeof(a->s_in.sa_addr));
    } else if (a->s_family == NNG_AF_INET6) {
        e.family = AF_INET6;
        e.port = ntohs(a->s_in6.sa_port);
        memcpy(e.address, a->s_in6.sa_addr, sizeof(e.address));
    }
    return e;
}

struct hf_endpoint hf_endpoint_of_kernel(const struct sockaddr_storage *a)
{
    struct hf_endpoint e = {.family = 0};
    struct sockaddr_in in;
    struct sockaddr_in6 in6;

    if (a->ss_family == AF_INET) {
        memcpy(&in, a, sizeof(in));
        e.family = AF_INET;
        e.port = ntohs(in.sin_port);
        memcpy(e.address, &in.sin_addr, sizeof(in.sin_addr));
    } else if (a->ss_family == AF_INET6) {
        memcpy(&in6, a, sizeof(in6));
        e.family = AF_INET6;
        e.port = ntohs(in6.sin6_port);
        memcpy(e.address, &in6.sin6_addr, sizeof(in6.sin6_addr));
    }
    return e;
}

nng_msg *hf_transport_message(struct hf_slice bytes)
{
    nng_msg *msg = NULL;

    HF_ASSERT(bytes.len <= HF_MESSAGE_MAX);
    if (nng_msg_alloc(&msg, bytes.len) != 0) {
        return NULL;
    }
    if (bytes.len > 0) {
        memcpy(nng_msg_body(msg), bytes.data, bytes.len);
    }
    return msg;
}

static enum hf_err error_code(int rv)
{
    switch (rv) {
    case NNG_ENOMEM:
        return HF_NOMEM;
    case NNG_EADDRINUSE:
        return HF_LOCKED;
    case NNG_EPERM:
        return HF_PERMISSION;
    case NNG_EADDRINVAL:
    case NNG_EINVAL:
    case NNG_ENOTSUP:
        return HF_ARG;
    default:
        return HF_IO;
    }
}

enum hf_err hf_transport_error(struct hf_error *e, int rv, const char *what, const char *url)
{
    const char *reason = rv == NNG_EADDRINUSE ? "the port is in use" : nng_strerror(rv);

    return hf_error_set(e, error_code(rv), "%s %s: %s", what, url, reason);
}
