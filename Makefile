# virtboot: `make help` lists the targets. Local settings go into config.mak (not in git).
-include config.mak

ARCH   ?= x86_64
CC     := gcc
PYTHON ?= /usr/bin/python3
B      := build/$(ARCH)
H      := build/host

# Debian 12 packages, by what needs them. This is the only list.
PACKAGES_BUILD := gcc binutils libc6-dev gnu-efi
PACKAGES_RUN   := $(PACKAGES_BUILD) qemu-system-x86 qemu-utils ovmf mtools dosfstools gdisk \
                  busybox-static cpio kmod python3
PACKAGES_TEST  := $(PACKAGES_RUN) libcmocka-dev clang clang-format python3-pytest \
                  python3-pytest-xdist sbsigntool openssl libclang-rt-14-dev spin valgrind
PACKAGES_PROVE    := $(PACKAGES_BUILD) frama-c-base why3 z3
PACKAGES_COVERAGE := $(PACKAGES_TEST) gcovr

DRIVERS  := core/device.c core/virtqueue.c core/virtqueue_setup.c transports/pci.c \
            transports/pci_caps.c transports/pci_function.c transports/pci_legacy.c \
            transports/pci_modern.c transports/pci_msix.c devices/blk.c devices/blk_blocking.c \
            devices/blk_engine.c devices/blk_recover.c devices/blk_request.c devices/blk_setup.c \
            devices/read_ahead.c
WORDS    := boot/loader_conf.c boot/settings.c boot/status.c boot/utf16.c
BOOT     := $(WORDS) boot/bzimage.c boot/entry.c boot/pe.c boot/version_order.c
GLUE     := efi/bind.c efi/block_io.c efi/block_io2.c efi/clock_$(ARCH).c efi/component_name.c \
            efi/configuration.c efi/device_name.c efi/disk.c efi/disk_info.c efi/erase_block.c \
            efi/gpt_repair.c efi/interrupt.c efi/interrupt_$(ARCH).c efi/local_apic_$(ARCH).c \
            efi/message.c efi/pci_window.c efi/platform.c efi/port_$(ARCH).c efi/status.c
# In place of gnu-efi's library, which would be a third of virtboot.efi; see its files for why.
LIBRARY  := efi/library.c efi/memory.c efi/print.c
VIRTBOOT := $(LIBRARY) $(DRIVERS) $(GLUE) $(BOOT) efi/main.c efi/volume.c efi/entries.c \
            efi/image.c efi/initrd.c
VIRTIO   := $(LIBRARY) $(WORDS) $(DRIVERS) $(GLUE) efi/driver_main.c

WARNINGS := -Wall -Wextra -Wshadow -Wconversion -Wmissing-prototypes -Wvla -Werror
# Freestanding everywhere; only efi/ sees the UEFI headers, and those as a system's. No vector
# registers: the firmware wants most of them back, and saving them costs more than they gain.
CFLAGS_FREE := -std=c11 -g -ffreestanding -fno-stack-protector -fno-stack-check \
               -fno-strict-aliasing -fpic -fshort-wchar -mno-red-zone -maccumulate-outgoing-args \
               -fvisibility=hidden -mgeneral-regs-only $(WARNINGS) -I. -MMD -MP
CFLAGS_UEFI := -isystem /usr/include/efi -isystem /usr/include/efi/$(ARCH) -DGNU_EFI_USE_MS_ABI
LIBEFI      := -lefi
LDFLAGS_EFI := -nostdlib -znocombreloc -shared -Bsymbolic --no-undefined -z noexecstack \
               -T /usr/lib/elf_$(ARCH)_efi.lds -L /usr/lib
# The tests run the same sources natively, with every access to shared memory observed.
CFLAGS_HOST := -std=c11 -g -O1 -D_GNU_SOURCE -DVIO_MEM_HOOKS -fshort-wchar -fno-omit-frame-pointer \
               -fsanitize=address,undefined -fno-sanitize-recover=all $(WARNINGS) -I. -MMD -MP
HOST_EFI := efi/block_io.c efi/block_io2.c efi/component_name.c efi/configuration.c \
            efi/device_name.c efi/disk_info.c efi/erase_block.c efi/gpt_repair.c efi/initrd.c \
            efi/interrupt.c efi/library.c efi/local_apic_x86_64.c efi/pci_window.c efi/platform.c \
            efi/print.c efi/status.c efi/volume.c
