# Faults put into core/ one at a time, which the tests must notice.
MUTATE_PROGRAMS := $(UNIT:%=$(H)/%) $(HOSTILE:%=$(H)/%) $(FUZZ_TARGETS:%=$(FUZZ)/fuzz_%)

.PHONY: mutate
mutate: $(MUTATE_PROGRAMS) ## small faults in core/, one at a time: the tests must notice each; K=... selects
	$(Q)$(PYTHON) tests/mutate/run.py $(if $(K),--only "$(K)") \
	    --kit $(H) "$(CC) $(CFLAGS_HOST) $(CFLAGS_UEFI)" "$(CC) $(CFLAGS_HOST) % -lcmocka" \
	    --kit $(FUZZ) "clang $(CFLAGS_FUZZ) $(FUZZ_UBSAN)" \
	        "clang -fsanitize=fuzzer,address,undefined %" tests/test_codegen.py $^
