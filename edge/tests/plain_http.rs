//! Connections over plain HTTP against a real edge: what goes through, who may connect, bad input, ends.

#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::http::{Events, HttpClient, JSON, PROTOBUF, Requests, encoded};
use common::wss::{self, WssClient};
use common::{TestEdge, hello, ping, publish, reply_to, subscribe, token, within};
use serde_json::{Value, json};
use sterna_core::SystemClock;
use sterna_core::{Clock as _, config::Rate, config::Rates};
use sterna_proto::{CloseReason, UserId, codec, v1, version};
use tokio::task::JoinSet;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_go_both_ways_whichever_worker_a_request_comes_to() {
    let edge = TestEdge::start().await;
    let mut client = HttpClient::start(&edge, "alice").await;
    let mut id = 1;
    // The kernel spreads them over both workers.
    for _ in 0..8 {
        let mut requests = Requests::connect(&edge).await;
        for _ in 0..3 {
            let pings: Vec<v1::Frame> = (id + 1..=id + 5).map(ping).collect();
            client.send(&mut requests, &pings).await;
            for _ in 0..5 {
                id += 1;
                assert!(reply_to(&client.receive().await, id).is_some());
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_can_speak_json() {
    let edge = TestEdge::start().await;
    let hello = json!({ "command": { "id": 1, "hello": {
        "accessToken": token("alice"), "clientId": "terminal"
    } } });
    let mut events = Events::open(&edge, &[JSON], hello.to_string()).await;
    let mut next = async || {
        let (name, data) = events.next().await.unwrap();
        (name, serde_json::from_str::<Value>(&data).unwrap())
    };
    let (name, open) = next().await;
    assert_eq!((name.as_str(), &open["keep_alive_ms"]), ("open", &json!(15_000)));
    let stream = open["stream"].as_str().unwrap();
    let (name, welcome) = next().await;
    assert_eq!((name.as_str(), &welcome["reply"]["welcome"]["user"]), ("", &json!("alice")));
    let body = (2..5).map(|id| json!({ "command": { "id": id, "ping": {} } }).to_string());
    let fields = [JSON, ("sterna-stream", stream), ("sterna-sequence", "1")];
    let mut requests = Requests::connect(&edge).await;
    let body = body.collect::<Vec<_>>().join("\n");
    assert_eq!(requests.told("POST", &fields, body).await.0, 204);
    for id in 2..5 {
        assert_eq!(next().await.1["reply"]["id"], id);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i3_a_repeated_request_is_handled_once_and_a_skipped_one_is_told_so() {
    let edge = TestEdge::start().await;
    let mut client = HttpClient::start(&edge, "alice").await;
    let mut requests = Requests::connect(&edge).await;
    let skipped = requests.told("POST", &client.fields("2"), encoded(&[ping(2)])).await;
    assert_eq!(skipped.0, 409);
    assert!(skipped.1["error"]["message"].as_str().unwrap().contains("request 1"), "{skipped:?}");
    for _ in 0..3 {
        let told = requests.told("POST", &client.fields("1"), encoded(&[ping(2)])).await;
        assert_eq!(told, (204, Value::Null));
    }
    client.number = 1;
    client.send(&mut requests, &[ping(3)]).await;
    assert!(reply_to(&client.receive().await, 2).is_some());
    assert!(reply_to(&client.receive().await, 3).is_some(), "command 2 was handled once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_goes_from_wss_over_http_and_back() {
    let edge = TestEdge::start().await;
    let (mut wss, first) = over_wss(&edge, hello("alice")).await;
    wss.send(&[subscribe(2, "room:1"), publish(3, "room:1", b"1".to_vec())]).await;
    assert_eq!(published_at(wss.reply(3).await), 1);
    let (mut http, second) = HttpClient::begin(&edge, with_ticket(&first)).await;
    assert!(second.resumed, "{second:?}");
    assert_eq!(second.session_id, first.session_id);
    assert_eq!(wss::close_reason(&mut wss.socket).await, CloseReason::Superseded);
    let mut requests = Requests::connect(&edge).await;
    http.send(&mut requests, &[publish(4, "room:1", b"2".to_vec())]).await;
    assert_eq!(published_at(http.reply(4).await), 2);
    let (_wss, third) = over_wss(&edge, with_ticket(&second)).await;
    assert!(third.resumed, "{third:?}");
    assert_eq!(third.session_id, first.session_id);
    assert_eq!(http.events.close_code().await, u64::from(CloseReason::Superseded.code()));
}

async fn over_wss(edge: &TestEdge, hello: v1::Frame) -> (WssClient, v1::Welcome) {
    let socket = wss::connect(edge, version::SUBPROTOCOL_PROTOBUF).await;
    let mut client = WssClient::on(socket);
    client.send(&[hello]).await;
    match client.reply(1).await {
        v1::reply::Result::Welcome(welcome) => (client, welcome),
        other => panic!("no welcome but {other:?}"),
    }
}

fn with_ticket(welcome: &v1::Welcome) -> v1::Frame {
    let hello = v1::Hello {
        access_token: token("alice"),
        client_id: "alice-device".into(),
        resume_ticket: welcome.resume_ticket.clone(),
        ..Default::default()
    };
    v1::Frame::command(1, v1::command::Verb::Hello(hello))
}

fn published_at(reply: v1::reply::Result) -> u64 {
    match reply {
        v1::reply::Result::Published(published) => published.offset,
        other => panic!("not published: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_requests_get_typed_errors_and_end_nothing() {
    let edge = TestEdge::start().await;
    let mut client = HttpClient::start(&edge, "alice").await;
    let mut requests = Requests::connect(&edge).await;
    let one = encoded(&[ping(2)]);
    let stream = (version::HTTP_STREAM_FIELD, client.stream.as_str());
    let first = (version::HTTP_SEQUENCE_FIELD, "1");
    let foreign = (version::HTTP_STREAM_FIELD, "00000000000000000000000000000000");
    let torn = one[..one.len() - 1].to_vec();
    let cases = [
        ("POST", vec![PROTOBUF], Vec::new(), 400, "BAD_REQUEST"),
        ("POST", vec![PROTOBUF], vec![0xff; 50], 400, "BAD_REQUEST"),
        ("POST", vec![("content-type", "text/plain")], one.clone(), 415, "BAD_REQUEST"),
        ("POST", vec![], one.clone(), 415, "BAD_REQUEST"),
        ("POST", vec![PROTOBUF, foreign, first], one.clone(), 404, "BAD_REQUEST"),
        ("POST", vec![PROTOBUF, ("sterna-stream", "?"), first], one.clone(), 404, "BAD_REQUEST"),
        ("POST", vec![PROTOBUF, stream], one.clone(), 400, "BAD_REQUEST"),
        ("POST", vec![JSON, stream, first], one.clone(), 415, "BAD_REQUEST"),
        ("POST", vec![PROTOBUF, stream, first], torn, 400, "BAD_REQUEST"),
        ("POST", vec![PROTOBUF, stream, first], vec![0; 300 * 1024], 413, "TOO_LARGE"),
        ("POST", vec![PROTOBUF], vec![0; 70 * 1024], 413, "TOO_LARGE"),
        ("DELETE", vec![foreign], Vec::new(), 404, "BAD_REQUEST"),
        ("DELETE", vec![], Vec::new(), 405, "BAD_REQUEST"),
        ("PUT", vec![PROTOBUF], one.clone(), 405, "BAD_REQUEST"),
    ];
    for (method, fields, body, status, name) in cases {
        // What has not read a body may end the connection.
        let mut requests = Requests::connect(&edge).await;
        let (told, answer) = requests.told(method, &fields, body).await;
        let said = format!("{method} {fields:?}: {answer}");
        assert_eq!((told, answer["error"]["name"].as_str()), (status, Some(name)), "{said}");
    }
    client.send(&mut requests, &[ping(2)]).await;
    assert!(reply_to(&client.receive().await, 2).is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_pages_of_allowed_origins_get_in_and_see_answers() {
    let edge = TestEdge::start().await;
    let mut requests = Requests::connect(&edge).await;
    let app = ("origin", "https://app.example.com");
    let evil = ("origin", "https://evil.example");
    let preflight = ("access-control-request-method", "POST");
    let path = version::HTTP_PATH;
    let answer = requests.ask("OPTIONS", path, &[app, preflight], "").await;
    assert_eq!(answer.status(), 204);
    assert_eq!(answer.headers()["access-control-allow-origin"], app.1);
    assert_eq!(answer.headers()["access-control-allow-methods"], "GET, POST, DELETE");
    let answer = requests.ask("GET", path, &[app], "").await;
    assert_eq!(answer.status(), 204);
    assert_eq!(answer.headers()["access-control-allow-origin"], app.1);
    let answer = requests.ask("GET", path, &[], "").await;
    assert_eq!(answer.status(), 204);
    assert!(!answer.headers().contains_key("access-control-allow-origin"));
    // A refusal is seen by the page, too, where its origin is allowed.
    let answer = requests.ask("POST", path, &[app, PROTOBUF], "").await;
    assert_eq!(answer.headers()["access-control-allow-origin"], app.1);
    for method in ["OPTIONS", "GET", "POST", "DELETE"] {
        let answer = requests.ask(method, path, &[evil, preflight, PROTOBUF], "").await;
        assert!(!answer.headers().contains_key("access-control-allow-origin"), "{method}");
        let (status, told) = common::http::whole(answer).await;
        let name = told["error"]["name"].as_str();
        assert_eq!((status, name), (403, Some("PERMISSION_DENIED")), "{method}: {told}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_request_of_ours_gets_one_line() {
    let edge = TestEdge::start().await;
    for (method, path, status) in
        [("POST", "/elsewhere", 404), ("POST", "/", 404), ("POST", version::WEBSOCKET_PATH, 400)]
    {
        let mut requests = Requests::connect(&edge).await;
        let answer = requests.ask(method, path, &[], "").await;
        assert_eq!(answer.status().as_u16(), status, "{method} {path}");
        requests.ended().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_token_is_told_as_the_last_event() {
    let edge = TestEdge::start().await;
    let bad =
        v1::Hello { access_token: "a.b.c".into(), client_id: "x".into(), ..Default::default() };
    let hello = v1::Frame::command(1, v1::command::Verb::Hello(bad));
    for (frame, reason) in
        [(hello, CloseReason::Unauthorized), (ping(1), CloseReason::ProtocolError)]
    {
        let mut events = Events::open(&edge, &[PROTOBUF], codec::encode_to_bytes(&frame)).await;
        assert_eq!(events.close_code().await, u64::from(reason.code()));
    }
    nobody_is_left(&edge).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i11_a_revocation_ends_it() {
    let edge = TestEdge::start().await;
    let mut client = HttpClient::start(&edge, "alice").await;
    let user = UserId::new("alice").unwrap();
    edge.node.revoke(&user, SystemClock.unix_ms()).await.unwrap();
    assert_eq!(client.events.close_code().await, u64::from(CloseReason::Revoked.code()));
    let mut requests = Requests::connect(&edge).await;
    let told = requests.told("POST", &client.fields("1"), encoded(&[ping(2)])).await;
    assert_eq!(told.0, 404, "{told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_leaves_has_left_and_who_is_gone_is_noticed() {
    let edge = TestEdge::start().await;
    let mut client = HttpClient::start(&edge, "alice").await;
    let mut requests = Requests::connect(&edge).await;
    let stream = [(version::HTTP_STREAM_FIELD, client.stream.as_str())];
    assert_eq!(requests.told("DELETE", &stream, "").await, (204, Value::Null));
    assert_eq!(client.events.close_code().await, u64::from(CloseReason::Normal.code()));
    let gone = HttpClient::start(&edge, "bob").await;
    drop(requests);
    drop(gone);
    nobody_is_left(&edge).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silence_ends_it_and_a_request_without_frames_is_a_sign_of_life() {
    let edge = TestEdge::start_with(|settings| {
        settings.edge.limits.idle_timeout = Duration::from_millis(800);
    })
    .await;
    let mut client = HttpClient::start(&edge, "alice").await;
    // Longer than the silence that is allowed, with a request every now and then.
    let mut requests = Requests::connect(&edge).await;
    let until = tokio::time::Instant::now() + Duration::from_millis(2000);
    while tokio::time::Instant::now() < until {
        client.send(&mut requests, &[]).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    client.send(&mut requests, &[ping(2)]).await;
    client.reply(2).await;
    drop(requests);
    assert_eq!(client.events.close_code().await, u64::from(CloseReason::IdleTimeout.code()));
    nobody_is_left(&edge).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_is_for_those_who_say_hello_or_name_one_that_has() {
    let edge = TestEdge::start_with(|settings| {
        settings.edge.limits.hello_deadline = Duration::from_millis(700);
    })
    .await;
    let mut client = HttpClient::start(&edge, "alice").await;
    let mut known = Requests::connect(&edge).await;
    client.send(&mut known, &[ping(2)]).await;
    let mut strange = Requests::connect(&edge).await;
    assert_eq!(strange.told("GET", &[], "").await.0, 204);
    let foreign = (version::HTTP_STREAM_FIELD, "00000000000000000000000000000000");
    assert_eq!(strange.told("POST", &[PROTOBUF, foreign], "").await.0, 404);
    strange.ended().await;
    client.send(&mut known, &[ping(3)]).await;
    client.reply(3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_lets_who_is_there_go_on_and_refuses_others() {
    let edge = TestEdge::start().await;
    let mut client = HttpClient::start(&edge, "alice").await;
    let mut requests = Requests::connect(&edge).await;
    client.send(&mut requests, &[ping(2)]).await;
    client.reply(2).await;
    let mut drain = JoinSet::new();
    drain.spawn(edge.edge.drain(Duration::from_secs(600), "other:1".into()));
    let goaway = loop {
        let frame = client.receive().await;
        if let Some(v1::frame::Body::Push(v1::Push {
            event: Some(v1::push::Event::GoAway(it)),
            ..
        })) = frame.body
        {
            break it;
        }
    };
    assert_eq!(goaway.successor, "other:1");
    // What it had to say still gets there, on the connection that it has.
    client.send(&mut requests, &[publish(3, "room:1", b"last".to_vec())]).await;
    let published = client.reply(3).await;
    assert!(matches!(published, v1::reply::Result::Published(_)), "{published:?}");
    let refused = requests.told("POST", &[PROTOBUF], encoded(&[hello("bob")])).await;
    assert_eq!((refused.0, &refused.1["error"]["name"]), (503, &json!("DRAINING")));
    let stream = [(version::HTTP_STREAM_FIELD, client.stream.as_str())];
    assert_eq!(requests.told("DELETE", &stream, "").await.0, 204);
    drop(client);
    // Nobody is left who would have something to send, so this connection is not waited for.
    requests.ended().await;
    assert!(within("the drain", drain.join_next()).await.unwrap().unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_that_is_over_is_told_as_the_last_event() {
    let edge = TestEdge::start().await;
    let mut client = HttpClient::start(&edge, "alice").await;
    let requests = Requests::connect(&edge).await;
    let mut drain = JoinSet::new();
    drain.spawn(edge.edge.drain(Duration::from_millis(200), String::new()));
    assert_eq!(client.events.close_code().await, u64::from(CloseReason::Drained.code()));
    requests.ended().await;
    assert!(
        within("the drain", drain.join_next()).await.unwrap().unwrap(),
        "no worker was left with a connection"
    );
}

/// A session that takes no more commands does not read them; its client is told to come back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_wait_for_a_session_that_is_busy_and_more_than_two_are_refused() {
    let edge = TestEdge::start_with(|settings| {
        let rate = Rate { per_second: 1_000_000, burst: 1_000_000 };
        settings.core.rates =
            Rates { publish: rate, user_publish: rate, command: rate, ephemeral: rate, sync: rate };
        settings.core.slow_after = Duration::from_secs(600);
    })
    .await;
    let client = HttpClient::start(&edge, "alice").await;
    // Nobody reads the answers: they fill what there is for them, and then nothing more is taken.
    let mut id = 1;
    let mut number = 0;
    let mut requests = Requests::connect(&edge).await;
    let busy = loop {
        number += 1;
        assert!(number < 2000, "it takes everything");
        let pings: Vec<v1::Frame> = (id + 1..=id + 5000).map(ping).collect();
        id += 5000;
        let fields = client.fields(&number.to_string()).map(|(a, b)| (a.to_owned(), b.to_owned()));
        let fields: Vec<(&str, &str)> = fields.iter().map(|(a, b)| (&**a, &**b)).collect();
        let told = requests.told("POST", &fields, encoded(&pings)).await;
        if told.0 != 204 {
            break told;
        }
    };
    assert_eq!((busy.0, &busy.1["error"]["name"]), (503, &json!("BUSY")), "{busy:?}");
    let next = (number + 1).to_string();
    let second = requests.told("POST", &client.fields(&next), encoded(&[ping(1)])).await;
    assert_eq!(second.0, 503, "it waits behind the other: {second:?}");
    let third = requests.told("POST", &client.fields(&next), encoded(&[ping(1)])).await;
    assert_eq!((third.0, &third.1["error"]["name"]), (429, &json!("BUSY")), "{third:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_stops_is_closed_as_slow_while_another_is_served() {
    let edge = TestEdge::start_with(|settings| {
        settings.core.slow_after = Duration::from_millis(400);
        settings.workers = 1;
    })
    .await;
    let mut slow = HttpClient::start(&edge, "slow").await;
    let mut requests = Requests::connect(&edge).await;
    slow.send(&mut requests, &[subscribe(2, "room:1")]).await;
    slow.reply(2).await;
    let mut fast = WssClient::start(&edge, "fast").await;
    let mut id = 1;
    within("the slow one is closed", async {
        loop {
            id += 1;
            fast.send(&[publish(id, "room:1", vec![0; 60_000])]).await;
            fast.reply(id).await;
            // Whoever was closed is not found any more.
            let stream = [(version::HTTP_STREAM_FIELD, slow.stream.as_str())];
            let fields = [stream[0], PROTOBUF, (version::HTTP_SEQUENCE_FIELD, "1")];
            if requests.told("POST", &fields, "").await.0 == 404 {
                break;
            }
        }
    })
    .await;
}

async fn nobody_is_left(edge: &TestEdge) {
    within("the end of all connections", async {
        while edge.edge.connection_count() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}
