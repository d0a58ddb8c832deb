//! The nodes as a load balancer has them: each asked in its turn, and another one where the first does not take a
//! question. What is asked is elsewhere.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    Failure,
    connection::{Connection, Reply},
};
use crate::{
    clock,
    stripe::{self, Secret},
};

/// The nodes that may be asked, for all who ask.
#[derive(Clone)]
pub(super) struct Targets(Arc<Mutex<Vec<Target>>>);

/// A node, as whoever asks sees it.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) name: String,
    /// Where it takes questions; nothing while it does not.
    pub(super) address: Option<SocketAddr>,
    /// How many it has answered.
    pub(super) answered: usize,
}

impl Targets {
    pub(super) fn new(nodes: impl IntoIterator<Item = (String, SocketAddr)>) -> Self {
        let target = |(name, address)| Target { name, address: Some(address), answered: 0 };
        Self(Arc::new(Mutex::new(nodes.into_iter().map(target).collect())))
    }

    /// All of them, as they are now.
    pub(super) fn all(&self) -> Vec<Target> {
        self.lock().clone()
    }

    /// A node takes questions at this address from now on.
    pub(super) fn put_back(&self, name: &str, address: SocketAddr) {
        self.lock().iter_mut().filter(|target| target.name == name).for_each(|target| {
            target.address = Some(address);
        });
    }

    /// Nobody asks at this address any more.
    fn take_out(&self, address: SocketAddr) {
        self.lock().iter_mut().filter(|target| target.address == Some(address)).for_each(|target| {
            target.address = None;
        });
    }

    /// The one whose turn it is, of those that take questions.
    fn at(&self, turn: usize) -> Option<(String, SocketAddr)> {
        let targets = self.lock();
        let (before, after) = targets.split_at_checked(turn.checked_rem(targets.len())?)?;
        after.iter().chain(before).find_map(|target| Some((target.name.clone(), target.address?)))
    }

    fn count(&self, name: &str) {
        self.lock().iter_mut().filter(|target| target.name == name).for_each(|target| {
            target.answered = target.answered.saturating_add(1);
        });
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Target>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Brings signed questions to nodes, over connections that it keeps.
pub(super) struct Balancer {
    targets: Targets,
    secret: Secret,
    connections: BTreeMap<SocketAddr, Connection>,
    turn: usize,
}

impl Balancer {
    /// Begins with the node at the place `turn`.
    pub(super) fn new(targets: Targets, secret: &Secret, turn: usize) -> Self {
        Self { targets, secret: secret.clone(), connections: BTreeMap::new(), turn }
    }

    /// One that asks only the node at this address.
    pub(super) fn of_one(&self, address: SocketAddr) -> Self {
        Self::new(Targets::new([(String::new(), address)]), &self.secret, 0)
    }

    /// Posts an event, signed.
    pub(super) async fn deliver(&mut self, event: Vec<u8>) -> Result<Reply, Failure> {
        let secret = self.secret.clone();
        self.post(event, &secret).await
    }

    /// Posts an event that is signed with this secret. Where a node does not take it, or breaks off, one other node is
    /// asked the same: that is always safe.
    pub(super) async fn post(&mut self, event: Vec<u8>, secret: &Secret) -> Result<Reply, Failure> {
        let signature = stripe::sign(secret, clock::now().as_seconds(), &event);
        let started = clock::instant();
        let first = self.try_next(&event, &signature).await;
        let is_second_try = first.is_err();
        let reply = match first {
            Ok(reply) => reply,
            Err(failure) if self.targets.all().len() < 2 => return Err(failure),
            Err(_) => self.try_next(&event, &signature).await?,
        };
        Ok(Reply { is_second_try, took: clock::instant().duration_since(started), ..reply })
    }

    async fn try_next(&mut self, event: &[u8], signature: &str) -> Result<Reply, Failure> {
        let nobody = || Failure::Unexpected("no node accepts requests".to_owned());
        let (name, address) = self.targets.at(self.turn).ok_or_else(nobody)?;
        self.turn = self.turn.wrapping_add(1);
        let mut connection = match self.connections.remove(&address) {
            Some(connection) => connection,
            None => Connection::open(address).await.inspect_err(|_| self.targets.take_out(address))?,
        };
        let reply = connection.post(event.to_vec(), signature).await?;
        self.connections.insert(address, connection);
        self.targets.count(&name);
        Ok(Reply { by: name, ..reply })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_out_is_passed_over_and_comes_back_at_another_address() {
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let nodes = [1, 2, 3].map(|n| (format!("node-{n}"), address(n)));
        let targets = Targets::new(nodes);
        let turns = || [0, 1, 2, 3].map(|turn| targets.at(turn).map_or(0, |(_, address)| address.port()));
        assert_eq!(turns(), [1, 2, 3, 1]);
        targets.take_out(address(2));
        assert_eq!(turns(), [1, 3, 3, 1]);
        targets.put_back("node-2", address(9));
        // Whoever finds out late that the old one is gone says nothing of the new one.
        targets.take_out(address(2));
        assert_eq!(turns(), [1, 9, 3, 1]);
        for port in [1, 9, 3] {
            targets.take_out(address(port));
        }
        assert_eq!(turns(), [0; 4]);
        assert_eq!(Targets::new([]).at(0), None);
    }
}
