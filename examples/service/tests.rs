//! The service over real connections, with a client of HTTP/1.1 as small as that can be.

use std::{net::SocketAddr, path::Path, time::Duration};

use pulsedb::{Config, EmbeddingDimension, PulseDB};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
    time::timeout,
};

use crate::routes;

/// Longer than anything here takes, so that what hangs fails.
const PATIENCE: Duration = Duration::from_secs(30);

fn config() -> Config {
    Config::external(EmbeddingDimension::Custom(3))
}

struct Running {
    address: SocketAddr,
    _dir: TempDir,
    db: PulseDB,
    end: oneshot::Sender<()>,
    serving: JoinHandle<std::io::Result<()>>,
}

impl Running {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let db = PulseDB::open(dir.path(), config()).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (end, ended) = oneshot::channel();
        let told = async {
            let _ = ended.await;
        };
        let serving = tokio::spawn(routes::serve(db.clone(), listener, told));
        Self {
            address,
            _dir: dir,
            db,
            end,
            serving,
        }
    }

    async fn ask(&self, method: &str, path: &str, body: &str) -> Answer {
        ask(self.address, method, path, body).await
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        self.ask("POST", path, &body.to_string()).await
    }

    async fn record(&self, content: &str) -> Answer {
        let body = json!({ "content": content, "agent": "a", "embedding": [0.25, 0.5, 0.75] });
        self.post("/collectives/team/experiences", body).await
    }

    async fn watch(&self, last: Option<&str>) -> Watch {
        let last = last.map_or(String::new(), |id| format!("Last-Event-ID: {id}\r\n"));
        let request = format!("GET /collectives/team/watch HTTP/1.1\r\nHost: test\r\n{last}\r\n");
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        Watch(BufReader::new(stream))
    }

    async fn stop(self) {
        self.end.send(()).unwrap();
        let served = timeout(PATIENCE, self.serving).await.unwrap();
        served.unwrap().unwrap();
        self.db.close().await.unwrap();
    }
}

async fn ask(address: SocketAddr, method: &str, path: &str, body: &str) -> Answer {
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A connection that is reset after a refusal has given its answer before.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut answer))
        .await
        .unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    Answer {
        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
        head: head.to_ascii_lowercase(),
        body: body.to_owned(),
    }
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    #[track_caller]
    fn json(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}\n{}", self.head, self.body);
        serde_json::from_str(&self.body).unwrap()
    }
}

/// A connection that server-sent events come out of.
struct Watch(BufReader<TcpStream>);

impl Watch {
    /// The next event's name, id and data; `None` at the end.
    async fn next(&mut self) -> Option<(String, String, Value)> {
        let (mut name, mut id) = (String::new(), String::new());
        loop {
            let mut line = String::new();
            let read = timeout(PATIENCE, self.0.read_line(&mut line))
                .await
                .unwrap();
            if read.unwrap_or(0) == 0 {
                return None;
            }
            match line.trim_end().split_once(": ") {
                Some(("event", text)) => name = text.to_owned(),
                Some(("id", text)) => id = text.to_owned(),
                // Comes last, see `watching.rs`.
                Some(("data", text)) => {
                    return Some((name, id, serde_json::from_str(text).unwrap()));
                }
                _ => {}
            }
        }
    }

