# The fuzzers (libFuzzer, ASan, UBSan), each run from its corpus and judged by the bugs it finds.
FUZZ         := build/fuzz
FUZZ_TARGETS := $(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ_SECONDS ?= 60
CFLAGS_FUZZ  := -std=c11 -g -O1 -D_GNU_SOURCE -DVIO_MEM_HOOKS -fshort-wchar -fno-omit-frame-pointer \
                -fsanitize=fuzzer-no-link,address -fno-sanitize-recover=all $(WARNINGS) -I. -MMD -MP
# UBSan's checks cost a fuzzer more than all else, so only the code under test has them.
FUZZ_UBSAN   := -fsanitize=undefined
$(FUZZ)/obj/tests/%.o: FUZZ_UBSAN :=
# What needs the firmware's headers, or cmocka itself, is no part of a fuzzer.
FUZZ_FAKES   := $(filter-out %/fake_uefi.c %/fake_uefi_events.c %/fake_pci_io.c %/fake_processor.c %/efi_disk.c %/hostile_rows.c,$(wildcard tests/fakes/*.c))

$(FUZZ)/obj/%.o: %.c | packages-test
	$(call say,CC)
	$(Q)mkdir -p $(@D) && clang $(CFLAGS_FUZZ) $(FUZZ_UBSAN) -c $< -o $@

$(FUZZ)/libfuzz.a: $(patsubst %.c,$(FUZZ)/obj/%.o,$(DRIVERS) $(FUZZ_FAKES))
	$(call say,AR)
	$(Q)rm -f $@ && ar rcs $@ $^

$(FUZZ)/fuzz_%: $(FUZZ)/obj/tests/fuzz/fuzz_%.o $(FUZZ)/libfuzz.a
	$(call say,LD)
	$(Q)clang -fsanitize=fuzzer,address,undefined $^ -o $@

.PHONY: fuzz fuzz-corpus fuzz-grow
fuzz: $(FUZZ_TARGETS:%=$(FUZZ)/fuzz_%) ## each fuzzer for FUZZ_SECONDS (60), then the bugs it must find
	$(Q)$(PYTHON) tests/fuzz/run.py fuzz --seconds $(FUZZ_SECONDS) $(FUZZ_TARGETS)

fuzz-corpus: $(FUZZ_TARGETS:%=$(FUZZ)/fuzz_%) ## each fuzzer's corpus, and nothing else
	$(Q)$(PYTHON) tests/fuzz/run.py corpus --results $(RESULTS) $(FUZZ_TARGETS)

fuzz-grow: $(FUZZ_TARGETS:%=$(FUZZ)/fuzz_%) ## into the corpus: what `make fuzz` found and adds coverage
	$(Q)$(PYTHON) tests/fuzz/run.py grow $(FUZZ_TARGETS)
