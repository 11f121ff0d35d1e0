# Everything that a fresh machine needs is set up by the targets that need it.
#   make demo    list -> extract -> concat -> search on a tree of pictures; MEDIA_DIR=… and ONNX_MODEL_PATH=… for your own
#   make test    every test
#   make fuzz    broken and hostile files by the ten thousand
#   make browser-test   the page of `simsearch serve` in a headless Chromium; leaves screenshots in target/page
#   make nfs-test   NFS between machines in user-mode Linux, and sshfs; seven minutes, as root
#   make cluster-test   parts of a list with Slurm and Ray, some of them killed; two minutes, as root
#   make s3-test   parts of a list whose pictures are in an object store, some of them killed; half a minute, as root
#   make lancedb-test   LanceDB finds what `simsearch search` finds
#   make bench   how fast it is
#   make install    the program, its ONNX Runtime, licences, completions and man pages below PREFIX, ~/.local by itself
#   make archive    the same as a .tar.gz in target/archive, with its checksum
#   make crash-test   200 kills each of extract and concat, and two in a row at every pair of steps; minutes

# auto, cpu, cuda or openvino: which ONNX Runtime `make setup` fetches.
RUNTIME ?= auto
# Empty, or with commas between: heic, to read HEIC, or pure-rust, where cmake, nasm, meson and ninja cannot be had.
FEATURES ?=
# What `make fuzz` does: broken pictures, and seconds for each target.
MUTANTS ?= 20000
FUZZ_SECONDS ?= 300
# What runs the script behind `make model`: Python 3.10 to 3.12.
PYTHON ?= python3
# Where `make install` puts the program, and what belongs to it.
PREFIX ?= $(HOME)/.local

cargo_features = $(if $(findstring pure-rust,$(FEATURES)),--no-default-features) $(if $(FEATURES),--features $(FEATURES))
# The tests' own build can be killed at every step that changes files.
cargo_test = TMPDIR=$$(setup/test_folder.sh) SIMSEARCH_PYTHON=$(CURDIR)/.python/python cargo test --locked $(cargo_features) --features fault-points
program = target/release/simsearch
version = $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml)
archive = simsearch-$(version)-$(shell uname -m)-linux
# What `simsearch --version` calls the revision; empty where this is not a git checkout.
revision = $(shell git -C $(CURDIR) rev-parse --short=12 HEAD 2>/dev/null)

.PHONY: demo test test-setup browser-test crash-test fuzz nfs-test cluster-test s3-test lancedb-test bench build setup openvino packages python axe model notices install archive clean

demo: build python
	@SIMSEARCH=$(program) demo/run.sh

test: test-setup
	$(cargo_test)

# What the tests need besides their own build; `.ci/run` fetches it while its checks run.
test-setup: setup python openvino axe

# What CI does with a dozen kills, with many.
crash-test: setup python
	SIMSEARCH_KILLS=200 $(cargo_test) --test it -- --nocapture crash:: is_killed

# MUTANTS broken pictures through the decoders and the program, then each target of `cargo fuzz` for FUZZ_SECONDS.
fuzz: setup target/tools/bin/cargo-fuzz
	SIMSEARCH_MUTANTS=$(MUTANTS) $(cargo_test) --test it hostile_pictures -- --nocapture
	for target in picture npy shard objects; do \
	    mkdir -p fuzz/corpus/$$target fuzz/seeds/$$target; \
	    PATH=$(CURDIR)/target/tools/bin:$$PATH RUSTC_BOOTSTRAP=1 cargo fuzz run --target-dir target/fuzz $$target \
	        fuzz/corpus/$$target fuzz/seeds/$$target $$([ $$target != picture ] || echo tests/data/pictures) \
	        -- -max_total_time=$(FUZZ_SECONDS) -max_len=20000 -timeout=20 -rss_limit_mb=3000 -malloc_limit_mb=16000 || exit; \
	done

target/tools/bin/cargo-fuzz:
	cargo install cargo-fuzz --version 0.13.2 --locked --root target/tools

browser-test: setup python axe
	@BROWSER=1 setup/packages.sh
	$(cargo_test) --test it serve::browser

# Two machines and a server of NFS, each in a user-mode Linux of its own, and two mounts of sshfs. For nights, as `.ci/run` says.
nfs-test: build
	@NFS=1 setup/packages.sh || echo "skipped: some packages for NFS and sshfs cannot be installed here"
	tests/machines/nfs.py $(program) runtime/libonnxruntime.so

