# holdfast - one non-recursive Makefile; `make help` lists the targets.
# Variants have objects of their own: SAN=address (ASan and UBSan), SAN=thread. V=1 shows the commands.

PREFIX ?= /usr/local
D       = $(DESTDIR)$(PREFIX)
SAN    ?=
Q      := $(if $(V),,@)
CC     := $(if $(SAN),clang-14,gcc)
B      := build$(if $(SAN),/$(SAN))

WARN   := -Wall -Wextra -Wpedantic -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wcast-align \
          -Wformat=2 -Wundef -Wvla -Wwrite-strings -Wpointer-arith -Wimplicit-fallthrough
HARDEN := -fno-omit-frame-pointer -fstack-protector-strong -fPIE
HARDEN += $(if $(filter address,$(SAN)),-fsanitize=address -fsanitize=undefined -fno-sanitize-recover=undefined)
HARDEN += $(if $(filter fuzzer,$(SAN)),-fsanitize=fuzzer-no-link -fsanitize=address -fsanitize=undefined -fno-sanitize-recover=undefined)
HARDEN += $(if $(filter thread,$(SAN)),-fsanitize=thread)
HARDEN += $(if $(SAN),,-D_FORTIFY_SOURCE=2)
OPT    ?= -O2 -g
FLAGS   = -std=c11 -D_GNU_SOURCE -Iinclude -I. $(OPT) $(HARDEN) $(WARN) -MMD -MP
LDALL   = $(HARDEN) -pie -Wl,-z,relro,-z,now

# ---- sources: a layer may use those before it; tests/lint checks who includes what ----

WIRE   := err number cursor expand elements digest batch compress body seal genesis beacon token messages fetch records carry
STORE  := changelog recovery record segment spare log_view \
          dictionary env state tables adder tree shape vouch moves index view walk verify sample stage bulk parts staging repair \
          scrub doctor pages lost_pages guarded
NODE   := daemon life stdio loop pair service log config config_value keyfile resp resp_listen resp_parse resp_reply kv \
          transport dialer link listener pipes strangers probe requests inbox descriptors reach
CORE   := publisher driver open writer group registry keyring facts mark cookie service admission transfer queue \
          cache frames chunks ranges plan enrol fence inspect ages retention carry trainer hello lineage presence audit
EDGE   := replica held apply fetch pace share width repair liveness driver slots chunks session storing kept compare history carried \
          import dictionaries
COMMANDS := commands commands_session commands_op commands_write commands_admin commands_info \
            commands_carry commands_log options
CLI    := apply carry connect del edge export get import input keygen log parse parse_json parse_pem progress put \
          repair request status status_print text
SIM    := rng window interrupt world hop cubic tcp conn net memo node load oracle measure expect faults attacks marks script \
          script_words script_action script_timeline script_expect shipped scenario record record_events recorder report report_json report_html run \
          spec trial shrink seeds swarm workload orders history history_read
SIM_COMMANDS := command command_run command_swarm command_scenario command_check
REAL   := command refuse player daemon links timeline writer history watch reads judge compare damage print client
WAN    := shaper profile middlebox flight netns loop control ask nest link

WIRE_O  := $(WIRE:%=$B/proto/wire/%.o)
STORE_O := $(STORE:%=$B/proto/store/%.o)
NODE_O  := $(NODE:%=$B/proto/node/%.o)
CORE_O  := $(CORE:%=$B/core/%.o)
EDGE_O  := $(EDGE:%=$B/edge/%.o)
CLI_O   := $(CLI:%=$B/core/cli/%.o)
SIM_O   := $(SIM:%=$B/sim/%.o)
WAN_O   := $(WAN:%=$B/sim/wan/%.o)
REAL_O  := $(REAL:%=$B/sim/real/%.o)
PURE_O  := $(WIRE_O) $(STORE_O)

BASE_L  := -llmdb -lsodium -lzstd -lxxhash -lpthread -lm
MEMO_L  := $(patsubst %,-Xlinker --wrap=%,crypto_sign_detached crypto_sign_verify_detached hf_element_hash \
           hf_lthash_digest hf_frame_body_matches hf_body_unseal)
