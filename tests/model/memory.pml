/*
 * Memory that two sides share, as weakly ordered as the barriers of core/mem.h allow for.
 *
 * Each place has one writer and one reader.
 *
 *   store  goes into the writer's buffer, and from there into memory at any time and in any order,
 *          but for two rules: stores to one place stay in order, and none overtakes a write barrier
 *   load   may have been carried out at any time since the reader's last barrier, and not in turn:
 *          it takes early[], which FRESH() brings up to date for one place, at any time
 *   wmb    a mark in the buffer: what is stored behind it waits for what was stored before it
 *   rmb    nothing that is loaded from here on is older than memory is now: all of early[] is
 *          brought up to date
 *   mb     waits until the buffer is empty, then the same as rmb
 *
 * Not allowed for is a store that goes before a load in front of it. In this protocol such a store
 * depends on what was loaded, or one of the barriers, which order that too, is between them; or it
 * says that no notification is wanted, which is a hint.
 *
 * Each barrier has a name, and -DWITHOUT=NAME takes it away.
 *
 * There is no FRESH() for an element of a ring. It is old or new, so that a load which follows no
 * barrier since it was made new may return either; it returns the old one here, which is the one
 * that breaks something.
 *
 * Between marks the buffer is sorted, so that orders which make no difference are one state. It
 * never fills up, for stores that wait for room would hide something; an assertion says so.
 */

#define DRIVER 0
#define DEVICE 1

#define BUFFER_ENTRIES 8
#define MARK           15

typedef store_buffer {
    byte n;
    byte n_before_mark;
    byte entry[BUFFER_ENTRIES] /* place, and value in the lower half; unused ones are 0 */
}

store_buffer buffer[2]; /* by writer */
byte memory[N_PLACES];
byte early[N_PLACES];
bit buffer_full;

/* Scratch, 0 between steps. */
byte at;
byte place_said;

#define place_in(who, slot) (buffer[who].entry[slot] >> 4)
#define value_in(who, slot) (buffer[who].entry[slot] & 15)

inline expect_room(who)
{
    if
    :: buffer[who].n == BUFFER_ENTRIES -> buffer_full = true; assert(!buffer_full)
    :: else
    fi
}

inline store(who, place, value)
{
    expect_room(who);
    at = buffer[who].n;
    do
    :: at > 0 && place_in(who, at - 1) != MARK && place_in(who, at - 1) > place ->
        buffer[who].entry[at] = buffer[who].entry[at - 1];
        at--
    :: else -> break
    od;
    buffer[who].entry[at] = (place << 4) + value;
    if
    :: buffer[who].n_before_mark == buffer[who].n -> buffer[who].n_before_mark++
    :: else
    fi;
    buffer[who].n++;
    at = 0
}

/* Behind another mark, or in an empty buffer, a mark says nothing. */
inline wmb(who, name)
{
    if
    :: WITHOUT != name && buffer[who].n > 0 && place_in(who, buffer[who].n - 1) != MARK ->
        expect_room(who);
        buffer[who].entry[buffer[who].n] = MARK << 4;
        buffer[who].n++
    :: else
    fi
}

inline look_afresh(who)
{
    if
    :: who == DRIVER ->
        early[USED_RING] = memory[USED_RING];
        early[USED_RING + 1] = memory[USED_RING + 1];
        early[USED_IDX] = memory[USED_IDX];
        early[USED_WISH] = memory[USED_WISH]
    :: else ->
        early[AVAIL_RING] = memory[AVAIL_RING];
        early[AVAIL_RING + 1] = memory[AVAIL_RING + 1];
        early[AVAIL_IDX] = memory[AVAIL_IDX];
        early[AVAIL_WISH] = memory[AVAIL_WISH]
    fi
}

inline rmb(who, name)
{
    if
    :: WITHOUT != name -> look_afresh(who)
    :: else
    fi
}

/* A step of its own. */
inline mb(who, name)
{
    d_step {
        WITHOUT == name || buffer[who].n == 0 ->
        if
        :: WITHOUT != name -> look_afresh(who)
        :: else
        fi;
        skip
    }
}

inline remove(who, slot)
{
    at = slot;
    do
    :: at + 1 < buffer[who].n -> buffer[who].entry[at] = buffer[who].entry[at + 1]; at++
    :: else -> break
    od;
    buffer[who].n--;
    buffer[who].entry[buffer[who].n] = 0;
    at = 0
}

inline count_before_mark(who)
{
    do
    :: buffer[who].n_before_mark < buffer[who].n &&
       place_in(who, buffer[who].n_before_mark) != MARK -> buffer[who].n_before_mark++
    :: else -> break
    od
}

inline make_visible(who, slot)
{
    place_said = place_in(who, slot);
    memory[place_said] = value_in(who, slot);
    say_place(place_said);
    printf(" = %d becomes visible\n", value_in(who, slot));
    remove(who, slot);
    buffer[who].n_before_mark--;
    if
    :: buffer[who].n_before_mark == 0 && buffer[who].n > 0 ->
        remove(who, 0);
        count_before_mark(who)
    :: else
    fi;
    place_said = 0
}

/* Sorted: an older store to the same place is the one just before. */
#define may_become_visible(who, slot)                                                              \
    (slot < buffer[who].n_before_mark &&                                                           \
     (slot == 0 || place_in(who, slot - 1) != place_in(who, slot)))

#define DRAIN(who, slot) d_step { may_become_visible(who, slot) -> make_visible(who, slot) }

#define FRESH(place)                                                                               \
    d_step                                                                                         \
    {                                                                                              \
        early[place] != memory[place] ->                                                           \
        early[place] = memory[place];                                                              \
        say_place(place);                                                                          \
        printf(" = %d is loaded early\n", early[place])                                            \
    }

active proctype memory_moves()
{
end:
    do
    :: DRAIN(DRIVER, 0)
    :: DRAIN(DRIVER, 1)
    :: DRAIN(DRIVER, 2)
    :: DRAIN(DRIVER, 3)
    :: DRAIN(DRIVER, 4)
    :: DRAIN(DRIVER, 5)
    :: DRAIN(DRIVER, 6)
    :: DRAIN(DRIVER, 7)
    :: DRAIN(DEVICE, 0)
    :: DRAIN(DEVICE, 1)
    :: DRAIN(DEVICE, 2)
    :: DRAIN(DEVICE, 3)
    :: DRAIN(DEVICE, 4)
    :: DRAIN(DEVICE, 5)
    :: DRAIN(DEVICE, 6)
    :: DRAIN(DEVICE, 7)
    :: FRESH(AVAIL_IDX)
    :: FRESH(AVAIL_WISH)
    :: FRESH(USED_IDX)
    :: FRESH(USED_WISH)
    od
}
