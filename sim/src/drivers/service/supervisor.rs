//! Everything that goes wrong, and the end of a run: once it stops, every batch must be acknowledged and be there.

use super::world::World;
use super::{client, collector, event, wire};
use crate::choice::Concern;
use crate::disk::{Armed, IoKind, When};
use crate::drivers::{Step, findings, stuck};
use crate::fault::Fault;
use crate::model::{Verdict, Violation, Witness};
use crate::record::Event;
use madsim::net::NetSim;
use madsim::runtime::{Handle, NodeHandle};
use madsim::task::{JoinHandle, NodeId};
use madsim::time::{Duration, sleep};
use tidewall::inspect;

/// How often the supervisor looks whether the power has failed in an I/O or a promise was broken.
const LOOK_MS: u32 = 4;

/// Virtual time in which every batch must be acknowledged once nothing goes wrong any more, and a store opened.
const CALM_MS: u32 = 20_000;

/// The longest that a partition, a slow spell or a broken disk lasts.
const LATER_MS: u32 = 300;

/// Crashes in a recovery, in the recovery from that, and in that again.
const DEPTH: u32 = 3;

/// Runs a world to its end.
pub async fn run(world: World) -> Step {
    let of_node = world.clone();
    let handle = Handle::current();
    let service = handle
        .create_node()
        .name("collector")
        .ip(wire::collector().ip())
        .init(move || collector::run(of_node.clone()))
        .build();
    let count = world.lock().plan.clients;
    let nodes: Vec<NodeHandle> =
        (0..count).map(|client| handle.create_node().ip(wire::client(client).ip()).build()).collect();
    let clients =
        nodes.iter().zip(0..).map(|(node, client)| node.spawn(client::run(world.clone(), client))).collect();
    let nodes = nodes.iter().map(NodeHandle::id).collect();
    let supervisor = Supervisor { world, handle, service: service.id(), nodes, clients };
    let mut ended = supervisor.disturb().await;
    if ended.is_ok() {
        ended = supervisor.end().await;
    }
    supervisor.shut_down().await;
    ended
}

struct Supervisor {
    world: World,
    handle: Handle,
    service: NodeId,
    /// The clients' nodes.
    nodes: Vec<NodeId>,
    clients: Vec<JoinHandle<()>>,
}

/// Something that goes wrong.
#[derive(Clone, Copy, Debug)]
enum Disturbance {
    Kill,
    PowerCut,
    PowerCutInIo,
    Partition,
    SlowSpell,
    DiskError,
    NoSpace,
}

const DISTURBANCES: [(Disturbance, u32); 7] = [
    (Disturbance::Kill, 4),
    (Disturbance::PowerCut, 4),
    (Disturbance::PowerCutInIo, 8),
    (Disturbance::Partition, 4),
    (Disturbance::SlowSpell, 3),
    (Disturbance::DiskError, 4),
    (Disturbance::NoSpace, 1),
];

impl Supervisor {
    async fn disturb(&self) -> Step {
        let disturbances = self.world.lock().plan.disturbances;
        for _ in 0..disturbances {
            if !self.world.lock().chooser.begin_operation() {
                break;
            }
            self.wait(self.draw(Concern::Ops, 1, 120)).await?;
            if self.are_done() {
                break;
            }
            let weights = DISTURBANCES.map(|(_, weight)| weight);
            let (what, _) = DISTURBANCES[self.world.lock().chooser.weighted(Concern::Ops, &weights)];
            self.world.note(&[what as u64], || format!("supervisor: {what:?}"));
            match what {
                Disturbance::Kill => self.kill().await?,
                Disturbance::PowerCut => self.power_cut().await?,
                Disturbance::PowerCutInIo => {
                    let within = self.draw(Concern::Crash, 0, 12);
                    let when = self.when();
                    self.world.disk().arm_crash(within, when);
                }
                Disturbance::Partition => self.partition(),
                Disturbance::SlowSpell => self.slow_spell(),
                // What a commit is made of.
                Disturbance::DiskError => self.arm(&[IoKind::Write, IoKind::Sync], 6),
                Disturbance::NoSpace => {
                    let after = self.draw(Concern::Faults, 0, 3);
                    self.world.disk().arm_no_space(after);
                    self.heal_later();
                }
            }
        }
        Ok(())
    }

