/*
 * hello.h - the part of a HELLO reply that lets an edge open frames: content keys, dictionaries.
 *
 * The same for an answer on the line and for a record of a carry file. Owner's thread.
 */
#ifndef CORE_HELLO_H
#define CORE_HELLO_H

#include "core/keyring.h"
#include "hf/dictionary.h"
#include "hf/messages.h"

#define HF_HELLO_ROOM (HF_HELLO_DICTIONARIES_MAX * HF_DICTIONARY_FRAME_MAX)

/* For an edge that opens frames from `first` on and has the dictionaries of q (NULL: none); those
 * above `head` are not durable yet. room has HF_HELLO_ROOM bytes and outlives p. */
void hf_hello_fill(const struct hf_keyring *keys, struct hf_dictionaries *dictionaries,
                   const struct hf_hello_request *q, hf_seq first, hf_seq head, uint8_t *room,
                   struct hf_hello_reply *p);

#endif
