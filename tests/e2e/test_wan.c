/*
 * test_wan.c - whether the emulated network does what was asked of it, measured through real
 * sockets.
 *
 * The program starts itself again under `holdfast-sim link`, opens sockets in the nodes' namespaces
 * and measures delay, rate, loss and silence as an application sees them; the settings are changed
 * through the control socket. Bounds: round trips within 2 ms, rates within 3 %, losses within 10
 * %, with samples so large that chance alone would break the last about once in ten million runs.
 *
 * Without the privilege to make network namespaces it says SKIP and why, and passes. It must not
 * take the emulator's own counters for a measurement, except to see that nothing was lost in a
 * socket's buffer. Next: tests/unit/test_wan_shaper.c, the model without the network.
 */
#include "tests/e2e/probe.h"
#include "tests/standstill.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define HEADERS 28 /* of IPv4 and UDP */
#define ALARM_S 120
#define PLACES_AND_MORE 12 /* the control socket answers 8 at a time */

static char sim_path[600];

/* All links as new: nothing set, nothing cut, nothing under way. */
static int calm(void **state)
{
    (void)state;
    ask("heal all");
    ask("set all rtt=0 jitter=0 rate=0 loss=0 burst=1 queue=100ms reorder=0 duplicate=0");
    ask("hub rate=0 queue=100ms");
    sleep_us(20000);
    return 0;
}

static int compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a;
    int64_t y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* The median of n round trips, one after the other is sent every 5 ms. */
static int64_t round_trip_us(struct pair p, int n)
{
    int64_t us[100] = {0};
    int sent = 0;
    int back = 0;
    int64_t next = standstill_clock_us();
    int64_t end = next + 3000000;
    assert_true(n <= 100);
    while (back < n && standstill_clock_us() < end) {
        struct pollfd f[] = {{p.core, POLLIN, 0}, {p.edge, POLLIN, 0}};
        struct probe probe;
        if (sent < n && standstill_clock_us() >= next) {
            send_probe(p.core, (uint32_t)sent++, 64);
            next += 5000;
        }
        (void)poll(f, 2, 1);
        if (receive_probe(p.edge, 0, &probe)) {
            assert_int_equal(send(p.edge, &probe, sizeof(probe), 0), sizeof(probe));
        }
        while (receive_probe(p.core, 0, &probe)) {
            us[back++] = standstill_clock_us() - probe.sent_us;
        }
    }
    assert_int_equal(back, n);
    qsort(us, (size_t)n, sizeof(us[0]), compare);
    return us[n / 2];
}

/* ---- verdicts ---- */

struct asked {
    struct pair pair;
    int n;            /* samples */
    double value;     /* what was asked for: ms, Mbit/s or per cent, by the measurement */
    bool up;          /* from the edge to the core */
    uint8_t *arrived; /* SAMPLE marks */
};

#define RIGHT 0.0
#define WRONG (-1.0)
#define TRIES 3
#define DISTURBED_TRIES 15 /* of the whole program */

/* measure() returns RIGHT, WRONG, or by how many ms it was too late to be right. A wrong one is
 * wrong at once. One that is late has three tries; but it says nothing when the processors stood
 * still for as long, and if that does not end the test is skipped. */
static void expect(double (*measure)(const struct asked *), struct asked a)
{
    static int disturbed;
    int late = 0;

    do {
        double before = standstill_ms();
        double late_ms = measure(&a);
        double still_ms = standstill_ms() - before;
        if (late_ms <= 0) {
            assert_true(late_ms == RIGHT);
            return;
        }
        print_message("late by %.1f ms, the processors stood still for %.1f ms\n", late_ms,
                      still_ms);
        late += still_ms < late_ms;
        disturbed += still_ms >= late_ms;
    } while (late < TRIES && disturbed < DISTURBED_TRIES);
    if (late == TRIES) {
        fail_msg("late in %d tries", TRIES);
    }
    print_message("SKIP: other programs had the processors in %d tries\n", disturbed);
    skip();
}

/* In ms: less than the least is wrong, more than the most is late. */
static double between(double ms, double least, double most)
{
    return ms < least ? WRONG : ms > most ? ms - most : RIGHT;
}

static double round_trips(const struct asked *a)
{
    double ms = (double)round_trip_us(a->pair, a->n) / 1000;

    print_message("round trip of %.0f ms: median %.2f ms\n", a->value, ms);
    return between(ms, a->value, a->value + 2);
}

/* ---- delay ---- */

