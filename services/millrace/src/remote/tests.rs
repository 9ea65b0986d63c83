//! Reads across processes: a real port on each side, rows in memory.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use millrace_api::Door;
use millrace_api::internal::internal_router;
use millrace_log::{Delivered, Record, TopicPartition};
use millrace_model::{ShardId, Timestamp};

use super::*;
use crate::hosts::HostRow;

/// Rows in memory.
struct Table(BTreeMap<Vec<u8>, Vec<u8>>);

impl StateView for Table {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        Ok(self.0.get(key).cloned())
    }

    fn scan(&self, lower: &[u8], upper: &[u8], limit: usize) -> Result<Vec<(Vec<u8>, Vec<u8>)>, StateError> {
        let rows = self.0.range(lower.to_vec()..upper.to_vec()).take(limit);
        Ok(rows.map(|(key, value)| (key.clone(), value.clone())).collect())
    }
}

fn row(number: u32) -> (Vec<u8>, Vec<u8>) {
    (number.to_be_bytes().to_vec(), vec![7; number as usize % 5])
}

/// An instance that has the named shards open, each with `rows` rows.
struct Instance {
    address: SocketAddr,
    // Both end with the test.
    _serving: tokio::runtime::Runtime,
    _reads: tokio::runtime::Runtime,
}

fn instance(open: &'static [u32], rows: u32, token: Option<&str>) -> Instance {
    let serving = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let reads = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let table: Reader = Arc::new(Table((0..rows).map(row).collect()));
    let own = OwnRows(move |shard: u32| open.contains(&shard).then(|| Arc::clone(&table)));
    let router = internal_router(Arc::new(own), token.map(str::to_owned), reads.handle().clone());
    let listener = serving.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    serving.spawn(millrace_api::serve(
        listener,
        router,
        Door {
            connections_max: 16,
            ..Door::default()
        },
    ));
    Instance {
        address,
        _serving: serving,
        _reads: reads,
    }
}

/// Peers of which each address claims shard 3, the last one latest.
fn peers(addresses: &[SocketAddr], token: Option<&str>) -> Peers {
    let hosts = Hosts::default();
    for (offset, address) in (0..).zip(addresses) {
        let claim = HostRow {
            instance: address.to_string(),
            address: format!("http://{address}"),
            shards: [3].into(),
            sinks: BTreeMap::new(),
            since: String::new(),
        };
        hosts.hear(&Delivered {
            source: TopicPartition {
                topic: "hosts".into(),
                partition: 0,
            },
            offset,
            timestamp: Timestamp(0),
            record: Record {
                key: Some(address.to_string().into()),
                value: Some(serde_json::to_vec(&claim).unwrap().into()),
                headers: Vec::new(),
            },
        });
    }
    Peers::new(Arc::new(hosts), token.map(str::to_owned)).unwrap()
}

fn refused(peers: &Peers) -> String {
    let error = peers.reader(ShardId(3)).unwrap().get(&row(1).0).unwrap_err();
    let StateError::Away(why) = error else { panic!("{error:?}") };
    why.to_string()
}

#[test]
fn rows_read_elsewhere_are_those_that_are_there() {
    let many = 2 * ROWS_MAX as u32 + 3;
    let owner = instance(&[3], many, None);
    let reader = peers(&[owner.address], None).reader(ShardId(3)).unwrap();
    assert_eq!(reader.get(&row(6).0).unwrap(), Some(row(6).1));
    assert_eq!(reader.get(&row(many).0).unwrap(), None);
    assert_eq!(reader.get(&row(5).0).unwrap(), Some(Vec::new()), "an empty value is not a missing row");
    let end = u32::MAX.to_be_bytes();
    for limit in [0, 1, ROWS_MAX, ROWS_MAX + 1, usize::MAX] {
        let expected: Vec<_> = (1..many).map(row).take(limit).collect();
        assert_eq!(reader.scan(&row(1).0, &end, limit).unwrap(), expected, "limit {limit}");
    }
    assert_eq!(reader.scan(&row(4).0, &row(6).0, 10).unwrap(), [row(4), row(5)]);
}

#[test]
fn who_has_it_no_longer_is_passed_over_once() {
    let (owner, former) = (instance(&[3], 9, None), instance(&[2], 9, None));
    let reader = peers(&[owner.address, former.address], None).reader(ShardId(3)).unwrap();
    assert_eq!(
        reader.get(&row(4).0).unwrap(),
        Some(row(4).1),
        "the former owner claimed last and says it is not there"
    );
    let said = refused(&peers(&[former.address], None));
    assert!(said.contains("shard 3") && said.contains("has it no longer"), "{said}");
}

#[test]
fn an_owner_that_is_away_is_named() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let said = refused(&peers(&[nobody], None));
    assert!(said.contains("shard 3") && said.contains(&nobody.to_string()), "{said}");
    assert!(peers(&[], None).reader(ShardId(3)).is_none(), "a shard that nobody claims has no reader");
}

#[test]
fn rows_are_for_those_who_show_the_token() {
    let owner = instance(&[3], 9, Some("open sesame"));
    for wrong in [None, Some("open"), Some("open sesamf")] {
        let said = refused(&peers(&[owner.address], wrong));
        assert!(said.contains("internal_token"), "{said}");
    }
    let reader = peers(&[owner.address], Some("open sesame")).reader(ShardId(3)).unwrap();
    assert_eq!(reader.get(&row(4).0).unwrap(), Some(row(4).1));
}
