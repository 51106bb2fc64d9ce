//! Nothing is left behind, whatever ends a test run.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, test_kill_process_group};
use vpn_operator_testbed::{Error, Guardian, Launch, Process, eventually};

const DEADLINE: Duration = Duration::from_secs(60);
/// Names the file in which the victim reports, and makes the test below play the victim.
const VICTIM_REPORT: &str = "TESTBED_VICTIM_REPORT";

#[tokio::test]
async fn a_killed_test_process_leaves_no_process_and_no_folder() {
    if let Some(report) = std::env::var_os(VICTIM_REPORT) {
        run_as_victim(Path::new(&report)).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report");
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "a_killed_test_process_leaves_no_process_and_no_folder",
            "--nocapture",
        ])
        .env(VICTIM_REPORT, &report)
        .env_remove("VPN_OPERATOR_TESTBED_KEEP")
        .stdout(Stdio::null())
        .spawn()
        .unwrap();

    let (pid, run_folder) = eventually("the victim's report", DEADLINE, async || read_report(&report))
        .await
        .unwrap();
    assert!(is_alive(pid), "the victim's process runs as long as the victim does");
    assert!(run_folder.join("data").exists());

    victim.kill().unwrap();
    assert_eq!(victim.wait().unwrap().signal(), Some(9));

    eventually("the end of the victim's process", DEADLINE, async || {
        ended(!is_alive(pid))
    })
    .await
    .unwrap();
    eventually("the end of its folder", DEADLINE, async || ended(!run_folder.exists()))
        .await
        .unwrap();
}

/// Starts a process that ignores SIGTERM and SIGINT, reports its pid and the run's folder, and waits to be killed.
async fn run_as_victim(report: &Path) -> ! {
    let guardian = Guardian::start().unwrap();
    fs::write(guardian.folder().join("data"), "x").unwrap();
    let process = stubborn(&guardian);
    process.wait_for_log("stubborn", DEADLINE).await.unwrap();
    let unfinished = report.with_extension("unfinished");
    fs::write(
        &unfinished,
        format!("{} {}", process.pid(), guardian.folder().display()),
    )
    .unwrap();
    fs::rename(unfinished, report).unwrap();
    std::future::pending().await
}

#[tokio::test]
async fn dropping_the_guardian_ends_all_processes_and_removes_the_folder() {
    let guardian = Guardian::start().unwrap();
    let folder = guardian.folder().to_owned();
    let process = stubborn(&guardian);
    process.wait_for_log("stubborn", DEADLINE).await.unwrap();
    let pid = process.pid();
    assert!(is_alive(pid));

    drop(process);
    drop(guardian);

    assert!(!folder.exists(), "dropping the guardian waits for the removal");
    eventually("the end of the whole group", DEADLINE, async || ended(!is_alive(pid)))
        .await
        .unwrap();
}

#[tokio::test]
async fn an_early_process_exit_is_reported_with_the_end_of_its_log() {
    let guardian = Guardian::start().unwrap();
    let process = guardian.spawn(shell("echo no such flag; exit 3")).unwrap();
    let error = process.wait_for_log("ready", DEADLINE).await.unwrap_err();
    assert!(
        matches!(&error, Error::Ended { status, .. } if status.code() == Some(3)),
        "{error}"
    );
    assert!(error.to_string().contains("no such flag"), "{error}");
}

#[tokio::test]
async fn a_process_can_be_paused_resumed_and_terminated() {
    let guardian = Guardian::start().unwrap();
    let process = guardian
        .spawn(shell(
            "trap 'echo asked; exit 0' TERM; echo up; while :; do sleep 0.05; done",
        ))
        .unwrap();
    process.wait_for_log("up", DEADLINE).await.unwrap();

    process.pause().unwrap();
    let error = process.terminate(Duration::from_millis(300)).await.unwrap_err();
    assert!(
        matches!(error, Error::Deadline { .. }),
        "a paused process does not answer: {error}"
    );

    process.resume().unwrap();
    assert!(process.wait(DEADLINE).await.unwrap().success());
    assert!(process.log().ends_with("asked\n"));
}

#[tokio::test]
async fn a_process_does_not_inherit_the_developers_environment() {
    let guardian = Guardian::start().unwrap();
    let process = guardian.spawn(shell("env; echo end").envs([("GIVEN", "yes")])).unwrap();
    process.wait_for_log("end", DEADLINE).await.unwrap();
    let log = process.log();
    assert!(log.contains("GIVEN=yes"), "{log}");
    assert!(!log.contains("CARGO_"), "{log}");
    assert!(
        log.contains(&format!("HOME={}\n", guardian.folder().display())),
        "{log}"
    );
}

#[tokio::test]
async fn a_timeout_is_reported_with_the_last_state() {
    let mut reads = 0;
    let error = eventually("the moon", Duration::from_millis(200), async || {
        reads += 1;
        Err::<(), _>(format!("look {reads}"))
    })
    .await
    .unwrap_err();
    assert!(
        matches!(&error, Error::Deadline { awaited, last, .. } if awaited == "the moon" && last.starts_with("look "))
    );
}

/// A process with a child, both of which ignore SIGTERM and SIGINT.
fn stubborn(guardian: &Arc<Guardian>) -> Process {
    guardian
        .spawn(shell("trap '' TERM INT HUP; sleep 600 & echo stubborn; wait"))
        .unwrap()
}

fn shell(script: &str) -> Launch {
    Launch::new("shell", "/bin/sh").args(["-c", script])
}

fn read_report(path: &Path) -> Result<(u32, PathBuf), String> {
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    let (pid, folder) = text.split_once(' ').ok_or("no space")?;
    Ok((pid.parse().map_err(|_| "no number")?, PathBuf::from(folder)))
}

fn is_alive(pid: u32) -> bool {
    let pid = Pid::from_raw(pid.try_into().unwrap()).unwrap();
    test_kill_process_group(pid).is_ok()
}

fn ended(ended: bool) -> Result<(), &'static str> {
    if ended { Ok(()) } else { Err("still there") }
}
