# How much of core/, transports/ and devices/ the host tests run through: a build of its own. Without
# optimisation gcc sees conversions that it otherwise knows to be harmless, so no warnings here. Each
# function counts once, also those that are inlined twice so that each copy has constants of its own.
COVER        := build/coverage
CFLAGS_COVER := -std=c11 -g -O0 --coverage -D_GNU_SOURCE -DVIO_MEM_HOOKS -fshort-wchar \
                -Dalways_inline=unused -w -I. -MMD -MP
COVER_TESTS  := $(patsubst %.c,$(COVER)/%,$(notdir $(wildcard tests/unit/test_*.c tests/hostile/test_*.c)))

$(COVER)/obj/efi/%.o: efi/%.c | packages-coverage
	$(call say,CC)
	$(Q)mkdir -p $(@D) && $(CC) $(CFLAGS_COVER) $(CFLAGS_UEFI) -c $< -o $@

$(COVER)/obj/%.o: %.c | packages-coverage
	$(call say,CC)
	$(Q)mkdir -p $(@D) && $(CC) $(CFLAGS_COVER) $(if $(filter tests/%,$<),$(CFLAGS_UEFI)) -c $< -o $@

$(COVER)/libhost.a: $(patsubst %.c,$(COVER)/obj/%.o,$(DRIVERS) $(BOOT) $(HOST_EFI) $(wildcard tests/fakes/*.c))
	$(call say,AR)
	$(Q)rm -f $@ && ar rcs $@ $^

$(COVER)/test_hostile_%: $(COVER)/obj/tests/hostile/test_hostile_%.o $(COVER)/libhost.a
	$(call say,LD)
	$(Q)$(CC) --coverage $^ -lcmocka -o $@

$(COVER)/test_%: $(COVER)/obj/tests/unit/test_%.o $(COVER)/libhost.a
	$(call say,LD)
	$(Q)$(CC) --coverage $^ -lcmocka -o $@

.PHONY: coverage
coverage: $(COVER_TESTS) ## lines and branches of core/, transports/ and devices/ that the host tests reach
	$(Q)find $(COVER) -name '*.gcda' -delete; rm -rf $(COVER)/results $(COVER)/coverage.json
	$(Q)bash tests/run_unit.sh $(COVER)/results $^; tests=$$?; \
	gcovr --root . --object-directory $(COVER) --filter 'core/' --filter 'transports/' \
	    --filter 'devices/' --json $(COVER)/coverage.json $(COVER) || rm -f $(COVER)/coverage.json; \
	$(PYTHON) tests/coverage/run.py --tests-status $$tests $(COVER)/coverage.json