static void round_trips_take_what_was_asked(void **state)
{
    struct pair p = pair_open();
    static const int asked_ms[] = {0, 20, 100, 300};
    (void)state;
    for (size_t i = 0; i < sizeof(asked_ms) / sizeof(asked_ms[0]); i++) {
        char line[64];
        snprintf(line, sizeof(line), "set 1 rtt=%d", asked_ms[i]);
        ask(line);
        expect(round_trips, (struct asked){.pair = p, .n = 41, .value = asked_ms[i]});
    }
    pair_close(p);
}

static void links_of_two_edges_do_not_touch_each_other(void **state)
{
    struct pair p = pair_to(1);
    (void)state;
    ask("set 2 rtt=60");
    expect(round_trips, (struct asked){.pair = p, .n = 11, .value = 0});
    pair_close(p);
    p = pair_to(2);
    ask("cut 1");
    expect(round_trips, (struct asked){.pair = p, .n = 11, .value = 60});
    pair_close(p);
}

/* Of 30 +- 20 ms, each packet after the one before has arrived. */
static double spread_of_delays(const struct asked *a)
{
    struct probe probe;
    double least = 1e9;
    double most = 0;

    for (int i = 0; i < a->n; i++) {
        send_probe(a->pair.core, 0, 100);
        assert_true(receive_probe(a->pair.edge, 200, &probe));
        double ms = (double)(standstill_clock_us() - probe.sent_us) / 1000;
        least = ms < least ? ms : least;
        most = ms > most ? ms : most;
    }
    print_message("30 +- 20 ms one way: %.1f to %.1f ms\n", least, most);
    if (least < 10 || most - least < 15) {
        return WRONG;
    }
    return between(most, 10, 52);
}

static void jitter_keeps_the_order(void **state)
{
    struct pair p = pair_open();
    struct probe probe;
    (void)state;
    ask("set 1 down delay=30 jitter=20");
    for (uint32_t i = 0; i < 200; i++) {
        send_probe(p.core, i, 100);
        sleep_us(1000);
    }
    for (uint32_t i = 0; i < 200; i++) {
        assert_true(receive_probe(p.edge, 200, &probe));
        assert_int_equal(probe.number, i);
    }
    expect(spread_of_delays, (struct asked){.pair = p, .n = 30});
    pair_close(p);
}

static void detours_let_others_overtake_and_copies_arrive_twice(void **state)
{
    struct pair p = pair_open();
    struct probe probe;
    uint32_t overtaken = 0;
    uint32_t twice = 0;
    uint32_t got = 0;
    uint8_t seen[4000] = {0};
    uint32_t highest = 0;
    (void)state;
    ask("set 1 delay=5 reorder=10 duplicate=5");
    for (uint32_t i = 0; i < 4000; i++) {
        send_probe(p.core, i, 100);
        if (i % 10 == 9) {
            sleep_us(1000);
        }
    }
    while (receive_probe(p.edge, 100, &probe)) {
        assert_true(probe.number < 4000);
        got++;
        twice += seen[probe.number]++ > 0;
        overtaken += probe.number < highest && seen[probe.number] == 1;
        highest = probe.number > highest ? probe.number : highest;
    }
    print_message("of 4,000: %u overtaken (10 %%), %u twice (5 %%)\n", overtaken, twice);
    assert_int_equal(got, 4000 + twice);
    assert_in_range(overtaken, 300, 500); /* five standard deviations of 19 */
    assert_in_range(twice, 130, 270);     /* of 14 */
    pair_close(p);
}

/* ---- rate and queue ---- */

/* Floods an idle link for some time; Mbit/s of IP packets from the first departure to the last
 * arrival. */
static double flood(int from, int to, int64_t us)
{
    int64_t start = standstill_clock_us();
    int64_t last = start;
    int64_t bytes = 0;
    struct probe probe;
    while (standstill_clock_us() < start + us) {
        for (int i = 0; i < 8; i++) {
            send_probe(from, 0, 1400);
        }
        sleep_us(200); /* 8 of 1,400 bytes in 0.2 ms are 440 Mbit/s, more than any rate here */
        while (receive_probe(to, 0, &probe)) {
            last = standstill_clock_us();
            bytes += 1400 + HEADERS;
        }
    }
    while (receive_probe(to, 200, &probe)) {
        last = standstill_clock_us();
        bytes += 1400 + HEADERS;
    }
    return (double)bytes * 8 / (double)(last - start);
}

