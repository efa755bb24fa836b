//! Times at which nodes are to be looked at though nothing happens.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use jiff::Timestamp;

/// Names of nodes, by the time at which each is due. A time that no longer matters costs a look.
#[derive(Debug, Default)]
pub struct Alarms(Mutex<BTreeSet<(Timestamp, Box<str>)>>);

impl Alarms {
    /// The node is to be looked at then.
    pub fn set(&self, node: &str, time: Timestamp) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert((time, node.into()));
    }

    /// Those whose time has passed; each is told once.
    pub fn due(&self, now: Timestamp) -> Vec<Box<str>> {
        let mut times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut due = Vec::new();
        while let Some((_, node)) = times.first().filter(|(time, _)| *time < now).cloned() {
            times.pop_first();
            due.push(node);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_due_once_its_time_has_passed() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let alarms = Alarms::default();
        for (node, time) in [("b", 7), ("a", 5), ("a", 5), ("c", 9)] {
            alarms.set(node, at(time));
        }
        assert!(alarms.due(at(5)).is_empty(), "not before the second is over");
        assert_eq!(alarms.due(at(8)), ["a".into(), "b".into()]);
        assert!(alarms.due(at(8)).is_empty(), "each once");
        assert_eq!(alarms.due(at(10)), ["c".into()]);
    }
}
