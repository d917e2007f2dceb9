/*
 * The split virtqueue between core/virtqueue.c and a device that keeps the rules, over memory that
 * is as weakly ordered as memory.pml says. Virtio 1.4: 2.7.7 Used Buffer Notification Suppression;
 * 2.7.10 Available Buffer Notification Suppression; 2.7.13 Supplying Buffers to The Device; 2.7.14
 * Receiving Used Buffers From The Device.
 *
 * What must not happen, whatever the interleaving, by the name under which spin reports it:
 *
 *   notification_lost    the device sleeps beside an available chain, nobody is about to wake it
 *   interrupt_lost       the driver sleeps although as many chains are used as it wants to be woken
 *                        for, and nobody is about to wake it
 *   element_stale        an element of a ring is not what was written there for this round
 *   element_out_of_turn  a chain is taken or comes back that is not due: a second time, say
 *   chain_lost           a chain is not back, and by the indices will never be
 *   used_idx_too_far     the driver learns of more used chains than the device has
 *   invalid end state    everything stands still
 *
 * There is no last chain: the indices go round, and the search ends when it reaches nothing new.
 * With two descriptors and indices modulo 4 they wrap as early as they may; a queue of 32768 has
 * the same proportion. A chain is one descriptor, and they are all alike, so the driver takes the
 * lowest free one. An entry of the available ring stands for the descriptors that it names, too,
 * and an element of the used ring for the data of its buffers: each pair is stored before the same
 * barrier and loaded behind the same one. A 0 in a ring is what was there in an earlier round.
 *
 * Both sides do whatever callers of their functions might: add one chain or two, publish several
 * times before one notification, return chains in any order and one or two at once, look when there
 * is nothing, ask to be woken and find that they need not sleep, be silent about it or not.
 *
 * The driver's steps, and where its barriers stand in core/virtqueue.c. That they stand between
 * the right accesses is seen by the unit tests named here. run.py checks that these functions have
 * these barriers, that no other function has any, and that these tests are run.
 *
 *   submit()  virtqueue_add(), once or twice, and virtqueue_publish()
 *     PUBLISH_WMB  virtqueue_publish(): virtio_wmb
 *       test_virtqueue.c: given_batch_when_published_then_idx_written_once_behind_the_write_barrier
 *   decide()  virtqueue_notify(), with vq_device_wants_notification()
 *     NOTIFY_MB    virtqueue_notify(): virtio_mb
 *       test_virtqueue.c: given_published_chain_when_notified_then_full_barrier_before_flags
 *       test_virtqueue_suppression.c:
 *         given_event_idx_when_notified_then_full_barrier_before_the_event_is_read
 *   pop()     virtqueue_pop_used(), with vq_look_at_used_idx() and vq_read_element()
 *     POP_RMB      vq_look_at_used_idx(): virtio_rmb
 *       test_virtqueue.c: given_used_chain_when_popped_then_read_barrier_between_idx_and_element
 *       test_virtqueue.c: given_many_used_chains_when_popped_then_each_element_is_behind_a_barrier
 *   ask(), look()  virtqueue_enable_callbacks_after(), with vq_n_there()
 *     ENABLE_MB    virtqueue_enable_callbacks_after(): virtio_mb
 *       test_virtqueue_suppression.c:
 *         given_enabled_when_looked_then_full_barrier_between_wish_and_look
 *   silence() virtqueue_disable_callbacks()
 *
 * Left out is vq_stay_quiet(), which moves an event that nobody waits for. The next ask() stores to
 * the same place, and stores to one place stay in order.
 *
 * The device's barriers: TAKE_RMB between avail idx and the entries, RETURN_WMB between the
 * elements and used idx, INTERRUPT_MB between used idx and the driver's wish, SLEEP_MB between its
 * own wish and its last look.
 *
 * Why a step of several accesses hides nothing. Stores only enter the own buffer, and when they
 * leave it is a step of memory_moves(); so any number of stores and write barriers may be one step.
 * Loads are steps of their own, but for the elements that are loaded behind an idx. The read
 * barrier between the two comes at once, which is the weakest moment: whatever a later one would
 * bring up to date, FRESH() may bring up to date as well. And the elements are what they were at
 * the barrier. All else in a step is private, or owner[], bell and irq, which are no shared memory.
 *
 * A notification or an interrupt that comes to one who is awake, and not about to sleep, is
 * forgotten: whoever wants to sleep has to look, and may not rely on what came before.
 */

