//! SQLite with a write-ahead log. One writer at a time, a connection for each.

use super::keyed::{Gathered, Put};
use super::{Options, Store, Writer};
use crate::Result;
use rusqlite::{Connection, params};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;
use tidewall::Point;

struct Sqlite {
    path: PathBuf,
    reader: Mutex<Connection>,
}

pub fn open(dir: &Path, _: Options) -> Result<Box<dyn Store>> {
    let path = dir.join("sqlite");
    let connection = connect(&path)?;
    connection.execute_batch(
        "CREATE TABLE IF NOT EXISTS points (tag INTEGER, ts_us INTEGER, value REAL, quality INTEGER, \
         PRIMARY KEY (tag, ts_us)) WITHOUT ROWID; \
         CREATE TABLE IF NOT EXISTS syncs (one INTEGER PRIMARY KEY, count INTEGER); \
         INSERT OR IGNORE INTO syncs VALUES (1, 0);",
    )?;
    Ok(Box::new(Sqlite { path, reader: Mutex::new(connection) }))
}

fn connect(path: &Path) -> Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(Duration::from_secs(60))?;
    connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get::<_, String>(0))?;
    connection.execute_batch("PRAGMA synchronous = NORMAL")?;
    Ok(connection)
}

impl Store for Sqlite {
    fn writer(&self) -> Result<Box<dyn Writer + Send + '_>> {
        Ok(Box::new(Gathered::new(SqlitePut(connect(&self.path)?))))
    }

    fn query(&self, tag: u32, from_us: i64, to_us: i64) -> Result<Vec<Point>> {
        let reader = self.reader.lock().expect("no panic");
        let mut select = reader.prepare_cached(
            "SELECT ts_us, value, quality FROM points WHERE tag = ?1 AND ts_us >= ?2 AND ts_us < ?3 ORDER BY ts_us",
        )?;
        let rows = select.query_map(params![tag, from_us, to_us], |row| {
            Ok(Point { tag, ts_us: row.get(0)?, value: row.get(1)?, quality: row.get(2)? })
        })?;
        Ok(rows.collect::<std::result::Result<_, _>>()?)
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.reader.into_inner().expect("no panic").close().map_err(|(_, error)| error.into())
    }
}

struct SqlitePut(Connection);

impl Put for SqlitePut {
    fn put(&mut self, points: &[Point], durable: bool) -> Result<()> {
        if durable {
            // The commit syncs the log, and with it every earlier commit in it.
            self.0.execute_batch("PRAGMA synchronous = FULL")?;
        }
        self.0.execute_batch("BEGIN IMMEDIATE")?;
        {
            let mut insert =
                self.0.prepare_cached("INSERT OR REPLACE INTO points VALUES (?1, ?2, ?3, ?4)")?;
            for point in points {
                insert.execute(params![point.tag, point.ts_us, point.value, point.quality])?;
            }
            if points.is_empty() {
                self.0.execute("UPDATE syncs SET count = count + 1", [])?;
            }
        }
        self.0.execute_batch("COMMIT")?;
        if durable {
            self.0.execute_batch("PRAGMA synchronous = NORMAL")?;
        }
        Ok(())
    }
}