    async fn next_change(&mut self) -> (String, String) {
        loop {
            let (name, id, data) = self.next().await.unwrap();
            assert_ne!(name, "gap", "{data}");
            let content = data["experience"]["content"].as_str();
            if let (true, Some(content)) = (name == "change", content) {
                assert_eq!(data["experience"]["embedding"], json!([]));
                return (id, content.to_owned());
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_recorded_is_found_and_counted() {
    let service = Running::start().await;
    let id = service.record("retries need jitter").await.json(201)["id"].clone();
    service.record("queues need bounds").await.json(201);
    let by_words = json!({ "text": "jitter" });
    let found = service
        .post("/collectives/team/search", by_words)
        .await
        .json(200);
    assert_eq!(found["hits"][0]["experience"]["id"], id);
    let by_vector = json!({ "vector": [1, 2, 3], "k": 1 });
    let found = service
        .post("/collectives/team/search", by_vector)
        .await
        .json(200);
    assert_eq!(found["hits"].as_array().unwrap().len(), 1);
    let health = service.ask("GET", "/health", "").await.json(200);
    assert_ne!(health["status"], "unhealthy");
    let metrics = service.ask("GET", "/metrics", "").await;
    assert_eq!(metrics.status, 200);
    assert!(
        metrics.head.contains("content-type: text/plain"),
        "{}",
        metrics.head
    );
    assert!(metrics.body.contains("\npulsedb_"), "{}", metrics.body);
    // The same key is the same experience.
    let body = json!({
        "content": "once", "agent": "a", "embedding": [1, 2, 3], "idempotency_key": "k",
        "importance": 0.75, "domain": ["http"], "tags": {"a": "b"}, "task": "T-1", "confidence": 1.0,
    });
    let path = "/collectives/team/experiences";
    let first = service.post(path, body.clone()).await.json(201);
    assert_eq!(service.post(path, body).await.json(201)["id"], first["id"]);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_say_whose_turn_it_is() {
    let service = Running::start().await;
    service.record("one").await.json(201);
    let path = "/collectives/team/experiences";
    let large = format!("{{\"content\": \"{}\"}}", "x".repeat(1024 * 1024));
    let asked = [
        (
            "POST",
            path,
            r#"{"content": " ", "agent": "a", "embedding": [1, 2, 3]}"#,
            400,
            "validation",
        ),
        (
            "POST",
            path,
            r#"{"content": "a", "agent": "a", "embedding": [1, 2]}"#,
            400,
            "validation",
        ),
        (
            "POST",
            path,
            r#"{"content": "a", "agent": "a", "colour": 1}"#,
            422,
            "body",
        ),
        ("POST", path, "no json", 400, "body"),
        ("POST", path, &large, 413, "body"),
        (
            "POST",
            "/collectives/none/search",
            r#"{"text": "a"}"#,
            404,
            "not_found",
        ),
        (
            "POST",
            "/collectives/team/search",
            r#"{"text": "a", "k": 0}"#,
            400,
            "validation",
        ),
        ("GET", "/collectives/none/watch", "", 404, "not_found"),
        ("GET", "/nothing", "", 404, "no_such_route"),
        ("DELETE", "/health", "", 405, "no_such_method"),
    ];
    for (method, path, body, status, kind) in asked {
        let answer = service.ask(method, path, body).await.json(status);
        assert_eq!(answer["error"], kind, "{answer}");
        assert!(!answer["message"].as_str().unwrap().is_empty());
    }
    let mut watch = service.watch(Some("yesterday")).await;
    let mut status = String::new();
    watch.0.read_line(&mut status).await.unwrap();
    assert!(status.contains("400"), "{status}");
    drop(watch);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_goes_on_behind_the_last_event_and_ends_with_the_service() {
    let service = Running::start().await;
    service.record("before").await.json(201);
    let mut watch = service.watch(None).await;
    let (name, _, _) = watch.next().await.unwrap();
    assert_eq!(name, "live");
    service.record("first").await.json(201);
    let (id, content) = watch.next_change().await;
    assert_eq!(content, "first");
    drop(watch);
    for content in ["second", "third"] {
        service.record(content).await.json(201);
    }
    let mut watch = service.watch(Some(&id)).await;
    for expected in ["second", "third"] {
        assert_eq!(watch.next_change().await.1, expected);
    }
    service.end.send(()).unwrap();
    // What is told behind them ends, and with it the service.
    while watch.next().await.is_some() {}
    let served = timeout(PATIENCE, service.serving).await.unwrap();
    served.unwrap().unwrap();
    assert!(TcpStream::connect(service.address).await.is_err());
    service.db.close().await.unwrap();
}

/// As it is run: asked to end by the system's signal.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn sigterm_closes_the_database() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    // A port that was free a moment ago.
    let probe = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = probe.local_addr().unwrap();
    drop(probe);
    let running = path.clone();
    let serving = tokio::spawn(async move {
        let at = address.to_string();
        crate::run(running.to_str().unwrap(), &at).await
    });
    while TcpStream::connect(address).await.is_err() {
        assert!(!serving.is_finished(), "it did not start");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Answered once the database is open.
    ask(address, "GET", "/health", "").await.json(200);
    assert!(PulseDB::open(&path, config()).await.is_err());
    let me = rustix::process::getpid();
    rustix::process::kill_process(me, rustix::process::Signal::TERM).unwrap();
    timeout(PATIENCE, serving).await.unwrap().unwrap().unwrap();
    reopened(&path).await;
}

/// It was closed: nobody holds it, and nothing has to be recovered.
async fn reopened(path: &Path) {
    let db = PulseDB::open(path, config()).await.unwrap();
    assert!(db.verify().await.unwrap().is_clean());
    db.close().await.unwrap();
}
