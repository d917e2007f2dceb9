/*
 * A split virtqueue whose every load from shared memory is answered by the input, and whose calls the
 * input chooses, too.
 *
 * Input: a program of tests/fakes/lying_ring.h, where its bytes are described. Each input is one.
 *
 *      0    log2 of the queue's size
 *      1    features, and how the device behaves (RING_WITH_..., RING_MANNER_...)
 *      2    entries of an indirect table
 *      3 4  index at which the rings begin, so that the wrap is never far
 *      5    instructions: calls of the driver, answers to its loads, stores of the device's own
 *
 * What the driver must not make of it is judged in tests/fakes/lying_ring_judge.c. The rows of
 * tests/hostile/test_hostile_ring.c are corpus/ring/hostile-*.
 */

#include "tests/fakes/lying_ring.h"
#include "tests/fakes/ring_driver_virtboot.h"
#include "tests/fuzz/assertions.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes)
{
    struct lying_ring_outcome outcome;

    lying_ring_play(&ring_driver_virtboot, bytes, n_bytes, &outcome);
    return 0;
}
