//! Whether an object is as it was, told by hashes: of thousands of objects no more than two numbers each are kept.

use std::{
    collections::{HashMap, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
};

/// A number that stands for a value as long as the process lives.
pub fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// What was looked at of each object when it was seen last.
#[derive(Debug, Default)]
pub struct News(HashMap<u64, u64>);

impl News {
    /// Whether what is looked at of an object is other than it was, or seen for the first time; from now on it is known.
    pub fn are_in(&mut self, object: &impl Hash, looked_at: &impl Hash) -> bool {
        let now = hash(looked_at);
        self.0.insert(hash(object), now) != Some(now)
    }

    /// Forgets an object.
    pub fn forget(&mut self, object: &impl Hash) {
        self.0.remove(&hash(object));
    }
}
