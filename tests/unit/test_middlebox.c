/*
 * test_middlebox.c - which packets pass a box that has lost its table.
 */
#include "sim/wan/middlebox.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define SYN 0x02
#define ACK 0x10
#define CORE 7410

static struct hf_wan_middlebox box;

static int setup(void **state)
{
    (void)state;
    memset(&box, 0, sizeof(box));
    return 0;
}

/* A TCP packet between a port of the edge and the core's, with `words` of IPv4 header. */
static bool passes(enum hf_wan_way way, uint16_t edge_port, uint8_t flags, unsigned words)
{
    uint8_t p[80] = {(uint8_t)(0x40 | words)};
    uint8_t *tcp = p + 4 * words;
    uint16_t from = way == HF_WAN_UP ? edge_port : CORE;
    uint16_t to = way == HF_WAN_UP ? CORE : edge_port;
    p[9] = 6;
    tcp[0] = (uint8_t)(from >> 8);
    tcp[1] = (uint8_t)from;
    tcp[2] = (uint8_t)(to >> 8);
    tcp[3] = (uint8_t)to;
    tcp[13] = flags;
    return hf_wan_middlebox_pass(&box, p, 4 * words + 20, way);
}

static void all_passes_until_it_forgets(void **state)
{
    (void)state;
    assert_true(passes(HF_WAN_UP, 40000, ACK, 5));
    assert_true(passes(HF_WAN_DOWN, 40000, ACK, 5));
}

static void open_connections_pass_nothing_either_way_and_new_ones_pass(void **state)
{
    (void)state;
    hf_wan_middlebox_forget(&box);
    assert_false(passes(HF_WAN_UP, 40000, ACK, 5));
    assert_false(passes(HF_WAN_DOWN, 40000, ACK, 5));
    assert_true(passes(HF_WAN_UP, 40001, SYN, 5));
    assert_true(passes(HF_WAN_DOWN, 40001, SYN | ACK, 5));
    assert_true(passes(HF_WAN_UP, 40001, ACK, 5));
    assert_false(passes(HF_WAN_UP, 40000, ACK, 5));
    hf_wan_middlebox_forget(&box);
    assert_false(passes(HF_WAN_UP, 40001, ACK, 5));
}

static void only_the_edge_opens_connections(void **state)
{
    (void)state;
    hf_wan_middlebox_forget(&box);
    assert_false(passes(HF_WAN_DOWN, 40000, SYN, 5));
    assert_false(passes(HF_WAN_UP, 40000, SYN | ACK, 5));
    assert_false(passes(HF_WAN_UP, 40000, ACK, 5));
}

static void ip_options_are_stepped_over(void **state)
{
    (void)state;
    hf_wan_middlebox_forget(&box);
    assert_false(passes(HF_WAN_UP, 40000, ACK, 15));
    assert_true(passes(HF_WAN_UP, 40000, SYN, 15));
}

static void what_is_no_tcp_passes(void **state)
{
    uint8_t p[40] = {0x45};
    (void)state;
    hf_wan_middlebox_forget(&box);
    p[9] = 17;
    assert_true(hf_wan_middlebox_pass(&box, p, sizeof(p), HF_WAN_UP));
    p[9] = 6;
    assert_true(hf_wan_middlebox_pass(&box, p, 39, HF_WAN_UP)); /* not all of its header */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(all_passes_until_it_forgets, setup),
        cmocka_unit_test_setup(open_connections_pass_nothing_either_way_and_new_ones_pass, setup),
        cmocka_unit_test_setup(only_the_edge_opens_connections, setup),
        cmocka_unit_test_setup(ip_options_are_stepped_over, setup),
        cmocka_unit_test_setup(what_is_no_tcp_passes, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