/* 0: by flags. 1: by event index, VIRTIO_F_EVENT_IDX. */
#ifndef EVENT_IDX
#define EVENT_IDX 0
#endif

/* 1: whoever sleeps may also wake up for nothing (2.7.7.1). Nothing can stand still then. */
#ifndef SPURIOUS
#define SPURIOUS 0
#endif

#define QUEUE_SIZE 2
#ifndef WRAP
#define WRAP 4
#endif

#define minus(a, b) (((a) + WRAP - (b)) % WRAP)
#define plus(a, b)  (((a) + (b)) % WRAP)

/* -DWITHOUT=...: this barrier is missing. */
#define NO_BARRIER   0
#define PUBLISH_WMB  1
#define NOTIFY_MB    2
#define POP_RMB      3
#define ENABLE_MB    4
#define TAKE_RMB     5
#define RETURN_WMB   6
#define INTERRUPT_MB 7
#define SLEEP_MB     8
#ifndef WITHOUT
#define WITHOUT NO_BARRIER
#endif

/* -DFAULT=...: this is done wrong. */
#define NO_FAULT             0
#define IDX_BEFORE_ENTRY     1  /* idx is stored before the entry that it announces */
#define WISH_BEFORE_IDX      2  /* the device's wish is read before idx is stored */
#define EVENT_WITHOUT_WRAP   3  /* old <= event < new, as if indices did not wrap */
#define DISTANCE_WRAPS       4  /* as many chains as an index counts look like none */
#define DECISION_FORGOTTEN   5  /* the index at the last decision is never moved on */
#define SLEEP_WITHOUT_LOOK   6  /* the driver */
#define LOOK_BEFORE_WISH     7  /* the driver */
#define DELAY_OFF_BY_ONE     8  /* used_event is one too far when waiting for several */
#define USED_WITHOUT_WRAP    9  /* used idx > next, as if indices did not wrap */
#define BATCH_CUT            10 /* only the first of several used elements is looked at */
#define DEVICE_WITHOUT_LOOK  11 /* the device sleeps without having looked again */
#define DEVICE_REPEATS       12 /* the device returns a chain once more */
#define USED_IDX_GOES_BACK   13 /* used idx is behind what was popped */
#define WAITS_FOR_TOO_MANY   14 /* for two used chains, though the device has one */
#ifndef FAULT
#define FAULT NO_FAULT
#endif

/* Places in shared memory. The first four are written by the driver. A wish is flags, 1 meaning no
 * notification wanted, or with EVENT_IDX the event: used_event and avail_event. */
#define AVAIL_RING 0
#define AVAIL_IDX  2
#define AVAIL_WISH 3
#define USED_RING  4
#define USED_IDX   6
#define USED_WISH  7
#define N_PLACES   8

inline say_place(place)
{
    if
    :: place < AVAIL_IDX -> printf("memory: avail.ring[%d]", place - AVAIL_RING)
    :: place == AVAIL_IDX -> printf("memory: avail.idx")
    :: place == AVAIL_WISH && !EVENT_IDX -> printf("memory: avail.flags")
    :: place == AVAIL_WISH && EVENT_IDX -> printf("memory: used_event")
    :: place >= USED_RING && place < USED_IDX -> printf("memory: used.ring[%d]", place - USED_RING)
    :: place == USED_IDX -> printf("memory: used.idx")
    :: place == USED_WISH && !EVENT_IDX -> printf("memory: used.flags")
    :: place == USED_WISH && EVENT_IDX -> printf("memory: avail_event")
    fi
}

#include "memory.pml"

/* Where each chain is, which neither side knows of the other. */
#define FREE      0
#define AVAILABLE 1
#define TAKEN     2
#define USED      3

byte owner[QUEUE_SIZE];

/* The driver's. */
byte n_published;
byte n_unnotified; /* published since the last decision about a notification */
bit undecided;     /* such a decision is still to come */
byte n_used;
byte n_ready;      /* used, and known to be */
byte n_wanted;     /* used chains to be woken for; 0: not about to sleep */
bit driver_sleeps;

