# The ring core proven: no alarm of Frama-C's Eva, no counterexample of z3.
.PHONY: prove
prove: | packages-prove ## Frama-C over the ring core, z3 over its index arithmetic
	$(Q)$(PYTHON) tests/prove/run.py
