# Palisade. `make help` lists the targets.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

# sudo resets PATH, and with it the way to Go; without sudo, the way to losetup and depmod may be missing.
export PATH := $(PATH):/usr/sbin:/sbin:/usr/local/go/bin:/usr/lib/go/bin
GO ?= go
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X palisade/internal/cli/version.version=$(VERSION)
# The same for all: what is compiled with other options is compiled once more, with all that it imports.
TAGS := urfave_cli_no_docs
export CGO_ENABLED := 0
export GOFLAGS := $(GOFLAGS) -trimpath -buildvcs=false -tags=$(TAGS)
BUILD = $(GO) build -ldflags '$(LDFLAGS)'
COMMANDS := $(notdir $(wildcard cmd/*))
SOURCES := $(shell find cmd internal rpm -name '*.go' -not -name '*_test.go') go.mod go.sum rpm/lxcfs.service

# The tests measure time, and deps comes before what it is for: one thing at a time, even with -j.
.NOTPARALLEL:

.PHONY: check build man rpm deb image image-test chart deps dockerd cri runtimes demo test unit integration e2e e2e-packages e2e-vm vm vm-quick vm-all ci soak cover twice lint cross emulated bench bench-vm fuzz-smoke clean help go test-release release

build: $(COMMANDS:%=bin/%) bin/lxcfs-metrics ## build the static binaries into bin/

# lxcfs-metrics is no command: lxcfs starts it.
bin/lxcfs-metrics: PACKAGE = lxcfs/lxcfs-metrics
bin/%: PACKAGE = $*
bin/%: $(SOURCES) | go
	$(BUILD) -o $@ ./cmd/$(PACKAGE)

man: $(COMMANDS:%=dist/man/%.8) ## make the man pages in dist/man/

dist/man/%.8: docs/man/%.8.md go.mod | go
	@mkdir -p dist/man
	$(GO) tool go-md2man -in $< -out $@

PACKAGE_VERSION ?= $(shell rpm/version.sh)

rpm: | go ## make the rpms, and their source, in dist/
	rm -f dist/*.rpm
	GO=$(GO) rpm/source.sh '$(PACKAGE_VERSION)' dist
	rpm/rpm.sh '$(PACKAGE_VERSION)' dist

deb: | go ## make the debs, and their source, in dist/
	rm -f dist/*.deb
	GO=$(GO) rpm/source.sh '$(PACKAGE_VERSION)' dist
	rpm/deb.sh '$(PACKAGE_VERSION)' dist

IMAGE := dist/image
IMAGE_PROGRAMS := palisade-nri lxcfs lxcfs/lxcfs-metrics lxcfs-toolkit
image: | go ## make the image of palisade-nri for amd64 and arm64, as OCI layout and for docker load, in dist/image/
	rm -rf $(IMAGE)
	for arch in amd64 arm64; do GOARCH=$$arch $(BUILD) -o $(IMAGE)/programs/$$arch/ $(IMAGE_PROGRAMS:%=./cmd/%); done
	$(GO) -C tools/image run . -version '$(PACKAGE_VERSION)' -revision "$$(git rev-parse HEAD)" -created "$${SOURCE_DATE_EPOCH:-$$(rpm/version.sh --date)}" \
		-license $(CURDIR)/LICENSE -programs $(abspath $(IMAGE))/programs -out $(abspath $(IMAGE))
	rm -r $(IMAGE)/programs

image-test: | go ## make the image twice from two directories, and check what it contains
	$(GO) -C tools/image test -count=1 ./...

chart: | go ## lint the Helm chart, render it with several values, and compare deploy/kubernetes with it
	$(GO) -C test/chart test -count=1 ./...

deps: ## install what build, demo and tests need, with apt or dnf
	./test/deps.sh

# Recent versions of Docker, which Debian lacks. They are kept beside Go's build cache: a build takes some minutes.
export PALISADE_ENGINES := $(shell $(GO) env GOCACHE 2>/dev/null || echo /tmp)/palisade-engines
dockerd: $(foreach program,dockerd docker docker-buildx,$(PALISADE_ENGINES)/$(program)) ## build dockerd 29, docker 28 and buildx for tests

$(PALISADE_ENGINES)/dockerd: tools/dockerd/go.mod | go
	$(GO) -C tools/dockerd build -o $@ github.com/moby/moby/v2/cmd/dockerd

$(PALISADE_ENGINES)/docker: tools/docker/go.mod | go
	$(GO) -C tools/docker build -ldflags '-X github.com/docker/cli/cli/version.Version=$(shell sed -n 's,.*docker/cli v\(.*\)+incompatible,\1,p' tools/docker/go.mod)' -o $@ github.com/docker/cli/cmd/docker

$(PALISADE_ENGINES)/docker-buildx: tools/buildx/go.mod | go
	$(GO) -C tools/buildx build -o $@ github.com/docker/buildx/cmd/buildx

cri: $(foreach program,containerd containerd-shim-runc-v2 ctr crictl runtimes/runc,$(PALISADE_ENGINES)/$(program)) ## build containerd 2, crictl and runc for tests

$(PALISADE_ENGINES)/containerd $(PALISADE_ENGINES)/containerd-shim-runc-v2 $(PALISADE_ENGINES)/ctr: $(PALISADE_ENGINES)/%: tools/containerd/go.mod | go
	$(GO) -C tools/containerd build -o $@ github.com/containerd/containerd/v2/cmd/$*

$(PALISADE_ENGINES)/crictl: tools/crictl/go.mod | go
	$(GO) -C tools/crictl build -o $@ sigs.k8s.io/cri-tools/cmd/crictl

# Time namespaces, and pods with a user namespace, need runc 1.2. Tests of containerd and Docker search the directory above, and use
# Debian's runc.
runtimes: $(PALISADE_ENGINES)/runtimes/runc $(PALISADE_ENGINES)/runtimes/crun ## build runc and fetch crun with time namespaces for tests, which those of Debian 12 lack

$(PALISADE_ENGINES)/runtimes/runc: tools/runc/go.mod | go
	CGO_ENABLED=1 $(GO) -C tools/runc build -tags seccomp -o $@ github.com/opencontainers/runc

$(PALISADE_ENGINES)/runtimes/crun: test/crun.sh
	test/crun.sh $@

demo: go deps build ## show what containers read from /proc without lxcfs and with it
	$(GO) run ./test/demo -lxcfs bin/lxcfs -toolkit bin/lxcfs-toolkit -shift bin/userns-shift

# The emulated guest and the tests on this machine share the CPUs; the output of the guest comes at the end.
test: go deps lint build ## run the tests, in the virtual machine the most important ones; needs root
	test/beside.sh dist/vm.log '$(MAKE) vm-quick' '$(MAKE) RACE= unit integration'

test-release: go deps build cri e2e-packages ## run all other tests, those of packages, documents and other processors, and all of the virtual machine; needs root
	test/beside.sh dist/vm.log '$(MAKE) E2E_PACKAGES=1 vm-all' '$(MAKE) E2E_PACKAGES=1 cross emulated release e2e'

# What is run on each change: all but the soak, of which a part is run by rotation. A failure does not hide later ones.
ci: go deps lint build cri e2e-packages ## run the tests, those of a release, and a part of the soak; needs root
	test/beside.sh dist/vm.log '$(MAKE) E2E_PACKAGES=1 vm-all' '$(MAKE) -k E2E_PACKAGES=1 unit cross integration emulated release e2e soak PART=$(shell git rev-list --count HEAD || echo 0)'

cover: | go ## print the coverage of each package by unit tests, and with the integration tests; needs root
	GO=$(GO) test/cover.sh

# Tests look only at what they made: two copies of the fast suites at the same time.
twice: | go ## run some integration tests twice at the same time; needs root
	test/beside.sh dist/twice.log '$(TWICE)' '$(TWICE)'

TWICE = $(GO) test -tags integration,$(TAGS) -count=1 -timeout 15m ./test/toolkit ./test/userns ./test/lxc ./test/integration \
	-run "^Test(HostileRoot|Bind|LXC|NothingLeaks|Layouts|Everything|FullDisk|Lock|ContainersComeAndGo|HostilePIDs|SecondInstance)$$"

soak: dockerd cri | go ## run with large numbers the tests that repeat for chance, or one part of them (PART=0); needs root
	test/soak.sh $(PART)

# Without root, and cached: for every change.
check: lint ## run lint and the unit tests that need no root; takes seconds if little has changed
	$(GO) test -vet=off ./...

# With the integration tag there are more unit tests: those of chown, of keys that belong to root, and of /dev/fuse.
RACE = -race
unit: | go ## run the unit tests, with the race detector (without it: RACE=); needs root
	CGO_ENABLED=$(if $(RACE),1,0) $(GO) test $(RACE) -vet=off -count=1 -tags integration,$(TAGS) ./internal/... ./cmd/...
	CGO_ENABLED=$(if $(RACE),1,0) $(GO) test $(RACE) -vet=off -count=1 ./test/...
	$(GO) test -vet=off -count=1 -run '^TestReadsDoNotAllocate$$' ./internal/lxcfs

# Most of these tests wait for containers: two suites at a time. The longest are the first.
integration: dockerd cri runtimes | go ## run the tests with real containers on this machine's cgroups; needs root
	$(GO) test -tags integration,$(TAGS) -count=1 -timeout 20m -p 2 ./test/authz ./test/integration ./test/toolkit ./test/userns ./test/remap ./test/clients ./test/lxc ./test/nri ./test/install ./test/monitoring

release: cri runtimes image-test chart | go ## build packages twice, install, upgrade and remove them, and execute the documents' commands; needs root
	$(GO) test -tags integration,$(TAGS) -count=1 -timeout 15m -p 1 ./test/packages ./test/docs

# The packages of two versions, for both stories. With E2E_PACKAGES they are there already.
e2e-packages: | go
	$(if $(E2E_PACKAGES),@:,GO=$(GO) test/e2e/packages.sh dist/e2e)

e2e: e2e-packages ## run the end-to-end story, from installation to removal, on this machine's cgroups; needs root
	PALISADE_PACKAGES=$(CURDIR)/dist/e2e $(GO) test -tags integration,$(TAGS) -count=1 -timeout 10m -v ./test/e2e

e2e-vm: e2e-packages ## run it with cgroup v2 in a virtual machine
	$(GO) run ./test/vm -run '' -toolkit '' -userns '' -remap '' -clients '' -lxc '' -nri '' -packages '' -e2e dist/e2e

vm: build cri runtimes ## run the tests with cgroup v2 in a virtual machine
	$(GO) run ./test/vm $(if $(RUN),-run '$(RUN)') $(if $(TOOLKIT),-toolkit '$(TOOLKIT)') $(if $(USERNS),-userns '$(USERNS)') $(if $(CLIENTS),-clients '$(CLIENTS)') $(if $(LXC),-lxc '$(LXC)') $(if $(NRI),-nri '$(NRI)')

vm-quick: runtimes ## run those that depend most on cgroup v2 or on an old kernel
	$(GO) run ./test/vm -quick

vm-all: cri runtimes e2e-packages ## run the tests with cgroup v2 and the end-to-end story in one virtual machine
	$(GO) run ./test/vm -e2e dist/e2e

lint: | go ## vet, check formatting and wording, and run staticcheck
	files=$$(gofmt -l cmd internal rpm test tools); [ -z "$$files" ] || { echo "not formatted: $$files" >&2; exit 1; }
	$(GO) vet -tags integration,$(TAGS) ./...
	$(GO) tool -modfile=tools/go.mod staticcheck -tags integration,$(TAGS) ./...
	test/lint.sh
	test/links.sh .

cross: | go ## vet and build for the other processors that are supported
	for arch in arm64 riscv64; do \
		GOARCH=$$arch $(GO) vet ./cmd/... ./internal/... && \
		GOARCH=$$arch $(BUILD) -o dist/$$arch/ ./cmd/... || exit 1; \
		for program in $(COMMANDS); do \
			grep -qF '$(VERSION)' dist/$$arch/$$program || { echo "dist/$$arch/$$program lacks its version" >&2; exit 1; }; \
		done; \
	done

# qemu-user rejects ioctl(2) on namespaces, openat2(2) and clone(2) with namespaces, enlarges the control buffer of recvmsg(2), and
# cannot execute or confine a program of another processor. fusedev needs clones of /dev/fuse; supervise executes itself.
NOT_EMULATED := TestConfineToReading TestConfineToServing TestConfineToAnswering TestAddToFullDisk TestFindRuntime TestOwnHeldByOlder TestPrincipalIsPinned \
	TestSearchInit TestNotificationWithFile TestReadInChild TestReadInChildHangs TestChildReader TestChildReaderHangs TestOpenFiles \
	TestStatFiles TestNamespaces TestNewUserNamespace TestReadsDoNotAllocate TestContainerFiles TestCPUDir TestNodeDir \
	TestWithoutNUMA TestNodesLimitMemory TestVmstatNeverDecreases TestContainersDir TestContainerTriggers TestUnreadableStats \
	TestFindContainers TestInitMoves TestContainerEnds TestLastPIDIsKept TestUptimeIdle TestLooker TestLookerHangs TestWatch \
	TestForward TestTimeNamespace TestNoTimeNamespaces TestStatusInPod
empty :=
space := $(empty) $(empty)

emulated: | go ## run the unit tests for arm64, emulated
	GOARCH=arm64 $(GO) test -tags integration,$(TAGS) -vet=off -count=1 -timeout 5m -exec qemu-aarch64-static -skip '^($(subst $(space),|,$(strip $(NOT_EMULATED))))$$' \
		$$($(GO) list ./internal/... ./cmd/... | grep -v -e /fusedev -e /supervise)

bench: build cri ## measure reads through lxcfs, Debian's and of the bare files, hooks, pods, decisions, and how costs grow; needs root
	$(GO) test -run '^$$' -bench . -skip '^BenchmarkHost' -benchmem ./internal/...
	@mkdir -p dist
	$(GO) run ./test/bench -lxcfs bin/lxcfs -json dist/bench.json -svg dist/bench.svg
	$(GO) run ./test/bench/calls -lxcfs bin/lxcfs
	$(GO) run ./test/bench/toolkit -lxcfs bin/lxcfs -toolkit bin/lxcfs-toolkit
	$(GO) test -tags integration,$(TAGS) -run '^$$' -bench . -benchtime 5x -timeout 30m ./test/nri
	$(GO) run ./test/bench/userns -program bin/userns-shift
	$(GO) run ./test/bench/authz -broker bin/authz-broker
	$(GO) run ./test/bench/front -broker bin/authz-broker
	$(GO) run ./test/bench/growth -json dist/growth.json -svg dist/growth.svg

# Only the ratios of one run mean something: the CPU is emulated.
bench-vm: | go ## measure reads with cgroup v2 in a virtual machine, also through Debian's newest lxcfs
	$(GO) run ./test/vm -run '' -toolkit '' -userns '' -remap '' -clients '' -lxc '' -nri '' -packages '' -bench '$(or $(BENCH),-quick -only reads)'

fuzz-smoke: | go ## run each fuzz test for some seconds
	for package in $$($(GO) list ./internal/...); do \
		for target in $$($(GO) test -list '^Fuzz' $$package | grep '^Fuzz' || true); do \
			$(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime 10s $$package; \
		done; \
	done

clean: ## remove what was built
	rm -rf bin dist .cache

go:
	@command -v $(GO) >/dev/null || { echo "Go is missing: install Go $$(sed -n 's/^go //p' go.mod) or later to /usr/local/go (https://go.dev/doc/install)" >&2; exit 1; }

help: ## list the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/\1\t\2/p' Makefile | expand -t 14
