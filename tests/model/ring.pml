/*
 * The split virtqueue between driver and device (virtio 1.4, 2.7.13, 2.7.14, 2.7.7, 2.7.10), over a
 * memory that is ordered by nothing but barriers. For spin; tests/model/run.py says with which macros.
 *
 * What stands for what in core/virtqueue.c:
 *   SUPPLY   virtqueue_add(), virtqueue_publish()         DRIVER_WMB     before avail idx is stored
 *   NOTIFY   virtqueue_notify()                           DRIVER_MB      between avail idx and the wish
 *   LOOK     virtqueue_pop_used(), look at used idx       DRIVER_RMB     between used idx and elements
 *   ARM      virtqueue_enable_callbacks_after()           DRIVER_ARM_MB  between the wish and the look
 * The device has the mirror image of each. That the barriers stand there in the C code, too, is
 * asserted by tests/unit/test_virtqueue.c and tests/unit/test_virtqueue_suppression.c.
 *
 * Memory: a store lies in its side's buffer, one place per variable, and reaches memory at any later
 * moment, in any order; a write barrier or a full one waits until all of them have. A load of what
 * an index announces may have been made before the load of the index (spec[]), unless a read
 * barrier lies between them.
 * Steps:  what is atomic touches one shared variable only, or only the process's own; so no
 *         interleaving of accesses is lost.
 */

#define SLOTS   2          /* queue size */
#define WRAP    4          /* indices run modulo this */
#define TOTAL   6          /* chains that go through: the indices wrap */
#define NEXT(i) ((i) + 1) % WRAP
#define AHEAD(a, b) (((a) + WRAP - (b)) % WRAP)

/* Memory, and what is on the way to it: [variable]. */
#define AVAIL_IDX 0
#define USED_IDX  1
#define USED_WISH 2        /* avail flags or used_event: the driver's wish */
#define AVAIL_WISH 3       /* used flags or avail_event: the device's wish */
#define AVAIL_RING 4       /* two slots: what the driver made available */
#define USED_RING  6       /* two slots: what the device returned */
#define VARS 8

byte memory[VARS];
byte pending[VARS];
bool is_pending[VARS];

bool notified, interrupted;         /* on their way; the bus loses none */
byte n_supplied, n_received;        /* all chains so far, for the properties */
bool driver_sleeps, device_sleeps;
byte driver_waits_for;              /* chains after which it wants to be woken */

inline store(variable, value) { d_step { pending[variable] = value; is_pending[variable] = true } }

/* A side sees its own stores. */
#define SEEN(variable) (is_pending[variable] -> pending[variable] : memory[variable])

inline drain(first, second, third, fourth) {
    atomic { !is_pending[first] && !is_pending[second] && !is_pending[third] && !is_pending[fourth] }
}
#define DRIVER_STORES AVAIL_IDX, USED_WISH, AVAIL_RING, AVAIL_RING + 1
#define DEVICE_STORES USED_IDX, AVAIL_WISH, USED_RING, USED_RING + 1

#ifdef NO_DRIVER_WMB
#define DRIVER_WMB skip
#else
#define DRIVER_WMB drain(DRIVER_STORES)
#endif
#ifdef NO_DRIVER_MB
#define DRIVER_MB skip
#else
#define DRIVER_MB drain(DRIVER_STORES)
#endif
#ifdef NO_DRIVER_ARM_MB
#define DRIVER_ARM_MB skip
#else
#define DRIVER_ARM_MB drain(DRIVER_STORES)
#endif
#ifdef NO_DEVICE_WMB
#define DEVICE_WMB skip
#else
#define DEVICE_WMB drain(DEVICE_STORES)
#endif
#ifdef NO_DEVICE_MB
#define DEVICE_MB skip
#else
#define DEVICE_MB drain(DEVICE_STORES)
#endif
#ifdef NO_DEVICE_ARM_MB
#define DEVICE_ARM_MB skip
#else
#define DEVICE_ARM_MB drain(DEVICE_STORES)
#endif

/* Is a signal due for an index that went from old to new? */
#ifdef EVENT_IDX
#ifdef COMPARE_WITHOUT_WRAP
#define DUE(event, new, old) ((event) < (new) && (event) >= (old))
#else
#define DUE(event, new, old) (AHEAD(AHEAD(new, event), 1) < AHEAD(new, old))
#endif
#define WISH(event) (event)
#define NO_WISH(idx) ((idx) + WRAP - 1) % WRAP
#else
#define DUE(event, new, old) ((event) == 0)
#define WISH(event) 0
#define NO_WISH(idx) 1
#endif

/* Stores reach memory when they like. */
proctype bus()
{
    byte i;
end_idle:
    do
    :: atomic { is_pending[0] -> memory[0] = pending[0]; is_pending[0] = false }
    :: atomic { is_pending[1] -> memory[1] = pending[1]; is_pending[1] = false }
    :: atomic { is_pending[2] -> memory[2] = pending[2]; is_pending[2] = false }
    :: atomic { is_pending[3] -> memory[3] = pending[3]; is_pending[3] = false }
    :: atomic { is_pending[4] -> memory[4] = pending[4]; is_pending[4] = false }
    :: atomic { is_pending[5] -> memory[5] = pending[5]; is_pending[5] = false }
    :: atomic { is_pending[6] -> memory[6] = pending[6]; is_pending[6] = false }
    :: atomic { is_pending[7] -> memory[7] = pending[7]; is_pending[7] = false }
    od
}

