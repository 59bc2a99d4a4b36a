//! The engine of this repository, with its default configuration.

use super::{Options, Shape, Store, Writer};
use crate::Result;
use std::path::Path;
use std::sync::Arc;
use tidewall::disk::RealDisk;
use tidewall::{Config, Durability, Engine, Point};

struct Tidewall {
    engine: Engine,
    options: Options,
}

/// For a collector that hands over what has arrived in one call, whatever the tags.
pub fn open_for_calls(dir: &Path, options: Options) -> Result<Box<dyn Store>> {
    open(dir, Options { shape: Shape::Batches, ..options })
}

pub fn open(dir: &Path, options: Options) -> Result<Box<dyn Store>> {
    let durability = if options.immediate { Durability::Immediate } else { Durability::Batched };
    let engine = Engine::open(Arc::new(RealDisk::new(dir)?), Config { durability, ..Config::default() })?;
    Ok(Box::new(Tidewall { engine, options }))
}

impl Store for Tidewall {
    fn writer(&self) -> Result<Box<dyn Writer + Send + '_>> {
        Ok(match self.options.shape {
            Shape::Points => Box::new(Single(self)),
            Shape::Batches => Box::new(Batched(self)),
        })
    }

    fn query(&self, tag: u32, from_us: i64, to_us: i64) -> Result<Vec<Point>> {
        Ok(self.engine.query(tag, from_us..to_us)?)
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(self.engine.close()?)
    }
}

/// One call for each point.
struct Single<'a>(&'a Tidewall);

impl Writer for Single<'_> {
    fn write(&mut self, points: &[Point]) -> Result<()> {
        for point in points {
            self.0.engine.write(*point)?;
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        self.0.sync()
    }
}

/// One call for each batch.
struct Batched<'a>(&'a Tidewall);

impl Writer for Batched<'_> {
    fn write(&mut self, points: &[Point]) -> Result<()> {
        Ok(self.0.engine.write_batch(points)?)
    }

    fn sync(&mut self) -> Result<()> {
        self.0.sync()
    }
}

impl Tidewall {
    fn sync(&self) -> Result<()> {
        // With immediate durability `write` has done it.
        if self.options.immediate { Ok(()) } else { Ok(self.engine.sync()?) }
    }
}
