/*
 * bytes.h - whole numbers as bytes in a file, a key or what is hashed: in a fixed order, at any
 * address. What goes over the wire as msgpack is cursor.h's.
 *
 * Any thread; nothing can fail. `out` has room for the number, `in` has all of it.
 */
#ifndef HF_BYTES_H
#define HF_BYTES_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

/* ---- the lowest byte first, where nothing else is said ---- */

static inline void hf_store64(uint8_t *out, uint64_t v)
{
    v = htole64(v);
    memcpy(out, &v, sizeof(v));
}

static inline uint64_t hf_load64(const uint8_t *in)
{
    uint64_t v;
    memcpy(&v, in, sizeof(v));
    return le64toh(v);
}

static inline void hf_store32(uint8_t *out, uint32_t v)
{
    v = htole32(v);
    memcpy(out, &v, sizeof(v));
}

static inline uint32_t hf_load32(const uint8_t *in)
{
    uint32_t v;
    memcpy(&v, in, sizeof(v));
    return le32toh(v);
}

/* ---- the highest byte first: such keys sort by number ---- */

static inline void hf_store64_be(uint8_t *out, uint64_t v)
{
    v = htobe64(v);
    memcpy(out, &v, sizeof(v));
}

static inline uint64_t hf_load64_be(const uint8_t *in)
{
    uint64_t v;
    memcpy(&v, in, sizeof(v));
    return be64toh(v);
}

static inline void hf_store32_be(uint8_t *out, uint32_t v)
{
    v = htobe32(v);
    memcpy(out, &v, sizeof(v));
}

static inline uint32_t hf_load32_be(const uint8_t *in)
{
    uint32_t v;
    memcpy(&v, in, sizeof(v));
    return be32toh(v);
}

#endif
