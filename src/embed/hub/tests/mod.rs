//! Does a model come whole, once, and only if it is the right one?

use std::{
    sync::{Arc, Barrier},
    time::{Duration, Instant},
};

use self::server::{COMMIT, Hub, Mood, REPOSITORY};
use super::*;

pub(crate) mod server;

const WEIGHTS: &str = model_files::WEIGHTS;

/// What is no model, in the shape of one.
fn files() -> [(&'static str, Vec<u8>); 4] {
    let weights = (0..300_000_u32)
        .map(|n| (n.wrapping_mul(n) >> 3) as u8)
        .collect();
    [
        ("config.json", b"{}".to_vec()),
        ("tokenizer.json", b"{\"version\": 1}".repeat(100)),
        ("1_Pooling/config.json", b"{\"pooling\": 1}".to_vec()),
        (WEIGHTS, weights),
    ]
}

/// A hub with files, and where they are to go.
struct Case {
    hub: Hub,
    model: HubModel,
    root: tempfile::TempDir,
}

impl Case {
    fn new() -> Self {
        let hub = Hub::with(files());
        let model = HubModel {
            endpoint: hub.endpoint.clone(),
            ..HubModel::named(REPOSITORY, "main")
        };
        let root = tempfile::tempdir().unwrap();
        Self { hub, model, root }
    }

    fn dir(&self) -> PathBuf {
        self.root.path().join("model")
    }

    fn download(&self) -> Result<DownloadReport> {
        let patience = Patience {
            silence: Duration::from_millis(300),
            first_pause: Duration::from_millis(1),
        };
        self.model.download_with(&self.dir(), patience, &mut |_| ())
    }

    #[track_caller]
    fn refusal(&self) -> String {
        let refused = self.download().unwrap_err().to_string();
        assert!(!refused.contains("secret"), "{refused}");
        refused
    }

    /// First bytes of the requests for the weights, in their order.
    fn weights_asked(&self) -> Vec<Option<u64>> {
        let asked = self.hub.asked().into_iter();
        let weights = asked.filter(|asked| asked.file == WEIGHTS);
        weights.map(|asked| asked.from).collect()
    }

    /// The directory has the hub's files and nothing else.
    #[track_caller]
    fn assert_arrived(&self, files: &[(&str, Vec<u8>)]) {
        for (name, bytes) in files {
            assert!(fs::read(self.dir().join(name)).unwrap() == *bytes, "{name}");
        }
        let top = files
            .iter()
            .map(|(name, _)| name.split('/').next().unwrap());
        assert_eq!(names(&self.dir()), top.map(str::to_owned).collect());
        let beside = ["model", "model.lock"].map(str::to_owned);
        assert_eq!(names(self.root.path()), beside.into());
    }
}

fn names(dir: &Path) -> std::collections::BTreeSet<String> {
    let entries = fs::read_dir(dir).unwrap();
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name();
    entries.map(|e| name(e).into_string().unwrap()).collect()
}

fn sha256_of(files: &[(&'static str, Vec<u8>)]) -> BTreeMap<String, String> {
    use sha2::{Digest, Sha256};
    let hex = |bytes: &[u8]| format!("{:x}", Sha256::digest(bytes));
    let all = files
        .iter()
        .map(|(name, bytes)| ((*name).to_owned(), hex(bytes)));
    all.collect()
}

#[test]
fn a_model_comes_whole_and_is_not_asked_for_again() {
    let case = Case::new();
    let mut heard = Vec::new();
    let report = case
        .model
        .download(&case.dir(), |now| heard.push(now))
        .unwrap();
    case.assert_arrived(&files());
    let bytes: u64 = files().iter().map(|(_, bytes)| bytes.len() as u64).sum();
    assert_eq!(report.downloaded_bytes, bytes);
    assert_eq!(
        (report.dir, report.commit.as_deref()),
        (case.dir(), Some(COMMIT))
    );
    let said = report
        .files
        .iter()
        .map(|file| (file.name.clone(), file.sha256.clone()));
    assert_eq!(said.collect::<BTreeMap<_, _>>(), sha256_of(&files()));
    let last = heard.last().unwrap();
    assert_eq!(
        (last.file, last.bytes, last.total_bytes),
        (WEIGHTS, 300_000, Some(300_000))
    );
    // Files of a branch are those of its commit.
    let asked = case.hub.asked();
    assert_eq!(asked[0].revision, "main");
    assert!(
        asked[1..].iter().all(|asked| asked.revision == COMMIT),
        "{asked:?}"
    );
    assert_eq!(asked.len(), FILES.len());

    let again = case.download().unwrap();
    assert_eq!((again.downloaded_bytes, again.commit), (0, None));
    assert_eq!(again.files, report.files);
    assert_eq!(case.hub.asked(), []);
}

#[test]
fn an_interrupted_file_goes_on_where_it_was() {
    let case = Case::new();
    case.hub.moods(
        WEIGHTS,
        [Mood::Cut(100_000), Mood::Cut(50_001), Mood::Status(503)],
    );
    let report = case.download().unwrap();
    case.assert_arrived(&files());
    let from = [None, Some(99_999), Some(149_999), Some(149_999)];
    assert_eq!(case.weights_asked(), from);
    assert!(report.downloaded_bytes < 310_000, "{report:?}");
}

#[test]
fn the_next_call_goes_on_too() {
    let case = Case::new();
    let cut = [Mood::Cut(200_000)];
    case.hub
        .moods(WEIGHTS, cut.into_iter().chain(vec![Mood::Status(500); 5]));
    let refused = case.refusal();
    assert!(
        refused.contains("500, ") && refused.contains("try again later"),
        "{refused}"
    );
    assert!(!case.dir().exists());
    assert_eq!(case.weights_asked().len(), 6);
    case.download().unwrap();
    case.assert_arrived(&files());
    assert_eq!(case.weights_asked(), [Some(199_999)]);
}

#[test]
fn what_was_whole_already_costs_a_byte() {
    let case = Case::new();
    let part = with_added(&case.dir(), ".partial");
    case.hub.moods(WEIGHTS, [Mood::Status(403)]);
    case.refusal();
    assert!(part.join("tokenizer.json").is_file());
    case.hub.asked();
    case.download().unwrap();
    case.assert_arrived(&files());
    let tokenizer = case
        .hub
        .asked()
        .into_iter()
        .find(|asked| asked.file == "tokenizer.json");
    assert_eq!(tokenizer.unwrap().from, Some(1399));
}

#[test]
fn a_server_without_ranges_gives_all_of_it_again() {
    let case = Case::new();
    case.hub.moods(WEIGHTS, [Mood::Cut(100_000), Mood::Whole]);
    let report = case.download().unwrap();
    case.assert_arrived(&files());
    assert_eq!(case.weights_asked(), [None, Some(99_999)]);
    assert!(report.downloaded_bytes > 400_000, "{report:?}");
}

#[test]
fn a_file_that_became_another_begins_anew() {
    for len in [300_000, 100] {
        let case = Case::new();
        let cut = [Mood::Cut(200_000)];
        case.hub
            .moods(WEIGHTS, cut.into_iter().chain(vec![Mood::Status(500); 5]));
        case.refusal();
        case.hub.asked();
        let other = vec![7; len];
        case.hub.put(WEIGHTS, other.clone());
        case.download().unwrap();
        let [a, b, c, _] = files();
        case.assert_arrived(&[a, b, c, (WEIGHTS, other)]);
        assert_eq!(case.weights_asked(), [Some(199_999), None]);
    }
}

#[test]
fn damage_to_what_had_come_begins_anew() {
    let case = Case::new();
    let cut = [Mood::Cut(200_000)];
    case.hub
        .moods(WEIGHTS, cut.into_iter().chain(vec![Mood::Status(500); 5]));
    case.refusal();
    case.hub.asked();
    let part = with_added(&case.dir(), ".partial").join(WEIGHTS);
    let mut bytes = fs::read(&part).unwrap();
    bytes[1000] ^= 1;
    fs::write(&part, bytes).unwrap();
    case.download().unwrap();
    case.assert_arrived(&files());
    assert_eq!(case.weights_asked(), [Some(199_999), None]);
}

#[test]
fn a_wrong_file_is_thrown_away() {
    for file in ["config.json", WEIGHTS] {
        let case = Case::new();
        case.hub.moods(file, [Mood::Wrong]);
        let refused = case.refusal();
        assert!(
            refused.contains(file) && refused.contains("expected"),
            "{refused}"
        );
        assert!(!case.dir().exists());
        assert!(!with_added(&case.dir(), ".partial").join(file).exists());
        case.download().unwrap();
        case.assert_arrived(&files());
    }
}

#[test]
fn passing_troubles_pass_and_others_are_told_at_once() {
    let case = Case::new();
    case.hub
        .moods("config.json", [500, 429, 503, 408].map(Mood::Status));
    case.download().unwrap();
    case.assert_arrived(&files());
    for (status, told) in [
        (401, "HF_TOKEN"),
        (403, "terms"),
        (404, "repository, revision"),
        (410, "an answer that is none"),
    ] {
        let case = Case::new();
        case.hub.moods("config.json", [Mood::Status(status)]);
        let refused = case.refusal();
        assert!(refused.contains(told), "{status}: {refused}");
        assert!(refused.contains(&format!("{status}, ")), "{refused}");
        assert_eq!(case.hub.asked().len(), 1);
    }
}

#[test]
fn silence_is_an_interruption() {
    let case = Case::new();
    case.hub
        .moods(WEIGHTS, [Mood::Silent(100_000, Duration::from_secs(5))]);
    let start = Instant::now();
    case.download().unwrap();
    assert!(
        start.elapsed() < Duration::from_secs(4),
        "{:?}",
        start.elapsed()
    );
    case.assert_arrived(&files());
    assert_eq!(case.weights_asked(), [None, Some(99_999)]);
}

#[test]
fn files_that_the_model_does_not_have_are_done_without() {
    let case = Case::new();
    let part = with_added(&case.dir(), ".partial");
    // Left from a try to get another model.
    fs::create_dir_all(&part).unwrap();
    fs::write(part.join("modules.json"), "[]").unwrap();
    fs::write(part.join("modules.json.etag"), "\"x\"").unwrap();
    let report = case.download().unwrap();
    case.assert_arrived(&files());
    assert_eq!(report.files.len(), 4);
}

#[test]
fn expected_files_are_fetched_and_no_others() {
    let mut case = Case::new();
    case.hub.be_plain();
    let refused = case.refusal();
    assert!(refused.contains("states no checksum"), "{refused}");
    let [a, b, _, weights] = files();
    let three = [a, b, weights];
    case.model.sha256 = sha256_of(&three);
    let report = case.download().unwrap();
    assert_eq!(report.commit, None);
    case.assert_arrived(&three);

    let wrong = "0".repeat(64);
    case.model.sha256.insert(WEIGHTS.into(), wrong.clone());
    let refused = case.refusal();
    assert!(
        refused.contains("move the directory away") && refused.contains(&wrong),
        "{refused}"
    );
    // The hub says beforehand that it will not fit.
    let mut case = Case::new();
    case.model.sha256 = sha256_of(&three);
    case.model.sha256.insert(WEIGHTS.into(), wrong);
    let refused = case.refusal();
    assert!(refused.contains("the hub says"), "{refused}");
    assert!(!with_added(&case.dir(), ".partial").join(WEIGHTS).exists());
}

#[test]
fn those_who_come_at_once_download_once() {
    let case = Arc::new(Case::new());
    let (all, rest) = (6, Duration::from_millis(100));
    case.hub.moods(WEIGHTS, [Mood::Silent(1000, rest)]);
    let barrier = Arc::new(Barrier::new(all));
    let threads: Vec<_> = (0..all)
        .map(|_| {
            let (case, barrier) = (Arc::clone(&case), Arc::clone(&barrier));
            std::thread::spawn(move || {
                barrier.wait();
                case.download().unwrap().downloaded_bytes
            })
        })
        .collect();
    let bytes: Vec<u64> = threads.into_iter().map(|t| t.join().unwrap()).collect();
    assert_eq!(
        bytes.iter().filter(|bytes| **bytes > 0).count(),
        1,
        "{bytes:?}"
    );
    case.assert_arrived(&files());
    assert_eq!(case.weights_asked(), [None]);
}

#[test]
fn the_token_goes_to_the_hub() {
    let mut case = Case::new();
    case.model.token = Some("secret".into());
    case.hub.moods("config.json", [Mood::Status(403)]);
    let refused = case.refusal();
    assert!(refused.contains("the token that was sent"), "{refused}");
    case.download().unwrap();
    let tokens = case.hub.tokens();
    assert!(!tokens.is_empty() && tokens.iter().all(|(_, token)| token == "Bearer secret"));
}

#[test]
fn a_directory_with_something_else_stays_as_it_is() {
    let case = Case::new();
    fs::create_dir(case.dir()).unwrap();
    fs::write(case.dir().join("config.json"), "mine").unwrap();
    let refused = case.refusal();
    assert!(
        refused.contains("has no tokenizer.json, no model.safetensors"),
        "{refused}"
    );
    assert_eq!(fs::read(case.dir().join("config.json")).unwrap(), b"mine");
    assert_eq!(case.hub.asked(), []);
    fs::remove_file(case.dir().join("config.json")).unwrap();
    case.download().unwrap();
    case.assert_arrived(&files());
}

#[test]
fn what_is_too_large_is_not_taken() {
    let case = Case::new();
    case.hub
        .moods("config.json", [Mood::Claimed(MAX_JSON_BYTES + 1)]);
    let refused = case.refusal();
    assert!(refused.contains("the limit is 67108864"), "{refused}");
}

#[test]
fn what_leads_nowhere_ends() {
    let case = Case::new();
    case.hub.moods("config.json", [Mood::Circle]);
    let refused = case.refusal();
    assert!(refused.contains("more than 8 times"), "{refused}");

    // Nobody listens: without a network one try is enough.
    let mut case = Case::new();
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    case.model.endpoint = format!("http://{port}");
    let refused = case.download().unwrap_err();
    assert_eq!(refused.kind(), "download");
    assert!(
        refused.to_string().contains("copy its directory"),
        "{refused}"
    );
}

#[test]
fn fields_that_cannot_be_are_refused() {
    let refusal = |change: fn(&mut HubModel)| {
        let mut case = Case::new();
        change(&mut case.model);
        case.refusal()
    };
    assert!(refusal(|model| model.endpoint = "hub".into()).starts_with("endpoint: "));
    assert!(refusal(|model| model.repository = "a/../b".into()).starts_with("repository: "));
    assert!(refusal(|model| model.repository = "a b".into()).starts_with("repository: "));
    assert!(refusal(|model| model.revision = "..".into()).starts_with("revision: "));
    assert!(refusal(|model| model.revision = "a".repeat(300)).starts_with("revision: "));
    let named = |name: &str, hex: &str| BTreeMap::from([(name.to_owned(), hex.to_owned())]);
    for sha256 in [
        named("../x", &"0".repeat(64)),
        named("config.json", "00"),
        named("config.json", &"0".repeat(64)),
    ] {
        let mut case = Case::new();
        case.model.sha256 = sha256;
        assert!(case.refusal().starts_with("sha256["), "{}", case.refusal());
    }
    let case = Case::new();
    let nowhere = case.model.download(Path::new(".."), |_| ()).unwrap_err();
    assert!(nowhere.to_string().starts_with("dir: "), "{nowhere}");
}

#[test]
fn files_that_cannot_be_written_are_named() {
    let case = Case::new();
    fs::write(with_added(&case.dir(), ".partial"), "in the way").unwrap();
    let refused = case.download().unwrap_err();
    assert_eq!(refused.kind(), "io", "{refused}");
    assert!(refused.to_string().contains("model.partial"), "{refused}");
}

/// The files of the default model, as `cargo xtask model` has them.
#[test]
fn the_default_model_is_the_one_of_the_tests() {
    let model = HubModel::default();
    assert!(model.check().is_ok());
    assert_eq!(model.sha256.len(), 3);
    let files = model_files::find(None, &model_files::Surroundings::of_process()).unwrap();
    for (name, path) in [
        ("config.json", files.config),
        ("tokenizer.json", files.tokenizer),
        (WEIGHTS, files.weights),
    ] {
        let found = digest::of_file(&path).unwrap();
        assert_eq!(found.sha256, model.sha256[name], "{}", path.display());
    }
}
