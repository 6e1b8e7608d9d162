//! Clients that ask and never read the answer.

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::*;

/// Connections that never read.
const CLIENTS: usize = 12;

#[tokio::test]
async fn clients_that_never_read_stop_neither_beats_nor_answers_nor_the_end() {
    const BEATS: i64 = 400;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("lagline.db");
    let stage = stage_with(evaluation(1), Some(&path)).await;
    let append = async |seq| {
        let beat = sample::beat_of(seq);
        let appended = stage
            .store
            .append(vec![evaluation(seq)], Vec::new(), beat)
            .await;
        assert_eq!(appended.unwrap().frames.len(), 1);
        stage.prod.send_replace(Some(evaluation(seq)));
    };
    for seq in 1..BEATS {
        append(seq).await;
    }
    let mut clients = Vec::new();
    let host = stage.address.strip_prefix("http://").unwrap();
    for number in 0..CLIENTS {
        let mut client = TcpStream::connect(host).await.unwrap();
        // One question after the other, so that answers fill every buffer on the way.
        let (count, path) = match number % 2 {
            0 => (1, "/api/v1/stream".to_owned()),
            _ => {
                let from = sample::beat_of(1).as_ms();
                let fields = "lag,max_lag,partitions,topics,members,status_code";
                let path = format!(
                    "/api/v1/history?cluster=prod&group=payments&points=10000&from={from}&to={}&fields={fields}",
                    sample::beat_of(BEATS).as_ms()
                );
                (40, path)
            }
        };
        let request = format!("GET {path} HTTP/1.1\r\nHost: lagline\r\n\r\n").repeat(count);
        client.write_all(request.as_bytes()).await.unwrap();
        clients.push(client);
    }
    for seq in BEATS..2 * BEATS {
        append(seq).await;
    }
    assert!(stage.store.health().durable);
    let from = sample::beat_of(1).as_ms();
    let to = sample::beat_of(2 * BEATS).as_ms();
    let asked = format!("/api/v1/history?cluster=prod&group=payments&from={from}&to={to}");
    let answered = async {
        // Busy is an answer too: come back.
        loop {
            let (status, answer) = stage.ask(&asked).await;
            if status != 503 {
                return answer;
            }
        }
    };
    let answer = tokio::time::timeout(DEADLINE, answered).await.unwrap();
    assert_eq!(answer["beats"], 2 * BEATS - 1);
    assert_eq!(
        stage.get("/api/v1/clusters").await["clusters"][1]["cluster"],
        "prod"
    );
    stage.end().await;
    drop(clients);
}
