# make demo   build, and run a synthetic market through indicators: no server, nothing to configure
# make test   all tests, against a real Kafka and a real Cassandra (JDK 17 and Maven)
# make hostile  ten thousand hostile connections while a job runs
# make chaos  kills, stops and hinders everything while rows flow: FAULTS=200 SEED=1, about an hour and a half
# make chaos-net  the same between hosts that are cut off and lose packets; needs to be root
# make chaos-control  the same harness must see promises that are broken on purpose
# make clean  remove all that these made

CARGO  ?= cargo
BUILD  := $(CARGO) build --release --locked
TARGET := $(or $(CARGO_TARGET_DIR),target)
SEED   ?= 1
DEPS   := $(or $(TAPEFLOW_DEPS),.deps)

.PHONY: help build demo test unit lint hostile chaos chaos-net chaos-control servers stop bench clean

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

build:
	@cluster/prerequisites build
	$(BUILD) --bins

demo: build
	$(TARGET)/release/tapeflow demo $(DEMO)

# The servers are stopped whether the tests pass or not.
test:
	@cluster/prerequisites build test
	cluster/servers start
	@eval "$$(cluster/servers env)"; \
	$(CARGO) test --release --locked -- $(ARGS); result=$$?; \
	cluster/servers stop; exit $$result

# What needs no server.
unit:
	@cluster/prerequisites build
	$(CARGO) test --release --locked -- --skip servers $(ARGS)

hostile:
	@cluster/prerequisites build
	TAPEFLOW_HOSTILE=10000 $(CARGO) test --release --locked -- cluster::hostile

CHAOS := TAPEFLOW_CHAOS_FAULTS=$(FAULTS) TAPEFLOW_CHAOS_SEED=$(SEED) $(CARGO) test --release --locked --test tapeflow

# It starts servers of its own.
chaos: FAULTS ?= 200
chaos:
	@cluster/prerequisites build test
	$(CHAOS) -- --ignored --exact --nocapture servers::chaos::a_long_run

chaos-net: FAULTS ?= 28
chaos-net:
	@cluster/prerequisites build test
	$(CHAOS) -- --ignored --nocapture servers::chaos::a_run_between_hosts servers::chaos::network

# A program that can be broken does not stay where the others look for it.
chaos-control:
	@cluster/prerequisites build test
	$(CHAOS) --features sabotage -- --ignored --exact --nocapture servers::chaos::a_broken_promise_is_seen; \
	result=$$?; $(BUILD) --bins; exit $$result

lint:
	$(CARGO) fmt --check
	$(CARGO) clippy --release --locked --all-targets -- -D warnings

servers:
	@cluster/prerequisites test
	cluster/servers start
	@cluster/servers env

stop:
	cluster/servers stop

clean:
	-cluster/servers stop
	$(CARGO) clean
	rm -rf $(DEPS) demo-output
