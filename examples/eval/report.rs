//! How is what was found told: as a table for people, as JSON for whoever compares runs, and as a picture?

use std::{collections::BTreeMap, env, fs, path::PathBuf};

use crate::{
    Outcome,
    collection::Collection,
    measure::{Measured, Metrics},
    plot::{self, Bars},
};

/// Columns of the table.
const SHOWN: [&str; 9] = [
    "recall@5",
    "recall@10",
    "recall@20",
    "recall@50",
    "ndcg@10",
    "ndcg@20",
    "mrr",
    "p50_ms",
    "p99_ms",
];
/// What is compared by category.
const COMPARED: [&str; 2] = ["recall@10", "ndcg@10"];

pub(crate) fn write(name: &str, collection: &Collection, measured: &[Measured]) -> Outcome<()> {
    println!("\n{}", table(measured));
    for metric in COMPARED {
        if !collection.categories().is_empty() {
            println!("{}", by_category(metric, collection, measured));
        }
    }
    let dir = directory();
    fs::create_dir_all(&dir)?;
    let json = dir.join(format!("{name}.json"));
    fs::write(&json, serde_json::to_string_pretty(&flat(measured))? + "\n")?;
    let picture = dir.join(format!("{name}.svg"));
    fs::write(&picture, plot::svg(&bars(name, collection, measured)))?;
    println!("written: {} and {}", json.display(), picture.display());
    Ok(())
}

/// `target/eval`, as `cargo xtask eval` says where it is.
fn directory() -> PathBuf {
    env::var_os("PULSEDB_EVAL_DIR").map_or_else(|| PathBuf::from("target/eval"), PathBuf::from)
}

/// `{method: {metric: value}}`; those of a category are called `METRIC category CATEGORY`.
fn flat(measured: &[Measured]) -> BTreeMap<&str, Metrics> {
    let metrics = |measured: &Measured| {
        let mut metrics = measured.all.clone();
        for (category, values) in &measured.categories {
            let named =
                |(name, value): (&String, &f64)| (format!("{name} category {category}"), *value);
            metrics.extend(values.iter().map(named));
        }
        for value in metrics.values_mut() {
            *value = (*value * 1e4).round() / 1e4;
        }
        metrics
    };
    measured
        .iter()
        .map(|measured| (measured.method.name(), metrics(measured)))
        .collect()
}

fn table(measured: &[Measured]) -> String {
    let mut rows = vec![line("method", SHOWN.iter().map(|name| (*name).to_owned()))];
    for measured in measured {
        let value = |name: &&str| measured.all.get(*name).copied().unwrap_or_default();
        let cells = SHOWN.iter().map(|name| format!("{:.3}", value(name)));
        rows.push(line(measured.method.name(), cells));
    }
    rows.concat()
}

fn by_category(metric: &str, collection: &Collection, measured: &[Measured]) -> String {
    let categories = collection.categories();
    let titles = categories.iter().map(|category| (*category).to_owned());
    let mut rows = vec![line(metric, titles)];
    for measured in measured {
        let value = |category: &&str| {
            let metrics = measured.categories.get(*category);
            metrics
                .and_then(|metrics| metrics.get(metric))
                .copied()
                .unwrap_or_default()
        };
        let cells = categories
            .iter()
            .map(|category| format!("{:.3}", value(category)));
        rows.push(line(measured.method.name(), cells));
    }
    rows.concat()
}

fn line(head: &str, cells: impl Iterator<Item = String>) -> String {
    let cells: String = cells.map(|cell| format!(" {cell:>10}")).collect();
    format!("{head:<18}{cells}\n")
}

/// Recall among the first ten, of all and of each category.
fn bars(name: &str, collection: &Collection, measured: &[Measured]) -> Bars {
    let metric = "recall@10";
    let categories = collection.categories();
    let value = |metrics: Option<&Metrics>| {
        let value = metrics.and_then(|metrics| metrics.get(metric)).copied();
        value.unwrap_or_default()
    };
    let mut groups = vec![(
        "all".to_owned(),
        measured
            .iter()
            .map(|measured| value(Some(&measured.all)))
            .collect(),
    )];
    for category in categories {
        let of = |measured: &Measured| value(measured.categories.get(category));
        groups.push((category.to_owned(), measured.iter().map(of).collect()));
    }
    Bars {
        title: format!("{metric}, {name}"),
        series: measured
            .iter()
            .map(|measured| measured.method.name().to_owned())
            .collect(),
        groups,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Method;

    #[test]
    fn a_category_is_part_of_the_metric_s_name() {
        let metrics = |value| Metrics::from([("recall@10".to_owned(), value)]);
        let measured = [Measured {
            method: Method::Dense,
            all: metrics(0.123_456),
            categories: BTreeMap::from([("4".to_owned(), metrics(1.0))]),
        }];
        assert_eq!(
            serde_json::to_string(&flat(&measured)).unwrap(),
            r#"{"dense":{"recall@10":0.1235,"recall@10 category 4":1.0}}"#
        );
    }
}