UNIT     := $(basename $(notdir $(wildcard tests/unit/test_*.c)))
PROGRAMS := $(basename $(notdir $(wildcard tests/qemu/programs/*.c)))
QEMU_IN  := build/kernel/vmlinuz build/initramfs.img $(PROGRAMS:%=$(B)/test/%.efi)
RESULTS  := build/results
# What measures the host's time has the host to itself.
ALONE    := tests/qemu/test_completion.py
PYTEST   := $(PYTHON) -m pytest -q -p no:cacheprovider -n 2 --dist loadgroup

# `make V=1` shows the commands.
Q := $(if $(V),,@)
say = $(if $(V),,@echo "  $(1) $@")

EFI_SECTIONS := $(addprefix -j ,.text .sdata .data .rodata .dynamic .dynsym .rel .rela .rel.* .rela.* .reloc)

.PHONY: all run test test-unit test-gates test-qemu clean help format \
        packages-build packages-run packages-test packages-prove packages-coverage
all: $(B)/virtboot.efi $(B)/virtio.efi ## build virtboot.efi and virtio.efi into build/

# --- Packages: each group is checked once per run, and installed where something is missing -----
packages-build packages-run packages-test packages-prove packages-coverage: packages-%:
	@sh tests/install_packages.sh $(PACKAGES_$(shell echo $* | tr a-z A-Z))

# --- The two programs, and those that the tests start ---------------------------------------------
# What every read runs through is fast, the rest small.
$(addprefix $(B)/obj/efi/,block_io.o block_io2.o clock_$(ARCH).o pci_window.o platform.o): SPEED := -O2
# memset() must not become a call of memset().
$(B)/obj/efi/memory.o: SPEED := -O2 -fno-tree-loop-distribute-patterns
$(B)/obj/efi/%.o: efi/%.c | packages-build
	$(call say,CC)
	$(Q)mkdir -p $(@D) && $(CC) $(or $(SPEED),-Os) $(CFLAGS_FREE) $(CFLAGS_UEFI) -c $< -o $@

$(B)/obj/boot/%.o: boot/%.c | packages-build
	$(call say,CC)
	$(Q)mkdir -p $(@D) && $(CC) -Os $(CFLAGS_FREE) -c $< -o $@

$(B)/obj/test/%.o: tests/qemu/programs/%.c | packages-build
	$(call say,CC)
	$(Q)mkdir -p $(@D) && $(CC) -Os $(CFLAGS_FREE) $(CFLAGS_UEFI) -c $< -o $@

$(addprefix $(B)/obj/,core/device.o devices/blk.o devices/blk_recover.o devices/blk_setup.o \
    $(patsubst %.c,%.o,$(filter transports/%,$(DRIVERS)))): SPEED := -Os
$(B)/obj/%.o: %.c | packages-build
	$(call say,CC)
	$(Q)mkdir -p $(@D) && $(CC) $(or $(SPEED),-O2) $(CFLAGS_FREE) -c $< -o $@

$(B)/obj/virtboot.so: $(VIRTBOOT:%.c=$(B)/obj/%.o)
$(B)/obj/virtio.so: $(VIRTIO:%.c=$(B)/obj/%.o)
$(B)/obj/virtboot.so $(B)/obj/virtio.so: LIBEFI :=
$(PROGRAMS:%=$(B)/obj/test/%.so): %.so: %.o
$(B)/obj/%.so:
	$(call say,LD)
	$(Q)ld $(LDFLAGS_EFI) /usr/lib/crt0-efi-$(ARCH).o $^ $(LIBEFI) -lgnuefi -o $@

# A driver stays in memory after its entry point has returned, so it is another kind of image.
$(B)/virtio.efi: SUBSYSTEM := efi-bsdrv
$(B)/%.efi: SUBSYSTEM := efi-app
$(B)/%.efi: $(B)/obj/%.so
	$(call say,EFI)
	$(Q)mkdir -p $(@D) && objcopy --strip-all $(EFI_SECTIONS) --target $(SUBSYSTEM)-$(ARCH) $< $@

# --- What is booted: Debian's kernel, fetched and never installed, and a small userspace ----------
build/kernel/vmlinuz: tests/qemu/fetch_kernel.sh | packages-run
	$(Q)sh $< build/kernel && touch $@

build/initramfs.img: tests/qemu/make_initramfs.sh tests/qemu/init build/kernel/vmlinuz
	$(call say,CPIO)
	$(Q)sh $< build/kernel $@

run: all build/initramfs.img ## boot Debian's kernel from a virtio disk to its userspace
	$(Q)$(PYTHON) tests/qemu/run.py

# --- Tests ----------------------------------------------------------------------------------------
$(H)/obj/efi/%.o: efi/%.c | packages-test
	$(call say,CC)
	$(Q)mkdir -p $(@D) && $(CC) $(CFLAGS_HOST) $(CFLAGS_UEFI) -c $< -o $@

$(H)/obj/tests/%.o: tests/%.c | packages-test
	$(call say,CC)
	$(Q)mkdir -p $(@D) && $(CC) $(CFLAGS_HOST) $(CFLAGS_UEFI) -c $< -o $@

$(H)/obj/%.o: %.c | packages-test
	$(call say,CC)
	$(Q)mkdir -p $(@D) && $(CC) $(CFLAGS_HOST) -c $< -o $@

$(H)/libhost.a: $(patsubst %.c,$(H)/obj/%.o,$(DRIVERS) $(BOOT) $(HOST_EFI) $(wildcard tests/fakes/*.c))
	$(call say,AR)
	$(Q)rm -f $@ && ar rcs $@ $^

$(H)/test_%: $(H)/obj/tests/unit/test_%.o $(H)/libhost.a
	$(call say,LD)
	$(Q)$(CC) $(CFLAGS_HOST) $^ -lcmocka -o $@

# --- What has tools or sources of its own: the targets stand beside them --------------------------
include $(wildcard tests/*/rules.mk)

HOST_TESTS := $(UNIT:%=$(H)/%) $(HOSTILE:%=$(H)/%)
FUZZERS    := $(FUZZ_TARGETS:%=$(FUZZ)/fuzz_%)
GATES      := gates.txt gates-bench.txt gates-fuzz.txt gates-model.txt

test: all $(HOST_TESTS) $(FUZZERS) $(QEMU_IN) | packages-test ## run every test; the last line says how many
	$(Q)rm -rf $(RESULTS)
	-$(Q)$(MAKE) --no-print-directory test-gates
	-$(Q)$(MAKE) --no-print-directory test-unit
	-$(Q)$(MAKE) --no-print-directory -k bench-ring fuzz-corpus model QUICK=1 K= STORY=
	-$(Q)$(PYTEST) --junitxml=$(RESULTS)/pytest.xml --ignore $(ALONE) tests
	-$(Q)$(PYTEST) -n 0 -s -o junit_family=xunit1 --junitxml=$(RESULTS)/alone.xml $(ALONE)
	$(Q)$(PYTHON) tests/report.py $(RESULTS) $(addprefix --expect ,pytest.xml alone.xml $(GATES)) \
	    $(patsubst %,--expect unit-%.xml,$(UNIT) $(HOSTILE))

test-gates: all | packages-test ## layers, formatting, documentation, size
	$(Q)bash tests/run_gates.sh $(RESULTS) $(B)/virtboot.efi $(patsubst %.c,$(B)/obj/%.o,$(DRIVERS) $(BOOT))

test-unit: $(HOST_TESTS) ## the tests on the host, under ASan and UBSan
	$(Q)bash tests/run_unit.sh $(RESULTS) $^

test-qemu: all $(QEMU_IN) | packages-test ## the tests in QEMU; K=... selects some
	$(Q)$(PYTEST) $(if $(K),-k "$(K)") tests/qemu

format: | packages-test ## put all C sources into the project's format
	$(Q)find core transports devices boot efi tests -name '*.[ch]' | xargs clang-format -i

clean: ## remove build/
	rm -rf build

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(filter-out %.d config.mak,$(MAKEFILE_LIST)) | sed -E 's/:.*## /\t/' | expand -t 14

.SECONDARY:
-include $(shell find build -name '*.d' 2>/dev/null)
