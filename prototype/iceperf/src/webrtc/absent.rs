//! Stands in for the arm that uses webrtc-ice in a build without the feature `webrtc-ice`: no [`Arm`] can exist, so
//! none of its methods ever runs. The command line refuses `--ice webrtc-ice` before one is asked for.

mod config;

pub(crate) use config::{Config, Meeting, SERVER};

use crate::{failure::Failure, interfaces::Change};
use peer::{InterfaceChange, Outcome, SocketId, Transmit};
use record::EventKind;
use std::{future::pending, net::SocketAddr, time::Instant};

/// Uninhabited.
#[derive(Debug)]
pub(crate) enum Arm {}

/// Uninhabited.
#[derive(Debug)]
pub(crate) enum Woken {}

/// Action of the driver. No value of it is ever made here.
#[derive(Debug)]
#[expect(dead_code, reason = "the driver matches on it in every build")]
pub(crate) enum Output {
    Record(EventKind),
    Interface(InterfaceChange),
    Datagram(SocketId, SocketAddr, Vec<u8>),
}

/// Never returns.
pub(crate) async fn next(_: &mut Option<Arm>) -> Woken {
    pending().await
}

impl Arm {
    pub(crate) fn new(_: Config) -> Result<Self, Failure> {
        Err(Failure::arguments(crate::left_out::explain("webrtc-ice")))
    }

    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        match *self {}
    }

    pub(crate) fn change_interface(&mut self, _: Change) {
        match *self {}
    }

    pub(crate) fn start(&mut self, _: Instant) {
        match *self {}
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        match *self {}
    }

    pub(crate) fn catch_up(&mut self, _: Instant) {
        match *self {}
    }

    pub(crate) fn handle(&mut self, _: Instant, _: Woken) {
        match *self {}
    }

    pub(crate) fn poll(&mut self) -> Option<Output> {
        match *self {}
    }

    pub(crate) fn open(&mut self, _: SocketId) -> SocketAddr {
        match *self {}
    }

    pub(crate) fn close(&mut self, _: SocketId) {
        match *self {}
    }

    pub(crate) fn transmit(&mut self, _: &Transmit) {
        match *self {}
    }

    pub(crate) async fn finish(&mut self) {
        match *self {}
    }

    pub(crate) fn translate(&mut self, _: EventKind) -> Option<EventKind> {
        match *self {}
    }

    pub(crate) fn outcome(&self, _: Outcome) -> Outcome {
        match *self {}
    }
}
