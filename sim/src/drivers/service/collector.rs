//! The service: a node that owns an engine, and says of a batch that it is durable when it is.
//!
//! # Applied once
//!
//! A request may come in again, at once or after its successors, to this life of the collector or to a later one. Each
//! client therefore has a *marker* in the store, a point whose value is the number of its last batch that is durable.
//! A batch is applied only if its number is above the marker; any other has been applied before and is acknowledged as
//! it is.
//!
//! The engine makes one tag's frame atomic, not a batch of several tags, and after a crash what survives of one tag
//! says nothing about another (I2). Were the marker written together with the points, a crash could keep the marker
//! without the points: the client's retry would be taken for a repetition and acknowledged, and the batch be lost. Were
//! it left in memory only, a straggler that comes in after a restart would put old values over new ones. So:
//!
//! ```text
//!   points ──► sync ──► markers ──► sync ──► acknowledge
//! ```
//!
//! A crash before the first sync leaves any part of the points, one before the second any part of them or all, and no
//! marker: the retry writes the same keys with the same values. That is harmless because a client sends its next batch
//! after the acknowledgement only, so nothing newer can be under it. A crash after the second sync leaves both.
//!
//! # Group commit
//!
//! All requests that come in while a commit is under way, or in the few milliseconds after the first one, make one
//! group: two syncs for all of them.

use super::event;
use super::wire::{self, DATAGRAM_BYTES, REPLIES, REQUESTS, Reply, Request};
use super::world::World;
use crate::drivers::{findings, stuck};
use crate::record::{Event, Key};
use madsim::net::Endpoint;
use madsim::time::{Duration, Instant, interval, sleep, timeout};
use std::collections::BTreeMap;
use std::future::pending;
use std::sync::Arc;
use tidewall::plant::{self, Bug};
use tidewall::{Engine, Error, InOrder, Point};

/// Client `n`'s marker is the point at time 0 of this tag plus `n`.
const MARKERS: u32 = 1000;

/// Between two background steps of the engine.
const STEP: Duration = Duration::from_millis(10);

/// What a write or a sync takes. Other tasks run meanwhile, and the process may die.
const DISK_LATENCY: Duration = Duration::from_millis(1);

/// Before the store is opened again after it could not be.
const REOPEN: Duration = Duration::from_millis(20);

/// The process: lives until it is killed.
pub async fn run(world: World) {
    let endpoint =
        Endpoint::bind(wire::collector()).await.expect("the address is free once the node is killed");
    loop {
        let mut life = Life::begin(&world, &endpoint).await;
        let engine = life.engine.clone();
        let steps = madsim::task::spawn(step_by_time(world.clone(), engine));
        let error = life.serve().await;
        world.note(&[life.boot.into()], || format!("collector: life {} ends: {error}", life.boot));
        steps.abort();
        // Its handle of the engine is gone then, and with it the lock of the store.
        drop(steps.await);
        drop(life);
        world.lock().count(event::REOPENINGS, true);
    }
}

/// The background flusher, driven by virtual time.
async fn step_by_time(world: World, engine: Engine) {
    let mut ticks = interval(STEP);
    loop {
        ticks.tick().await;
        // What cannot be done now, the next commit runs into.
        let stepped = engine.step();
        world.note_faults();
        if let Err(error) = stepped {
            excuse(&world, "step", &error);
        }
    }
}

/// One opening of the store, up to a failed sync.
struct Life<'a> {
    world: &'a World,
    endpoint: &'a Endpoint,
    engine: Engine,
    boot: u32,
    /// The markers, by client.
    applied: BTreeMap<u32, u32>,
}