# Slurm and Ray on loopback, some of whose tasks, workers and nodes are killed. For nights too. Ray is in a folder of its own.
cluster-test: build
	@CLUSTER=1 setup/packages.sh || echo "skipped: some packages for Slurm cannot be installed here"
	@setup/machines.sh
	tests/machines/cluster.py $(program) runtime/libonnxruntime.so target/machines/bin/python

# deploy/s3 with a store on loopback, moto. For nights too.
s3-test: build
	@S3=1 setup/packages.sh || echo "skipped: rclone cannot be installed here"
	@setup/machines.sh
	tests/machines/s3.py $(program) runtime/libonnxruntime.so target/machines/bin/python

# The functions of examples/nearest_in_lancedb.py, over the pictures of ../shared.
lancedb-test: build
	@setup/machines.sh
	target/machines/bin/python -B tests/machines/lancedb_answers.py $(program) runtime/libonnxruntime.so

# How fast: simsearch, the Python recipe and a plain Rust program in turn, on the pictures of ../shared; half an hour.
bench: build python openvino
	.python/python benches/bench.py
	.python/python benches/commands.py
	.python/python benches/search.py
	.python/python benches/serve.py

build: setup
	SIMSEARCH_REVISION=$(revision) cargo build --release --locked --quiet $(cargo_features)

# ONNX Runtime in runtime/, from the Python package index, pinned by version and hash.
setup: packages
	@setup/runtime.py $(RUNTIME)

# A second one for the tests and the benchmark: OpenVINO, which is there for x86_64 only.
openvino: packages
	@[ "$$(uname -m)" != x86_64 ] || setup/runtime.py openvino target/runtime-openvino

packages:
	@FEATURES=$(FEATURES) setup/packages.sh

python: packages
	@setup/python.sh

# For the browser tests.
axe:
	@setup/axe.sh

# MobileNetV3, fetched and converted; or the model NAME of models/models.json, FROM a mirror. Needs the internet.
model: packages
	$(PYTHON) $(if $(NAME),models/fetch_model.py $(NAME) $(if $(FROM),--from $(FROM)),models/fetch_mobilenet_v3.py)

# The licences of all that is in the program; fails where one is missing.
notices: packages
	@setup/notices.py target/THIRD-PARTY.txt $(cargo_features)

# The program with its ONNX Runtime and the licences of both beside it, a link on the PATH, and what shells and `man` read.
install: build notices
	mkdir -p $(PREFIX)/lib/simsearch $(PREFIX)/bin $(PREFIX)/share/bash-completion/completions \
	    $(PREFIX)/share/zsh/site-functions $(PREFIX)/share/fish/vendor_completions.d
	@# A new file in the place of each: a program that runs goes on with the old ones.
	cp -P --remove-destination $(program) runtime/lib* runtime/SHA256SUMS LICENSE-MIT LICENSE-APACHE target/THIRD-PARTY.txt $(PREFIX)/lib/simsearch/
	cp runtime/LICENSE $(PREFIX)/lib/simsearch/LICENSE-ONNX-RUNTIME
	cp runtime/ThirdPartyNotices.txt $(PREFIX)/lib/simsearch/THIRD-PARTY-ONNX-RUNTIME.txt
	ln -sf ../lib/simsearch/simsearch $(PREFIX)/bin/simsearch
	$(program) completions bash >$(PREFIX)/share/bash-completion/completions/simsearch
	@# zsh finds it by itself below /usr/local; README.md says what else it takes below ~/.local.
	$(program) completions zsh >$(PREFIX)/share/zsh/site-functions/_simsearch
	$(program) completions fish >$(PREFIX)/share/fish/vendor_completions.d/simsearch.fish
	$(program) man $(PREFIX)/share/man/man1

# To be unpacked over a PREFIX: tar -xzf simsearch-….tar.gz --strip-components=1 -C ~/.local
archive:
	rm -rf target/archive
	$(MAKE) install PREFIX=$(CURDIR)/target/archive/$(archive)
	cp README.md CHANGELOG.md target/archive/$(archive)/lib/simsearch/
	tar -czf target/archive/$(archive).tar.gz -C target/archive --owner=0 --group=0 $(archive)
	cd target/archive && sha256sum $(archive).tar.gz >$(archive).tar.gz.sha256

clean:
	cargo clean
	rm -rf runtime .python demo/work
