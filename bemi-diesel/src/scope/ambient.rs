//! Which context is the ambient one of this thread, at this moment.

use std::cell::RefCell;
use std::marker::PhantomData;

use super::SharedContext;

thread_local! {
    static STACK: RefCell<Stack> = const {
        RefCell::new(Stack {
            entries: Vec::new(),
            next: 0,
        })
    };
}

/// What has been entered and not left yet; the last one is the ambient context.
struct Stack {
    entries: Vec<Entry>,
    next: u64,
}

struct Entry {
    id: u64,
    /// `None` hides those below: the code that runs belongs to no context.
    context: Option<SharedContext>,
}

impl Stack {
    fn push(&mut self, context: Option<SharedContext>) -> u64 {
        let id = self.next;
        self.next += 1;
        self.entries.push(Entry { id, context });
        id
    }
}

pub(super) fn current() -> Option<SharedContext> {
    // A destructor of another thread-local may ask while this thread ends: there is none then.
    STACK
        .try_with(|stack| stack.borrow().entries.last()?.context.clone())
        .ok()
        .flatten()
}

/// Leaves a scope when dropped, so also while a panic unwinds, and everything that was entered inside
/// it with it: a guard that an abandoned or pending future still holds.
pub(super) struct Restore {
    depth: Option<usize>,
}

impl Restore {
    pub(super) fn enter(context: Option<SharedContext>) -> Self {
        let depth = STACK.try_with(|stack| {
            let mut stack = stack.borrow_mut();
            let depth = stack.entries.len();
            stack.push(context);
            depth
        });
        Self { depth: depth.ok() }
    }
}

impl Drop for Restore {
    fn drop(&mut self) {
        if let Some(depth) = self.depth {
            let _thread_ends = STACK.try_with(|stack| stack.borrow_mut().entries.truncate(depth));
        }
    }
}

/// The ambient context of a thread while this is alive. Made by [`SharedContext::enter`].
#[derive(Debug)]
pub struct Entered {
    /// `None` where the thread was ending already.
    id: Option<u64>,
    /// What it stands for is the thread's, so it stays there.
    not_send: PhantomData<*const ()>,
}

impl Entered {
    pub(super) fn new(context: SharedContext) -> Self {
        Self {
            id: STACK
                .try_with(|stack| stack.borrow_mut().push(Some(context)))
                .ok(),
            not_send: PhantomData,
        }
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let Some(id) = self.id else { return };
        let _thread_ends = STACK.try_with(|stack| {
            let entries = &mut stack.borrow_mut().entries;
            // Not always the last one: guards may be dropped in any order. And not there at all if the
            // scope around it has ended.
            if let Some(at) = entries.iter().rposition(|entry| entry.id == id) {
                entries.remove(at);
            }
        });
    }
}
