# make demo   build, and run a synthetic market through indicators: no server, nothing to configure
# make test   all tests, against a real Kafka and a real Cassandra (JDK 17 and Maven)
# make hostile  ten thousand hostile connections while a job runs
# make clean  remove all that these made

CARGO  ?= cargo
BUILD  := $(CARGO) build --release --locked
TARGET := $(or $(CARGO_TARGET_DIR),target)
DEPS   := $(or $(TAPEFLOW_DEPS),.deps)

.PHONY: help build demo test unit lint hostile servers stop bench clean

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