static double rate(const struct asked *a)
{
    enum { FLOOD_MS = 1500 };
    const struct pair *p = &a->pair;
    double mbit = flood(a->up ? p->edge : p->core, a->up ? p->core : p->edge, FLOOD_MS * 1000);
    double least = a->value * 0.97;

    print_message("rate of %.0f Mbit/s: %.2f\n", a->value, mbit);
    return mbit > a->value * 1.03 ? WRONG : mbit < least ? FLOOD_MS * (1 - mbit / least) : RIGHT;
}

static void rates_are_what_was_asked_in_both_directions(void **state)
{
    struct pair p = pair_open();
    static const struct {
        const char *set;
        bool up;
        double mbit;
    } rates[] = {{"set 1 down rate=2", false, 2},
                 {"set 1 down rate=20", false, 20},
                 {"set 1 up rate=5", true, 5},
                 {"set 1 down rate=100", false, 100}};
    (void)state;
    for (size_t i = 0; i < sizeof(rates) / sizeof(rates[0]); i++) {
        ask(rates[i].set);
        expect(rate, (struct asked){.pair = p, .value = rates[i].mbit, .up = rates[i].up});
    }
    pair_close(p);
}

static void core_has_one_rate_for_all_edges_together(void **state)
{
    struct pair p = pair_to(1);
    struct pair q = pair_to(2);
    struct probe probe;
    (void)state;
    ask("hub rate=8 queue=50ms"); /* 1,000 bytes take 1 ms */
    for (uint32_t i = 0; i < 20; i++) {
        send_probe(p.core, i, 1000 - HEADERS);
        send_probe(q.core, i, 1000 - HEADERS);
    }
    for (uint32_t i = 0; i < 20; i++) {
        assert_true(receive_probe(p.edge, 200, &probe));
        assert_true(receive_probe(q.edge, 200, &probe));
    }
    int64_t us = standstill_clock_us() - probe.sent_us;
    print_message("40 packets of 1 ms to two edges: the last after %.1f ms\n", (double)us / 1000);
    assert_true(us >= 38000);
    expect(rate, (struct asked){.pair = p, .value = 8});
    pair_close(p);
    pair_close(q);
}

/* 300 packets of 0.8 ms at once into a queue of 50 ms, which 62 of them fill. */
static double overflow(const struct asked *a)
{
    struct probe probe;
    int got = 0;
    double longest = 0;

    for (int i = 0; i < a->n; i++) {
        send_probe(a->pair.core, 0, 1000 - HEADERS);
    }
    while (receive_probe(a->pair.edge, 200, &probe)) {
        double ms = (double)(standstill_clock_us() - probe.sent_us) / 1000;
        longest = ms > longest ? ms : longest;
        got++;
    }
    print_message("queue of 50 ms: %d of %d pass, longest wait %.1f ms\n", got, a->n, longest);
    double wait = between(longest, 45, 58);
    return wait == RIGHT ? between(0.8 * got, 0.8 * 60, 0.8 * 75) : wait;
}

static void full_queue_drops_and_bounds_the_wait(void **state)
{
    struct pair p = pair_open();
    (void)state;
    ask("set 1 down rate=10 queue=50ms");
    expect(overflow, (struct asked){.pair = p, .n = 300});
    pair_close(p);
}

/* ---- loss ---- */

#define SAMPLE 60000u

/* Sends SAMPLE packets, not faster than the forwarder can take them, and marks which arrived. Late
 * when some were dropped before the link or behind it, where there is room for the packets of 2 ms
 * and more. */
static double send_many(const struct asked *a, uint32_t *lost)
{
    struct probe probe;
    uint32_t got = 0;
    uint64_t taken = counter("down", "packets");
    uint64_t before = counter("down", "arrived_packets");
    memset(a->arrived, 0, SAMPLE);
    for (uint32_t i = 0; i < SAMPLE; i++) {
        send_probe(a->pair.core, i, 100);
        if (i % 32 == 31) {
            sleep_us(150);
        }
        while (i % 32 == 31 && receive_probe(a->pair.edge, 0, &probe)) {
            got += a->arrived[probe.number] == 0;
            a->arrived[probe.number] = 1;
        }
    }
    while (receive_probe(a->pair.edge, 100, &probe)) {
        got += a->arrived[probe.number] == 0;
        a->arrived[probe.number] = 1;
    }
    *lost = SAMPLE - got;
    bool all = counter("down", "packets") - taken == SAMPLE &&
               counter("down", "arrived_packets") - before == got;
    return all ? RIGHT : 2;
}

