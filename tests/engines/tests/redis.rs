//! The servers of the tests do what tests ask of them.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use sterna_test_engines::redis::{RedisCluster, RedisServer};

#[test]
fn a_server_forgets_at_its_end_and_comes_back_on_its_port() {
    let mut server = RedisServer::start();
    server.command::<()>(&["SET", "key", "value"]);
    server.kill();
    assert!(server.try_command::<()>(&["PING"]).is_err());
    server.restart();
    assert_eq!(server.command::<Option<String>>(&["GET", "key"]), None);
}

#[test]
fn a_paused_server_answers_when_it_goes_on() {
    let server = RedisServer::start();
    server.pause();
    std::thread::scope(|scope| {
        let answer = scope.spawn(|| server.command::<String>(&["PING"]));
        server.resume();
        assert_eq!(answer.join().unwrap(), "PONG");
    });
}

#[test]
fn a_slot_of_a_cluster_moves_with_its_keys() {
    let cluster = RedisCluster::start();
    let slot: u16 = cluster.nodes[0].command(&["CLUSTER", "KEYSLOT", "key"]);
    let from = cluster.owner(slot);
    let to = (from + 1) % 3;
    cluster.nodes[from].command::<()>(&["SET", "key", "value"]);
    cluster.begin_move(slot, from, to);
    cluster.move_keys(slot, from, to);
    let asked = cluster.nodes[from].try_command::<String>(&["GET", "key"]).unwrap_err();
    assert!(asked.to_string().to_lowercase().contains("ask"), "{asked}");
    cluster.end_move(slot, to);
    assert_eq!(cluster.owner(slot), to);
    assert_eq!(cluster.nodes[to].command::<String>(&["GET", "key"]), "value");
}

#[test]
fn servers_end_with_a_test_process_that_is_killed() {
    let this = std::env::current_exe().unwrap();
    let mut other = Command::new(this)
        .args(["--exact", "starts_a_server_for_another_test", "--nocapture"])
        .env(FOR_ANOTHER, "yes")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(other.stdout.take().unwrap()).lines();
    let mut ids = lines.map_while(Result::ok).filter_map(|line| {
        // The test's name may stand before it, on the same line.
        line.split_once(SERVER_IS).map(|(_, id)| id.to_owned())
    });
    let server = ids.next().unwrap();
    assert!(runs(&server));
    other.kill().unwrap();
    other.wait().unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while runs(&server) {
        assert!(Instant::now() < deadline, "process {server} outlives its test");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Not a test by itself: what the test above starts and kills.
#[test]
fn starts_a_server_for_another_test() {
    if std::env::var(FOR_ANOTHER).is_err() {
        return;
    }
    // Started and left by a thread that ends, as the threads of tests do.
    let server = std::thread::spawn(RedisServer::start).join().unwrap();
    println!(
        "{SERVER_IS}{}",
        server.command::<redis::InfoDict>(&["INFO", "server"]).get::<String>("process_id").unwrap()
    );
    loop {
        std::thread::park();
    }
}

/// Neither gone nor a zombie that nobody has waited for yet.
fn runs(id: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

const FOR_ANOTHER: &str = "STERNA_TEST_SERVER_FOR_ANOTHER";
const SERVER_IS: &str = "server process ";