    /// Nothing goes wrong any more: every batch must be acknowledged, and the power fails once more.
    async fn end(&self) -> Step {
        self.world.note(&[], || "supervisor: nothing goes wrong any more".into());
        self.heal();
        self.until("every batch is acknowledged", || self.are_done()).await?;
        // Stragglers are still under way; the last power cut comes before some of them, and after others.
        self.wait(self.draw(Concern::Ops, 1, 400)).await?;
        self.heal();
        let boot = self.world.lock().boot;
        self.power_cut().await?;
        self.until("the store is open again", || self.world.lock().boot > boot).await?;
        self.look()
    }

    /// Waits for what must come about when nothing goes wrong.
    async fn until(&self, what: &str, is_so: impl Fn() -> bool) -> Step {
        for _ in 0..CALM_MS / LOOK_MS {
            if is_so() {
                return Ok(());
            }
            self.wait(LOOK_MS).await?;
        }
        let story = format!("not within {CALM_MS} ms: {what}");
        Err(Violation::new(Verdict::Stuck, "clients are served", story))
    }

    /// Ends every task. madsim's timers own the tasks that wait for them, tasks own their endpoints, and endpoints own
    /// the timers: what is not ended in here would never be freed.
    async fn shut_down(&self) {
        self.handle.kill(self.service);
        self.nodes.iter().for_each(|client| self.handle.kill(*client));
        sleep(Duration::from_millis((LATER_MS + 1).into())).await;
    }

    fn are_done(&self) -> bool {
        self.clients.iter().all(JoinHandle::is_finished)
    }

    fn draw(&self, concern: Concern, low: u32, high: u32) -> u32 {
        self.world.lock().chooser.between(concern, low, high)
    }

    fn when(&self) -> When {
        self.world.lock().chooser.pick(Concern::Crash, &[When::Before, When::After])
    }

    /// Ends the run if a promise was broken.
    fn look(&self) -> Step {
        self.world.lock().violation.take().map_or(Ok(()), Err)
    }

    /// Lets time pass. Should the power fail in an I/O meanwhile, the machine is started again.
    async fn wait(&self, ms: u32) -> Step {
        let mut left_ms = ms;
        while left_ms > 0 {
            let now_ms = left_ms.min(LOOK_MS);
            sleep(Duration::from_millis(now_ms.into())).await;
            left_ms -= now_ms;
            self.look()?;
            if self.world.disk().is_dead() {
                self.power_cut().await?;
            }
        }
        Ok(())
    }

    /// The process dies, the machine does not.
    async fn kill(&self) -> Step {
        self.world.lock().faults.count(Fault::Kill, true);
        self.world.lock().count(event::KILLS, true);
        self.world.timeline().record(|| Event::Killed);
        self.restart().await
    }

    /// The power fails, or has failed; the machine comes up with what survives, maybe to fail again in recovery.
    async fn power_cut(&self) -> Step {
        for depth in 0..=DEPTH {
            let in_recovery = if depth == 0 { Fault::CrashRecovery } else { Fault::CrashNested };
            {
                let world = &mut *self.world.lock();
                world.power_cut();
                world.is_opening = false;
            }
            self.inspect()?;
            let again = depth < DEPTH && self.world.lock().chooser.chance(Concern::Crash, 64);
            if again {
                let within = self.draw(Concern::Crash, 0, 16);
                self.world.disk().arm_crash(within, self.when());
                self.world.lock().faults.arm(in_recovery);
            }
            self.restart().await?;
            if !again {
                break;
            }
            // Long enough for an opening.
            sleep(Duration::from_millis(LOOK_MS.into())).await;
            let world = &mut *self.world.lock();
            if !world.disk.is_dead() {
                break;
            }
            if world.is_opening {
                world.faults.fire(in_recovery);
            }
        }
        Ok(())
    }

