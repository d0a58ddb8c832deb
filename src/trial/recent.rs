//! A map with a bound: one entry more takes the place of the oldest.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
};

pub(super) struct Recent<K, V> {
    by_key: HashMap<K, V>,
    order: VecDeque<K>,
    max: usize,
}

impl<K: Clone + Eq + Hash, V> Recent<K, V> {
    pub(super) fn new(max: usize) -> Self {
        Self { by_key: HashMap::new(), order: VecDeque::new(), max }
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.by_key.get(key)
    }

    pub(super) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.by_key.get_mut(key)
    }

    pub(super) fn contains_key(&self, key: &K) -> bool {
        self.by_key.contains_key(key)
    }

    pub(super) fn insert(&mut self, key: K, value: V) {
        if self.by_key.insert(key.clone(), value).is_none() {
            self.order.push_back(key);
        }
        while self.order.len() > self.max {
            let Some(oldest) = self.order.pop_front() else { break };
            self.by_key.remove(&oldest);
        }
    }
}
