# The library as others get it: build/lib/{freestanding,host}/libvirtio.a and build/lib/include/.
L           := build/lib
LIB_HEADERS := $(filter-out %_private.h,$(wildcard core/*.h transports/*.h devices/*.h))

# Hidden: linked into one program or kernel, and no interface of that. Freestanding: for a kernel,
# where an interrupt may use the stack below the stack pointer and nobody saved vector registers.
CFLAGS_LIB          := -std=c11 -O2 -g -fno-strict-aliasing -fpic -fvisibility=hidden $(WARNINGS) \
                       -I. -MMD -MP
CFLAGS_LIB_x86_64   := -mno-red-zone -mgeneral-regs-only
CFLAGS_LIB_aarch64  := -mgeneral-regs-only
CFLAGS_FREESTANDING := -ffreestanding -fno-stack-protector $(CFLAGS_LIB_$(ARCH))
CFLAGS_HOSTED       :=

.PHONY: lib
lib: $(L)/freestanding/libvirtio.a $(L)/host/libvirtio.a $(LIB_HEADERS:%=$(L)/include/%) ## build/lib/: libvirtio.a, freestanding and hosted, and its headers

$(L)/freestanding/%.o: CFLAGS_KIND = $(CFLAGS_FREESTANDING)
$(L)/host/%.o: CFLAGS_KIND = $(CFLAGS_HOSTED)

define LIB_RULES
$(L)/$(1)/obj/%.o: %.c | packages-build
	$$(call say,CC)
	$$(Q)mkdir -p $$(@D) && $$(CC) $$(CFLAGS_LIB) $$(CFLAGS_KIND) -c $$< -o $$@

$(L)/$(1)/libvirtio.a: $(DRIVERS:%.c=$(L)/$(1)/obj/%.o)
	$$(call say,AR)
	$$(Q)rm -f $$@ && ar rcsD $$@ $$^
endef
$(foreach kind,freestanding host,$(eval $(call LIB_RULES,$(kind))))

$(L)/include/%.h: %.h
	$(Q)mkdir -p $(@D) && cp $< $@