/* The device's. */
byte n_taken;
byte n_available; /* available, and known to be */
byte n_returned;
byte n_decided;   /* n_returned at the last decision about an interrupt */
bit device_listens; /* is about to sleep, or sleeps */
bit device_sleeps;

/* A notification, and an interrupt, on its way to one who listens. */
bit bell;
bit irq;

/* Breaches, each an assertion of its own so that the verifier names it. */
bit notification_lost;
bit interrupt_lost;
bit element_stale;
bit element_out_of_turn;
bit used_idx_too_far;
bit chain_lost;

#define forbid(breach, condition)                                                                  \
    if                                                                                             \
    :: condition -> breach = true; assert(!breach)                                                 \
    :: else                                                                                        \
    fi

/* Scratch, 0 between steps. */
byte head;

/* --- The driver ------------------------------------------------------------------------------- */

/* With flags it only matters whether there are any. With events a decision covers all there are, be
 * they more than an index can count. */
inline count_unnotified()
{
    n_unnotified++;
    if
    :: FAULT == DISTANCE_WRAPS || FAULT == DECISION_FORGOTTEN -> n_unnotified = n_unnotified % WRAP
    :: !EVENT_IDX && n_unnotified > 1 -> n_unnotified = 1
    :: EVENT_IDX && n_unnotified > WRAP -> n_unnotified = WRAP
    :: else
    fi
}

inline add()
{
    d_step {
        if
        :: owner[0] == FREE -> head = 0
        :: else -> head = 1
        fi;
        owner[head] = AVAILABLE;
        if
        :: FAULT == IDX_BEFORE_ENTRY ->
            store(DRIVER, AVAIL_IDX, plus(n_published, 1));
            wmb(DRIVER, PUBLISH_WMB)
        :: else
        fi;
        store(DRIVER, AVAIL_RING + n_published % QUEUE_SIZE, head + 1);
        n_published = plus(n_published, 1);
        count_unnotified();
        printf("driver: adds chain %d\n", head);
        head = 0
    }
}

inline publish()
{
    d_step {
        if
        :: FAULT != IDX_BEFORE_ENTRY ->
            wmb(DRIVER, PUBLISH_WMB);
            store(DRIVER, AVAIL_IDX, n_published)
        :: else
        fi;
        undecided = true;
        printf("driver: publishes idx %d\n", n_published)
    }
}

inline submit()
{
    if
    :: FAULT == WISH_BEFORE_IDX -> wish = early[USED_WISH]
    :: else
    fi;
    add();
    if
    :: owner[0] == FREE || owner[1] == FREE -> add()
    :: true
    fi;
    publish()
}

#define notification_wanted(wish)                                                                  \
    ((!EVENT_IDX && wish == 0) ||                                                                  \
     (EVENT_IDX && FAULT != EVENT_WITHOUT_WRAP && minus(n_published, wish + 1) < n_unnotified) ||  \
     (EVENT_IDX && FAULT == EVENT_WITHOUT_WRAP && wish < n_published &&                            \
      wish >= minus(n_published, n_unnotified)))

inline decide()
{
    d_step {
        if
        :: FAULT != WISH_BEFORE_IDX -> wish = early[USED_WISH]
        :: else
        fi;
        if
        :: notification_wanted(wish) ->
            bell = device_listens;
            printf("driver: notifies, listened to: %d\n", bell)
        :: else -> printf("driver: need not notify\n")
        fi;
        if
        :: FAULT != DECISION_FORGOTTEN -> n_unnotified = 0
        :: else
        fi;
        undecided = false;
        wish = 0
    }
}

/* Whether used idx is seen to have moved past what was popped. */
#define used_idx_moved                                                                             \
    ((FAULT == USED_WITHOUT_WRAP && early[USED_IDX] > n_used) ||                                   \
     (FAULT != USED_WITHOUT_WRAP && early[USED_IDX] != n_used))

#define n_there (used_idx_moved -> minus(early[USED_IDX], n_used) : n_ready)

