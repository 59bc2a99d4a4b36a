//! Datagrams, and a network that delivers them late and twice.
//!
//! ```text
//!   request   client u32 | batch u32 | points, 21 bytes each: tag u32 | ts_us i64 | value bits u64 | quality u8
//!   reply     batch u32 | boot u32
//! ```
//!
//! All little-endian. madsim loses datagrams and lets one overtake another within its latency; that a request comes in
//! twice, or a second after its successors, is added here. Such a straggler is what a collector that forgets would
//! apply over newer data.

use super::event;
use super::world::World;
use crate::choice::Concern;
use madsim::net::Endpoint;
use madsim::time::{Duration, sleep};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use tidewall::Point;

/// Queues of an endpoint.
pub const REQUESTS: u64 = 1;
pub const REPLIES: u64 = 2;

/// Longer than any datagram.
pub const DATAGRAM_BYTES: usize = 1024;

const POINT_BYTES: usize = 21;

/// Longest time that a straggler takes.
const LATE_MS: u32 = 700;

/// Where the collector listens.
pub fn collector() -> SocketAddr {
    address(1)
}

/// Where a client listens.
pub fn client(client: u32) -> SocketAddr {
    address(client as u8 + 2)
}

fn address(host: u8) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, host)), 700)
}

/// A client wants a batch to be durable.
#[derive(Clone, Debug)]
pub struct Request {
    pub client: u32,
    pub batch: u32,
    pub points: Vec<Point>,
}

impl Request {
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = [self.client.to_le_bytes(), self.batch.to_le_bytes()].concat();
        for point in &self.points {
            bytes.extend_from_slice(&point.tag.to_le_bytes());
            bytes.extend_from_slice(&point.ts_us.to_le_bytes());
            bytes.extend_from_slice(&point.value.to_bits().to_le_bytes());
            bytes.push(point.quality);
        }
        assert!(bytes.len() <= DATAGRAM_BYTES, "a batch fits into a datagram");
        bytes
    }

    pub fn from_bytes(bytes: &[u8]) -> Request {
        let (head, points) = bytes.split_at(8);
        let point = |bytes: &[u8]| Point {
            tag: u32::from_le_bytes(part(&bytes[..4])),
            ts_us: i64::from_le_bytes(part(&bytes[4..12])),
            value: f64::from_bits(u64::from_le_bytes(part(&bytes[12..20]))),
            quality: bytes[20],
        };
        Request {
            client: u32::from_le_bytes(part(&head[..4])),
            batch: u32::from_le_bytes(part(&head[4..])),
            points: points.chunks_exact(POINT_BYTES).map(point).collect(),
        }
    }
}

/// The collector says that a batch is durable.
#[derive(Clone, Copy, Debug)]
pub struct Reply {
    pub batch: u32,
    /// Which life of the collector says so.
    pub boot: u32,
}

impl Reply {
    pub fn to_bytes(self) -> Vec<u8> {
        [self.batch.to_le_bytes(), self.boot.to_le_bytes()].concat()
    }

    pub fn from_bytes(bytes: &[u8]) -> Reply {
        let word = |at: usize| u32::from_le_bytes(part(&bytes[at..at + 4]));
        Reply { batch: word(0), boot: word(4) }
    }
}

fn part<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().expect("the network loses datagrams, it does not cut them")
}

/// Hands a request to the network.
pub async fn send(world: &World, from: &Endpoint, request: &Request) -> io::Result<()> {
    let bytes = request.to_bytes();
    let (twice, late_ms) = {
        let world = &mut *world.lock();
        let faults = Concern::Faults;
        let twice = world.chooser.chance(faults, world.plan.duplicates);
        let late = twice || world.chooser.chance(faults, world.plan.delays);
        let late_ms = if late { world.chooser.between(faults, 1, LATE_MS) } else { 0 };
        world.count(event::DUPLICATES, twice);
        world.count(event::DELAYS, late && !twice);
        (twice, late_ms)
    };
    if late_ms > 0 {
        let (from, bytes) = (from.clone(), bytes.clone());
        madsim::task::spawn(async move {
            sleep(Duration::from_millis(late_ms.into())).await;
            // A network says nothing about what it does with a datagram.
            drop(from.send_to(collector(), REQUESTS, &bytes).await);
        });
    }
    if twice || late_ms == 0 { from.send_to(collector(), REQUESTS, &bytes).await } else { Ok(()) }
}