static double independent_losses(const struct asked *a)
{
    uint32_t lost;
    double late_ms = send_many(a, &lost);
    double percent = 100.0 * lost / SAMPLE;

    print_message("loss of %.0f %%: %.2f %%\n", a->value, percent);
    /* 5.6 standard deviations */
    bool good = percent > a->value * 0.9 && percent < a->value * 1.1;
    return late_ms > 0 || good ? late_ms : WRONG;
}

static double bursts_of_4(const struct asked *a)
{
    uint32_t lost;
    uint32_t bursts = 0;
    double late_ms = send_many(a, &lost);

    for (uint32_t i = 1; i < SAMPLE; i++) {
        bursts += a->arrived[i - 1] && !a->arrived[i];
    }
    double percent = 100.0 * lost / SAMPLE;
    double mean = (double)lost / bursts;
    print_message("loss of %.0f %% in bursts of 4: %.2f %% in bursts of %.2f\n", a->value, percent,
                  mean);
    bool good = mean > 3.4 && mean < 4.6 && percent > a->value / 1.2 && percent < a->value * 1.2;
    return late_ms > 0 || good ? late_ms : WRONG;
}

static void losses_are_what_was_asked(void **state)
{
    struct asked a = {.pair = pair_open(), .value = 5, .arrived = malloc(SAMPLE)};
    (void)state;
    ask("set 1 down loss=5");
    expect(independent_losses, a);
    assert_int_equal(counter("up", "lost"), 0);
    free(a.arrived);
    pair_close(a.pair);
}

static void bursts_have_the_length_that_was_asked(void **state)
{
    struct asked a = {.pair = pair_open(), .value = 10, .arrived = malloc(SAMPLE)};
    (void)state;
    ask("set 1 down loss=10 burst=4");
    expect(bursts_of_4, a);
    free(a.arrived);
    pair_close(a.pair);
}

/* ---- cuts ---- */

static void a_cut_is_silent(void **state)
{
    struct pair p = pair_open();
    struct probe probe;
    int error = 0;
    socklen_t len = sizeof(error);
    (void)state;
    ask("set 1 rtt=40");
    send_probe(p.core, 1, 100); /* on its way when the link is cut */
    sleep_us(5000);
    ask("cut 1");
    send_probe(p.core, 2, 100);
    send_probe(p.edge, 3, 100);
    assert_false(receive_probe(p.edge, 200, &probe));
    assert_false(receive_probe(p.core, 100, &probe));
    assert_int_equal(getsockopt(p.core, SOL_SOCKET, SO_ERROR, &error, &len), 0);
    assert_int_equal(error, 0); /* no "host unreachable" either */
    ask("heal 1");
    expect(round_trips, (struct asked){.pair = p, .n = 5, .value = 40});
    ask("cut 1 down");
    send_probe(p.core, 4, 100);
    send_probe(p.edge, 5, 100);
    assert_true(receive_probe(p.core, 200, &probe));
    assert_int_equal(probe.number, 5);
    assert_false(receive_probe(p.edge, 100, &probe));
    pair_close(p);
}

/* A TCP connection from the edge to the core. */
static struct pair connection_open(void)
{
    struct pair p;
    struct sockaddr_in core = address(0);
    int listener = node_socket(0, SOCK_STREAM);
    struct pollfd f = {listener, POLLIN, 0};
    assert_int_equal(listen(listener, 1), 0);
    enter(1);
    p.edge = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_true(connect(p.edge, (struct sockaddr *)&core, sizeof(core)) == 0 ||
                errno == EINPROGRESS);
    assert_int_equal(poll(&f, 1, 2000), 1);
    p.core = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    assert_true(p.core >= 0);
    close(listener);
    return p;
}

static void tcp_survives_a_cut_and_goes_on_after_it(void **state)
{
    struct pair p = connection_open();
    struct pollfd f = {p.edge, POLLIN, 0};
    char byte = 'x';
    (void)state;
    ask("cut 1");
    assert_int_equal(send(p.core, &byte, 1, 0), 1);
    assert_int_equal(poll(&f, 1, 300), 0);
    ask("heal 1");
    assert_int_equal(poll(&f, 1, 3000), 1);
    assert_int_equal(recv(p.edge, &byte, 1, 0), 1);
    pair_close(p);
}

