# The library as others get it: libvirtio.a, freestanding and hosted, and the headers to use it.
LIB         := build/lib
LIB_KINDS   := freestanding host
LIB_HEADERS := $(filter-out %_private.h,$(wildcard core/*.h transports/*.h devices/*.h))
LIB_MADE    := $(LIB_HEADERS:%=$(LIB)/include/%)
LIB_STALE    = $(filter-out $(LIB_MADE),$(wildcard $(LIB)/include/*/*))

# Hidden: a part of the one program or kernel it is linked into, which does not offer it to others.
CFLAGS_LIB := -std=c11 -O2 -g -fno-strict-aliasing -fpic -fvisibility=hidden $(WARNINGS) -I. \
              -MMD -MP
# For a kernel: an interrupt may use the stack below its pointer, and nobody saved vector registers.
CFLAGS_LIB_x86_64       := -mno-red-zone -mgeneral-regs-only
CFLAGS_LIB_aarch64      := -mgeneral-regs-only
CFLAGS_LIB_freestanding := -ffreestanding -fno-stack-protector -fno-stack-check \
                           $(CFLAGS_LIB_$(ARCH))
CFLAGS_LIB_host         :=

.PHONY: lib
lib: $(LIB_KINDS:%=$(LIB)/%/libvirtio.a) $(LIB_MADE) ## libvirtio.a twice (freestanding, host) and its headers
	$(if $(LIB_STALE),$(Q)rm -f $(LIB_STALE))

# The tests of the library run beside each other, so it is built before them.
test: lib

define LIB_RULES
$(LIB)/$(1)/obj/%.o: %.c | packages-build
	$$(call say,CC)
	$$(Q)mkdir -p $$(@D) && $$(CC) $$(CFLAGS_LIB) $$(CFLAGS_LIB_$(1)) -c $$< -o $$@

$(LIB)/$(1)/libvirtio.a: $(DRIVERS:%.c=$(LIB)/$(1)/obj/%.o)
	$$(call say,AR)
	$$(Q)rm -f $$@ && ar rcsD $$@ $$^
endef
$(foreach kind,$(LIB_KINDS),$(eval $(call LIB_RULES,$(kind))))

$(LIB)/include/%.h: %.h
	$(Q)mkdir -p $(@D) && cp $< $@
