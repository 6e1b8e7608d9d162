//! Burrow's API, proven against a real Burrow and by golden answers.
//!
//! Debian's Burrow 1.2.1 and lagline watch the same Kafka; every path, method and error is asked of
//! both and compared: status, headers, keys and their order, how numbers are written, and every
//! value. What may differ is written down in `requests::listed`, with the reason. What 1.2.1 does not have
//! is in `golden`; what Telegraf makes of the answers in `telegraf`.

mod access;
mod exposition;
mod golden;
mod node;
mod requests;
mod telegraf;
mod world;

use std::time::Duration;

use crate::lagline::LIMIT;
use crate::services::http::Response;
use crate::services::wait;
use node::Node;
use requests::{Compare, Request};
use world::{CLUSTER, RESTING, World};

/// Headers that lagline sends beyond Burrow's, or that differ by nature, are not compared:
/// `Date`, `Content-Length` (of bodies that are compared), `X-Content-Type-Options` and
/// `Access-Control-Allow-Origin`, which lagline sends with every answer and Burrow with JSON.
const HEADERS: [&str; 3] = ["content-type", "location", "allow"];

/// Many beats, of either.
const SOON: Duration = Duration::from_secs(20);

/// Fields of the current Burrow that 1.2.1 does not have.
const NEWER_FIELD: &str = "observedAt";

/// Everything in one test: the servers take far longer to start than to be asked.
#[test]
fn lagline_answers_as_burrow_does() {
    let world = World::start();
    wait::until_ok("both know every commit", LIMIT, || {
        for group in RESTING {
            let path = requests::group_path(group, "");
            compare(&world, &Request::get(&path))?;
            let path = requests::group_path(group, "/lag");
            compare(&world, &Request::get(&path))?;
        }
        Ok::<_, String>(())
    });
    for request in requests::all() {
        // A beat may have passed between the two answers.
        wait::until_ok(&request.to_string(), SOON, || compare(&world, &request));
    }
    golden::check(&world.lagline);
    telegraf::check(&world);
    exposition::check(&world.lagline);
    judged_alike_while_they_go_on(&world);
    deleted_and_back(&world);
    golden::topic_deleted(&world.lagline);
    exposition::check_gone(&world.lagline, "partial");
}

/// STALL, REWIND and WARN last only while the group commits.
fn judged_alike_while_they_go_on(world: &World) {
    world.fall_behind();
    for (group, status) in [
        ("stalled", "STALL"),
        ("rewound", "REWIND"),
        ("slow", "WARN"),
    ] {
        let request = Request::get(&requests::group_path(group, "/status"));
        let expected = format!("\"status\":\"{status}\"");
        let mut committed_at = None;
        wait::until_ok(&format!("both say that {group} is {status}"), LIMIT, || {
            let seen = world
                .lagline
                .group(CLUSTER, group)
                .ok_or("it is not there")?;
            let shown = world.lagline.send("GET", &request.path, &[], "").body;
            if shown.contains(&expected) {
                return compare(world, &request);
            }
            // Once a beat, so that the window still begins with the first commit.
            if committed_at.as_ref() != Some(&seen["beat_ms"]) {
                world.go_on(group);
                committed_at = Some(seen["beat_ms"].clone());
            }
            Err(shown)
        });
    }
}

/// A deleted group is gone at once, and its next commit brings it back.
fn deleted_and_back(world: &World) {
    let path = requests::group_path("late", "");
    let list = Request::get(&format!("/v3/kafka/{CLUSTER}/consumer"));
    let deletion = Request::new("DELETE", &path);
    compare(world, &deletion).unwrap_or_else(|why| panic!("{deletion}: {why}"));
    let shown = world.lagline.send("GET", &list.path, &[], "").body;
    assert!(!shown.contains("late"), "{shown}");
    for request in [
        Request::get(&path),
        Request::get(&requests::group_path("late", "/lag")),
        list.clone(),
        deletion,
    ] {
        // Burrow deletes after it has answered.
        wait::until_ok(&request.to_string(), LIMIT, || compare(world, &request));
    }
    world.client.commit("late", &[("orders", 2, 9)]);
    wait::until_ok("both have the group again", LIMIT, || {
        let answer = world.lagline.send("GET", &path, &[], "");
        if answer.status != 200 {
            return Err(answer.body);
        }
        compare(world, &Request::get(&path))?;
        compare(world, &list)
    });
}

/// What differs between the two answers.
fn compare(world: &World, request: &Request) -> Result<(), String> {
    let Request {
        method,
        path,
        body,
        compare,
    } = request;
    let theirs = world.burrow.send(method, path, &[], body);
    let ours = world.lagline.send(method, path, &[], body);
    let (theirs, ours) = match compare {
        Compare::All => (all_of(&theirs)?, all_of(&ours)?),
        Compare::Shape => (shape_of(&theirs)?, shape_of(&ours)?),
        Compare::Status(expected) => (expected.to_string(), ours.status.to_string()),
    };
    if theirs == ours {
        return Ok(());
    }
    Err(format!("differs\n Burrow:  {theirs}\n lagline: {ours}"))
}

fn head_of(answer: &Response) -> String {
    let headers = HEADERS.map(|name| (name, answer.header(name)));
    format!("{} {headers:?}", answer.status)
}

fn all_of(answer: &Response) -> Result<String, String> {
    let head = head_of(answer);
    if answer.header("content-type") != Some("application/json") {
        return Ok(format!("{head} {:?}", answer.body));
    }
    let body = Node::parse(&answer.body)?.without(NEWER_FIELD).sorted("");
    Ok(format!("{head} {body:?}"))
}

fn shape_of(answer: &Response) -> Result<String, String> {
    let body = Node::parse(&answer.body)?.shape();
    Ok(format!("{} {body:?}", head_of(answer)))
}
