# The ring's protocol in spin: all interleavings, over memory that only barriers order.
MODEL_RUN = $(if $(STORY),--story $(STORY),$(RESULTS) $(if $(K),--only "$(K)"))

.PHONY: model
model: | packages-test ## the ring's protocol in spin; K=... selects, STORY=... tells what breaks
	$(Q)$(PYTHON) tests/model/run.py $(MODEL_RUN)
