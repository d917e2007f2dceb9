/** @file
 * Offsets and constants of a PE32+ image.
 * Spec:      Microsoft PE Format: MS-DOS Stub; Signature; COFF File Header; Optional Header;
 *            Section Table (Section Headers). UEFI 2.10, 2.1.1 UEFI Images.
 * Units:     offsets in bytes; every field is little-endian and may lie at any address, so there
 *            are no structs to lay over it.
 */
#ifndef BOOT_PE_SPEC_H
#define BOOT_PE_SPEC_H

/* DOS header, from the start of the file. */
#define PE_DOS_MAGIC        0x5a4d /* "MZ", 16 bits at offset 0 */
#define PE_DOS_LFANEW       0x3c   /* 32 bits: file offset of the PE signature */
#define PE_DOS_HEADER_BYTES 64

/* Signature and COFF file header, from e_lfanew. */
#define PE_SIGNATURE               0x00004550 /* "PE\0\0", 32 bits at offset 0 */
#define PE_COFF_MACHINE            4          /* 16 bits */
#define PE_COFF_NUMBER_OF_SECTIONS 6          /* 16 bits */
#define PE_COFF_SIZE_OF_OPTIONAL   20         /* 16 bits */
#define PE_COFF_HEADER_BYTES       24         /* signature included */
#define PE_MAX_SECTIONS            96         /* Number of Sections: what the loader allows */

/* Optional header, from the end of the COFF file header. */
#define PE_OPT_MAGIC                 0   /* 16 bits */
#define PE_OPT_ENTRY_POINT           16  /* 32 bits, relative to the image */
#define PE_OPT_SECTION_ALIGNMENT     32  /* 32 bits */
#define PE_OPT_FILE_ALIGNMENT        36  /* 32 bits */
#define PE_OPT_SIZE_OF_IMAGE         56  /* 32 bits */
#define PE_OPT_SIZE_OF_HEADERS       60  /* 32 bits */
#define PE_OPT_SUBSYSTEM             68  /* 16 bits */
#define PE_OPT_NUMBER_OF_DIRECTORIES 108 /* 32 bits */
#define PE_OPT_DIRECTORIES           112 /* also the size of the header without them */
#define PE_OPT_MAGIC_PE32_PLUS       0x020b
#define PE_SUBSYSTEM_EFI_APPLICATION 10

/* Data directories: 32 bits of address and 32 bits of size each. */
#define PE_DIRECTORY_BYTES        8
#define PE_MAX_DIRECTORIES        16
#define PE_DIRECTORY_CERTIFICATES 4 /* the one whose address is a file offset */
#define PE_DIRECTORY_RELOCATIONS  5

/* Section header, one after the other behind the optional header; 32 bits each. */
#define PE_SECTION_VIRTUAL_SIZE        8
#define PE_SECTION_VIRTUAL_ADDRESS     12
#define PE_SECTION_SIZE_OF_RAW_DATA    16
#define PE_SECTION_POINTER_TO_RAW_DATA 20
#define PE_SECTION_HEADER_BYTES        40

/* COFF File Header, Machine. */
#define PE_MACHINE_X64  0x8664
#define PE_MACHINE_AA64 0xaa64

#endif
