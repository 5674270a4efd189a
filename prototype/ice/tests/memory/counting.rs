//! How much memory this thread holds: what others do meanwhile does not count, so that every run tells the same.

#![expect(unsafe_code, reason = "an allocator that counts has to be one")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static HELD: Cell<usize> = const { Cell::new(0) };
}

/// Bytes that this thread has allocated and not given back.
pub(crate) fn held() -> usize {
    HELD.get()
}

/// How many of them belong to this value, itself included.
pub(crate) fn weight<T>(value: T) -> usize {
    let before = held();
    drop(value);
    before - held() + size_of::<T>()
}

struct Counting;

fn count(change: impl FnOnce(usize) -> usize) {
    // A thread that ends may give memory back when its own is gone already.
    let _ = HELD.try_with(|held| held.set(change(held.get())));
}

// SAFETY: every call is passed on as it came; counting touches no memory of the caller's, and allocates none.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(|held| held.wrapping_add(layout.size()));
        // SAFETY: as promised by the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(|held| held.wrapping_sub(layout.size()));
        // SAFETY: as promised by the caller.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;
