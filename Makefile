# The pipeline: each page of the book is a rule whose recipe is the papermill command that a person
# would type. `make` alone prints the targets.

PYTHON ?= python3
VENV ?= .venv
JOBS ?= 2
VALSET ?= example_data
DATASET ?=
ARGS ?=

PY := $(VENV)/bin/python
# By contents, not by file times. The place counts, too: an environment does not survive a move.
INSTALLED := $(VENV)/installed-$(shell { cat pyproject.toml constraints.txt; pwd; } | cksum | tr ' ' '-')

# The committed pages show simulated data. With UNIDINO_DATA set, pages, their tables and the book
# go to a folder of their own, and extraction goes on from the plates it has finished.
ifdef UNIDINO_DATA
override UNIDINO_DATA := $(shell cd '$(UNIDINO_DATA)' && pwd)
$(if $(UNIDINO_DATA),,$(error UNIDINO_DATA names no folder; unset it to work on simulated data))
export UNIDINO_DATA
ROOTNAME := $(shell basename '$(UNIDINO_DATA)' | tr -c 'A-Za-z0-9\n' _; echo '$(UNIDINO_DATA)' | cksum)
BOOK := _build/pages/$(word 1,$(ROOTNAME))-$(word 2,$(ROOTNAME))
RESULTS := $(BOOK)/book/results
EXTRACTED ?= $(BOOK)/extracted
HTML := $(BOOK)/_build/html
UNIDINO_OUTDIR ?= $(CURDIR)/data/embeddings/$(notdir $(BOOK))
export UNIDINO_OUTDIR
AFRESH := 1
else
RESULTS := book/results
EXTRACTED ?= _build/extracted
HTML := _build/html
endif
PAGE = $(PY) book/page.py$(if $(AFRESH), --force)
SPHINX := --all --keep-going -q

# Checks look at the committed pages and at no one's own data.
COMMITTED := env -u UNIDINO_DATA -u UNIDINO_OUTDIR -u UNIDINO_RESULTS

.DEFAULT_GOAL := help
.PHONY: always data help book pages html test lint unit check strict extract extracted lab clean install \
  simulated unbatched measured

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo "  PYTHON=python3.12    the interpreter to install with (3.11 or newer)"
	@echo "  JOBS=2               pages and tests at a time"
	@echo "  UNIDINO_DATA=FOLDER  the real data sets; without it, absent ones are simulated"

book: ## install, simulate what is missing, run every page afresh, render the book
	@$(MAKE) --no-print-directory pages AFRESH=1
	@$(MAKE) --no-print-directory html

pages: $(INSTALLED) simulated ## run the pages whose notebook, module, parameters or inputs changed
	@$(MAKE) --no-print-directory extracted
	@$(MAKE) --no-print-directory --keep-going -j $(JOBS) BATCHED=1 $(LONGEST) $(filter-out $(LONGEST),$(PAGES))

html: $(INSTALLED) ## render the pages as they are: _build/html/index.html
ifdef UNIDINO_DATA
	$(PY) book/stage.py $(BOOK)
	$(PY) $(VENV)/bin/jupyter-book build $(BOOK) $(SPHINX)
else
	$(PY) $(VENV)/bin/jupyter-book build . -W -n $(SPHINX)
endif
	@echo "The book is $(CURDIR)/$(HTML)/index.html"

test: $(INSTALLED) ## lint, book without warnings, unit tests, pages against what they committed
	@failed=; for step in lint strict unit check; do \
	  echo "== make $$step"; \
	  $(MAKE) --no-print-directory $$step || failed="$$failed $$step"; \
	done; \
	if [ -n "$$failed" ]; then echo "make test: failed in:$$failed"; exit 1; fi; \
	echo "make test: all passed"

lint: $(INSTALLED)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(VENV)/bin/lint-imports --no-cache

unit: $(INSTALLED)
	OMP_NUM_THREADS=1 $(COMMITTED) $(PY) -m pytest -n $(JOBS) --dist loadscope --no-loadscope-reorder

check: $(INSTALLED)
	$(COMMITTED) $(PY) -m unidino.simulate
	@folder=$$(mktemp -d) && \
	$(COMMITTED) $(MAKE) --no-print-directory extracted EXTRACTED="$$folder" && \
	$(COMMITTED) $(PY) book/check.py --jobs $(JOBS) --extracted "$$folder"; \
	status=$$?; rm -rf "$$folder"; exit $$status

