//! The program as a user has it: real sockets, interfaces and processes in namespaces of the test's own.

mod arguments;
mod blocking;
mod calls;
mod control;
mod discovery;
mod evidence;
mod lab;
mod mimic;
mod one_host;
mod refusals;
mod transfers;
#[cfg(feature = "webrtc-ice")]
mod webrtc;
