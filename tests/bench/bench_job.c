/* Contract and terms: tests/bench/bench.h. */

#include "tests/bench/bench.h"

#define WORD_CHARS 32u

/* What is left of one line. */
struct words {
    const char *at, *end;
};

/* The next word, empty at the end of the line; a word that is too long is cut, and so unknown. */
static void take_word(struct words *words, char ret_word[WORD_CHARS])
{
    unsigned length = 0;

    while (words->at < words->end && *words->at == ' ')
        words->at++;
    while (words->at < words->end && *words->at != ' ') {
        if (length + 1 < WORD_CHARS)
            ret_word[length++] = *words->at;
        words->at++;
    }
    ret_word[length] = 0;
}

static bool is_word(const char *word, const char *wanted)
{
    return strcmpa((const CHAR8 *)word, (const CHAR8 *)wanted) == 0;
}

static bool take_number(struct words *words, uint64_t *ret_number)
{
    char word[WORD_CHARS];
    uint64_t number = 0;

    take_word(words, word);
    for (const char *digit = word; *digit; digit++) {
        if (*digit < '0' || *digit > '9')
            return false;
        number = number * 10 + (uint64_t)(*digit - '0');
    }
    *ret_number = number;
    return word[0] != 0;
}

/* One of two words; *ret_is_first tells which. */
static bool take_choice(struct words *words, const char *first, const char *second,
                        bool *ret_is_first)
{
    char word[WORD_CHARS];

    take_word(words, word);
    *ret_is_first = is_word(word, first);
    return *ret_is_first || is_word(word, second);
}

/* Whether the numbers of a line can be run with the memory that there is. */
static bool is_possible(const struct bench_line *line)
{
    return line->bytes && line->bytes % BENCH_BLOCK_BYTES == 0 &&
           line->bytes * BENCH_DEPTH_MAX <= BENCH_POOL_BYTES && line->depth &&
           line->depth <= BENCH_DEPTH_MAX && line->reap && line->reap <= line->depth &&
           line->ops >= line->depth && line->ops <= BENCH_OPS_MAX &&
           ((line->api == BENCH_BLOCK_IO && line->depth == 1) || line->api == BENCH_BLOCK_IO2);
}

static bool parse_read(struct words *words, struct bench_line *line)
{
    char word[WORD_CHARS];

    take_word(words, word);
    for (unsigned i = 0; i + 1 < BENCH_NAME_CHARS && word[i]; i++)
        line->name[i] = word[i];
    return take_choice(words, "random", "sequential", &line->is_random) &&
           take_number(words, &line->bytes) && take_number(words, &line->api) &&
           take_number(words, &line->depth) && take_number(words, &line->reap) &&
           take_number(words, &line->ops) && is_possible(line);
}

static bool parse_file(struct words *words, struct bench_line *line)
{
    char word[WORD_CHARS];

    take_word(words, word);
    for (unsigned i = 0; i < BENCH_PATH_CHARS && word[i]; i++)
        line->path[i] = (CHAR16)word[i];
    __builtin_memcpy(line->name, "file", sizeof("file"));
    line->api = BENCH_FILE;
    line->ops = 1;
    line->depth = 1;
    return word[0] != 0;
}

/* `state` is what earlier lines said of the disk; lines that read copy it. */
static bool parse_line(struct words *words, struct bench_line *state, struct bench_job *job)
{
    struct bench_line *line = &job->lines[job->n_lines];
    char word[WORD_CHARS];

    take_word(words, word);
    if (word[0] == 0)
        return true;
    if (is_word(word, "rounds"))
        return take_number(words, &job->rounds);
    if (is_word(word, "from"))
        return take_number(words, &state->from_lba);
    if (is_word(word, "expect"))
        return take_choice(words, "zeroes", "blocks", &state->is_zeroes);
    if (is_word(word, "costs"))
        return job->wants_costs = true;
    if (job->n_lines == BENCH_LINES_MAX)
        return false;
    *line = *state;
    job->n_lines++;
    if (is_word(word, "read"))
        return parse_read(words, line);
    return is_word(word, "file") && parse_file(words, line);
}

unsigned bench_parse_job(const char *text, UINTN bytes, struct bench_job *ret_job)
{
    const char *end = text + bytes;
    struct bench_line state = {0};
    unsigned number = 0;

    *ret_job = (struct bench_job){.rounds = 1};
    while (text < end) {
        struct words words = {.at = text, .end = text};
        while (words.end < end && *words.end != '\n')
            words.end++;
        number++;
        if (!parse_line(&words, &state, ret_job))
            return number;
        text = words.end + 1;
    }
    return ret_job->n_lines ? 0 : number + 1;
}
