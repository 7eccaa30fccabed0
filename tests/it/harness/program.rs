//! Real programs: ffmpeg, Python with boto3, the kvs-edge binary itself.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;
use tokio::process::Command;

/// How long a program may take before it counts as hanging.
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs a program to its end.
pub async fn run(command: &mut Command) -> Output {
    let shown = format!("{command:?}");
    let child = command.stdin(Stdio::null()).kill_on_drop(true).output();
    tokio::time::timeout(PATIENCE, child)
        .await
        .unwrap_or_else(|_| panic!("{shown} hangs"))
        .unwrap_or_else(|error| panic!("{shown}: {error}; `make test` installs what the tests need"))
}

/// Runs a program that must succeed; gives what it printed.
pub async fn tool(name: &str, arguments: &[&str]) -> String {
    let output = run(Command::new(name).args(arguments)).await;
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{name} {arguments:?}: {}\n{out}{err}", output.status);
    format!("{out}{err}")
}

/// A Python script with boto3, from `tests/clients/`.
pub async fn python(script: &str, environment: &[(&str, &str)]) -> Output {
    python_with(script, &[], environment).await
}

/// The same with arguments.
pub async fn python_with(script: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let interpreter = root.join("target/venv/bin/python");
    assert!(interpreter.exists(), "target/venv is not there: `make test` makes it");
    let mut command = Command::new(interpreter);
    command
        .arg(root.join("tests/clients").join(script))
        .args(arguments)
        .env_clear()
        .env("PATH", std::env::var("PATH").unwrap());
    run(command.envs(environment.iter().copied())).await
}

/// The binary under test.
pub fn binary() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_kvs-edge"))
}
