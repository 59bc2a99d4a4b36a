//! A client: numbered batches, one at a time, each sent again until it is acknowledged.
//!
//! A batch goes to the client's own tags and to one that all clients share; a point may take the place of one that an
//! earlier batch wrote. A retry is the same batch with the same points.

use super::event;
use super::promise;
use super::wire::{self, DATAGRAM_BYTES, REPLIES, Reply, Request};
use super::world::World;
use crate::choice::Concern;
use crate::record::{Event, Key};
use madsim::net::Endpoint;
use madsim::time::{Duration, sleep, timeout};
use std::collections::{BTreeMap, BTreeSet};
use tidewall::Point;

/// The tag that all clients write to.
const SHARED: u32 = 1;

/// Times of one tag lie so far apart that the clients' points in the shared tag alternate.
const SLOT_US: i64 = 16;

/// An overwritten point is among this many latest ones of its tag.
const OVERWRITTEN: u32 = 6;

/// Sends all batches; ends when the last one is acknowledged.
pub async fn run(world: World, client: u32) {
    let address = wire::client(client);
    let endpoint = Endpoint::bind(address).await.expect("a client's node has this address for itself");
    let mut source = Source { client, next_slot: BTreeMap::new() };
    let batches = world.lock().plan.batches;
    for batch in 1..=batches {
        let pause_ms = {
            let world = &mut *world.lock();
            if !world.chooser.begin_operation() {
                break;
            }
            world.chooser.below(Concern::Ops, world.plan.pause_ms + 1)
        };
        let request = Request { client, batch, points: source.points(&world, batch) };
        world.lock().promise.sent(client, batch, &request.points);
        world.lock().count(event::BATCHES, true);
        let points = request.points.iter().map(Key::from);
        let call = world.timeline().called(|| format!("client {client}"), &format!("batch {batch}"), points);
        let boot = deliver(&world, &endpoint, &request).await;
        world.lock().promise.acknowledged(&request.points);
        world.lock().count(event::ACKNOWLEDGED, true);
        world.timeline().record(|| Event::Returned { call, error: None });
        let tags = request.points.iter().map(|point| point.tag).collect();
        world.timeline().record(|| Event::Promised { call, tags: Some(tags) });
        world.note(&[client.into(), batch.into(), boot.into()], || {
            format!("client {client}: batch {batch} is acknowledged, by life {boot} of the collector")
        });
        sleep(Duration::from_millis(pause_ms.into())).await;
    }
}

/// Sends a batch until a reply says that it is durable; by which life of the collector.
async fn deliver(world: &World, endpoint: &Endpoint, request: &Request) -> u32 {
    let time_out = Duration::from_millis(world.lock().plan.timeout_ms.into());
    let (client, batch) = (request.client, request.batch);
    let mut attempt = 1;
    loop {
        world.note(&[client.into(), batch.into(), attempt], || {
            let points = request.points.len();
            format!("client {client}: batch {batch}, {points} points, attempt {attempt}")
        });
        wire::send(world, endpoint, request).await.expect("the client's endpoint is bound");
        // Replies to earlier batches and to earlier attempts may still come in.
        let answered = async {
            loop {
                let mut bytes = [0; DATAGRAM_BYTES];
                let (len, _) =
                    endpoint.recv_from(REPLIES, &mut bytes).await.expect("the client's endpoint is bound");
                let reply = Reply::from_bytes(&bytes[..len]);
                if reply.batch == batch {
                    return reply.boot;
                }
            }
        };
        if let Ok(boot) = timeout(time_out, answered).await {
            return boot;
        }
        attempt += 1;
        world.lock().count(event::RETRIES, true);
    }
}

/// Makes points.
struct Source {
    client: u32,
    /// By tag.
    next_slot: BTreeMap<u32, u32>,
}

impl Source {
    fn points(&mut self, world: &World, batch: u32) -> Vec<Point> {
        let world = &mut *world.lock();
        let data = Concern::Data;
        let own = 2 + self.client * 2;
        let mut keys = BTreeSet::new();
        for _ in 0..world.chooser.between(data, 1, world.plan.batch_max) {
            let tag = world.chooser.pick(data, &[SHARED, own, own + 1]);
            let next = self.next_slot.entry(tag).or_default();
            let slot = if *next > 0 && world.chooser.chance(data, world.plan.overwrites) {
                *next - 1 - world.chooser.below(data, OVERWRITTEN.min(*next))
            } else {
                *next += 1;
                *next - 1
            };
            keys.insert((tag, i64::from(slot) * SLOT_US + i64::from(self.client)));
        }
        let point = |(index, (tag, ts_us)): (usize, (u32, i64))| {
            Point::new(tag, ts_us, promise::value(self.client, batch, index as u32))
        };
        keys.into_iter().enumerate().map(point).collect()
    }
}
