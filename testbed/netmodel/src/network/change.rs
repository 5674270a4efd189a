//! What may happen to a network while it runs, from outside: interfaces lost, silenced, moved and given other addresses,
//! NATs that forget, links, radios and blocks that change.

use super::{
    Network, link_of,
    state::{NetworkState, PortState},
};
use crate::{
    Addresses, Block, Direction, DropCause, LinkSpec, NetworkId, PlanError, PortId, RadioSpec,
    border::{Border, Forgotten},
    link::Link,
    plan::{check_links, check_radio},
};
use std::time::Instant;
use thiserror::Error;

/// What may happen to the network from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
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
    /// A network's NAT forgets all its mappings, told as ended, and chooses ports for new ones as ever: a NAT that
    /// preserves ports gives the same ones again. The IPv6 firewall forgets nothing.
    NatFlush {
        /// Whose NAT.
        network: NetworkId,
    },
    /// All links of a network behave differently in one direction, those of its interfaces and those of the borders
    /// that are attached to it. What has left a queue keeps its time of arrival; what waits meets the new pace, and so
    /// does the rest of what is being sent. A trace begins anew unless it is the one that runs already.
    Link {
        /// Which network.
        network: NetworkId,
        /// Which way.
        direction: Direction,
        /// What they are like from now on.
        link: Box<LinkSpec>,
    },
    /// All radios of a network behave differently from now on, and are idle at first.
    Radio {
        /// Which network.
        network: NetworkId,
        /// What they are like from now on; none for links that are not by radio.
        radio: Option<RadioSpec>,
    },
    /// A network refuses to carry this from now on, and nothing else. Rules that stay keep their counts.
    Blocks {
        /// Which network.
        network: NetworkId,
        /// Its rules; none to carry everything.
        blocks: Vec<Block>,
    },
    /// A host's interface leaves its network and joins another one, with the links, the radio and the next free
    /// addresses of that. What is on its links vanishes as [`DropCause::InterfaceDown`]; the old addresses are as with
    /// [`Change::Address`]. For a gap, take the interface down before and up after.
    Roam {
        /// Which one.
        port: PortId,
        /// Where to.
        network: NetworkId,
    },
    /// A host opens a hotspot: one of its interfaces joins a network as its access point, with the router's address, and
    /// another one becomes the network's border in place of what that was attached to. What leaves the network then has
    /// that interface's IPv4 address and passes its link, its radio and its network; the network's IPv6 addresses are
    /// routed to it. When its addresses change, the NAT forgets its mappings. Nothing passes in the network while the
    /// access point is down or silent, nor ever after it has roamed elsewhere.
    ///
    /// Refused as [`PlanError::BehindItself`], too, when the two interfaces are one, or when the border is shared with
    /// another network already.
    Hotspot {
        /// The network; it needs a NAT.
        network: NetworkId,
        /// The interface that becomes its access point.
        access_point: PortId,
        /// The interface that becomes its border.
        uplink: PortId,
    },
}

/// Why a change was not made.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
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
    /// No topology could have such a link.
    #[error(transparent)]
    Unsound(#[from] PlanError),
}

impl Network {
    /// Makes a change, at once. A change to what is the case already does nothing.
    pub fn apply(&mut self, now: Instant, change: Change) -> Result<(), ChangeError> {
        let now = self.advance(now);
        match change {
            Change::InterfaceState { port, reachable } => self.set_reachable(now, port, reachable),
            Change::Silence { port, silent } => self.set_silent(now, port, silent),
            Change::Address { port } => self.give_address(now, port),
            Change::NatRebind { network } => self.forget(now, network, Border::rebind),
            Change::NatFlush { network } => self.forget(now, network, Border::flush),
            Change::Link { network, direction, link } => self.change_links(now, network, direction, &link),
            Change::Radio { network, radio } => self.change_radios(now, network, radio),
            Change::Blocks { network, blocks } => {
                self.network_mut(network)?.border.filter.set(&blocks);
                Ok(())
            }
            Change::Roam { port, network } => self.roam(now, port, network),
            Change::Hotspot { network, access_point, uplink } => {
                self.open_hotspot(now, network, access_point, uplink)
            }
        }
    }

    fn set_reachable(&mut self, now: Instant, port: PortId, reachable: bool) -> Result<(), ChangeError> {
        let state = self.planned(port)?;
        if std::mem::replace(&mut state.reachable, reachable) && !reachable {
            state.radio.iter_mut().for_each(|radio| radio.switch_off(now));
            self.lose_in_flight(now, port, DropCause::InterfaceDown);
        }
        Ok(())
    }

    fn set_silent(&mut self, now: Instant, port: PortId, silent: bool) -> Result<(), ChangeError> {
        let state = self.planned(port)?;
        if !std::mem::replace(&mut state.silent, silent) && silent {
            self.lose_in_flight(now, port, DropCause::Silenced);
        }
        Ok(())
    }

    fn give_address(&mut self, now: Instant, port: PortId) -> Result<(), ChangeError> {
        let network = self.planned(port)?.network.ok_or(ChangeError::ServerAddress(port))?;
        let new = self.free_address(port, network)?;
        self.replace_addresses(port, new);
        self.follow_uplink(now, port)
    }

