; The index arithmetic of core/virtqueue.c: chains are numbered in 64 bits, rings count in 16. Each
; (check-sat) asks for a counterexample to the sentence in front of it; `unsat` is the proof. Bit
; vectors, so conversions and overflow are those of the machine; the functions are transcribed from
; core/, and tests/prove/run.py compares the lines above them with the source.
(set-logic QF_BV)
(define-sort u16 () (_ BitVec 16))
(define-sort u64 () (_ BitVec 64))
(define-fun wide ((x u16)) u64 ((_ zero_extend 48) x))
(define-fun low ((x u64)) u16 ((_ extract 15 0) x))

; return (uint16_t)((uint16_t)end - index - 1) < end - first;
(define-fun is_among ((index u16) (first u64) (end u64)) Bool
  (bvult (wide (bvsub (bvsub (low end) index) #x0001)) (bvsub end first)))

; return (uint16_t)(idx - (uint16_t)n_taken);
(define-fun distance ((idx u16) (n_taken u64)) u16 (bvsub idx (low n_taken)))

; vq_set_used_event(vq, vq->n_used + n_chains - 1u);
; vq_set_used_event(vq, vq->n_used + vq->n_ready - 1);
(define-fun event ((n_used u64) (n_chains u16)) u16
  (low (bvsub (bvadd n_used (wide n_chains)) #x0000000000000001)))

; return size != 0 && size <= VIRTQUEUE_SIZE_MAX && (size & (size - 1)) == 0;
(define-fun is_size ((size u16)) Bool
  (and (not (= size #x0000)) (bvule size #x8000) (= (bvand size (bvsub size #x0001)) #x0000)))

; vq->mask = size - 1u;
(define-fun mask ((size u16)) u64 (bvsub (wide size) #x0000000000000001))

; ring_fill16(&vq->avail->ring[number & vq->mask], head->index);
; elem = &vq->used->ring[vq->n_used & vq->mask];
(define-fun slot ((number u64) (size u16)) u64 (bvand number (mask size)))

(declare-const index u16)
(declare-const first u64)
(declare-const end u64)
(declare-const number u64)
(declare-const n_chains u16)
(declare-const size u16)

(echo "an event that is found is the index of one of these chains")
(push)
(assert (bvule first end))
(assert (is_among index first end))
(define-fun found () u64
  (bvsub (bvsub end #x0000000000000001) (wide (bvsub (bvsub (low end) index) #x0001))))
(assert (not (and (bvule first found) (bvult found end) (= (low found) index))))
(check-sat)
(pop)

(echo "the index of one of these chains is found, however many they are")
(push)
(assert (and (bvule first number) (bvult number end) (= (low number) index)))
(assert (not (is_among index first end)))
(check-sat)
(pop)

(echo "a count less than 65536 ahead is recovered from its low 16 bits")
(push)
(assert (and (bvule first number) (bvult (bvsub number first) #x0000000000010000)))
(assert (not (= (wide (distance (low number) first)) (bvsub number first))))
(check-sat)
(pop)

(echo "so an idx is within the chains in flight exactly if its count is")
(push)
(assert (and (bvule first end) (bvule (bvsub end first) #x0000000000008000)))
(assert (and (bvule first number) (bvult (bvsub number first) #x0000000000010000)))
(assert (not (= (bvule (wide (distance (low number) first)) (bvsub end first))
                (bvule number end))))
(check-sat)
(pop)

(echo "used_event for the n-th chain from now is crossed by the n-th, and not before")
(push)
(assert (and (bvuge n_chains #x0001) (bvule n_chains #x8000)))
(assert (bvult first #xFFFFFFFFFFFF0000))
(assert (and (bvule first end) (bvule (bvsub end first) #x0000000000008000)))
(assert (not (= (is_among (event first n_chains) first end)
                (bvuge end (bvadd first (wide n_chains))))))
(check-sat)
(pop)

(echo "used_event behind what was announced is not crossed by a whole queue and the distance kept")
(push)
(assert (and (bvuge end first) (bvule (bvsub end first) #x000000000000C000)))
(assert (bvult end #xFFFFFFFFFFFF0000))
(assert (= first (bvadd number (wide n_chains))))
(assert (is_among (event number n_chains) first end))
(check-sat)
(pop)

(echo "a slot lies in its ring")
(push)
(assert (is_size size))
(assert (not (bvult (slot number size) (wide size))))
(check-sat)
(pop)

(echo "and no two of as many chains as the queue is long share one")
(push)
(assert (is_size size))
(assert (and (bvult first number) (bvult (bvsub number first) (wide size))))
(assert (= (slot first size) (slot number size)))
(check-sat)
(pop)
