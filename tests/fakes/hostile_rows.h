/** @file
 * Tables of misbehaviours as cmocka tests, one for each row, and as seeds of a fuzzer.
 * A row's struct begins with `const char *name`, a sentence's fragment. The test is named after it,
 * with underscores; the seed, with dashes: hostile-NAME in the fuzzer's corpus.
 *
 *     PROGRAM                 run the rows, and check that the corpus holds their seeds, and no other
 *     PROGRAM --write-seeds   write the seeds into the corpus, and remove what belongs to no row
 *
 * Both from the root of the repository.
 */
#ifndef TESTS_FAKES_HOSTILE_ROWS_H
#define TESTS_FAKES_HOSTILE_ROWS_H

#include <stddef.h>
#include <stdint.h>

#define HOSTILE_SEED_BYTES_MAX 1024u

struct hostile_table {
    const char *name;
    const void *rows;
    size_t row_bytes;
    size_t n_rows;
};

#define HOSTILE_TABLE(table_name, table)                                                           \
    {                                                                                              \
        .name = (table_name), .rows = (table), .row_bytes = sizeof((table)[0]),                    \
        .n_rows = sizeof(table) / sizeof((table)[0])                                               \
    }

struct hostile_program {
    const struct hostile_table *tables; /**< one cmocka group each */
    size_t n_tables;
    void (*test)(void **state); /**< the row is the state */
    size_t (*seed)(const void *row, uint8_t *ret_bytes);
    const char *seed_folder;
};

/** What main() returns. */
int hostile_main(const struct hostile_program *program, int argc, char **argv);

#endif
