//! One browser tab: what it wants, and stops 7 and 8 of its ticks.
//!
//! A connection has two halves that share a socket. The *reading* half ([`stream`], [`indicators`], or [`kite`] for Kite's own
//! clients, all over a [`connection`]) is a task on the control side: it takes requests, changes the board, and sends what it has
//! to say to the *writing* half ([`tab::Tab`]), which belongs to one [`writer::Writer`] and is the only one that ever
//! writes to the socket.

pub mod admission;
pub mod alarm;
pub mod arrival;
pub mod batch;
pub mod charts;
pub mod comeback;
pub mod connection;
pub mod context;
pub mod door;
pub mod envelope;
pub mod fragments;
pub mod indicators;
pub mod kite;
pub mod lane;
pub mod missed;
pub mod orders;
pub mod outage;
pub mod outlet;
pub mod pace;
pub mod packets;
pub mod probe;
pub mod registry;
pub mod socket;
pub mod stream;
pub mod tab;
pub mod turn;
pub mod vigil;
pub mod writer;
