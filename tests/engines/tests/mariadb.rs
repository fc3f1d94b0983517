//! The server of the storage tests itself: it keeps what was committed, and it ends.

// Helpers of tests are tests, too.
#![allow(clippy::unwrap_used)]

use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use sterna_test_engines::MariaDb;

#[test]
fn a_server_keeps_its_data_over_a_kill_and_ends_with_its_handle() {
    let server = MariaDb::start();
    let url = server.fresh_url();
    assert!(url.contains(&format!("127.0.0.1:{}/", server.port())), "{url}");
    server.execute("CREATE TABLE test0.t (n INT); INSERT INTO test0.t VALUES (7)");
    server.restart();
    assert_eq!(server.execute("SELECT n FROM test0.t").trim(), "7");
    server.pause();
    server.go_on();
    assert_eq!(server.execute("SELECT n FROM test0.t").trim(), "7");
    let port = server.port();
    drop(server);
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
}

#[test]
fn a_server_ends_with_its_test_process_also_when_that_is_killed() {
    if std::env::var_os(INNER).is_some() {
        println!("port {}", MariaDb::shared().port());
        loop {
            std::thread::park();
        }
    }
    let name = "a_server_ends_with_its_test_process_also_when_that_is_killed";
    let mut inner = Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture"])
        .env(INNER, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let told = std::io::BufRead::lines(std::io::BufReader::new(inner.stdout.take().unwrap()));
    let port = told
        .map(Result::unwrap)
        .find_map(|line| line.split("port ").nth(1)?.trim().parse::<u16>().ok())
        .unwrap();
    assert!(TcpStream::connect(("127.0.0.1", port)).is_ok());
    inner.kill().unwrap();
    inner.wait().unwrap();
    while TcpStream::connect(("127.0.0.1", port)).is_ok() {
        std::thread::sleep(Duration::from_millis(20));
    }
}

const INNER: &str = "STERNA_TEST_ENGINES_INNER";
