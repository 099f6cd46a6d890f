/*
 * text.h - bytes as text: escapes, base64, and what is safe to show on a terminal.
 *
 * Keys and values are bytes. In files they are written with \t \n \r \\ and \xHH; in JSON as
 * strings, or as base64 when they are not UTF-8. What writing produces, reading gives back byte for
 * byte.
 */
#ifndef HF_CLI_TEXT_H
#define HF_CLI_TEXT_H

#include <stdio.h>

#include "hf/types.h"

/* What some editors put before the first line of UTF-8. */
#define HF_TEXT_BOM "\xef\xbb\xbf"

/* Replaces the escapes in place and shortens *len. False at an unknown or unfinished escape; *len
 * is then its offset. */
bool hf_text_unescape(char *s, size_t *len);
/* Writes bytes with escapes. Bytes from 0x80 up are left as they are: UTF-8 stays readable. */
void hf_text_escape(struct hf_slice bytes, FILE *out);

bool hf_text_is_utf8(struct hf_slice bytes);

/* Room for the text of len bytes, terminator included. */
size_t hf_base64_size(size_t len);
void hf_base64_encode(struct hf_slice bytes, char *out);
/* Padding is required and unused bits must be zero, so that each value has one form. `out` has room
 * for text.len / 4 * 3 bytes. */
bool hf_base64_decode(struct hf_slice text, uint8_t *out, size_t *len);

/* Sets the member `name` of a JSON object, or NAME_b64 where the bytes are not UTF-8. False when
 * there is no memory, or no object. */
struct json_t;
bool hf_text_json_set(struct json_t *object, const char *name, struct hf_slice bytes);

/* Copies text for a terminal or a table: control bytes and bytes that are not ASCII become '?'. */
void hf_text_plain(char *out, size_t cap, const char *text, size_t len);

#endif
