# The one test program with our drivers in it: all of virtboot.efi that reads disks and files.
$(B)/obj/test/set_writable.so: $(patsubst %.c,$(B)/obj/%.o,$(DRIVERS) $(GLUE) $(BOOT) efi/volume.c)

# What stays in memory when it has been started.
$(B)/test/legacy_8259.efi: SUBSYSTEM := efi-bsdrv