proctype driver()
{
    byte added, published, decided, used;   /* indices */
    byte idx, wish, n, element, spec[2];
    bool asked;

    do
    /* SUPPLY one chain or two, and NOTIFY at most once. */
    :: n_supplied < TOTAL && AHEAD(added, used) < SLOTS ->
        do
        :: n_supplied < TOTAL && AHEAD(added, used) < SLOTS ->
            store(AVAIL_RING + added % SLOTS, n_supplied + 1);
            added = NEXT(added);
            n_supplied++
        :: added != published -> break
        od;
        DRIVER_WMB;
        store(AVAIL_IDX, added);
        published = added;
        DRIVER_MB;
        wish = memory[AVAIL_WISH];
        if
        :: DUE(wish, published, decided) -> notified = true
        :: else
        fi;
#ifndef OLD_NOT_UPDATED
        decided = published;
#endif
        wish = 0
    /* LOOK, and take all that has come. */
    :: n_received < n_supplied ->
        d_step { spec[0] = memory[USED_RING]; spec[1] = memory[USED_RING + 1] };
        idx = memory[USED_IDX];
        do
        :: idx != used ->
#ifdef NO_DRIVER_RMB
            if
            :: element = spec[used % SLOTS]
            :: element = memory[USED_RING + used % SLOTS]
            fi;
#else
            element = memory[USED_RING + used % SLOTS];
#endif
            /* Not lost, not twice, not an old one: the device is orderly, so they come in turn. */
            assert(element == n_received + 1);
            d_step { n_received++; used = NEXT(used); element = 0 }
        :: else -> break
        od;
        atomic { idx = 0; spec[0] = 0; spec[1] = 0 };
        /* ARM for the next chain, or for all that are out, and sleep. */
        if
        :: n_received < n_supplied && (n_supplied == TOTAL || AHEAD(added, used) == SLOTS) ->
            if
            :: n = 1
            :: n = n_supplied - n_received
            fi;
            asked = true;
            store(USED_WISH, WISH((used + n - 1) % WRAP));
            DRIVER_ARM_MB;
#ifndef SLEEP_WITHOUT_LOOK
            idx = memory[USED_IDX];
            if
            :: AHEAD(idx, used) >= n -> skip
            :: else ->
#endif
                d_step { driver_sleeps = true; driver_waits_for = n_received + n };
                interrupted;
                d_step { driver_sleeps = false; interrupted = false; driver_waits_for = 0 }
#ifndef SLEEP_WITHOUT_LOOK
            fi;
#endif
            atomic { idx = 0; n = 0 };
            store(USED_WISH, NO_WISH(used))
        :: else
        fi
    :: n_received == TOTAL -> break
    od
}

proctype device()
{
    byte taken, returned, decided;          /* indices */
    byte idx, wish, chain, spec[2];

    do
    :: returned != taken || true ->
        d_step { spec[0] = memory[AVAIL_RING]; spec[1] = memory[AVAIL_RING + 1] };
        idx = memory[AVAIL_IDX];
        do
        :: idx != taken ->
#ifdef NO_DEVICE_RMB
            if
            :: chain = spec[taken % SLOTS]
            :: chain = memory[AVAIL_RING + taken % SLOTS]
            fi;
#else
            chain = memory[AVAIL_RING + taken % SLOTS];
#endif
            assert(chain != 0 && chain <= n_supplied);
            assert((chain - 1) % WRAP == taken);
            store(USED_RING + taken % SLOTS, chain);
            d_step { taken = NEXT(taken); chain = 0 }
        :: taken != returned -> break
        :: idx == taken && taken == returned -> break
        od;
        atomic { idx = 0; spec[0] = 0; spec[1] = 0 };
        if
        :: taken != returned ->
            DEVICE_WMB;
            store(USED_IDX, taken);
            returned = taken;
            DEVICE_MB;
            wish = memory[USED_WISH];
            if
            :: DUE(wish, returned, decided) -> interrupted = true
            :: else
            fi;
            decided = returned;
            wish = 0
        :: else ->
            /* Nothing to do: ask for a notification, look once more, sleep. */
            store(AVAIL_WISH, WISH(taken));
            DEVICE_ARM_MB;
            idx = memory[AVAIL_IDX];
            if
            :: idx != taken -> skip
            :: else ->
                device_sleeps = true;
end_asleep:
                notified;
                d_step { device_sleeps = false; notified = false }
            fi;
            idx = 0;
            store(AVAIL_WISH, NO_WISH(taken))
        fi
    od
}

/* When nothing moves any more, nobody may be waiting for what is there. */
proctype judge()
{
end_judge:
    timeout ->
    assert(!(device_sleeps && n_received < n_supplied && !driver_sleeps));
    assert(!driver_sleeps);
    assert(n_received == TOTAL)
}

init
{
    atomic {
        memory[USED_WISH] = NO_WISH(0);
        memory[AVAIL_WISH] = WISH(0);
        run bus();
        run driver();
        run device();
        run judge()
    }
}