impl<'a> Life<'a> {
    /// Opens the store, and tries again while it cannot be opened.
    async fn begin(world: &'a World, endpoint: &'a Endpoint) -> Life<'a> {
        loop {
            let (disk, config) = {
                let world = &mut *world.lock();
                world.end_engine();
                world.is_opening = true;
                world.final_fault = false;
                (world.disk.clone(), world.plan.config.clone())
            };
            findings::record(world.timeline(), &disk, world.lock().plant);
            let opened =
                Engine::open_with(Arc::new(disk.clone()), config, Box::new(InOrder)).and_then(|engine| {
                    let applied = if plant::on(Bug::SV2) { BTreeMap::new() } else { applied(&engine)? };
                    Ok((engine, applied))
                });
            world.note_faults();
            if disk.is_dead() {
                // A machine without power does nothing until the supervisor restarts it.
                drop(opened);
                return pending().await;
            }
            let error = match opened {
                Ok((engine, applied)) => {
                    let boot = {
                        let world = &mut *world.lock();
                        world.is_opening = false;
                        world.boot += 1;
                        world.counts.recoveries += u64::from(world.boot > 1);
                        world.boot
                    };
                    world
                        .timeline()
                        .record(|| Event::Opened(Ok(findings::recovery!(engine.recovery_report()))));
                    judge(world, &engine);
                    let replayed = engine.recovery_report().points_replayed;
                    world.note(&[boot.into(), replayed], || {
                        format!(
                            "collector: life {boot} begins, {replayed} points replayed, applied: {applied:?}"
                        )
                    });
                    return Life { world, endpoint, engine, boot, applied };
                }
                Err(error) => error,
            };
            world.note(&[], || format!("collector: cannot open the store: {error}"));
            excuse(world, "open", &error);
            world.lock().count(event::REOPENINGS, true);
            sleep(REOPEN).await;
        }
    }

    /// Serves until nobody knows what is on the disk (I8); the error that says so.
    async fn serve(&mut self) -> Error {
        loop {
            let group = self.gather().await;
            match self.commit(&group).await {
                Ok(()) => self.acknowledge(&group).await,
                Err(error) => {
                    self.world.note(&[self.boot.into()], || format!("collector: no commit: {error}"));
                    excuse(self.world, "commit", &error);
                    if !error.is_transient() {
                        return error;
                    }
                }
            }
        }
    }

    /// The requests of one group commit.
    async fn gather(&mut self) -> Vec<Request> {
        let gather = Duration::from_millis(self.world.lock().plan.gather_ms.into());
        let mut group = Vec::new();
        self.receive(&mut group).await;
        let until = Instant::now() + gather;
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            if timeout(left, self.receive(&mut group)).await.is_err() {
                break;
            }
        }
        group
    }

    async fn receive(&self, group: &mut Vec<Request>) {
        let mut bytes = [0; DATAGRAM_BYTES];
        let (len, _) =
            self.endpoint.recv_from(REQUESTS, &mut bytes).await.expect("the collector's endpoint is bound");
        let request = Request::from_bytes(&bytes[..len]);
        self.world.lock().counts.operations += 1;
        self.world.note(&[request.client.into(), request.batch.into()], || {
            format!("collector: batch {} of client {} comes in", request.batch, request.client)
        });
        group.push(request);
        if plant::on(Bug::SV1) {
            self.acknowledge(&group[group.len() - 1..]).await;
        }
    }

    fn is_new(&self, request: &Request) -> bool {
        self.applied.get(&request.client).is_none_or(|applied| request.batch > *applied)
    }

    /// Applies what is new in a group and makes it durable. On an error nothing of it may be acknowledged.
    async fn commit(&mut self, group: &[Request]) -> tidewall::Result<()> {
        // Each once, should an attempt and its retry have come in together.
        let new = group.iter().filter(|request| self.is_new(request));
        let new: BTreeMap<_, _> = new.map(|request| ((request.client, request.batch), request)).collect();
        self.world.lock().add(event::REPEATED, (group.len() - new.len()) as u64);
        if new.is_empty() {
            return Ok(());
        }
        for request in new.values() {
            let name = format!("write batch {} of client {}", request.batch, request.client);
            self.call(&name, &request.points, |engine| engine.write_batch(&request.points))?;
        }
        sleep(DISK_LATENCY).await;
        // The points are durable before their marker is written, and the marker before anybody hears of it.
        self.call("sync", &[], Engine::sync)?;
        for request in new.values() {
            let marker = Point::new(MARKERS + request.client, 0, request.batch.into());
            let name = format!("write marker {} of client {}", request.batch, request.client);
            self.call(&name, &[marker], |engine| engine.write(marker))?;
        }
        sleep(DISK_LATENCY).await;
        self.call("sync", &[], Engine::sync)?;
        for request in new.values() {
            self.applied.insert(request.client, request.batch);
        }
        let stats = self.engine.stats();
        let world = &mut *self.world.lock();
        world.progress = (stats.rotations, stats.blocks_written);
        world.counts.points_written +=
            new.values().map(|request| request.points.len() as u64 + 1).sum::<u64>();
        world.count(event::GROUP_COMMITS, true);
        world.add(event::COMMITTED, new.len() as u64);
        Ok(())
    }

    /// Calls the engine, on the record.
    fn call(
        &self,
        name: &str,
        points: &[Point],
        call: impl FnOnce(&Engine) -> tidewall::Result<()>,
    ) -> tidewall::Result<()> {
        let timeline = self.world.timeline();
        let number = timeline.called(|| "collector".into(), name, points.iter().map(Key::from));
        let result = call(&self.engine);
        self.world.note_faults();
        if !self.world.disk().is_dead() {
            timeline.returned(number, &result);
        }
        result
    }

    async fn acknowledge(&self, group: &[Request]) {
        for request in group {
            let reply = Reply { batch: request.batch, boot: self.boot }.to_bytes();
            let sent = self.endpoint.send_to(wire::client(request.client), REPLIES, &reply).await;
            sent.expect("the collector's endpoint is bound");
        }
    }
}

/// The markers in the store. What queries show of a store that was just opened is durable.
fn applied(engine: &Engine) -> tidewall::Result<BTreeMap<u32, u32>> {
    let mut applied = BTreeMap::new();
    for tag in engine.tags()?.into_iter().filter(|tag| *tag >= MARKERS) {
        if let Some(marker) = engine.query(tag, ..)?.last() {
            applied.insert(tag - MARKERS, marker.value as u32);
        }
    }
    Ok(applied)
}

/// The oracle looks at a store that was just opened.
fn judge(world: &World, engine: &Engine) {
    // A fault that is set up is the engine's to meet, not the oracle's.
    world.disk().heal_reads();
    let show = || {
        let tags = engine.tags()?.into_iter().filter(|tag| *tag < MARKERS);
        tags.map(|tag| Ok((tag, engine.query(tag, ..)?))).collect::<tidewall::Result<BTreeMap<_, _>>>()
    };
    let judged = match show() {
        Ok(shown) => world.lock().judge(&shown),
        Err(error) => Err(stuck("query after recovery", &error)),
    };
    if let Err(violation) = judged {
        world.violate(violation);
    }
}

/// A call failed: there must be a reason.
fn excuse(world: &World, call: &'static str, error: &Error) {
    let (disk, fired, final_fault) = {
        let world = world.lock();
        (world.disk.clone(), world.fired, world.final_fault)
    };
    let expected = match error {
        // Why it is read-only was heard before, maybe by a step.
        Error::ReadOnly { .. } => final_fault,
        Error::Io { .. } => fired,
        _ => false,
    };
    if !expected && !disk.is_dead() {
        world.violate(stuck(call, error));
    }
}
