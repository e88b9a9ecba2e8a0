//! Is every choice in the table, and every line of the table in the document?

use std::{collections::BTreeSet, fmt::Write as _, fs, path::Path};

use serde_json::Value;

use super::{
    super::{layer::OTHERS, preset::Preset},
    *,
};

/// Paths of the fields below a value; spans of time and names are not gone into.
fn fields(path: &str, value: &Value, found: &mut BTreeSet<String>) {
    let inner = value.as_object().filter(|inner| {
        let is_span = inner.contains_key("nanos");
        !is_span && path != "embedding_provider"
    });
    let Some(inner) = inner else {
        found.insert(path.to_owned());
        return;
    };
    for (name, value) in inner {
        let dot = if path.is_empty() { "" } else { "." };
        fields(&format!("{path}{dot}{name}"), value, found);
    }
}

#[test]
fn every_field_has_a_key() {
    let mut expected = BTreeSet::new();
    let config = serde_json::to_value(Config::default()).unwrap();
    fields("", &config, &mut expected);
    // What a field that is `None` holds, and what a variant of a provider does.
    expected.remove("decay.default_recall_weights");
    expected.extend(
        [
            "decay.default_recall_weights.similarity",
            "decay.default_recall_weights.energy",
            "model_path",
        ]
        .map(str::to_owned),
    );
    let keys: BTreeSet<_> = KEYS.iter().map(|key| key.name.to_owned()).collect();
    assert_eq!(keys, expected);
    assert_eq!(keys.len(), KEYS.len(), "a key stands twice");
}

#[test]
fn sections_stand_together() {
    let mut sections: Vec<&str> = KEYS
        .iter()
        .map(|key| key.name.rsplit_once('.').map_or("", |(section, _)| section))
        .collect();
    sections.dedup();
    assert_eq!(sections.first(), Some(&""));
    let all: BTreeSet<_> = sections.iter().collect();
    assert_eq!(all.len(), sections.len(), "{sections:?}");
}

fn table() -> String {
    let mut table = String::from("| key | variable | takes | default | what it does |\n");
    table.push_str("| --- | --- | --- | --- | --- |\n");
    let config = Config::default();
    for key in KEYS {
        // It depends on the features, and its line says so.
        let default = match key.name {
            "embedding_provider" => None,
            _ => (key.write)(&config).unwrap(),
        };
        let default = default.map_or("–".into(), |text| format!("`{text}`"));
        writeln!(
            table,
            "| `{}` | `{}` | {} | {default} | {} |",
            key.name,
            key.variable(),
            key.form,
            key.what
        )
        .unwrap();
    }
    table
}

/// `PULSEDB_MAKE=1` writes it anew.
#[test]
fn the_document_lists_every_key() {
    const BEGIN: &str = "<!-- keys: made by the tests -->\n";
    const END: &str = "<!-- end of keys -->";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let document = fs::read_to_string(&path).unwrap();
    let (before, rest) = document.split_once(BEGIN).expect("where the table begins");
    let (listed, after) = rest.split_once(END).expect("where the table ends");
    if std::env::var_os("PULSEDB_MAKE").is_some() {
        fs::write(&path, format!("{before}{BEGIN}{}{END}{after}", table())).unwrap();
    } else {
        assert_eq!(listed, table(), "run the test with PULSEDB_MAKE=1");
    }
    for preset in Preset::ALL {
        assert!(
            document.contains(&format!("`{}`", preset.name())),
            "{preset:?}"
        );
    }
}

/// A program under test inherits the variables of this project's tests, and is not to stumble over them. Tests of
/// configurations try wrong ones.
#[test]
fn no_variable_of_this_project_is_unknown() {
    fn look(dir: &Path, met: &mut BTreeSet<String>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && name != "target" && name != "config" && !name.starts_with('.') {
                look(&path, met);
            } else if name.ends_with(".rs") && name != "configuration.rs" {
                let text = fs::read_to_string(&path).unwrap();
                for (at, _) in text.match_indices(PREFIX) {
                    let is_name = |c: &char| c.is_ascii_uppercase() || *c == '_';
                    met.insert(text[at..].chars().take_while(is_name).collect());
                }
            }
        }
    }
    let mut met = BTreeSet::new();
    look(Path::new(env!("CARGO_MANIFEST_DIR")), &mut met);
    assert!(met.contains("PULSEDB_MODEL_DIR"));
    let is_key = |name: &str| KEYS.iter().any(|key| name == key.variable());
    let known = |name: &str| name == PREFIX || name == "PULSEDB_PRESET" || is_key(name);
    let unknown: Vec<_> = met
        .iter()
        .filter(|name| !known(name) && !OTHERS.iter().any(|other| name.starts_with(other)))
        .collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}
