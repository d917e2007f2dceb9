# Faults put into core/ one at a time, which the tests must notice.
.PHONY: mutate
mutate: $(UNIT:%=$(H)/%) $(HOSTILE:%=$(H)/%) ## small faults in core/, one at a time: the tests must notice each
	$(Q)$(PYTHON) tests/mutate/run.py --compiler "$(CC) $(CFLAGS_HOST)" --build $(H) $^