strict: $(INSTALLED)
	@folder=$$(mktemp -d) && \
	$(PY) $(VENV)/bin/jupyter-book build . --path-output "$$folder" -W -n $(SPHINX); \
	status=$$?; rm -rf "$$folder"; exit $$status

extract: $(INSTALLED) ## profiles of VALSET (a data set or a CSV); more parameters: ARGS='-p model …'
	@mkdir -p _build/extract
	$(PY) -m papermill notebooks/extract.ipynb "_build/extract/$(notdir $(basename $(VALSET))).ipynb" \
	  -k python3 -p valset "$(VALSET)" $(ARGS)

data: $(INSTALLED) ## fetch DATASET; without it, list what there is; more parameters: ARGS='--dry-run …'
	$(PY) -m unidino.download $(DATASET) $(ARGS)

lab: $(INSTALLED) ## open JupyterLab
	$(PY) -m jupyterlab

# Of data/sample only what the simulator marked as its own goes, and what killed runs of it left.
clean: ## remove the rendered book and the simulated data; what was fetched or extracted stays
	rm -rf _build/html _build/.doctrees _build/.jupyter_cache _build/jupyter_execute _build/failed \
	  _build/extracted _build/without_batch
	@if [ -d data/sample ]; then \
	  find data/sample -type d -exec test -f {}/SIMULATED.json \; -prune -exec rm -rf {} +; \
	  find data/sample -type d -name '.*.????????' -prune -exec rm -rf {} +; \
	  find data/sample -depth -type d -empty -exec rmdir {} \; ; \
	fi

install: $(INSTALLED) ## only create the environment

$(INSTALLED):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is not Python 3.11 or newer; name one: make PYTHON=/path/to/python3"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install -c constraints.txt -e '.[book,test,transfer,measure,correct,scale,download,remote,scanpy,zarr]'
	@rm -f $(VENV)/installed-* && touch $@

simulated: $(INSTALLED)
ifndef UNIDINO_DATA
	$(PY) -m unidino.simulate
endif

# The pages, in the book's order. page.py decides by contents whether a page is run.

PAGES :=

# It describes what is simulated, so it has no counterpart in a data root of one's own.
ifndef UNIDINO_DATA
PAGES += $(RESULTS)/datasets.ipynb
endif
$(RESULTS)/datasets.ipynb: always
	$(PAGE) papermill notebooks/datasets.ipynb $@ -k python3

# Profiles of each dataset by each model, DATASET@MODEL or DATASET@random_vit@SEED: extracted once,
# read by every page below that lists them; no pages of the book. With BATCHED set they were all
# made before, several in one process.
EXTRACT = $(PY) book/extracted.py --jobs $(JOBS)$(if $(AFRESH), --force)
$(EXTRACTED)/%.json: always
	$(if $(BATCHED),,$(EXTRACT) $(EXTRACTED) $*)
READS = $(PAGE) $(patsubst %,--reads %,$(filter $(EXTRACTED)/%,$^))

# Measured cells of simulated plates are kept with the project, in the place of an extraction.
measured = $(if $(UNIDINO_DATA),,$1@cp_measure)

OF_BBBC021 := BBBC021@unidino-demo BBBC021@transfer \
  BBBC021@random_vit BBBC021@random_vit@1 BBBC021@random_vit@2 $(call measured,BBBC021)
OF_JUMP := jumpcp-valset@unidino-demo jumpcp-valset@transfer jumpcp-valset@random_vit \
  $(call measured,jumpcp-valset)
OF_INSECT := insect@unidino-demo insect@transfer insect@random_vit
OF_WORLDS := $(if $(UNIDINO_DATA),,worlds@unidino-demo worlds@transfer worlds@random_vit)
OF_CELL_HEALTH := cell-health@unidino-demo cell-health@transfer cell-health@random_vit
OF_HPA := HPA@unidino-demo HPA@transfer HPA@random_vit $(call measured,HPA)
OF_BBBC037 := BBBC037@unidino-demo BBBC037@transfer BBBC037@random_vit
OF_BATCHES := jumpcp-valset@unidino-demo jumpcp-valset@transfer
OF_ATTRIBUTION := BBBC021@unidino-demo BBBC021@transfer BBBC021@random_vit $(OF_WORLDS)
OF_ALL := $(patsubst %,%@unidino-demo,\
  BBBC021 jumpcp-valset cell-health HPA BBBC037 insect example_data)

