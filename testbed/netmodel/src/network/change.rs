//! What may happen to a network while it runs, from outside: interfaces lost, silenced and given other addresses, and a
//! NAT that forgets.

use super::{Network, Scheduled};
use crate::{DropCause, NetworkId, PortId};
use std::time::Instant;
use thiserror::Error;

/// What may happen to the network from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// An interface is down or without carrier, or can be reached again. What is on its links when it goes vanishes;
    /// mappings and firewall states stay, since nobody tells a NAT.
    InterfaceState {
        /// Which one.
        port: PortId,
        /// Whether packets pass.
        reachable: bool,
    },
    /// An interface goes silent, or is heard again: its packets vanish in both directions as if its radio were dead, and
    /// nothing tells anybody. What is on its links when it goes silent vanishes, too. All else stays as it is, also
    /// whether it is reachable ([`Change::InterfaceState`]): packets pass when it is that and not silent.
    Silence {
        /// Which one.
        port: PortId,
        /// Whether its packets vanish.
        silent: bool,
    },
    /// A host's interface gets the next free addresses of its network's pool in place of its own, which
    /// [`Network::addresses`] then tells.
    ///
    /// Nothing finds the old ones any more: what is sent from them is [`DropCause::SourceSpoofed`], what is sent to
    /// them, or was on its way down, [`DropCause::NoRoute`]. What was on its way up goes on. The border is not told: NAT
    /// mappings and firewall states of the old addresses stay until they time out.
    Address {
        /// Which one.
        port: PortId,
    },
    /// A network's NAT forgets all its mappings, told as ended, and gives every inside endpoint that had one another
    /// outside port when it next sends. The IPv6 firewall, which chooses no ports, forgets nothing.
    NatRebind {
        /// Whose NAT.
        network: NetworkId,
    },
}

/// Why a change was not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ChangeError {
    /// No such port in this network's plan.
    #[error("port {} is not in the plan", .0.0)]
    UnknownPort(PortId),
    /// No such network in this network's plan.
    #[error("network {} is not in the plan", .0.0)]
    UnknownNetwork(NetworkId),
    /// The network has no NAT.
    #[error("network {} has no NAT", .0.0)]
    NoNat(NetworkId),
    /// Servers keep the addresses by which everybody knows them.
    #[error("port {} is a server's, whose addresses never change", .0.0)]
    ServerAddress(PortId),
    /// Every address of the network is held.
    #[error("the network of port {} has no address left", .0.0)]
    NoFreeAddress(PortId),
}

impl Network {
    /// Makes a change, at once. A change to what is the case already does nothing.
    pub fn apply(&mut self, now: Instant, change: Change) -> Result<(), ChangeError> {
        let now = self.advance(now);
        match change {
            Change::InterfaceState { port, reachable } => self.set_reachable(now, port, reachable),
            Change::Silence { port, silent } => self.set_silent(now, port, silent),
            Change::Address { port } => self.give_address(port),
            Change::NatRebind { network } => self.rebind(now, network),
        }
    }

    fn set_reachable(&mut self, now: Instant, port: PortId, reachable: bool) -> Result<(), ChangeError> {
        let state = self.port_mut(port).ok_or(ChangeError::UnknownPort(port))?;
        if std::mem::replace(&mut state.reachable, reachable) && !reachable {
            self.lose_in_flight(now, port, DropCause::InterfaceDown);
        }
        Ok(())
    }

    fn set_silent(&mut self, now: Instant, port: PortId, silent: bool) -> Result<(), ChangeError> {
        let state = self.port_mut(port).ok_or(ChangeError::UnknownPort(port))?;
        if !std::mem::replace(&mut state.silent, silent) && silent {
            self.lose_in_flight(now, port, DropCause::Silenced);
        }
        Ok(())
    }

    fn give_address(&mut self, port: PortId) -> Result<(), ChangeError> {
        let state = self.port(port).ok_or(ChangeError::UnknownPort(port))?;
        let (old, network) = (state.addresses, state.network.ok_or(ChangeError::ServerAddress(port))?);
        let pool = self.networks.get_mut(network).map(|state| &mut state.pool);
        let new = pool.and_then(|pool| pool.take(|address| self.hosts.contains_key(&address)));
        let new = new.ok_or(ChangeError::NoFreeAddress(port))?;
        for (address, _) in old.iter() {
            self.hosts.remove(&address);
        }
        self.hosts.extend(new.iter().map(|(address, _)| (address, port)));
        if let Some(state) = self.port_mut(port) {
            state.addresses = new;
        }
        Ok(())
    }

    fn rebind(&mut self, now: Instant, network: NetworkId) -> Result<(), ChangeError> {
        let index = usize::from(network.0);
        let state = self.networks.get_mut(index).ok_or(ChangeError::UnknownNetwork(network))?;
        let forgotten = state.border.rebind().ok_or(ChangeError::NoNat(network))?;
        self.scheduled.retain(|_, what| {
            !matches!(what, Scheduled::Session { network, key } if *network == index && key.remote.is_ipv4())
        });
        for (inside, outside) in forgotten {
            self.tell_mapping(now, index, inside, outside, false);
        }
        Ok(())
    }

    /// What is on the links of a port vanishes.
    fn lose_in_flight(&mut self, now: Instant, lost: PortId, cause: DropCause) {
        if let Some(state) = self.port_mut(lost) {
            state.up.reset();
            state.down.reset();
        }
        let is_lost =
            |_: &_, what: &mut Scheduled| matches!(what, Scheduled::LinkEnd { port, .. } if *port == lost);
        let vanished: Vec<_> = self.scheduled.extract_if(.., is_lost).collect();
        for (_, what) in vanished {
            if let Scheduled::LinkEnd { port, direction, packet } = what {
                self.drop_packet(now, self.place(port, direction), cause, &packet);
            }
        }
    }
}
