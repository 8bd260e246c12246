//! Bounded queues between the stages.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvError, Sender, TryRecvError, TrySendError, bounded};

use super::budget::{Holder, MemoryBudget};
use super::counters::DropReason;

/// What happens when a queue has no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WhenFull {
    /// What comes is dropped: the source is the world, which does not wait.
    Drop,
    /// The source waits: a file loses nothing by it.
    Wait,
}

/// How much something may be missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Importance {
    /// Leaves the last eighth of the queue to what is essential.
    Content,
    /// May take the last place: small, and others cannot be understood without it.
    Essential,
}

/// A queue's state that others may look at.
#[derive(Debug)]
pub(crate) struct QueueGauge {
    name: String,
    capacity: usize,
    length: AtomicUsize,
    high_water: AtomicUsize,
}

impl QueueGauge {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(crate) fn length(&self) -> usize {
        self.length.load(Ordering::Relaxed)
    }

    /// The most that were ever in it.
    pub(crate) fn high_water(&self) -> usize {
        self.high_water.load(Ordering::Relaxed)
    }
}

/// Gives its bytes back when it is gone, whoever lets go of it.
struct Item<T> {
    value: Option<T>,
    weight: usize,
    shared: Shared,
}

impl<T> Drop for Item<T> {
    fn drop(&mut self) {
        self.shared.budget.give_back(self.shared.holder, self.weight);
    }
}

/// How long who may wait for memory does so before looking again.
const PAUSE: Duration = Duration::from_millis(2);

/// The end that puts in. When all are gone the queue ends.
pub(crate) struct QueueSender<T> {
    sender: Sender<Item<T>>,
    shared: Shared,
}

/// The end that takes out.
pub(crate) struct QueueReceiver<T> {
    receiver: Receiver<Item<T>>,
    shared: Shared,
}

#[derive(Clone)]
struct Shared {
    gauge: Arc<QueueGauge>,
    budget: Arc<MemoryBudget>,
    holder: Holder,
}

/// A queue of `capacity` items whose weight is taken from the budget.
pub(crate) fn queue<T>(
    name: impl Into<String>,
    capacity: usize,
    budget: &Arc<MemoryBudget>,
    holder: Holder,
) -> (QueueSender<T>, QueueReceiver<T>) {
    let capacity = capacity.max(1);
    let (sender, receiver) = bounded(capacity);
    let gauge = QueueGauge {
        name: name.into(),
        capacity,
        length: AtomicUsize::new(0),
        high_water: AtomicUsize::new(0),
    };
    let shared = Shared { gauge: Arc::new(gauge), budget: Arc::clone(budget), holder };
    (QueueSender { sender, shared: shared.clone() }, QueueReceiver { receiver, shared })
}

impl<T> QueueSender<T> {
    pub(crate) fn gauge(&self) -> Arc<QueueGauge> {
        Arc::clone(&self.shared.gauge)
    }

    /// Puts something in; `weight` is what it takes of memory, in bytes.
    pub(crate) fn put(
        &self,
        value: T,
        weight: usize,
        importance: Importance,
        when_full: WhenFull,
    ) -> Result<(), DropReason> {
        let Shared { gauge, budget, holder } = &self.shared;
        if when_full == WhenFull::Wait {
            // No more than a quarter, so that waiting here never makes connections give way. Into an empty queue it goes
            // whatever it weighs: otherwise it might wait for ever.
            while budget.used_by(*holder) + weight > budget.limit() / 4 && !self.sender.is_empty() {
                std::thread::sleep(PAUSE);
            }
            budget.take(*holder, weight);
            let item = self.item(value, weight);
            return self.sender.send(item).map(|()| self.entered()).map_err(|_| DropReason::DrainDeadline);
        }
        let reserve = match importance {
            Importance::Content => gauge.capacity / 8,
            Importance::Essential => 0,
        };
        if self.sender.len() + reserve >= gauge.capacity {
            return Err(DropReason::QueueFull);
        }
        match importance {
            Importance::Content if !budget.try_take(*holder, weight) => return Err(DropReason::MemoryLimit),
            Importance::Content => {}
            Importance::Essential => budget.take(*holder, weight),
        }
        let item = self.item(value, weight);
        self.sender.try_send(item).map(|()| self.entered()).map_err(|error| match error {
            TrySendError::Full(_) => DropReason::QueueFull,
            // The receiver has given up.
            TrySendError::Disconnected(_) => DropReason::DrainDeadline,
        })
    }

    /// Of bytes that were taken.
    fn item(&self, value: T, weight: usize) -> Item<T> {
        Item { value: Some(value), weight, shared: self.shared.clone() }
    }