    fn roam(&mut self, now: Instant, port: PortId, network: NetworkId) -> Result<(), ChangeError> {
        let index = usize::from(network.0);
        let spec = self.network_mut(network)?.spec.clone();
        let old = self.planned(port)?.network.ok_or(ChangeError::ServerAddress(port))?;
        if old == index {
            return Ok(());
        }
        if self.planned(port)?.shared_with.is_some_and(|guests| self.is_within(index, guests)) {
            return Err(PlanError::BehindItself { name: spec.name }.into());
        }
        let new = self.free_address(port, index)?;
        self.close_hotspot(old, port);
        self.lose_in_flight(now, port, DropCause::InterfaceDown);
        self.replace_addresses(port, new);
        for direction in [Direction::Up, Direction::Down] {
            let link = self.links.get_mut(link_of(port, direction));
            let tally = link.map(|link| std::mem::take(&mut link.tally)).unwrap_or_default();
            self.past.entry((old, port, direction)).or_default().add(tally);
        }
        let state = self.planned(port)?;
        state.network = Some(index);
        state.change_radio(now, spec.radio);
        for (direction, link) in [(Direction::Up, &spec.up), (Direction::Down, &spec.down)] {
            self.change_link(now, port, direction, link);
        }
        self.follow_uplink(now, port)
    }

    pub(super) fn forget(
        &mut self,
        now: Instant,
        network: NetworkId,
        forget: impl FnOnce(&mut Border) -> Option<Forgotten>,
    ) -> Result<(), ChangeError> {
        let index = usize::from(network.0);
        let forgotten = forget(&mut self.network_mut(network)?.border).ok_or(ChangeError::NoNat(network))?;
        self.checks.retain(|_, check| check.network != index || !check.key.is_ipv4());
        self.arm_checks();
        for (inside, outside) in forgotten {
            self.tell_mapping(now, index, inside, outside, false);
        }
        Ok(())
    }

    fn change_links(
        &mut self,
        now: Instant,
        network: NetworkId,
        direction: Direction,
        link: &LinkSpec,
    ) -> Result<(), ChangeError> {
        let state = self.network_mut(network)?;
        check_links(&state.spec, link)?;
        match direction {
            Direction::Up => state.spec.up = link.clone(),
            Direction::Down => state.spec.down = link.clone(),
        }
        for index in 0..self.ports.len() {
            let port = PortId(index as u16);
            if self.attached(port) == Some(usize::from(network.0)) {
                self.change_link(now, port, direction, link);
            }
        }
        Ok(())
    }

    fn change_radios(
        &mut self,
        now: Instant,
        network: NetworkId,
        radio: Option<RadioSpec>,
    ) -> Result<(), ChangeError> {
        let state = self.network_mut(network)?;
        radio.as_ref().map_or(Ok(()), |radio| check_radio(&state.spec.name, radio))?;
        state.spec.radio = radio;
        let attached = Some(usize::from(network.0));
        let ports = self.ports.iter_mut().filter(|port| port.network == attached);
        ports.for_each(|port| port.change_radio(now, radio));
        Ok(())
    }

    fn change_link(&mut self, now: Instant, port: PortId, direction: Direction, spec: &LinkSpec) {
        let id = link_of(port, direction);
        if let Some(link) = self.links.get_mut(id) {
            link.change(now, spec.clone());
        }
        self.arm(id);
    }

    /// What is on the links of a port vanishes.
    fn lose_in_flight(&mut self, now: Instant, lost: PortId, cause: DropCause) {
        for direction in [Direction::Up, Direction::Down] {
            let id = link_of(lost, direction);
            let vanished = self.links.get_mut(id).map(Link::clear).unwrap_or_default();
            self.arm(id);
            for packet in vanished {
                self.drop_packet(now, self.place(lost, direction), cause, &packet);
            }
        }
    }

    /// The next addresses of a network's pool that nobody holds.
    fn free_address(&mut self, port: PortId, network: usize) -> Result<Addresses, ChangeError> {
        let pool = self.networks.get_mut(network).map(|state| &mut state.pool);
        let new = pool.and_then(|pool| pool.take(|address| self.hosts.contains_key(&address)));
        new.ok_or(ChangeError::NoFreeAddress(port))
    }

    pub(super) fn replace_addresses(&mut self, port: PortId, new: Addresses) {
        let Some(state) = self.port_mut(port) else { return };
        let old = std::mem::replace(&mut state.addresses, new);
        for (address, _) in old.iter() {
            self.hosts.remove(&address);
        }
        self.hosts.extend(new.iter().map(|(address, _)| (address, port)));
    }

    /// A port that the plan knows.
    pub(super) fn planned(&mut self, port: PortId) -> Result<&mut PortState, ChangeError> {
        let planned = self.ports.get_mut(..self.planned_ports).unwrap_or_default();
        planned.get_mut(usize::from(port.0)).ok_or(ChangeError::UnknownPort(port))
    }

    pub(super) fn network_mut(&mut self, network: NetworkId) -> Result<&mut NetworkState, ChangeError> {
        self.networks.get_mut(usize::from(network.0)).ok_or(ChangeError::UnknownNetwork(network))
    }
}
