# Each target installs what it needs: Debian packages by test/lab/setup.sh, Go
# modules by the go command.

GO      ?= go
VERSION := $(shell git describe --always --dirty 2>/dev/null)
UNIT     = $(shell $(GO) list ./... | grep -v '^lvsd/test/')

.PHONY: build demo test race kernel fuzz bench lint deps

build:
	$(GO) build -ldflags '-X main.version=$(VERSION)' -o bin/lvsd ./cmd/lvsd

# Two directors carry two web servers through the death of each, live.
demo: deps
	$(GO) run ./test/demo

test: deps
	test -z "$$(gofmt -l .)"
	$(GO) vet ./...
	$(MAKE) race fuzz FUZZ=6s
	$(MAKE) kernel

# What needs no IPVS, with the race detector.
race: deps
	$(GO) test -race $(UNIT)

# The scenarios: on this kernel if it has IPVS, else in a virtual machine.
kernel: deps
	$(GO) test -count=1 -p 1 -timeout 60m ./test/...

FUZZ ?= 30s
fuzz:
	@set -e; for f in vrrp/FuzzParse vrrp/FuzzParseIPv4 configs/FuzzLoad ipvs/FuzzParseConnections \
	    health/FuzzHTTP health/FuzzTCPExpect health/FuzzTLS health/FuzzParseStatusRanges internal/waist/FuzzDecode; do \
	  $(GO) test -run '^$$' -fuzz "^$${f##*/}\$$" -fuzztime $(FUZZ) ./$${f%/*}; done

# Outages in milliseconds, beside those of keepalived, and speeds. BENCH picks some of them, TIMES=1x makes a short run.
BENCH ?= .
bench: deps
	$(GO) test -run '^$$' -bench '$(BENCH)' $(TIMES:%=-benchtime %) -timeout 60m $(UNIT) ./test/...

lint:
	test -z "$$($(GO) tool -modfile=tools/go.mod gofumpt -l .)"
	$(GO) tool -modfile=tools/go.mod staticcheck -checks all ./...

deps:
	@sh test/lab/setup.sh