inline learn_used_idx()
{
    n_ready = minus(early[USED_IDX], n_used);
    forbid(used_idx_too_far, n_ready > minus(n_published, n_used));
    rmb(DRIVER, POP_RMB)
}

/* What was read is of an earlier round from now on. */
inline read_element()
{
    head = early[USED_RING + n_used % QUEUE_SIZE];
    printf("driver: reads used.ring[%d] = %d\n", n_used % QUEUE_SIZE, head);
    forbid(element_stale, head == 0);
    head--;
    forbid(element_out_of_turn, owner[head] != USED);
    memory[USED_RING + n_used % QUEUE_SIZE] = 0;
    early[USED_RING + n_used % QUEUE_SIZE] = 0
}

inline pop()
{
    if
    :: n_ready == 0 -> learn_used_idx()
    :: else
    fi;
    read_element();
    owner[head] = FREE;
    printf("driver: pops chain %d\n", head);
    head = 0;
    if
    :: FAULT == BATCH_CUT -> n_used = plus(n_used, n_ready); n_ready = 0
    :: else -> n_used = plus(n_used, 1); n_ready--
    fi
}

/* To be woken after the first chain, or with EVENT_IDX after any number that the device has. */
inline ask()
{
    if
    :: n_wanted = 1
    :: EVENT_IDX && (FAULT == WAITS_FOR_TOO_MANY || minus(n_published, n_used) == 2) ->
        n_wanted = 2
    fi;
    d_step {
        sees = n_there;
        if
        :: !EVENT_IDX -> store(DRIVER, AVAIL_WISH, 0)
        :: FAULT == DELAY_OFF_BY_ONE && n_wanted > 1 ->
            store(DRIVER, AVAIL_WISH, plus(n_used, n_wanted))
        :: else -> store(DRIVER, AVAIL_WISH, plus(n_used, n_wanted - 1))
        fi;
        if
        :: FAULT != LOOK_BEFORE_WISH -> sees = 0
        :: else
        fi;
        printf("driver: wants to be woken for %d\n", n_wanted)
    }
}

inline look()
{
    d_step {
        if
        :: FAULT != LOOK_BEFORE_WISH && FAULT != SLEEP_WITHOUT_LOOK -> sees = n_there
        :: else
        fi;
        if
        :: sees < n_wanted -> driver_sleeps = true; printf("driver: sleeps\n")
        :: else -> n_wanted = 0; irq = false; printf("driver: need not sleep\n")
        fi;
        sees = 0
    }
}

/* 2.7.7: the element announced last is the one that idx passes latest. */
inline silence()
{
    d_step {
        if
        :: !EVENT_IDX -> store(DRIVER, AVAIL_WISH, 1)
        :: else -> store(DRIVER, AVAIL_WISH, plus(n_used, n_ready + WRAP - 1))
        fi;
        printf("driver: does not want to be woken\n")
    }
}

active proctype driver()
{
    byte wish, sees;

    d_step {
        memory[AVAIL_WISH] = (EVENT_IDX -> WRAP - 1 : 1);
        early[AVAIL_WISH] = memory[AVAIL_WISH]
    };
    do
    :: atomic { (owner[0] == FREE || owner[1] == FREE) -> submit() }
    :: undecided -> mb(DRIVER, NOTIFY_MB); decide()
    :: d_step { n_ready > 0 || used_idx_moved -> pop() }
    :: atomic { !undecided && n_used != n_published -> ask() };
        mb(DRIVER, ENABLE_MB);
        look();
        atomic {
            if
            :: !driver_sleeps
            :: d_step {
                driver_sleeps && (irq || SPURIOUS) ->
                driver_sleeps = false;
                irq = false;
                n_wanted = 0;
                printf("driver: wakes up\n")
            }
            fi;
            if
            :: silence()
            :: true
            fi
        }
    od
}

/* --- The device ------------------------------------------------------------------------------- */

