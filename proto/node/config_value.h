/*
 * config_value.h - one value of a configuration, between text and struct; internal to config.
 *
 * `config` is the owner's struct; the row says where in it the value is. Read next: config.c.
 */
#ifndef HF_CONFIG_VALUE_H
#define HF_CONFIG_VALUE_H

#include "hf/config.h"

/* Empty text, 0 or false. */
void hf_config_value_clear(const struct hf_config_row *row, void *config);
/* Parses text as the row's type and checks its limits; on failure e says what was expected and the
 * struct is unchanged. */
enum hf_err hf_config_value_set(const struct hf_config_row *row, void *config, const char *text,
                                struct hf_error *e);

#endif
