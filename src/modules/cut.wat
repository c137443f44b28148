;; Cuts by content: FastCDC with normalised sizes, over memory that the caller shares.
;; cut.wasm.ts holds the compiled form; a test compiles this text again and compares.
;;
;; A hash takes two steps of the processor for each byte, one after the other, while it could do more
;; beside. So two hashes run over neighbouring runs of 8 KiB at once. A hash of 64 bits forgets what lies
;; more than 64 bytes back: so many bytes begin the second one. Once either matches, both runs are
;; looked through again byte by byte, for the first place of all is the cut.
(module
  (import "host" "memory" (memory 1 65536 shared))
  ;; Length of the next blob of `length` bytes at `at`. `gear`: 256 random i64 in memory. Nothing is
  ;; cut below `least`; up to `normal` the strict mask must match, from there to `most` the lax one.
  (func (export "cut")
    (param $at i32) (param $length i32) (param $gear i32)
    (param $least i32) (param $normal i32) (param $most i32)
    (param $strict i64) (param $lax i64) (result i32)
    (local $cursor i32) (local $bound i32) (local $end i32) (local $second i32)
    (local $mask i64) (local $hash i64) (local $ahead i64) (local $before i64)
    (if (i32.le_u (local.get $length) (local.get $least)) (then (return (local.get $length))))
    (local.set $end (i32.add (local.get $at)
      (select (local.get $length) (local.get $most)
        (i32.lt_u (local.get $length) (local.get $most)))))
    (local.set $bound (i32.add (local.get $at) (local.get $normal)))
    (if (i32.gt_u (local.get $bound) (local.get $end)) (then (local.set $bound (local.get $end))))
    (local.set $cursor (i32.add (local.get $at) (local.get $least)))
    (local.set $mask (local.get $strict))
    (loop $masked
      (block $slowly
        (loop $runs
          (br_if $slowly (i32.lt_s (i32.sub (local.get $bound) (local.get $cursor)) (i32.const 16384)))
          (local.set $before (local.get $hash))
          (local.set $second (i32.add (local.get $cursor) (i32.const 8192)))
          (local.set $cursor (i32.sub (local.get $second) (i32.const 64)))
          (local.set $ahead (i64.const 0))
          (loop $begin
            (local.set $ahead (i64.add (i64.shl (local.get $ahead) (i64.const 1))
              (i64.load (i32.add (local.get $gear)
                (i32.shl (i32.load8_u (local.get $cursor)) (i32.const 3))))))
            (local.set $cursor (i32.add (local.get $cursor) (i32.const 1)))
            (br_if $begin (i32.lt_u (local.get $cursor) (local.get $second))))
          (local.set $cursor (i32.sub (local.get $second) (i32.const 8192)))
          (block $cut
            (loop $both
              (local.set $hash (i64.add (i64.shl (local.get $hash) (i64.const 1))
                (i64.load (i32.add (local.get $gear)
                  (i32.shl (i32.load8_u (local.get $cursor)) (i32.const 3))))))
              (br_if $cut (i64.eqz (i64.and (local.get $hash) (local.get $mask))))
              (local.set $ahead (i64.add (i64.shl (local.get $ahead) (i64.const 1))
                (i64.load (i32.add (local.get $gear)
                  (i32.shl (i32.load8_u offset=8192 (local.get $cursor)) (i32.const 3))))))
              (br_if $cut (i64.eqz (i64.and (local.get $ahead) (local.get $mask))))
              (local.set $hash (i64.add (i64.shl (local.get $hash) (i64.const 1))
                (i64.load (i32.add (local.get $gear)
                  (i32.shl (i32.load8_u offset=1 (local.get $cursor)) (i32.const 3))))))
              (br_if $cut (i64.eqz (i64.and (local.get $hash) (local.get $mask))))
              (local.set $ahead (i64.add (i64.shl (local.get $ahead) (i64.const 1))
                (i64.load (i32.add (local.get $gear)
                  (i32.shl (i32.load8_u offset=8193 (local.get $cursor)) (i32.const 3))))))
              (br_if $cut (i64.eqz (i64.and (local.get $ahead) (local.get $mask))))
              (local.set $hash (i64.add (i64.shl (local.get $hash) (i64.const 1))
                (i64.load (i32.add (local.get $gear)
                  (i32.shl (i32.load8_u offset=2 (local.get $cursor)) (i32.const 3))))))
              (br_if $cut (i64.eqz (i64.and (local.get $hash) (local.get $mask))))
              (local.set $ahead (i64.add (i64.shl (local.get $ahead) (i64.const 1))
                (i64.load (i32.add (local.get $gear)
                  (i32.shl (i32.load8_u offset=8194 (local.get $cursor)) (i32.const 3))))))
              (br_if $cut (i64.eqz (i64.and (local.get $ahead) (local.get $mask))))
              (local.set $hash (i64.add (i64.shl (local.get $hash) (i64.const 1))
                (i64.load (i32.add (local.get $gear)
                  (i32.shl (i32.load8_u offset=3 (local.get $cursor)) (i32.const 3))))))
              (br_if $cut (i64.eqz (i64.and (local.get $hash) (local.get $mask))))
              (local.set $ahead (i64.add (i64.shl (local.get $ahead) (i64.const 1))
                (i64.load (i32.add (local.get $gear)
                  (i32.shl (i32.load8_u offset=8195 (local.get $cursor)) (i32.const 3))))))
              (br_if $cut (i64.eqz (i64.and (local.get $ahead) (local.get $mask))))
              (local.set $cursor (i32.add (local.get $cursor) (i32.const 4)))
              (br_if $both (i32.lt_u (local.get $cursor) (local.get $second))))
            (local.set $hash (local.get $ahead))
            (local.set $cursor (i32.add (local.get $second) (i32.const 8192)))
            (br $runs))
          (local.set $hash (local.get $before))
          (local.set $cursor (i32.sub (local.get $second) (i32.const 8192)))))
      (block $none
        (loop $next
          (br_if $none (i32.ge_u (local.get $cursor) (local.get $bound)))
          (local.set $hash (i64.add (i64.shl (local.get $hash) (i64.const 1))
            (i64.load (i32.add (local.get $gear)
              (i32.shl (i32.load8_u (local.get $cursor)) (i32.const 3))))))
          (local.set $cursor (i32.add (local.get $cursor) (i32.const 1)))
          (br_if $next (i64.ne (i64.and (local.get $hash) (local.get $mask)) (i64.const 0)))
          (return (i32.sub (local.get $cursor) (local.get $at)))))
      (if (i32.lt_u (local.get $cursor) (local.get $end)) (then
        (local.set $bound (local.get $end))
        (local.set $mask (local.get $lax))
        (br $masked))))
    (i32.sub (local.get $end) (local.get $at)))
)