    fn entered(&self) {
        let gauge = &self.shared.gauge;
        let length = self.sender.len();
        gauge.length.store(length, Ordering::Relaxed);
        gauge.high_water.fetch_max(length, Ordering::Relaxed);
    }
}

impl<T> QueueReceiver<T> {
    /// What is there at once.
    pub(crate) fn try_take(&self) -> Result<T, TryRecvError> {
        let item = self.receiver.try_recv()?;
        // Only taking it out empties an item.
        self.left(item).ok_or(TryRecvError::Empty)
    }

    /// Waits for the next; an error when no more can come.
    pub(crate) fn take(&self) -> Result<T, RecvError> {
        let item = self.receiver.recv()?;
        self.left(item).ok_or(RecvError)
    }

    /// Blocks until something can be taken, the queue has ended, something came on `other`, or the time is over.
    pub(crate) fn wait_with<U>(&self, other: &Receiver<U>, at_most: Option<Duration>) {
        let mut select = crossbeam_channel::Select::new();
        select.recv(&self.receiver);
        select.recv(other);
        match at_most {
            // That the time is over is as good as anything else to go on.
            Some(at_most) => drop(select.ready_timeout(at_most)),
            None => drop(select.ready()),
        }
    }

    fn left(&self, mut item: Item<T>) -> Option<T> {
        self.shared.gauge.length.store(self.receiver.len(), Ordering::Relaxed);
        item.value.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small(capacity: usize, bytes: usize) -> (QueueSender<u32>, QueueReceiver<u32>, Arc<MemoryBudget>) {
        let budget = Arc::new(MemoryBudget::new(bytes));
        let (sender, receiver) = queue("test", capacity, &budget, Holder::CaptureQueue);
        (sender, receiver, budget)
    }

    #[test]
    fn content_leaves_the_last_places_to_what_is_essential() {
        let (sender, receiver, _) = small(16, 1000);
        let content = |value| sender.put(value, 1, Importance::Content, WhenFull::Drop);
        let entered = (0..20).filter(|&value| content(value).is_ok()).count();
        assert_eq!(entered, 14);
        assert_eq!(content(99), Err(DropReason::QueueFull));
        let essential = || sender.put(7, 1, Importance::Essential, WhenFull::Drop);
        assert_eq!((essential(), essential()), (Ok(()), Ok(())));
        assert_eq!(essential(), Err(DropReason::QueueFull));
        assert_eq!(sender.gauge().high_water(), 16);
        assert_eq!(receiver.take(), Ok(0), "in their order");
    }

    #[test]
    fn memory_that_is_used_up_drops_content_and_comes_back_when_it_is_taken() {
        let (sender, receiver, budget) = small(16, 100);
        assert_eq!(sender.put(1, 80, Importance::Content, WhenFull::Drop), Ok(()));
        assert_eq!(sender.put(2, 80, Importance::Content, WhenFull::Drop), Err(DropReason::MemoryLimit));
        assert_eq!(sender.put(3, 80, Importance::Essential, WhenFull::Drop), Ok(()));
        assert_eq!(budget.used(), 160);
        assert_eq!((receiver.take(), receiver.take()), (Ok(1), Ok(3)));
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn waiting_sender_goes_on_when_there_is_room_and_loses_nothing() {
        let (sender, receiver, budget) = small(2, 1);
        let thread = std::thread::spawn(move || {
            (0..100).all(|value| sender.put(value, 10, Importance::Content, WhenFull::Wait).is_ok())
        });
        let taken: Vec<u32> = std::iter::from_fn(|| receiver.take().ok()).collect();
        assert_eq!(taken, (0..100).collect::<Vec<_>>());
        assert!(thread.join().expect("no panic"));
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn waiting_sender_keeps_to_its_share_and_makes_nobody_give_way() {
        let (sender, receiver, budget) = small(64, 1000);
        let thread = std::thread::spawn(move || {
            (0..100).all(|value| sender.put(value, 100, Importance::Content, WhenFull::Wait).is_ok())
        });
        let mut taken = 0;
        while receiver.take().is_ok() {
            taken += 1;
            assert!(!budget.is_short());
        }
        assert_eq!(taken, 100);
        assert!(thread.join().expect("no panic"));
        assert!(budget.highest() <= 350, "a quarter, and one that is being taken out: {}", budget.highest());
    }

    #[test]
    fn sender_whose_receiver_is_gone_is_told() {
        let (sender, receiver, budget) = small(2, 100);
        drop(receiver);
        for when_full in [WhenFull::Drop, WhenFull::Wait] {
            let put = sender.put(1, 10, Importance::Content, when_full);
            assert_eq!(put, Err(DropReason::DrainDeadline));
        }
        assert_eq!(budget.used(), 0);
    }
}
