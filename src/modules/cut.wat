;; Cuts by content: FastCDC with normalised sizes, over memory that the caller shares.
;; cut.wasm.ts holds the compiled form; a test compiles this text again and compares.
(module
  (import "host" "memory" (memory 1 65536 shared))
  ;; Length of the next blob of `length` bytes at `at`. `gear`: 256 random i64 in memory. Nothing is
  ;; cut below `least`; up to `normal` the strict mask must match, from there to `most` the lax one.
  (func (export "cut")
    (param $at i32) (param $length i32) (param $gear i32)
    (param $least i32) (param $normal i32) (param $most i32)
    (param $strict i64) (param $lax i64) (result i32)
    (local $cursor i32) (local $middle i32) (local $end i32) (local $hash i64)
    (if (i32.le_u (local.get $length) (local.get $least)) (then (return (local.get $length))))
    (local.set $end (i32.add (local.get $at)
      (select (local.get $length) (local.get $most)
        (i32.lt_u (local.get $length) (local.get $most)))))
    (local.set $middle (i32.add (local.get $at) (local.get $normal)))
    (if (i32.gt_u (local.get $middle) (local.get $end)) (then (local.set $middle (local.get $end))))
    (local.set $cursor (i32.add (local.get $at) (local.get $least)))
    (block $found
      (block $strict_done
        (loop $next
          (br_if $strict_done (i32.ge_u (local.get $cursor) (local.get $middle)))
          (local.set $hash (i64.add (i64.shl (local.get $hash) (i64.const 1))
            (i64.load (i32.add (local.get $gear)
              (i32.shl (i32.load8_u (local.get $cursor)) (i32.const 3))))))
          (local.set $cursor (i32.add (local.get $cursor) (i32.const 1)))
          (br_if $next (i64.ne (i64.and (local.get $hash) (local.get $strict)) (i64.const 0)))
          (br $found)))
      (loop $next
        (br_if $found (i32.ge_u (local.get $cursor) (local.get $end)))
        (local.set $hash (i64.add (i64.shl (local.get $hash) (i64.const 1))
          (i64.load (i32.add (local.get $gear)
            (i32.shl (i32.load8_u (local.get $cursor)) (i32.const 3))))))
        (local.set $cursor (i32.add (local.get $cursor) (i32.const 1)))
        (br_if $next (i64.ne (i64.and (local.get $hash) (local.get $lax)) (i64.const 0)))))
    (i32.sub (local.get $cursor) (local.get $at))))
