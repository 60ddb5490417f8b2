# Each target installs what it needs: Debian packages by test/lab/setup.sh, Go
# modules by the go command.

GO      ?= go
VERSION := $(shell git describe --always --dirty 2>/dev/null)

# Packages whose tests need no IPVS; they run on this machine's kernel.
UNIT  = $(shell $(GO) list ./... | grep -v '^lvsd/test/')
FUZZ  ?= 5s
BENCH ?= .

.PHONY: build test race unit kernel fuzz bench demo lint deps

build:
	$(GO) build -ldflags '-X main.version=$(VERSION)' -o bin/lvsd ./cmd/lvsd

test: deps unit fuzz kernel

# The demonstration: two directors carry two web servers through the death of each.
demo: deps
	$(GO) run ./test/demo

unit race: deps
	$(GO) vet ./...
	test -z "$$(gofmt -l .)"
	$(GO) test -race $(UNIT)

# The scenarios: on this kernel if it has IPVS, else in a virtual machine.
kernel: deps
	$(GO) test -count=1 -timeout 40m ./test/...

fuzz:
	$(GO) test -run '^$$' -fuzz '^FuzzParse$$' -fuzztime $(FUZZ) ./vrrp

bench: deps
	$(GO) test -run '^$$' -bench '$(BENCH)' -timeout 60m ./test/...

lint:
	test -z "$$($(GO) tool -modfile=tools/go.mod gofumpt -l .)"
	$(GO) tool -modfile=tools/go.mod staticcheck -checks all ./...

deps:
	@sh test/lab/setup.sh