static void half_open_connections_are_silent_and_new_ones_work(void **state)
{
    struct pair old = connection_open();
    struct pollfd f = {old.edge, POLLIN, 0};
    char byte = 'x';
    (void)state;
    ask("half-open 1");
    assert_int_equal(send(old.core, &byte, 1, 0), 1);
    struct pair new = connection_open();
    struct pollfd g = {new.edge, POLLIN, 0};
    assert_int_equal(send(new.core, &byte, 1, 0), 1);
    assert_int_equal(poll(&g, 1, 3000), 1);
    assert_int_equal(poll(&f, 1, 700), 0); /* three times sent again meanwhile, and no reset */
    pair_close(old);
    pair_close(new);
}

static void an_unshaped_link_is_fast(void **state)
{
    struct pair p = connection_open();
    static char block[1 << 18];
    int64_t bytes = 0;
    int64_t end = standstill_clock_us() + 1000000;
    (void)state;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        close(p.edge);
        while (standstill_clock_us() < end && write(p.core, block, sizeof(block)) > 0) {
        }
        _exit(0);
    }
    close(p.core);
    int64_t start = standstill_clock_us();
    for (;;) {
        struct pollfd f = {p.edge, POLLIN, 0};
        ssize_t n = poll(&f, 1, 2000) == 1 ? recv(p.edge, block, sizeof(block), 0) : -1;
        if (n <= 0) {
            break;
        }
        bytes += n;
    }
    double mbit = (double)bytes * 8 / (double)(standstill_clock_us() - start);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    close(p.edge);
    print_message("unshaped: %.0f Mbit/s of TCP\n", mbit);
    /* 2,900 on two idle processors; the bound is for busy ones, and above any rate tested here. */
    assert_true(mbit > 300);
}

/* ---- commands ---- */

static void what_is_refused_changes_nothing(void **state)
{
    struct pair p = pair_open();
    struct hf_error e;
    static const char *const wrong[] = {"set 1 rtt=30 loss=101",
                                        "set 1 rtt=30 rain=2",
                                        "set 3 rtt=30",
                                        "set all",
                                        "set 1 rtt",
                                        "cut",
                                        "cut 1 sideways",
                                        "netns 3",
                                        "hub",
                                        "hub rate=1 loss=1",
                                        "",
                                        "set 1 rtt=30 rate=nan"};
    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_int_equal(hf_wan_ask(getenv("HF_WAN_CONTROL"), wrong[i], NULL, NULL, &e), HF_ARG);
    }
    expect(round_trips, (struct asked){.pair = p, .n = 11, .value = 0});
    pair_close(p);
}

static void on_alarm(int number)
{
    (void)number;
}

/* More than the control socket has places for; the last ones get theirs when the first ones go,
 * whatever signals come meanwhile. */
static void who_finds_no_place_at_the_control_socket_waits(void **state)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int idle[PLACES_AND_MORE];
    int status;
    (void)state;
    snprintf(at.sun_path, sizeof(at.sun_path), "%s", getenv("HF_WAN_CONTROL"));
    for (int i = 0; i < PLACES_AND_MORE; i++) {
        idle[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(connect(idle[i], (struct sockaddr *)&at, sizeof(at)), 0);
    }
    pid_t asking = fork();
    if (asking == 0) {
        const struct itimerval often = {{0, 5000}, {0, 5000}};
        struct hf_error e;
        signal(SIGALRM, on_alarm);
        assert_int_equal(setitimer(ITIMER_REAL, &often, NULL), 0);
        for (int i = 0; i < PLACES_AND_MORE; i++) {
            close(idle[i]);
        }
        _exit(hf_wan_ask(at.sun_path, "nodes", NULL, NULL, &e) == HF_OK ? 0 : 1);
    }
    sleep_us(50000);
    assert_int_equal(waitpid(asking, &status, WNOHANG), 0);
    for (int i = 0; i < PLACES_AND_MORE; i++) {
        close(idle[i]);
    }
    assert_int_equal(waitpid(asking, &status, 0), asking);
    assert_int_equal(status, 0);
}

/* Runs a shell command under a link of its own, with its stdout in *out. */
static pid_t nested(const char *command, int *out)
{
    int fd[2];
    assert_int_equal(pipe(fd), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        dup2(fd[1], 1);
        close(fd[0]);
        close(fd[1]);
        execl(sim_path, sim_path, "link", "--quiet", "--", "sh", "-c", command, (char *)NULL);
        _exit(99);
    }
    close(fd[1]);
    *out = fd[0];
    return pid;
}

