# What the ring costs, measured on the library as others link it (tests/example/rules.mk).
BENCH        := build/bench
CFLAGS_BENCH := -std=c11 -O2 -g -D_GNU_SOURCE $(WARNINGS) -I. -Itests/example -MMD -MP

.PHONY: bench-ring
bench-ring: $(BENCH)/bench_ring ## instructions and nanoseconds per chain; QUICK=1: what the goals need
	$(Q)$(PYTHON) tests/bench/bench_ring.py $(BENCH)/bench_ring $(RESULTS) $(if $(QUICK),--quick)

$(BENCH)/obj/%.o: %.c | packages-test
	$(call say,CC)
	$(Q)mkdir -p $(@D) && $(CC) $(CFLAGS_BENCH) -c $< -o $@

$(BENCH)/bench_ring: $(BENCH)/obj/tests/bench/bench_ring.o $(BENCH)/obj/tests/example/example_device.o build/lib/host/libvirtio.a
	$(call say,LD)
	$(Q)$(CC) $^ -o $@
