# The ring's protocol in spin: all interleavings, over memory that only barriers order.
.PHONY: model
model: | packages-test ## publish, notify, suppress, sleep: every interleaving, and each barrier is needed
	$(Q)$(PYTHON) tests/model/run.py