NODE_L  := -lnng -luv -linih $(BASE_L)
BIN     := $(addprefix $B/,holdfast-core holdfast-edge holdfast holdfast-sim holdfast-blackhole)
FAULTS  := $B/libholdfast-faults.so

UNIT    := $(patsubst tests/unit/%.c,%,$(wildcard tests/unit/test_*.c))
E2E     := $(patsubst tests/e2e/%.c,%,$(wildcard tests/e2e/test_*.c))
FUZZ    := $(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ_MAIN := $(if $(filter fuzzer,$(SAN)),,$B/tests/fuzz/standalone.o)
ALL_O   := $(PURE_O) $(NODE_O) $(CORE_O) $(EDGE_O)

.PHONY: all help deps demo check unit e2e scenario fuzz tsan lint soak bugs bench bench-wan bless format install clean
.SECONDARY:
all: $(BIN)   ## build everything into build/

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## */\t/' | expand -t 12

deps:  ## install the Debian packages that building and testing need
	@deploy/install-deps.sh --test

demo:  ## the main job on real data: publish, cut a link, heal, compare digests
	@deploy/install-deps.sh
	@$(MAKE) --no-print-directory all
	@deploy/demo.sh $B

# ---- objects and programs ----

$B/tests/%.o: tests/%.c
	@mkdir -p $(@D)
	$(if $Q,@echo "  CC    $<")
	$Q$(CC) $(FLAGS) -c $< -o $@

$B/%.o: %.c
	@mkdir -p $(@D)
	$(if $Q,@echo "  CC    $<")
	$Q$(CC) $(FLAGS) -Wconversion -c $< -o $@

define link
	$(if $Q,@echo "  LINK  $@")
	$Q$(CC) $(LDALL) -o $@ $(filter %.o,$^) $(filter %.a,$^) $1
endef

$B/holdfast-core: $B/core/main.o $(COMMANDS:%=$B/core/%.o) $(CORE_O) $(NODE_O) $(PURE_O)
	$(call link,$(NODE_L))
$B/holdfast-edge: $B/edge/main.o $B/edge/commands.o $B/edge/health.o $B/edge/options.o $(EDGE_O) $(NODE_O) $(PURE_O)
	$(call link,$(NODE_L))
$B/holdfast: $B/core/cli/main.o $(CLI_O) $B/proto/node/keyfile.o $B/proto/node/stdio.o $(WIRE_O)
	$(call link,-lhiredis -ljansson $(BASE_L))
$B/holdfast-sim: $B/sim/main.o $B/proto/node/stdio.o $(SIM_COMMANDS:%=$B/sim/%.o) $B/sim/disk.o $B/sim/wrap.o $(SIM_O) $(WAN_O) $(REAL_O) $(CORE_O) $(EDGE_O) $(PURE_O)
	$(call link,$(MEMO_L) -lhiredis -ljansson -luv $(BASE_L))
$B/sim/report_html.o: sim/report.html sim/report.css sim/report.js sim/report_charts.js
$B/holdfast-blackhole: $B/sim/blackhole.o
	$(call link,)
# Without the hardening of programs: a preloaded library checks nothing for others.
$B/libholdfast-faults.so: sim/preload/faults.c sim/preload/record.c sim/preload/faults.h sim/preload/record.h
	@mkdir -p $(@D)
	$(if $Q,@echo "  LINK  $@")
	$Qgcc -std=c11 -D_GNU_SOURCE -I. $(WARN) -Wconversion -O2 -g -fPIC -fvisibility=hidden -shared -Wl,-z,relro,-z,now -o $@ $(filter %.c,$^)

$B/libholdfast-test.a: $(ALL_O) $(SIM_O) $(WAN_O) $(REAL_O) $(CLI_O) $(COMMANDS:%=$B/core/%.o)
	$Qrm -f $@ && ar rcs $@ $^

TEST_L  := -lcmocka -lhiredis -ljansson -lmsgpackc $(NODE_L)
$B/tests/unit/test_sim_wrap: $B/sim/wrap.o
$B/tests/unit/test_sim_wrap: TEST_L += $(MEMO_L)
$B/tests/unit/test_disk $B/tests/unit/test_meta_sync $B/tests/unit/test_shrink $B/tests/unit/test_spec: $B/sim/disk.o
$B/tests/unit/%: $B/tests/unit/%.o $B/libholdfast-test.a
	$(call link,$(TEST_L))
$B/tests/unit/test_health: $B/edge/health.o
$B/tests/unit/test_edge_commands: $B/edge/commands.o
$B/tests/unit/test_preload: $(FAULTS)
$B/tests/unit/test_transport_links: TEST_L += -Wl,--wrap=uv_hrtime
$B/tests/unit/test_edge_restart: TEST_L += -Wl,--wrap=hf_state_inbox_del
$B/tests/unit/test_ahead: TEST_L += -Wl,--wrap=hf_state_apply_batch
$B/tests/unit/test_env: TEST_L += -Wl,--wrap=access,--wrap=fork,--wrap=mmap
$B/tests/e2e/%: $B/tests/e2e/%.o $B/libholdfast-test.a
	$(call link,$(TEST_L))
$B/tests/fuzz/%: $B/tests/fuzz/%.o $(FUZZ_MAIN) $B/libholdfast-test.a
	$(call link,$(if $(filter fuzzer,$(SAN)),-fsanitize=fuzzer) -ljansson -lmsgpackc $(NODE_L))

RELIABLE := $(patsubst %,$B/tests/reliability/%,positions kills power flips disks dead lost report)
$B/tests/reliability/%: $B/tests/reliability/%.o $(patsubst %,$B/tests/reliability/%.o,campaign clients recorder) $B/libholdfast-test.a
	$(call link,$(TEST_L))

$B/tests/bench/client: $B/tests/bench/client.o
	$(call link,-lhiredis -lpthread)
WANBENCH_O := $(patsubst %,$B/tests/bench/%.o,keys sent wire) $B/sim/wan/ask.o $B/proto/wire/err.o
$B/tests/bench/catchup: $B/tests/bench/catchup.o $(WANBENCH_O)
	$(call link,-lhiredis -lzstd -lpthread)
$B/tests/bench/storm: $B/tests/bench/storm.o $(WANBENCH_O)
	$(call link,-lhiredis -lzstd -lpthread)
$B/tests/bench/stages: $B/tests/bench/stages.o $(NODE_O) $(PURE_O)
	$(call link,$(NODE_L))
$B/tests/bench/load: $B/tests/bench/load.o $(PURE_O)
	$(call link,$(BASE_L))

$B/tests/bench/tcp: $B/tests/bench/tcp.o $(patsubst %,$B/sim/%.o,tcp cubic hop rng) $B/proto/wire/err.o
	$(call link,-lm)

# ---- tests ----

# check: these from the sanitized build, those from both (which daemons a test runs, tests/check.sh says).
TESTS_A := $(UNIT:%=$B/tests/unit/%) $(FUZZ:%=$B/tests/fuzz/%) $(FAULTS)
TESTS_B := $(E2E:%=$B/tests/e2e/%) $B/tests/bench/catchup $(BIN) $(FAULTS)
.PHONY: tests-a tests-b tests-c reliability
tests-a: $(TESTS_A)
tests-b: $(TESTS_B)
tests-c: $(RELIABLE) $(BIN) $(FAULTS)

check:  ## install what is missing, build, run all tests; ends with "N passed, N failed"
	@deploy/install-deps.sh --test
	@$(MAKE) --no-print-directory -j$$(nproc) tests-b tests-c
	@$(MAKE) --no-print-directory -j$$(nproc) SAN=address OPT='-O1 -g' tests-a tests-b
	@tests/check.sh build build/address

unit: $(UNIT:%=$B/tests/unit/%)  ## build and run the unit tests (SAN=address for sanitizers)
	@for t in $^; do $$t || exit 1; done

fuzz:  ## run every fuzz target, or ONLY="replica resp", with libFuzzer for SECONDS=120 each
	@$(MAKE) --no-print-directory -j2 SAN=fuzzer OPT='-O1 -g' $(FUZZ:%=build/fuzzer/tests/fuzz/%)
	@tests/fuzz/fuzz.sh build/fuzzer/tests/fuzz $(or $(SECONDS),120) $(ONLY)

# test_doctor has no place here: it lets LMDB run into damaged pages.
THREADED := $(foreach t,changelog core edge env loop pair recovery resp service spare stage transfer transport,\
            $(patsubst tests/unit/%.c,%,$(wildcard tests/unit/test_$t*.c)))
tsan:  ## unit tests of what has threads, and real daemons, under ThreadSanitizer
	@deploy/install-deps.sh --test
	@$(MAKE) --no-print-directory -s -j2 SAN=thread OPT='-O1 -g' $(THREADED:%=build/thread/tests/unit/%) \
	    $(patsubst %,build/thread/tests/e2e/test_%,main_path reexec) $(BIN:build/%=build/thread/%)
	@tests/tsan.sh build/thread $(THREADED)

soak: $B/holdfast-sim  ## SEEDS=20000 seeds of the simulator; what fails is added to tests/seeds
	$B/holdfast-sim swarm --seeds $(or $(SEEDS),20000) --save tests/seeds/seeds.txt --commit $$(git rev-parse --short HEAD)

bugs: $B/holdfast-sim  ## plant each bug of tests/bugs in a copy of the source, and have a swarm find it
	@deploy/install-deps.sh --lint
	@tests/bugs/bugs.sh $(ARGS)

reliability: tests-c  ## kill, cut power, damage and fill disks at length; writes tests/RELIABILITY.md (ARGS=--list: the rows)
	@tests/reliability/run.sh $(ARGS)

bench: all $(addprefix $B/tests/bench/,client stages load)  ## the figures: ratios against redis-server, measured in one run
	@deploy/install-deps.sh --bench
	@tests/bench/bench.sh $B

bench-wan: all $(addprefix $B/tests/bench/,catchup storm load)  ## heals, joins and a storm over an emulated WAN, with their targets; needs root
	@deploy/install-deps.sh --bench
	@tests/bench/wan.sh --build $B $(ARGS)

bless: $B/holdfast-sim  ## rewrite the golden timelines; review the diff as behaviour
	@tests/scenario/bless.sh $B/holdfast-sim

lint:  ## include rules, purity, clang-tidy, cppcheck, formatting
	@deploy/install-deps.sh --lint
	@tests/lint/lint.sh

format:  ## clang-format everything
	clang-format-14 -i $$(git ls-files '*.c' '*.h')

install: all  ## into DESTDIR=, PREFIX=/usr/local: programs, units, examples, scenarios, runbook, protocol
	install -d $(D)/bin $(D)/lib/systemd/system $(D)/lib/sysusers.d $(D)/share/doc/holdfast/examples $(D)/share/doc/holdfast/scenarios
	install -m 755 $(filter-out %blackhole,$(BIN)) $(D)/bin
	for u in core edge; do sed 's|/usr/local|$(PREFIX)|g' deploy/holdfast-$$u.service \
	    >$(D)/lib/systemd/system/holdfast-$$u.service || exit 1; done
	install -m 644 deploy/sysusers.conf $(D)/lib/sysusers.d/holdfast.conf
	install -m 644 deploy/core.conf deploy/edge.conf $(D)/share/doc/holdfast/examples
	install -m 644 sim/scenarios/* $(D)/share/doc/holdfast/scenarios
	install -m 644 README.md LICENSE deploy/RUNBOOK.md proto/PROTOCOL.md $(D)/share/doc/holdfast
	install -D -m 644 sim/README.md $(D)/share/doc/holdfast/sim/README.md

clean:  ## remove build/
	rm -rf build

-include $(shell find $B -name '*.d' 2>/dev/null)