static void status_of_the_command_is_that_of_link(void **state)
{
    int out;
    int status;
    (void)state;
    pid_t pid = nested("exit 7", &out);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 7);
    close(out);
    char begun;
    pid = nested("echo; exec sleep 100", &out);
    assert_int_equal(read(out, &begun, 1), 1);
    kill(pid, SIGTERM);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 128 + SIGTERM);
    close(out);
}

static void nothing_is_left_after_kill_9(void **state)
{
    char path[200] = {0};
    int out;
    struct pollfd f;
    (void)state;
    /* One process of the three changed its session and ignores everything that can be ignored. */
    pid_t pid = nested("trap '' TERM HUP; setsid sleep 100 & $HF_WAN_SIM link-exec 1 sleep 100 & "
                       "echo $HF_WAN_CONTROL; sleep 100",
                       &out);
    f = (struct pollfd){out, POLLIN, 0};
    assert_int_equal(poll(&f, 1, 5000), 1);
    ssize_t n = read(out, path, sizeof(path) - 1);
    assert_true(n > 1);
    path[n - 1] = '\0';
    assert_int_equal(access(path, F_OK), 0);
    sleep_us(100000);
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    /* The end of the pipe: no process of them holds it any more. */
    f.revents = 0;
    assert_int_equal(poll(&f, 1, 3000), 1);
    assert_int_equal(read(out, path + n, 1), 0);
    assert_int_not_equal(access(path, F_OK), 0);
    *strrchr(path, '/') = '\0';
    assert_int_not_equal(access(path, F_OK), 0);
    close(out);
}

/* ---- starting ---- */

/* Where the programs are: $HOLDFAST_BIN, or two folders above this one. */
static void find_sim(void)
{
    char self[500] = {0};
    const char *bin = getenv("HOLDFAST_BIN");
    if (bin != NULL) {
        snprintf(sim_path, sizeof(sim_path), "%.500s/holdfast-sim", bin);
        return;
    }
    if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0) {
        exit(1);
    }
    for (int i = 0; i < 3; i++) {
        *strrchr(self, '/') = '\0';
    }
    snprintf(sim_path, sizeof(sim_path), "%s/holdfast-sim", self);
}

/* In a child, since it may have to enter a user namespace to find out. */
static bool permitted(void)
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        struct hf_error e;
        if (hf_wan_privilege(&e) == HF_OK) {
            _exit(0);
        }
        printf("SKIP test_wan: %s\n", e.text);
        fflush(stdout);
        _exit(1);
    }
    return waitpid(pid, &status, 0) == pid && status == 0;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(round_trips_take_what_was_asked, calm),
        cmocka_unit_test_setup(links_of_two_edges_do_not_touch_each_other, calm),
        cmocka_unit_test_setup(jitter_keeps_the_order, calm),
        cmocka_unit_test_setup(detours_let_others_overtake_and_copies_arrive_twice, calm),
        cmocka_unit_test_setup(rates_are_what_was_asked_in_both_directions, calm),
        cmocka_unit_test_setup(core_has_one_rate_for_all_edges_together, calm),
        cmocka_unit_test_setup(full_queue_drops_and_bounds_the_wait, calm),
        cmocka_unit_test_setup(losses_are_what_was_asked, calm),
        cmocka_unit_test_setup(bursts_have_the_length_that_was_asked, calm),
        cmocka_unit_test_setup(a_cut_is_silent, calm),
        cmocka_unit_test_setup(tcp_survives_a_cut_and_goes_on_after_it, calm),
        cmocka_unit_test_setup(half_open_connections_are_silent_and_new_ones_work, calm),
        cmocka_unit_test_setup(an_unshaped_link_is_fast, calm),
        cmocka_unit_test_setup(what_is_refused_changes_nothing, calm),
        cmocka_unit_test_setup(who_finds_no_place_at_the_control_socket_waits, calm),
        cmocka_unit_test_setup(status_of_the_command_is_that_of_link, calm),
        cmocka_unit_test_setup(nothing_is_left_after_kill_9, calm),
    };
    (void)argc;
    find_sim();
    if (getenv("HF_WAN_CONTROL") == NULL || getenv("HF_WAN_TEST") == NULL) {
        if (!permitted()) {
            return 0;
        }
        setenv("HF_WAN_TEST", "1", 1);
        execl(sim_path, sim_path, "link", "--nodes", "2", "--", argv[0], (char *)NULL);
        perror(sim_path);
        return 1;
    }
    alarm(ALARM_S);
    (void)setpriority(PRIO_PROCESS, 0, -15); /* as the forwarder, where that is allowed */
    standstill_watch();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
