# What the ring costs, measured on the library as others link it (tests/example/rules.mk).
BENCH         := build/bench
BENCH_OBJECTS := $(patsubst %,$(BENCH)/obj/tests/%.o,bench/bench_ring example/example_device)
CFLAGS_BENCH  := -std=c11 -O2 -g -D_GNU_SOURCE $(WARNINGS) -I. -Itests/example -MMD -MP

.PHONY: bench-ring
bench-ring: $(BENCH)/bench_ring ## what a chain costs; QUICK=1: only what the goals need
	$(Q)$(PYTHON) tests/bench/bench_ring.py $< $(RESULTS) $(if $(QUICK),--quick)

$(BENCH)/obj/%.o: %.c | packages-test
	$(call say,CC)
	$(Q)mkdir -p $(@D) && $(CC) $(CFLAGS_BENCH) -c $< -o $@

$(BENCH)/bench_ring: $(BENCH_OBJECTS) build/lib/host/libvirtio.a
	$(call say,LD)
	$(Q)$(CC) $^ -o $@

# What a read costs, against the firmware's own driver, in a virtual machine.
BENCH_EFI := $(patsubst tests/bench/%.c,$(B)/obj/tests/bench/%.o, \
               $(filter-out tests/bench/bench_ring.c,$(wildcard tests/bench/*.c)))
QEMU_IN   += $(B)/bench.efi

.PHONY: bench
bench: all $(B)/bench.efi | packages-run ## a disk's speed against the firmware's driver
	$(Q)$(PYTHON) tests/bench/bench_blk.py --output $(BENCH)

$(B)/obj/tests/bench/%.o: tests/bench/%.c | packages-build
	$(call say,CC)
	$(Q)mkdir -p $(@D) && $(CC) -O2 $(CFLAGS_FREE) $(CFLAGS_UEFI) -c $< -o $@

$(B)/obj/bench.so: $(BENCH_EFI) $(B)/obj/core/virtqueue.o $(B)/obj/core/virtqueue_setup.o