    /// Now and then: a crash damages nothing, every checksum and every reference of the surviving disk holds.
    fn inspect(&self) -> Step {
        let world = &mut *self.world.lock();
        // Before the first opening has ended there may be no manifest.
        if world.boot == 0 || !world.chooser.chance(Concern::Crash, 48) {
            return Ok(());
        }
        let inspection = inspect(&world.disk).map_err(|error| stuck("inspect", &error))?;
        world.counts.inspections += 1;
        world.counts.chunks += inspection.chunks.len() as u64;
        let damage = inspection.damage.first().map(|damage| {
            findings::record(self.world.timeline(), &world.disk, world.plant);
            let story = format!("the disk that a crash left is damaged: {damage}");
            Violation::new(Verdict::Lost, "I4", story).about(Witness::place(damage))
        });
        damage.map_or(Ok(()), Err)
    }

    /// Kills what is left of the process and starts it again.
    async fn restart(&self) -> Step {
        self.handle.kill(self.service);
        let disk = self.world.disk();
        let before = disk.io_ops();
        let down_ms = self.draw(Concern::Ops, 1, 60);
        // madsim drops the killed tasks meanwhile, and a dead process writes nothing.
        sleep(Duration::from_millis(down_ms.into())).await;
        if disk.io_ops() != before {
            let story = "a killed engine went to the disk while it was dropped";
            return Err(Violation::new(Verdict::Stuck, "Drop flushes nothing", story));
        }
        if self.world.lock().chooser.chance(Concern::Faults, 48) {
            self.arm(&IoKind::ALL, 3);
        }
        self.world.lock().count(event::RESTARTS, true);
        self.handle.restart(self.service);
        Ok(())
    }

    /// Cuts the network, in one direction or in both, for one client or for all.
    fn partition(&self) {
        self.world.lock().count(event::PARTITIONS, true);
        let client = self.draw(Concern::Faults, 0, self.nodes.len() as u32) as usize;
        let cut = self.nodes.get(client).map_or(&self.nodes[..], std::slice::from_ref).to_vec();
        let direction = self.draw(Concern::Faults, 0, 2);
        let (requests, replies) = (direction != 1, direction != 2);
        let (net, service) = (NetSim::current(), self.service);
        for client in &cut {
            if requests {
                net.clog_link(*client, service);
            }
            if replies {
                net.clog_link(service, *client);
            }
        }
        self.world.note(&[client as u64, direction.into()], || {
            format!("supervisor: requests cut: {requests}, replies cut: {replies}, clients: {}", cut.len())
        });
        self.later(move |_| {
            for client in &cut {
                net.unclog_link(*client, service);
                net.unclog_link(service, *client);
            }
        });
    }

    /// Datagrams take long and overtake each other, and some are lost.
    fn slow_spell(&self) {
        self.world.lock().count(event::SLOW_SPELLS, true);
        let latency_ms = self.draw(Concern::Faults, 20, 250);
        let lost_percent = self.draw(Concern::Faults, 0, 50);
        NetSim::current().update_config(|config| {
            config.send_latency.end = Duration::from_millis(latency_ms.into());
            config.packet_loss_rate = f64::from(lost_percent) / 100.0;
        });
        self.later(|_| calm_network());
    }

    /// Sets up an I/O error of one of these kinds, for a while.
    fn arm(&self, kinds: &[IoKind], within: u32) {
        let armed = {
            let chooser = &mut self.world.lock().chooser;
            let kind = chooser.pick(Concern::Faults, kinds);
            Armed::draw(chooser, kind, within)
        };
        self.world.note(&[], || format!("supervisor: {armed:?}"));
        self.world.disk().arm(armed);
        self.heal_later();
    }

    fn heal_later(&self) {
        self.later(|world| world.disk().heal());
    }

    /// Does something after a drawn time, whatever the supervisor does meanwhile.
    fn later(&self, what: impl FnOnce(&World) + Send + 'static) {
        let world = self.world.clone();
        let after_ms = self.draw(Concern::Ops, 10, LATER_MS);
        madsim::task::spawn(async move {
            sleep(Duration::from_millis(after_ms.into())).await;
            world.note(&[], || "supervisor: it is over".into());
            what(&world);
        });
    }

    fn heal(&self) {
        self.world.disk().heal();
        calm_network();
        let net = NetSim::current();
        for client in &self.nodes {
            net.unclog_link(*client, self.service);
            net.unclog_link(self.service, *client);
        }
    }
}

fn calm_network() {
    NetSim::current().update_config(|config| *config = madsim::Config::default().net);
}