# The plates of JUMP-CP once more, simulated without batch, plate and position effects: what a
# correction that lost nothing would leave.
ifndef UNIDINO_DATA
WITHOUT_BATCH := without_batch/jumpcp-valset@unidino-demo
$(EXTRACTED)/$(WITHOUT_BATCH).json: unbatched
endif
unbatched: $(INSTALLED)
	$(PY) -m unidino.simulate --valset jumpcp-valset --root _build/without_batch --batch-effect 0

# About 22 minutes of one processor.
MEASURED := $(patsubst %,data/measured/%.parquet,BBBC021 jumpcp-valset HPA)
measured: $(MEASURED) ## measure the cells of simulated plates again, for data/measured
$(MEASURED): data/measured/%.parquet: always simulated
	$(COMMITTED) $(PY) -m unidino.evaluate.measured_cells $* $@

# Longest first.
EXTRACTIONS := $(WITHOUT_BATCH) $(OF_BBBC037) $(OF_CELL_HEALTH) $(OF_WORLDS) $(OF_JUMP) $(OF_BATCHES) \
  $(OF_BBBC021) $(OF_HPA) $(OF_ATTRIBUTION) $(OF_INSECT) $(OF_ALL)
extracted: $(INSTALLED) simulated $(if $(WITHOUT_BATCH),unbatched)
	$(EXTRACT) $(EXTRACTED) $(EXTRACTIONS)

PAGES += $(RESULTS)/extract.ipynb
$(RESULTS)/extract.ipynb: $(OF_ALL:%=$(EXTRACTED)/%.json) always
	$(READS) papermill notebooks/extractions.ipynb $@ -k python3

PAGES += $(RESULTS)/your_plate.ipynb
$(RESULTS)/your_plate.ipynb: always
	$(PAGE) --input data/example papermill notebooks/evaluate.ipynb $@ -k python3 \
	  -p precision fp32

PAGES += $(RESULTS)/train.ipynb
$(RESULTS)/train.ipynb: always
	$(PAGE) papermill notebooks/train.ipynb $@ -k python3

# Like the pages of real data below, the card stays as it is where these are not to be had.
PAGES += $(RESULTS)/demo_model.ipynb
$(RESULTS)/demo_model.ipynb: always
	$(PAGE) --input data/checkpoints --input data/train_mix_sources.csv \
	  --real bbbc021_singlecell_1000 --real sbs_translocation_plate \
	  papermill notebooks/demo_model.ipynb $@ -k python3

# Of simulated worlds alone, like the page of the datasets.
ifndef UNIDINO_DATA
PAGES += $(RESULTS)/planted_truth.ipynb
endif
$(RESULTS)/planted_truth.ipynb: $(OF_WORLDS:%=$(EXTRACTED)/%.json) always
	$(READS) papermill notebooks/planted_truth.ipynb $@ -k python3

PAGES += $(RESULTS)/evaluate_bbbc021.ipynb
$(RESULTS)/evaluate_bbbc021.ipynb: $(OF_BBBC021:%=$(EXTRACTED)/%.json) always
	$(READS) papermill notebooks/evaluate_bbbc021.ipynb $@ -k python3

PAGES += $(RESULTS)/evaluate_jumpcp.ipynb
$(RESULTS)/evaluate_jumpcp.ipynb: $(OF_JUMP:%=$(EXTRACTED)/%.json) always
	$(READS) papermill notebooks/evaluate_jumpcp.ipynb $@ -k python3

PAGES += $(RESULTS)/evaluate_insect.ipynb
$(RESULTS)/evaluate_insect.ipynb: $(OF_INSECT:%=$(EXTRACTED)/%.json) always
	$(READS) papermill notebooks/evaluate_insect.ipynb $@ -k python3

