# Tables of misbehaviours, one cmocka test each, run against the real code.
HOSTILE := $(basename $(notdir $(wildcard tests/hostile/test_hostile_*.c)))

$(H)/test_hostile_%: $(H)/obj/tests/hostile/test_hostile_%.o $(H)/libhost.a
	$(call say,LD)
	$(Q)$(CC) $(CFLAGS_HOST) $^ -lcmocka -o $@

.PHONY: hostile hostile-seeds
hostile: $(HOSTILE:%=$(H)/%) ## devices that lie, one test for each way they do
	-$(Q)rm -rf build/results-hostile; bash tests/run_unit.sh build/results-hostile $^
	$(Q)$(PYTHON) tests/report.py build/results-hostile --partial

hostile-seeds: $(HOSTILE:%=$(H)/%) ## write the fuzzers' seeds anew from the tables
	$(Q)for program in $^; do $$program --write-seeds || exit; done
