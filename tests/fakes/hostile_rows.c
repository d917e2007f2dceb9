/* Contract and terms: tests/fakes/hostile_rows.h. */

#include "tests/fakes/hostile_rows.h"

#include <dirent.h>
#include <unistd.h>

#include "tests/fakes/testing.h"

#define SEED_PREFIX "hostile-"
#define NAME_MAX_   128u
#define PATH_MAX_   256u
#define ROWS_MAX    256u

/* The test of the seeds has no state of its own to be given. */
static const struct hostile_program *hostile_program;

static const void *row_at(const struct hostile_table *table, size_t i)
{
    return (const uint8_t *)table->rows + i * table->row_bytes;
}

static const char *row_name(const void *row)
{
    return *(const char *const *)row;
}

/* Letters and digits stay; what lies between them becomes one separator. */
static void make_name(const char *text, char separator, char ret_name[NAME_MAX_])
{
    size_t n = 0;

    for (; *text; text++) {
        bool is_word = (*text >= '0' && *text <= '9') || (*text >= 'a' && *text <= 'z') ||
                       (*text >= 'A' && *text <= 'Z');
        assert_true(n + 1 < NAME_MAX_);
        if (is_word)
            ret_name[n++] = *text;
        else if (n && ret_name[n - 1] != separator)
            ret_name[n++] = separator;
    }
    ret_name[n] = '\0';
}

static void seed_path(const char *folder, const void *row, char ret_path[PATH_MAX_])
{
    char name[NAME_MAX_];

    make_name(row_name(row), '-', name);
    int n = snprintf(ret_path, PATH_MAX_, "%s/" SEED_PREFIX "%s", folder, name);
    assert_in_range(n, 1, PATH_MAX_ - 1);
}

static bool seed_belongs_to_a_row(const struct hostile_program *program, const char *file_name)
{
    char name[NAME_MAX_];

    for (size_t t = 0; t < program->n_tables; t++) {
        for (size_t i = 0; i < program->tables[t].n_rows; i++) {
            make_name(row_name(row_at(&program->tables[t], i)), '-', name);
            if (strcmp(file_name + strlen(SEED_PREFIX), name) == 0)
                return true;
        }
    }
    return false;
}

/* Calls @p visit for each seed that no row tells of; returns how many these are. */
static unsigned find_stale_seeds(const struct hostile_program *program,
                                 void (*visit)(const char *path))
{
    unsigned n_stale = 0;
    char path[2 * PATH_MAX_];
    DIR *folder = opendir(program->seed_folder);

    assert_non_null(folder);
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        if (strncmp(entry->d_name, SEED_PREFIX, strlen(SEED_PREFIX)) != 0 ||
            seed_belongs_to_a_row(program, entry->d_name))
            continue;
        snprintf(path, sizeof(path), "%s/%s", program->seed_folder, entry->d_name);
        visit(path);
        n_stale++;
    }
    closedir(folder);
    return n_stale;
}

static void print_stale(const char *path)
{
    print_error("%s: no row tells of this seed\n", path);
}

static void remove_stale(const char *path)
{
    assert_int_equal(unlink(path), 0);
}

static void write_seed(const struct hostile_program *program, const void *row)
{
    uint8_t bytes[HOSTILE_SEED_BYTES_MAX];
    char path[PATH_MAX_];

    seed_path(program->seed_folder, row, path);
    FILE *file = fopen(path, "wb");
    if (!file) {
        perror(path);
        exit(1);
    }
    size_t n = program->seed(row, bytes);
    assert_int_equal(fwrite(bytes, 1, n, file), n);
    assert_int_equal(fclose(file), 0);
}

static bool seed_is_current(const struct hostile_program *program, const void *row)
{
    uint8_t expected[HOSTILE_SEED_BYTES_MAX], found[HOSTILE_SEED_BYTES_MAX + 1];
    char path[PATH_MAX_];
    size_t n_found = 0;

    seed_path(program->seed_folder, row, path);
    size_t n_expected = program->seed(row, expected);
    FILE *file = fopen(path, "rb");
    if (file) {
        n_found = fread(found, 1, sizeof(found), file);
        fclose(file);
    }
    if (file && n_found == n_expected && memcmp(found, expected, n_found) == 0)
        return true;
    print_error("%s: %s\n", path, file ? "is not what the row says" : "there is no such seed");
    return false;
}

static void each_row_has_its_seed(void **state)
{
    const struct hostile_program *program = hostile_program;
    unsigned n_wrong = 0;

    (void)state;
    for (size_t t = 0; t < program->n_tables; t++) {
        for (size_t i = 0; i < program->tables[t].n_rows; i++)
            n_wrong += !seed_is_current(program, row_at(&program->tables[t], i));
    }
    n_wrong += find_stale_seeds(program, print_stale);
    if (n_wrong)
        fail_msg("%u seeds are wrong; --write-seeds makes them anew", n_wrong);
}

static int run_table(const struct hostile_program *program, const struct hostile_table *table)
{
    static char names[ROWS_MAX][NAME_MAX_];
    static struct CMUnitTest tests[ROWS_MAX];

    assert_true(table->n_rows <= ROWS_MAX);
    for (size_t i = 0; i < table->n_rows; i++) {
        const void *row = row_at(table, i);
        make_name(row_name(row), '_', names[i]);
        tests[i] = (struct CMUnitTest){
            .name = names[i],
            .test_func = program->test,
            .initial_state = (void *)(uintptr_t)row,
        };
    }
    return _cmocka_run_group_tests(table->name, tests, table->n_rows, NULL, NULL);
}

int hostile_main(const struct hostile_program *program, int argc, char **argv)
{
    const struct CMUnitTest seeds[] = {cmocka_unit_test(each_row_has_its_seed)};
    int failed = 0;

    hostile_program = program;
    if (argc == 2 && strcmp(argv[1], "--write-seeds") == 0) {
        for (size_t t = 0; t < program->n_tables; t++) {
            for (size_t i = 0; i < program->tables[t].n_rows; i++)
                write_seed(program, row_at(&program->tables[t], i));
        }
        (void)find_stale_seeds(program, remove_stale); /* how many there were is of no interest */
        return 0;
    }
    for (size_t t = 0; t < program->n_tables; t++)
        failed += run_table(program, &program->tables[t]);
    failed += cmocka_run_group_tests_name("seeds", seeds, NULL, NULL);
    return failed;
}