PAGES += $(RESULTS)/evaluate_cell_health.ipynb
$(RESULTS)/evaluate_cell_health.ipynb: $(OF_CELL_HEALTH:%=$(EXTRACTED)/%.json) always
	$(READS) papermill notebooks/evaluate_cell_health.ipynb $@ -k python3

PAGES += $(RESULTS)/evaluate_hpa.ipynb
$(RESULTS)/evaluate_hpa.ipynb: $(OF_HPA:%=$(EXTRACTED)/%.json) always
	$(READS) papermill notebooks/evaluate_hpa.ipynb $@ -k python3

PAGES += $(RESULTS)/evaluate_bbbc037.ipynb
$(RESULTS)/evaluate_bbbc037.ipynb: $(OF_BBBC037:%=$(EXTRACTED)/%.json) always
	$(READS) papermill notebooks/evaluate_bbbc037.ipynb $@ -k python3

PAGES += $(RESULTS)/evaluate_batches.ipynb
$(RESULTS)/evaluate_batches.ipynb: $(OF_BATCHES:%=$(EXTRACTED)/%.json) $(WITHOUT_BATCH:%=$(EXTRACTED)/%.json) always
	$(READS) papermill notebooks/evaluate_batches.ipynb $@ -k python3

# These run where ../shared/real, or the folder that UNIDINO_REAL names, has what they read;
# elsewhere the page stays as it is.
PAGES += $(RESULTS)/evaluate_bbbc021_real.ipynb
$(RESULTS)/evaluate_bbbc021_real.ipynb: always
	$(PAGE) --real bbbc021_ljosa papermill notebooks/evaluate_bbbc021_real.ipynb $@ -k python3

PAGES += $(RESULTS)/evaluate_plates_real.ipynb
$(RESULTS)/evaluate_plates_real.ipynb: always
	$(PAGE) --real jump_moa_plates --real cpjump1_u2os \
	  papermill notebooks/evaluate_plates_real.ipynb $@ -k python3

PAGES += $(RESULTS)/evaluate_variants_real.ipynb
$(RESULTS)/evaluate_variants_real.ipynb: always
	$(PAGE) --real varchamp --real bbbc037_taorf \
	  papermill notebooks/evaluate_variants_real.ipynb $@ -k python3

PAGES += $(RESULTS)/evaluate_batches_real.ipynb
$(RESULTS)/evaluate_batches_real.ipynb: always
	$(PAGE) --real pediatric_cancer_atlas papermill notebooks/evaluate_batches_real.ipynb $@ -k python3

REAL := sbs_translocation_plate hpa_4channel cellpainting_fovs kc167_fly_3ch
PAGES += $(RESULTS)/real_data.ipynb
$(RESULTS)/real_data.ipynb: always
	$(PAGE) $(REAL:%=--real %) papermill notebooks/real_data.ipynb $@ -k python3

# The worlds are simulated: in a data root of one's own the page does without them.
PAGES += $(RESULTS)/attribution.ipynb
$(RESULTS)/attribution.ipynb: $(OF_ATTRIBUTION:%=$(EXTRACTED)/%.json) always
	$(READS) papermill notebooks/attribution.ipynb $@ -k python3 \
	  $(if $(UNIDINO_DATA),-p planted none)

# It reads the tables of scores of all pages before it.
$(RESULTS)/compare.ipynb: $(PAGES) always
	$(PAGE) --input $(RESULTS)/tables papermill notebooks/compare.ipynb $@ -k python3 \
	  -p folder $(RESULTS)/tables
PAGES += $(RESULTS)/compare.ipynb

PAGES += $(RESULTS)/scanpy.ipynb
$(RESULTS)/scanpy.ipynb: $(EXTRACTED)/BBBC021@unidino-demo.json always
	$(READS) papermill notebooks/scanpy.ipynb $@ -k python3

PAGES += $(RESULTS)/parity.ipynb
$(RESULTS)/parity.ipynb: $(EXTRACTED)/BBBC021@unidino-demo.json always
	$(READS) papermill notebooks/parity.ipynb $@ -k python3

# Started first, so that the last minutes keep all processors busy.
LONGEST := $(filter %/real_data.ipynb %/evaluate_bbbc021.ipynb,$(PAGES))

export PAGES
# An interrupted run leaves the page that stood there.
.PRECIOUS: $(PAGES)