inline take()
{
    if
    :: n_available == 0 ->
        n_available = minus(early[AVAIL_IDX], n_taken);
        rmb(DEVICE, TAKE_RMB)
    :: else
    fi;
    head = early[AVAIL_RING + n_taken % QUEUE_SIZE];
    printf("device: reads avail.ring[%d] = %d\n", n_taken % QUEUE_SIZE, head);
    forbid(element_stale, head == 0);
    head--;
    forbid(element_out_of_turn, owner[head] != AVAILABLE);
    memory[AVAIL_RING + n_taken % QUEUE_SIZE] = 0;
    early[AVAIL_RING + n_taken % QUEUE_SIZE] = 0;
    owner[head] = TAKEN;
    n_taken = plus(n_taken, 1);
    n_available--;
    printf("device: takes chain %d\n", head);
    head = 0
}

inline give_back(chain)
{
    d_step {
        owner[chain] == TAKEN ->
        store(DEVICE, USED_RING + n_returned % QUEUE_SIZE, chain + 1);
        n_returned = plus(n_returned, 1);
        owner[chain] = (FAULT == DEVICE_REPEATS -> TAKEN : USED);
        printf("device: returns chain %d\n", chain)
    }
}

inline give_back_some()
{
    if
    :: give_back(0)
    :: give_back(1)
    fi;
    if
    :: give_back(0)
    :: give_back(1)
    :: true
    fi;
    d_step {
        wmb(DEVICE, RETURN_WMB);
        if
        :: FAULT == USED_IDX_GOES_BACK -> store(DEVICE, USED_IDX, plus(n_used, WRAP - 1))
        :: else -> store(DEVICE, USED_IDX, n_returned)
        fi;
        printf("device: used idx %d\n", n_returned)
    }
}

#define interrupt_wanted(wish)                                                                     \
    ((!EVENT_IDX && wish == 0) ||                                                                  \
     (EVENT_IDX && minus(n_returned, wish + 1) < minus(n_returned, n_decided)))

inline interrupt_if_wanted()
{
    d_step {
        if
        :: interrupt_wanted(early[AVAIL_WISH]) ->
            irq = (n_wanted > 0);
            printf("device: interrupts, listened to: %d\n", irq)
        :: else -> printf("device: need not interrupt\n")
        fi;
        n_decided = n_returned
    }
}

inline ask_for_notification()
{
    if
    :: EVENT_IDX -> store(DEVICE, USED_WISH, n_taken)
    :: else -> store(DEVICE, USED_WISH, 0)
    fi;
    device_listens = true;
    printf("device: wants to be notified\n")
}

inline sleep_unless_available()
{
    d_step {
        if
        :: early[AVAIL_IDX] == n_taken || FAULT == DEVICE_WITHOUT_LOOK ->
            device_sleeps = true;
            printf("device: sleeps\n")
        :: else ->
            device_listens = false;
            bell = false;
            printf("device: need not sleep\n")
        fi
    }
}

/* While awake it may say so in its flags; an event is left where it is. */
inline wake_up()
{
    device_sleeps = false;
    device_listens = false;
    bell = false;
    printf("device: wakes up\n");
#if !EVENT_IDX
    if
    :: d_step { store(DEVICE, USED_WISH, 1) }
    :: true
    fi
#endif
}

active proctype device()
{
    do
    :: d_step { !device_sleeps && (n_available > 0 || early[AVAIL_IDX] != n_taken) -> take() }
    :: atomic { owner[0] == TAKEN || owner[1] == TAKEN -> give_back_some() };
        mb(DEVICE, INTERRUPT_MB);
        interrupt_if_wanted()
    :: d_step { !device_sleeps && n_available == 0 -> ask_for_notification() };
        mb(DEVICE, SLEEP_MB);
        sleep_unless_available()
    :: atomic { device_sleeps && (bell || SPURIOUS) -> wake_up() }
    od
}

/* --- What must not happen --------------------------------------------------------------------- */

active proctype watch()
{
end:
    do
    :: d_step {
        device_sleeps && !bell && !undecided && n_taken != n_published ->
        notification_lost = true;
        assert(!notification_lost)
    }
    :: d_step {
        driver_sleeps && !irq && n_decided == n_returned &&
        minus(n_returned, n_used) >= n_wanted ->
        interrupt_lost = true;
        assert(!interrupt_lost)
    }
    :: d_step {
        (owner[0] != FREE) + (owner[1] != FREE) != minus(n_published, n_used) ->
        chain_lost = true;
        assert(!chain_lost)
    }
    od
}
